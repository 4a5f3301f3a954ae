"""Hypothesis as the host of one conversation: `note`, `event` and `assume` mean in it what they mean in any example.

It chooses nothing here, and never hears of a failure: what raised is a value, for the search to judge. What a user has
set of it, on the command line or in a profile, is read here too.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self, TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, core, example, given, settings
from hypothesis import strategies as st
from hypothesis.control import current_build_context
from hypothesis.database import ExampleDatabase
from hypothesis.errors import UnsatisfiedAssumption
from hypothesis.reporting import with_reporter

Assumed = UnsatisfiedAssumption
"""What `assume` raises."""

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What Hypothesis's settings say that means something to an exploration."""

    max_examples: int
    stateful_step_count: int
    derandomize: bool
    database: ExampleDatabase | None

    @classmethod
    def of(cls, chosen: settings | None = None) -> Self:
        """Those of a machine, else the current profile's."""
        chosen = chosen or settings()
        return cls(
            max_examples=chosen.max_examples,
            stateful_step_count=chosen.stateful_step_count,
            derandomize=chosen.derandomize,
            database=chosen.database,
        )


def forced_seed() -> int | str | None:
    """What --hypothesis-seed says."""
    forced: int | str | None = core.global_force_seed
    return forced


@dataclass(kw_only=True)
class Aside:
    """What was noted beside the conversation."""

    notes: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)


class _Hosted(threading.local):
    """What each thread is about to run."""

    body: Callable[[], None]


_hosted = _Hosted()


@settings(
    phases=[Phase.explicit],
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    verbosity=Verbosity.normal,
)
@given(st.none())
@example(None)
def _conversation(_: None) -> None:  # made once, because making it takes as long as running it
    _hosted.body()


def hosted(body: Callable[[], Result]) -> tuple[Result, Aside]:
    """Run `body` as one example; its return value, and what it said aside."""
    returned: list[Result] = []
    raised: list[BaseException] = []
    aside = Aside()

    def run() -> None:
        try:
            with with_reporter(lambda text: aside.notes.append(str(text))):
                returned.append(body())
        except BaseException as error:  # noqa: BLE001 - Ctrl-C, say; Hypothesis would write "failing example" on it
            raised.append(error)
        aside.events.extend(map(str, current_build_context().data.events))

    _hosted.body = run
    _conversation()
    if raised:
        raise raised[0]
    return returned[0], aside

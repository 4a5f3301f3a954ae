"""The exploration of a session class: its tests, what they ask for, and what it means that they fail in another order.

Loaded by the first such exploration that runs.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import pytest

from pytest_aitest.conversation.past import Past
from pytest_aitest.conversation.session import Session
from pytest_aitest.exploration.hosting import Profile
from pytest_aitest.flow import ExploredFlow, FlowSubject, FlowTest
from pytest_aitest.stateful.pinning import pinned_plans
from pytest_aitest.values.errors import DeclarationError, did_you_mean, quoted
from pytest_aitest.values.plain import filled
from pytest_aitest.values.result import AgentResult

from . import exploring
from .collect import EXPLORED, Flow
from .explorable import load_exploring
from .live import AitestRun, Turning


def explore(request: pytest.FixtureRequest, fixtures: Mapping[str, Any]) -> None:
    """Run the exploration that `request` is of."""
    __tracebackhide__ = True
    item = request.node
    load_exploring(item.config)
    flow: Flow = item.stash[EXPLORED]
    marker = item.get_closest_marker("session")
    try:
        explored = ExploredFlow(
            kind=item.cls,
            tests=_tests(flow),
            fixtures=fixtures,
            speaking=lambda session, phrasing: AitestRun(_Speaking(session, phrasing)),
            fails=exploring.VERDICTS.fails,
            is_strict=marker.kwargs["explore"] == "strict",
        )
    except DeclarationError as error:
        pytest.fail(filled(str(error)), pytrace=False)
    profile = Profile.of()
    seed = exploring.seed_of(item, profile)
    explorable = exploring.explorable(
        item,
        seed=seed,
        kind=item.cls,
        rules=explored.tests,
        pinned={"documented": explored.plan, **pinned_plans(item.cls, explored.signatures)},
        subject=partial(_subject, explored, flow.name, item.config.getoption("aitest_model")),
        wanted_checks=getattr(item.cls, "checks", {}),
    )
    limits = exploring.limits_of(item.cls, item.config, profile)
    exploring.explore(explorable, limits, item, profile=profile, order_notes=explored.notes.lines)


def _subject(explored: ExploredFlow, name: str, model: str | None, past: Past) -> FlowSubject:
    return FlowSubject(explored, Session(name=name, model=model, past=past))


class _Speaking:
    """What `aitest_run` speaks through in an exploration. See `live.Speaking`."""

    def __init__(self, session: Session, phrasing: str | None) -> None:
        self.turning: list[Turning] = []
        self._session = session
        self._phrasing = phrasing

    async def take_turn(self, prompt: str, **how: Any) -> AgentResult:
        __tracebackhide__ = True
        words, self._phrasing = self._phrasing or prompt, None
        return await self._session.say_async(words, **how)


def _tests(flow: Flow) -> list[FlowTest]:
    """The turns of a flow, without those that are skipped."""
    names = [turn.originalname for turn in flow.turns]
    return [_test(turn, names) for turn in flow.turns if not _is_skipped(turn)]


def _test(turn: pytest.Function, names: list[str]) -> FlowTest:
    marker = turn.get_closest_marker("turn")
    options = {} if marker is None else dict(marker.kwargs)
    if marker is not None and (marker.args or options.keys() - {"needs", "phrasings"}):
        raise DeclarationError(
            f"{turn.originalname} has a turn marker with other arguments than it takes. "
            'Write turn(needs="test_first") or turn(needs=(), phrasings=["..."]).'
        )
    needs = _names(options.get("needs"))
    for name in needs or ():
        if name not in names:
            raise DeclarationError(
                f"{turn.originalname} needs {name!r}, which is no test of its session. "
                f"Its tests are {quoted(names)}.{did_you_mean(name, names)}"
            )
    phrasings = options.get("phrasings", ())
    if isinstance(phrasings, str) or not all(isinstance(words, str) and words.strip() for words in phrasings):
        raise DeclarationError(
            f"{turn.originalname} has phrasings={phrasings!r}, and phrasings are other words for its first message. "
            'Write phrasings=["Move $200 to savings", ...].'
        )
    return FlowTest(
        name=turn.originalname,
        needs=needs,
        phrasings=tuple(phrasings),
        never_decides=turn.get_closest_marker("xfail") is not None,
    )


def _names(needs: str | Iterable[str] | None) -> frozenset[str] | None:
    if needs is None:
        return None
    return frozenset([needs] if isinstance(needs, str) else needs)


def _is_skipped(turn: pytest.Function) -> bool:
    """Whether a marker skips it; one whose condition is text is evaluated by pytest only, and so counts as run."""
    if turn.get_closest_marker("skip") is not None:
        return True
    conditions = [mark.args[0] for mark in turn.iter_markers("skipif") if mark.args]
    return any(condition is True for condition in conditions)

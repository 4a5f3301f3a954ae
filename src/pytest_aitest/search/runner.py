"""What the search asks of whoever has the conversations: rules to choose from, and plans carried out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from .plan import Plan


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A check that did not hold. Two are equal if they are the same failure, whatever values they speak of."""

    check: str  # whose: an invariant's name, a rule's, a built-in check's
    error_type: str  # "AssertionError"
    place: str  # where in the user's code: "test_bank.py:31"
    error: BaseException | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one plan."""

    executed: Plan  # steps that really ran, with the samples they took; of a failure, the last is the one that failed
    failure: Failure | None = None
    fresh_turns: int = 0  # asked live
    replayed_turns: int = 0  # answered from the conversation tree
    inapplicable: str | None = None  # why it could not be judged: a step skipped or assumed
    is_undecided: bool = False  # whether its last step failed in what does not count there
    evidence: Any = field(default=None, compare=False)  # the runner's own, e.g. the transcript; for the report


class Rule(Protocol):
    """What a step may do."""

    @property
    def name(self) -> str:
        """As a step names it."""
        ...

    @property
    def is_initial(self) -> bool:
        """Whether it runs exactly once, before all others."""
        ...

    @property
    def simplest(self) -> Mapping[str, Any]:
        """The arguments that need least explanation; empty for a rule without any."""
        ...

    @property
    def pool(self) -> Sequence[Mapping[str, Any]]:
        """Many random arguments, the same ones each time; one empty mapping for a rule without any."""
        ...

    def shrunk(self, argument: str, value: Any, fails: Callable[[Any], bool]) -> Any:
        """The simplest value for one argument, not above `value`, for which `fails` still holds.

        Asks `fails` a bounded number of times; what the search has asked it before costs nothing.
        """
        ...

    def shrinks_at_once(self, argument: str) -> bool:
        """Whether `shrunk` takes no time of its own, so that it can be tried out in vain."""
        ...


class Runner(Protocol):
    """Carries plans out."""

    @property
    def rules(self) -> Sequence[Rule]:
        """All there are."""
        ...

    def run(self, plan: Plan, *, again: int = 0) -> Outcome:
        """Carry out `plan`; what is known is replayed, what is not goes live.

        A step whose precondition does not hold is dropped, likewise one that lacks what an earlier one should have
        given. With `again=n`, the last step takes its sample of that number, which is asked live if unknown.

        Raises:
            StopSearchError: No more can be tried.
        """
        ...

    def confirm(self, plan: Plan) -> Outcome:
        """Carry out `plan` with nothing replayed.

        Raises:
            StopSearchError: No more can be tried.
        """
        ...


@runtime_checkable
class FarSighted(Runner, Protocol):
    """A runner that has several conversations at once."""

    def foresee(self, upcoming: Callable[..., Any]) -> None:
        """Told before the search begins: how to learn what it will want next. See `foresight.upcoming`."""
        ...


class StopSearchError(Exception):
    """Why a search has to end early: a budget is spent, or a provider can't be asked."""

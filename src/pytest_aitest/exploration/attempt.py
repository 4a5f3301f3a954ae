"""One plan carried out, from its first step to its end.

Knows what a failure is, and whose: what our own code or a provider raises is never the agent's.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, cast

from pytest_aitest.checks import Check, violations
from pytest_aitest.conversation.past import Happened
from pytest_aitest.conversation.servers import ToolOutcome
from pytest_aitest.conversation.session import Session
from pytest_aitest.conversation.tree import Called, Event, EventOutcome
from pytest_aitest.search.plan import Given, Plan, Step
from pytest_aitest.search.runner import Failure, StopSearchError
from pytest_aitest.values.errors import AitestError, ProviderError, ProviderFault, ToolError, is_provider_fault
from pytest_aitest.values.record import StepRecord, ToolLook
from pytest_aitest.values.result import AgentResult
from pytest_aitest.values.transcript import Turn, TurnRecord

from .frames import place_of

UNDECIDED: Final = object()
"""What a step returns that failed in what does not count there."""


class Subject(Protocol):
    """Something that takes steps: a machine, or a fresh instance of a session class for each."""

    session: Session

    def can_take(self, step: Step) -> bool:
        """Whether its precondition holds now."""
        ...

    def take(self, step: Step, arguments: Mapping[str, Any]) -> Any:
        """Take it; what it returns may be given to later steps, unless it is `UNDECIDED`."""
        ...

    def checks(self) -> Iterable[tuple[str, Callable[[], object]]]:
        """The user's checks that must hold now, by name."""
        ...

    def end(self) -> None:
        """Close what is open."""
        ...

    def count(self) -> None:
        """Told that what its plan showed is not in vain."""
        ...


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """Exceptions of test frameworks that are not what they are elsewhere."""

    skips: tuple[type[BaseException], ...] = ()  # the plan does not apply
    fails: tuple[type[BaseException], ...] = ()  # a failure, though no Exception


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A step that was taken, and what happened in it; its record is made where somebody asks for it."""

    code: str
    happened: Sequence[Happened] = ()
    looks: Sequence[tuple[Called, ToolOutcome]] = ()  # of the check that failed after it

    @property
    def record(self) -> StepRecord:
        """What is told of it."""
        return StepRecord(
            code=self.code,
            happened=tuple(_shown(happened.event, happened.sample.outcome) for happened in self.happened),
            looks=tuple(ToolLook(call=str(look), said=outcome.text) for look, outcome in self.looks),
        )


def _shown(event: Event, outcome: EventOutcome) -> TurnRecord | ToolLook:
    return outcome.record if isinstance(outcome, Turn) else ToolLook(call=str(event), said=outcome.text)


@dataclass(kw_only=True)
class Attempt:
    """One plan on one subject; `run` it once, then read what came of it."""

    subject: Subject
    builtin_checks: Sequence[Check] = ()
    verdicts: Verdicts = field(default_factory=Verdicts)
    at_end: Callable[[Session], object] = lambda _: None  # called after the last step, if none failed
    executed: Plan = ()
    taken: tuple[Taken, ...] = ()
    failure: Failure | None = None
    inapplicable: str | None = None
    is_undecided: bool = False  # whether the step taken last failed in what does not count there
    ours: Exception | None = None  # what went wrong, and is not the agent's

    def run(self, plan: Plan, *, again: int = 0) -> None:
        """Take the steps that can be taken, up to the first that fails.

        With `again`, the last step takes that sample of each of its events, known or not.
        """
        results: dict[str, Any] = {}
        try:
            self.check()
            for position, step in enumerate(plan, 1):
                if not self.is_over and all(name in results for name in step.needs()):
                    self.take(step, results, again=again or None if position == len(plan) else None)
            if not self.is_over:
                with self._judged("playback"):
                    self.at_end(self.subject.session)
        finally:
            with self._judged("teardown"):
                self.subject.end()

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to be learnt from it."""
        return (self.failure or self.inapplicable or self.ours) is not None

    def take(self, step: Step, results: dict[str, Any], *, again: int | None = None) -> None:
        """Take one step, if it can be taken; its result goes into `results`, if it gives one."""
        can_take = False
        with self._judged(step.rule):
            can_take = self.subject.can_take(step)
        if self.failure is not None:  # the precondition itself failed
            self.executed = (*self.executed, step)
            self.taken = (*self.taken, Taken(code=str(step)))
        if not can_take:
            return
        session = self.subject.session
        past, turns_before = session.past, len(session.results)
        past.begin_step(step.samples, again=again)
        returned: object = None
        with self._judged(step.rule):
            returned = self.subject.take(step, _filled_in(step, results))
            if step.gives is not None:
                results[step.gives] = returned
        self.is_undecided = returned is UNDECIDED
        self.executed = (*self.executed, replace(step, samples=past.samples))
        self.taken = (*self.taken, Taken(code=str(step), happened=past.this_step))
        self._blame_provider(session.results[turns_before:])
        self._check_turns(session.results[turns_before:])
        self.check()

    def _blame_provider(self, results: Sequence[AgentResult]) -> None:
        """Whatever a test made of it, a turn that its provider spoiled says nothing of the agent."""
        for result in results:
            if is_provider_fault(result.error_kind):
                self.failure = self.inapplicable = None
                kind = cast("ProviderFault", result.error_kind)
                self.ours = self.ours or ProviderError(result.error or "", kind=kind)

    def _check_turns(self, results: Sequence[AgentResult]) -> None:
        for result in results:
            for violation in violations(result.session, self.builtin_checks):
                self._fail(violation.check, violation)

    def check(self) -> None:
        """Have the user's checks look at the session, and keep what a failing one saw."""
        session = self.subject.session
        for name, check in self.subject.checks():
            if self.is_over:
                return
            session.call_mode, session.past.looks = "observation", []
            try:
                with self._judged(name):
                    check()
            finally:
                session.call_mode = "event"
            if self.failure is not None and self.taken:
                self.taken = (*self.taken[:-1], replace(self.taken[-1], looks=session.past.looks))

    @contextmanager
    def _judged(self, check: str) -> Iterator[None]:
        """Note whose fault an exception is; the first one counts."""
        try:
            yield
        except self.verdicts.skips as error:
            if not self.is_over:
                self.inapplicable = f"{check}: {str(error) or type(error).__name__}"
        except self.verdicts.fails as error:
            self._fail(check, error)
        except ToolError as error:  # the tool's word, heard by the user's own code
            self._fail(check, error)
        except (AitestError, StopSearchError) as error:
            if self.failure is None:
                self.ours = self.ours or error
        except Exception as error:  # noqa: BLE001 - whatever a user's code raises is a failure of the check
            self._fail(check, error)

    def _fail(self, check: str, error: BaseException) -> None:
        if not self.is_over:
            self.failure = Failure(check=check, error_type=type(error).__name__, place=place_of(error), error=error)


def _filled_in(step: Step, results: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a step: copies, because other plans have the same ones, and a rule may change what it gets."""
    return {
        name: _result(results, value) if isinstance(value, Given) else _copied(value)
        for name, value in step.arguments.items()
    }


def _result(results: Mapping[str, Any], given: Given) -> Any:
    result = results[given.name]
    return result if given.item is None else result.values[given.item]


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - what can't be copied is given as it is
        return value

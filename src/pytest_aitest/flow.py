"""A session class that takes its tests as steps, in any order, each on a fresh instance.

Its tests were written for the documented order, so what they assert decides only there, and where their author promised
that it holds; elsewhere it becomes a note about the order.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from pytest_aitest.conversation.session import Session
from pytest_aitest.search.plan import LeftOut, Plan, Step
from pytest_aitest.search.runner import StopSearchError
from pytest_aitest.stateful.declared import DeclaredInvariant, invariants_of
from pytest_aitest.values.errors import AitestError, ToolError, is_provider_fault

Ran = tuple[str, ...]
"""The tests that had run, in their order."""


@dataclass(frozen=True, kw_only=True)
class FlowTest:
    """A test of a flow, as its author marked it; a rule to the search."""

    name: str
    needs: frozenset[str] | None = None  # once these have run, what it asserts holds; None: nothing is promised
    phrasings: tuple[str, ...] = ()  # other words for what its user says first
    never_decides: bool = False  # it is expected to fail
    is_initial: bool = False

    @property
    def simplest(self) -> Mapping[str, Any]:
        return {"phrasing": LeftOut()} if self.phrasings else {}

    @property
    def pool(self) -> Sequence[Mapping[str, Any]]:
        return [self.simplest, *({"phrasing": words} for words in self.phrasings)]

    def shrunk(self, argument: str, value: Any, fails: Callable[[Any], bool]) -> Any:
        """The words as written, if they fail too."""
        return self.simplest[argument] if fails(self.simplest[argument]) else value


@dataclass(kw_only=True)
class OrderNotes:
    """Which tests failed where nobody promised that they hold, and where they did not."""

    verdicts: dict[str, dict[Ran, bool]] = field(default_factory=dict)  # whether each held, after which

    def note(self, test: str, after: Ran, *, held: bool) -> None:
        self.verdicts.setdefault(test, {})[after] = held

    def lines(self) -> Iterator[str]:
        """One line for each test that failed somewhere."""
        for test, verdicts in self.verdicts.items():
            failed = [after for after, held in verdicts.items() if not held]
            if failed:
                yield f"{test} {_explained(verdicts)}. If it should hold anywhere, mark it turn(needs=())."


def _explained(verdicts: Mapping[Ran, bool]) -> str:
    """By the one test whose absence tells the failures from the rest, if there is one."""
    failed = [after for after, held in verdicts.items() if not held]
    others = dict.fromkeys(test for after in verdicts for test in after)
    for other in others:
        if all((other in after) == held for after, held in verdicts.items()):
            return f"fails unless {other} has run ({len(failed)} of {len(failed)} orders)"
        if all((other not in after) == held for after, held in verdicts.items()):
            return f"fails once {other} has run ({len(failed)} of {len(failed)} orders)"
    return f"fails in {len(failed)} of {len(verdicts)} other orders"


@dataclass(frozen=True, kw_only=True)
class ExploredFlow:
    """A session class with what its tests ask for.

    Args:
        speaking: Makes what `aitest_run` is to a test, for a session and other words for its first prompt, if any.
        fixtures: The values of all other fixtures that the tests ask for.
        is_strict: Whether what tests assert decides everywhere.
    """

    kind: type
    tests: Sequence[FlowTest]
    fixtures: Mapping[str, Any]
    speaking: Callable[[Session, str | None], Any]
    fails: tuple[type[BaseException], ...] = ()  # a failure, though no Exception
    is_strict: bool = False
    notes: OrderNotes = field(default_factory=OrderNotes)

    @cached_property
    def documented(self) -> Ran:
        return tuple(test.name for test in self.tests)

    @cached_property
    def plan(self) -> Plan:
        """The documented order."""
        return tuple(Step(rule=test.name, arguments=test.simplest) for test in self.tests)

    @property
    def signatures(self) -> Mapping[str, inspect.Signature]:
        """How its tests are called in a pinned method."""
        phrasing = inspect.Parameter("phrasing", inspect.Parameter.KEYWORD_ONLY, default=LeftOut())
        return {test.name: inspect.Signature([phrasing] if test.phrasings else []) for test in self.tests}

    def decides(self, test: FlowTest, *, after: Ran, as_written: bool) -> bool:
        """Whether what a test asserts must hold there."""
        if test.never_decides:
            return False
        documented = as_written and (*after, test.name) == self.documented[: len(after) + 1]
        return self.is_strict or documented or (test.needs is not None and test.needs <= {*after})


class FlowSubject:
    """The tests of a flow in a session of their own. See `exploration.attempt.Subject`."""

    def __init__(self, flow: ExploredFlow, session: Session) -> None:
        self.session = session
        self._flow = flow
        self._tests = {test.name: test for test in flow.tests}
        self._invariants: list[DeclaredInvariant] = list(invariants_of(flow.kind))
        self._ran: Ran = ()

    @cached_property
    def _loop(self) -> asyncio.Runner:
        return asyncio.Runner()

    def can_take(self, step: Step) -> bool:
        return step.rule in self._tests

    def take(self, step: Step, arguments: Mapping[str, Any]) -> None:
        __tracebackhide__ = True
        test, after = self._tests[step.rule], self._ran
        self._ran = (*after, test.name)
        phrasing = arguments.get("phrasing", LeftOut())
        as_written = isinstance(phrasing, LeftOut)
        if self._flow.decides(test, after=after, as_written=as_written):
            self._call(getattr(self._flow.kind(), test.name), None if as_written else phrasing)
        elif not test.never_decides:
            held = self._holds(test, None if as_written else phrasing)
            if test.needs is None and not any(is_provider_fault(result.error_kind) for result in self.session.results):
                self._flow.notes.note(test.name, after, held=held)
        else:
            self._holds(test, None)

    def checks(self) -> Iterator[tuple[str, Callable[[], object]]]:
        # Before its first test a flow has no agent, and so nothing to look at.
        for invariant in self._invariants if self._ran else ():
            yield invariant.name, partial(self._held, invariant)

    def end(self) -> None:
        try:
            if "_loop" in vars(self):
                self._loop.close()
        finally:
            self.session.close()

    def _holds(self, test: FlowTest, phrasing: str | None) -> bool:
        """Run a test whose failure is only noted; what is no verdict of its own goes on."""
        try:
            self._call(getattr(self._flow.kind(), test.name), phrasing)
        except ToolError:
            return False
        except (AitestError, StopSearchError):
            raise
        except Exception:  # noqa: BLE001 - whatever it raised, nobody promised that it holds here
            return False
        except self._flow.fails:
            return False
        return True

    def _held(self, invariant: DeclaredInvariant) -> None:
        __tracebackhide__ = True
        hold(invariant, self._flow.kind, self.session, lambda check: self._call(check, None))

    def _call(self, function: Callable[..., Any], phrasing: str | None) -> None:
        """Call a test or an invariant with the fixtures that it asks for."""
        __tracebackhide__ = True
        given = dict(self._flow.fixtures, aitest_session=self.session)
        names = inspect.signature(function).parameters
        if "aitest_run" in names:
            given["aitest_run"] = self._flow.speaking(self.session, phrasing)
        returned = function(**{name: given[name] for name in names if name in given})
        if inspect.iscoroutine(returned):
            self._loop.run(returned)


def hold(
    invariant: DeclaredInvariant, kind: type, session: Session, call: Callable[[Callable[..., Any]], None]
) -> None:
    """Check an invariant of a session class; `call` gives it the fixtures that it asks for."""
    __tracebackhide__ = True
    if invariant.of_calls is not None:
        invariant.of_calls.check(session)
        return
    instance = kind()
    if all(holds(instance) for holds in invariant.preconditions):
        call(partial(invariant.check, instance))


def check_invariants(kind: type, session: Session, fixture: Callable[[str], Any]) -> None:
    """Check all invariants of a session class, after one of its tests; `fixture` gives the value of one by its name."""
    __tracebackhide__ = True

    def call(check: Callable[..., Any]) -> None:
        __tracebackhide__ = True
        returned = check(**{name: fixture(name) for name in inspect.signature(check).parameters})
        if inspect.iscoroutine(returned):
            asyncio.run(returned)

    session.call_mode = "observation"
    try:
        for invariant in invariants_of(kind):
            hold(invariant, kind, session, call)
    finally:
        session.call_mode = "event"

"""A session class that takes its tests as steps, in any order, each on a fresh instance.

Its tests were written for the documented order, so what they assert decides only there, and where their author promised
that it holds; elsewhere it becomes a note about the order.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from pytest_aitest.conversation.session import Session
from pytest_aitest.exploration.attempt import UNDECIDED
from pytest_aitest.search.arguments import Listed
from pytest_aitest.search.minimise import is_same
from pytest_aitest.search.plan import LeftOut, Plan, Step
from pytest_aitest.search.runner import StopSearchError
from pytest_aitest.stateful.declared import DeclaredInvariant, hold, invariants_of
from pytest_aitest.values.errors import AitestError, DeclarationError, SessionError, ToolError, is_provider_fault

Ran = tuple[str, ...]
"""The tests that had run, in their order."""

_MOST_TOLD = 8  # sets of values, in a message


@dataclass(frozen=True, kw_only=True)
class ValueSet:
    """One of those that a test is parametrized with."""

    values: Mapping[str, Any]
    never_decides: bool = False  # with these it is expected to fail


_NO_VALUES = ValueSet(values={})


@dataclass(frozen=True, kw_only=True)
class FlowTest:
    """A test of a flow, as its author marked it; a rule to the search."""

    name: str
    needs: frozenset[str] | None = None  # once these have run, what it asserts holds; None: nothing is promised
    phrasings: tuple[str, ...] = ()  # other words for what its user says first
    values: tuple[ValueSet, ...] = ()  # that it is parametrized with, if others are not; the documented ones first
    never_decides: bool = False  # it is expected to fail
    is_initial: bool = False

    @property
    def documented(self) -> ValueSet:
        return self.values[0] if self.values else _NO_VALUES

    @property
    def simplest(self) -> Mapping[str, Any]:
        return self.pool[0]

    @cached_property
    def pool(self) -> Sequence[Mapping[str, Any]]:
        words = [LeftOut(), *self.phrasings] if self.phrasings else []
        phrasings: list[Mapping[str, Any]] = [{"phrasing": each} for each in words] or [{}]
        if not self.values:
            return phrasings
        return Listed({**each.values, **phrasing} for each in self.values for phrasing in phrasings)

    def shrinks_at_once(self, _argument: str) -> bool:
        return True

    def shrunk(self, argument: str, value: Any, fails: Callable[[Any], bool]) -> Any:
        """The documented value, or the words as written, if they fail too."""
        return self.simplest[argument] if fails(self.simplest[argument]) else value

    def chosen(self, arguments: Mapping[str, Any]) -> ValueSet | None:
        """Which of its sets of values is among `arguments`, None where it has no such."""
        for each in self.values or [_NO_VALUES]:
            if all(name in arguments and is_same(arguments[name], value) for name, value in each.values.items()):
                return each
        return None


@dataclass(kw_only=True)
class OrderNotes:
    """Which tests failed where nobody promised that they hold, and where they did not."""

    documented: Ran
    verdicts: dict[str, dict[Ran, bool]] = field(default_factory=dict)  # whether each held, after which

    def note(self, test: str, after: Ran, *, held: bool) -> None:
        self.verdicts.setdefault(test, {})[after] = held

    def lines(self) -> Iterator[str]:
        """One line for each test that failed somewhere."""
        for test, verdicts in self.verdicts.items():
            if not all(verdicts.values()):
                yield f"{test} {self._explained(test, verdicts)}. If it should hold anywhere, mark it turn(needs=())."

    def _explained(self, test: str, verdicts: Mapping[Ran, bool]) -> str:
        """By the one test whose absence tells the failures from the rest, if just one does."""
        failed = sum(not held for held in verdicts.values())
        causes = []
        for other in dict.fromkeys(name for after in verdicts for name in after):
            if all((other in after) == held for after, held in verdicts.items()):
                causes.append(f"unless {other}")
            if all((other not in after) == held for after, held in verdicts.items()):
                causes.append(f"once {other}")
        if len(causes) == 1:
            return f"fails {causes[0]} has run ({failed} of {failed} orders)"
        others = [after for after in verdicts if after != self.documented[: self.documented.index(test)]]
        return f"fails in {failed} of {len(others)} other orders"


@dataclass(frozen=True, kw_only=True)
class ExploredFlow:
    """A session class with what its tests ask for.

    Args:
        speaking: Makes what `aitest_run` is to a test, for a session.
        instance: Makes an instance of the class, as its fixtures have prepared it.
        fixtures: The values of all other fixtures that the tests ask for.
        is_strict: Whether what tests assert decides everywhere.
    """

    kind: type
    tests: Sequence[FlowTest]
    fixtures: Mapping[str, Any]
    speaking: Callable[[Session], Any]
    instance: Callable[[], Any]
    fails: tuple[type[BaseException], ...] = ()  # a failure, though no Exception
    is_strict: bool = False

    @cached_property
    def notes(self) -> OrderNotes:
        """What is noted of orders while they are tried."""
        return OrderNotes(documented=self.documented)

    @cached_property
    def documented(self) -> Ran:
        """The names of the tests in the documented order."""
        return tuple(test.name for test in self.tests)

    @cached_property
    def plan(self) -> Plan:
        """The documented order."""
        return tuple(Step(rule=test.name, arguments=test.simplest) for test in self.tests)

    @property
    def signatures(self) -> Mapping[str, inspect.Signature]:
        """How its tests are called in a pinned method."""
        return {
            test.name: inspect.Signature(
                [
                    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value)
                    for name, value in test.simplest.items()
                ]
            )
            for test in self.tests
        }

    def completed(self, pinned: Mapping[str, Plan]) -> dict[str, Plan]:
        """Pinned orders with the documented values where they name none.

        Raises:
            DeclarationError: One names values that its test is not parametrized with.
        """
        return {name: tuple(self._completed(step, name) for step in plan) for name, plan in pinned.items()}

    def _completed(self, step: Step, pinned: str) -> Step:
        test = next(test for test in self.tests if test.name == step.rule)
        step = replace(step, arguments={**test.simplest, **step.arguments})
        if test.chosen(step.arguments) is not None:
            return step
        told = [Step(rule=test.name, arguments=each.values).code for each in test.values]
        more = [f"{len(told) - _MOST_TOLD} more"] if len(told) > _MOST_TOLD else []
        raise DeclarationError(
            f"{self.kind.__name__}.{pinned} calls {step.code}, and {test.name} is not parametrized with these values. "
            f"Only what its author lists is ever run: {', '.join([*told[:_MOST_TOLD], *more])}. Name one of these, or "
            "add the values to @pytest.mark.parametrize."
        )

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
        self._invariants: Sequence[DeclaredInvariant] = invariants_of(flow.kind)
        self._ran: Ran = ()
        self._held_after: list[tuple[str, Ran, bool]] = []  # of tests of which nothing was promised
        self._values_are_documented = True  # of all tests that have run

    @cached_property
    def _loop(self) -> asyncio.Runner:
        return asyncio.Runner()

    def can_take(self, step: Step) -> bool:
        return step.rule in self._tests and self._tests[step.rule].chosen(step.arguments) is not None

    def take(self, step: Step, arguments: Mapping[str, Any]) -> object:
        __tracebackhide__ = True
        test, after = self._tests[step.rule], self._ran
        self._ran = (*after, test.name)
        chosen = test.chosen(step.arguments)  # not of `arguments`, which are copies and may look otherwise
        self._values_are_documented &= chosen is test.documented
        if chosen is not None and chosen.never_decides:
            test = replace(test, never_decides=True)
        phrasing = arguments.get("phrasing", LeftOut()) if test.phrasings else LeftOut()
        as_written = isinstance(phrasing, LeftOut) and self._values_are_documented
        self.session.rephrased = None if isinstance(phrasing, LeftOut) else phrasing
        if self._flow.decides(test, after=after, as_written=as_written):
            self._run(test, arguments)
            held = True
        else:
            held = self._holds(test, arguments)
        spoiled = any(is_provider_fault(result.error_kind) for result in self.session.results)
        if as_written and test.needs is None and not test.never_decides and not spoiled:
            self._held_after.append((test.name, after, held))
        return None if held else UNDECIDED

    def checks(self) -> Iterator[tuple[str, Callable[[], object]]]:
        # Before its first test a flow has no agent, and so nothing to look at.
        for invariant in self._invariants if self.session.turns else ():
            yield invariant.name, partial(self._held, invariant)

    def count(self) -> None:
        for test, after, held in self._held_after:
            self._flow.notes.note(test, after, held=held)

    def end(self) -> None:
        try:
            if "_loop" in vars(self):
                self._loop.close()
        finally:
            self.session.close()

    def _run(self, test: FlowTest, arguments: Mapping[str, Any]) -> None:
        __tracebackhide__ = True
        values = {name: value for name, value in arguments.items() if name in test.documented.values}
        self._call(getattr(self._flow.instance(), test.name), values)

    def _holds(self, test: FlowTest, arguments: Mapping[str, Any]) -> bool:
        """Run a test whose failure is only noted; what is no verdict of its own goes on."""
        try:
            self._run(test, arguments)
        except (ToolError, SessionError):  # as where it speaks to whoever an earlier test spoke to
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
        hold(invariant, self._flow.instance, self.session, self._call)

    def _call(self, function: Callable[..., Any], values: Mapping[str, Any] | None = None) -> Any:
        """Call a test or an invariant with the fixtures that it asks for, and a test with its values."""
        __tracebackhide__ = True
        given = {**self._flow.fixtures, "aitest_session": self.session, **(values or {})}
        names = inspect.signature(function).parameters
        if "aitest_run" in names:
            given["aitest_run"] = self._flow.speaking(self.session)
        returned = function(**{name: given[name] for name in names if name in given})
        return self._loop.run(returned) if inspect.iscoroutine(returned) else returned


def check_invariants(test: Any, session: Session, fixture: Callable[[str], Any]) -> None:
    """Check all invariants of a session class, after one of its tests; `fixture` gives the value of one by its name."""
    __tracebackhide__ = True

    def call(check: Callable[..., Any]) -> Any:
        __tracebackhide__ = True
        returned = check(**{name: fixture(name) for name in inspect.signature(check).parameters})
        return asyncio.run(returned) if inspect.iscoroutine(returned) else returned

    session.call_mode = "observation"
    try:
        kind: type = type(test)
        for invariant in invariants_of(kind):
            hold(invariant, lambda: test, session, call)
    finally:
        session.call_mode = "event"

"""A machine that takes the steps it is told to take."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hypothesis.errors import UnsatisfiedAssumption

from pytest_aitest.conversation.past import Past
from pytest_aitest.conversation.session import Session
from pytest_aitest.search.plan import Step

from .declared import DeclaredInvariant, DeclaredRule, hold, invariants_of, rules_of
from .machine import SessionMachine, Voice


@dataclass(frozen=True)
class Draws:
    """In place of `data()`: what was drawn, to be drawn again in the same order."""

    values: tuple[Any, ...]

    def __repr__(self) -> str:
        return f"draws({', '.join(map(repr, self.values))})"

    def again(self) -> "_Drawing":
        """What a rule draws from."""
        return _Drawing(iter(self.values))


@dataclass(frozen=True)
class _Drawing:
    _values: Iterator[Any]

    def draw(self, _strategy: object, label: object = None) -> Any:  # noqa: ARG002 - as Hypothesis's
        for value in self._values:
            return value
        raise UnsatisfiedAssumption("it draws more than it did, and so is another conversation")


@dataclass(frozen=True)
class TheMachine:
    """In place of `runner()`."""

    def __repr__(self) -> str:
        return "self"


class MachineSubject:
    """One instance of a machine, with a session of its own. See `exploration.attempt.Subject`.

    Args:
        kind: Whose rules and invariants are meant.
        past: That of its session.
        name: The session's.
        model: In place of that of every agent.
        fixtures: For its `make_agent`.
        instance_of: A subclass to make the instance of.
    """

    def __init__(
        self,
        kind: type[SessionMachine],
        past: Past,
        *,
        name: str,
        model: str | None,
        fixtures: Mapping[str, Any],
        instance_of: type[SessionMachine] | None = None,
    ) -> None:
        self._rules: Mapping[str, DeclaredRule] = {rule.name: rule for rule in rules_of(kind)}
        self._invariants: Sequence[DeclaredInvariant] = invariants_of(kind)
        self._to_initialize = {rule.name for rule in self._rules.values() if rule.is_initial}
        self.session = Session(name=name, model=model, past=past)
        self.given: Mapping[str, Any] | None = None  # in place of the arguments that steps tell of
        instance_of = instance_of or kind
        self.machine = instance_of.__new__(instance_of)
        self._voice = Voice(self.machine, self.session, fixtures=fixtures)
        vars(self.machine)["_aitest_voice"] = self._voice  # before __init__, which may speak
        instance_of.__init__(self.machine)

    def can_take(self, step: Step) -> bool:
        return all(holds(self.machine) for holds in self._rules[step.rule].preconditions)

    def take(self, step: Step, arguments: Mapping[str, Any]) -> Any:
        __tracebackhide__ = True
        self._to_initialize.discard(step.rule)
        given = {name: self._given(value) for name, value in arguments.items()} if self.given is None else self.given
        return self._rules[step.rule].function(self.machine, **given)

    def _given(self, value: Any) -> Any:
        match value:
            case Draws():
                return value.again()
            case TheMachine():
                return self.machine
        return value

    def checks(self) -> Iterator[tuple[str, Callable[[], object]]]:
        for invariant in self._invariants:
            if self._to_initialize and not invariant.during_init:
                continue
            yield invariant.name, partial(self._held, invariant)

    def _held(self, invariant: DeclaredInvariant) -> None:
        __tracebackhide__ = True
        hold(invariant, lambda: self.machine, self.session, lambda check: check())

    def count(self) -> None: ...

    def end(self) -> None:
        try:
            self.machine.teardown()
        finally:
            self._voice.end()

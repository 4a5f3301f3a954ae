"""Machines with bundles, `data()` or `runner()`: no plan can be drawn ahead for them, so Hypothesis's own engine leads.

It chooses and shrinks over the conversation tree, and leaves the plan that it ended with; whether that fails again, how
often, and without which steps, is found out as for any other plan.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import UnsatisfiedAssumption
from hypothesis.reporting import with_reporter
from hypothesis.stateful import INITIALIZE_RULE_MARKER, RULE_MARKER, MultipleResults, run_state_machine_as_test
from hypothesis.strategies import DataObject

from pytest_aitest.exploration.attempt import Attempt
from pytest_aitest.exploration.runner import TreeRunner
from pytest_aitest.search.plan import Given, Plan, Step

from .declared import DeclaredRule, rules_of
from .machine import SessionMachine
from .subject import Draws, MachineSubject, TheMachine


class _Recording:
    """`data()`, with an ear for what is drawn."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self.values: list[Any] = []

    def __deepcopy__(self, _memo: object) -> Self:
        return self  # a copy would be one of Hypothesis's whole engine

    def draw(self, strategy: st.SearchStrategy[Any], label: Any = None) -> Any:
        value = self._data.draw(strategy, label)
        self.values.append(value)
        return value


class _AbortError(BaseException):
    """Ends Hypothesis's search; no Exception, which it would shrink."""

    def __init__(self, why: Exception) -> None:
        self.why = why


@dataclass(kw_only=True)
class Led:
    """One exploration by Hypothesis.

    Args:
        machine: Whose rules it chooses among.
        subject: Makes the subject of one example, with machines of the kind that it is given.
        attempt: Makes the attempt that judges it.
        ended: Told of each attempt when it has ended.
    """

    machine: type[SessionMachine]
    subject: Callable[[type[SessionMachine]], MachineSubject]
    attempt: Callable[[MachineSubject], Attempt]
    ended: Callable[[Attempt], object]
    failing: Attempt | None = None  # the last that failed
    executed: set[Plan] = field(default_factory=set)  # before any failed
    _current: "_Example | None" = None

    @classmethod
    def over(cls, runner: TreeRunner, *, machine: type[SessionMachine], subject: Callable[..., MachineSubject]) -> Self:
        """One whose examples are judged, and remembered, as the plans of `runner`."""
        return cls(
            machine=machine,
            subject=lambda kind: subject(past=runner.past(), instance_of=kind),
            attempt=runner.attempt,
            ended=runner.note,
        )

    def run(self, *, plans: int, plan_turns: int, seed: int) -> None:
        """Let Hypothesis try `plans` examples of `plan_turns` steps, and shrink the first that fails.

        Raises:
            Exception: What is not the agent's fault; the best so far is kept.
        """
        limits = settings(
            max_examples=plans,
            stateful_step_count=plan_turns,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
            verbosity=Verbosity.normal,
        )
        kind = _led_kind(self.machine, self)
        try:
            with with_reporter(lambda _: None):
                # As its documentation says, anything will do that returns a machine; the seed is read from that.
                factory = seeded(seed)(lambda: self._begun(kind))
                run_state_machine_as_test(factory, settings=limits)  # type: ignore[arg-type]
        except _AbortError as abort:
            raise abort.why from None
        except Exception:
            if self.failing is None:
                raise
        finally:
            self._end()

    def _begun(self, kind: type[SessionMachine]) -> SessionMachine:
        self._end()
        subject = self.subject(kind)
        self._current = _Example(attempt=self.attempt(subject), subject=subject)
        return subject.machine

    def _end(self) -> None:
        if self._current is not None:
            self._current.subject.end()
            if self.failing in (None, self._current.attempt):
                self.executed.add(self._current.attempt.executed)
            self.ended(self._current.attempt)
        self._current = None

    def take(self, rule: DeclaredRule, arguments: dict[str, Any]) -> Any:
        """Take the step that Hypothesis chose."""
        __tracebackhide__ = True
        assert self._current is not None
        returned = self._current.take(rule, arguments)
        self._judge(self._current.attempt)
        return returned

    def check(self) -> None:
        """Check what must hold before the first step; after each, `take` has done it."""
        __tracebackhide__ = True
        assert self._current is not None
        if not self._current.attempt.executed:
            self._current.attempt.check()
            self._judge(self._current.attempt)

    def _judge(self, attempt: Attempt) -> None:
        __tracebackhide__ = True
        if attempt.ours is not None:
            raise _AbortError(attempt.ours)
        if attempt.inapplicable is not None:
            raise UnsatisfiedAssumption(attempt.inapplicable)
        if attempt.failure is not None:
            self.failing = attempt
            assert attempt.failure.error is not None
            raise attempt.failure.error


@dataclass(kw_only=True)
class _Example:
    """The steps of one example, written down so that they can be taken again."""

    attempt: Attempt
    subject: MachineSubject
    results: dict[str, Any] = field(default_factory=dict)  # of steps, under the names that they give them
    made: list[tuple[Given, Any]] = field(default_factory=list)  # the values in them

    def take(self, rule: DeclaredRule, arguments: dict[str, Any]) -> Any:
        __tracebackhide__ = True
        recordings = {name: _Recording(value) for name, value in arguments.items() if isinstance(value, DataObject)}
        name = f"{rule.name}_{len(self.attempt.executed) + 1}"
        step = Step(
            rule=rule.name,
            arguments={argument: self._written(value) for argument, value in arguments.items()} | recordings,
            gives=name if rule.fills_bundles else None,
        )
        self.subject.given = arguments | recordings
        self.attempt.take(step, self.results)
        self._write_draws(recordings)
        returned = self.results.get(name)
        if isinstance(returned, MultipleResults):
            self.made += [(Given(name, item), value) for item, value in enumerate(returned.values)]
        elif rule.fills_bundles:
            self.made.append((Given(name), returned))
        return returned

    def _written(self, value: Any) -> Any:
        if value is self.subject.machine:
            return TheMachine()
        return next((given for given, made in self.made if made is value), value)

    def _write_draws(self, recordings: Mapping[str, "_Recording"]) -> None:
        if recordings:
            *before, last = self.attempt.executed
            drawn = {name: Draws(tuple(recording.values)) for name, recording in recordings.items()}
            last = dataclasses.replace(last, arguments={**last.arguments, **drawn})
            self.attempt.executed = (*before, last)


def _led_kind(machine: type[SessionMachine], led: Led) -> type[SessionMachine]:
    """The machine with rules that tell `led` of each step."""
    overrides: dict[str, Any] = {"check_invariants": lambda _self, *_: led.check()}
    for rule in rules_of(machine):
        marker = INITIALIZE_RULE_MARKER if rule.is_initial else RULE_MARKER

        def step(_machine: object, /, *, _rule: DeclaredRule = rule, **arguments: Any) -> Any:
            __tracebackhide__ = True
            return led.take(_rule, arguments)

        step.__name__ = rule.name
        declared = getattr(getattr(machine, rule.name), marker)

        def method(*_: Any) -> None: ...

        setattr(method, marker, dataclasses.replace(declared, function=step))
        overrides[rule.name] = method
    return type(machine.__name__, (machine,), overrides)

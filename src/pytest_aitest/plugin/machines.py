"""The tests of a machine: each pinned order, and the exploration.

Loaded by the first machine that is collected, because everything below it costs time to import.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Self

import pytest

from pytest_aitest.exploration.hosting import Profile
from pytest_aitest.exploration.run import Explorable, Limits
from pytest_aitest.search.plan import Plan
from pytest_aitest.stateful.declared import members_of, rules_of
from pytest_aitest.stateful.engine import Led
from pytest_aitest.stateful.machine import SessionMachine, make_agent_fixtures
from pytest_aitest.stateful.pinning import pinned_plans, signatures_of
from pytest_aitest.stateful.subject import MachineSubject
from pytest_aitest.stateful.values import StrategyRule
from pytest_aitest.values.agent import Agent
from pytest_aitest.values.errors import DeclarationError

from . import exploring
from .collect_explorations import FORECAST, asking_for, exploration_marks, listed_marks, marks_of
from .concluding import declarations_said
from .sharding import SHARD

Test = Callable[..., None]
_FIXTURE = type(pytest.fixture(lambda: None))


class MachineNode(pytest.Class):
    """A machine as pytest sees it: a class with its fixtures and marks, and a test for each thing to do with it."""

    carrier: type
    aitest_machine = True

    @classmethod
    def of(cls, parent: pytest.Module | pytest.Class, *, name: str, machine: type[SessionMachine]) -> Self:
        """The node of `machine`.

        Raises:
            DeclarationError: It has no rule that pytest could try, or a pinned method is no plan.
        """
        node: Self = cls.from_parent(parent, name=name)
        node.carrier = _carrier_of(machine, name)
        return node

    def _getobj(self) -> type:
        return self.carrier


def _carrier_of(machine: type[SessionMachine], name: str) -> type:
    if not any(not rule.is_initial for rule in rules_of(machine)):
        raise DeclarationError(
            f"{name} has no rule, so there is nothing to try. Put @rule() above a method that speaks."
        )
    tests = {
        pinned: _test(machine, partial(_run_pinned, machine, pinned), **_of_method(machine, pinned))
        for pinned in _pinned(machine)
    }
    explore = partial(_explore, machine)
    tests["explore"] = _test(machine, explore, place=machine, marks=exploration_marks(machine), asked=[SHARD])
    setattr(tests["explore"], FORECAST, partial(_forecast, machine))
    fixtures = {member: value for member, value in members_of(machine) if isinstance(value, _FIXTURE)}
    return type(
        name, (), {"__module__": machine.__module__, "pytestmark": list(marks_of(machine)), **fixtures, **tests}
    )


def _test(
    machine: type[SessionMachine],
    run: Callable[[pytest.FixtureRequest, Mapping[str, Any]], None],
    *,
    place: Any,
    marks: Iterable[pytest.Mark],
    asked: Iterable[str] = (),
) -> Test:
    """A test that asks for what `make_agent` asks for, and more; `place` is where pytest says it stands."""
    names = make_agent_fixtures(machine)

    def test(self: object, request: pytest.FixtureRequest, **fixtures: Any) -> None:
        __tracebackhide__ = True
        run(request, {name: fixtures[name] for name in names})

    vars(test).update(__signature__=asking_for([*names, *asked]), __test__=True, place_as=place, pytestmark=list(marks))
    return test


def _of_method(machine: type[SessionMachine], name: str) -> dict[str, Any]:
    method = getattr(machine, name)
    return {"place": method, "marks": listed_marks(getattr(method, "pytestmark", []))}


def _pinned(machine: type[SessionMachine]) -> dict[str, Plan]:
    return pinned_plans(machine, signatures_of(machine))


def _run_pinned(
    machine: type[SessionMachine], name: str, request: pytest.FixtureRequest, fixtures: Mapping[str, Any]
) -> None:
    __tracebackhide__ = True
    exploring.run_pinned(_explorable(machine, request, fixtures), name, request.node)


def _explore(machine: type[SessionMachine], request: pytest.FixtureRequest, fixtures: Mapping[str, Any]) -> None:
    __tracebackhide__ = True
    profile = Profile.of(machine.TestCase.settings)
    limits = exploring.limits_of(machine, request.config, profile, item=request.node)
    explorable = _explorable(machine, request, fixtures, limits)
    exploring.explore(explorable, limits, request.node, profile=profile)


def _can_be_drawn(rule: StrategyRule) -> bool:
    """Whether no strategy of its hides what needs a machine, as a composite one may."""
    try:
        _ = rule.pool
    except DeclarationError as error:
        return "runner()" not in str(error)
    return True


def _forecast(machine: type[SessionMachine], config: pytest.Config) -> str:
    """What the exploration would ask, as far as can be said before any fixture is made."""
    limits = exploring.limits_of(machine, config, Profile.of(machine.TestCase.settings))
    provider = machine.agent.provider if isinstance(machine.agent, Agent) else None
    documented = map(len, _pinned(machine).values())
    return exploring.forecast_of(limits, documented, provider, config, unknown="an agent that its fixtures make")


def _explorable(
    machine: type[SessionMachine],
    request: pytest.FixtureRequest,
    fixtures: Mapping[str, Any],
    limits: Limits | None = None,
) -> Explorable:
    seed = exploring.seed_of(request.node, Profile.of(machine.TestCase.settings))
    declared = rules_of(machine)
    rules = [
        StrategyRule(
            name=rule.name,
            strategies=rule.strategies if rule.can_be_planned else {},
            is_initial=rule.is_initial,
            seed=seed,
        )
        for rule in declared
    ]
    model = request.config.getoption("aitest_model")
    subject = partial(MachineSubject, machine, name=request.node.nodeid, model=model, fixtures=fixtures)
    # Values are drawn only where some will be chosen: it takes a tenth of a second.
    is_planned = limits is None or (all(rule.can_be_planned for rule in declared) and all(map(_can_be_drawn, rules)))
    with declarations_said():
        return exploring.explorable(
            request.node,
            seed=seed,
            kind=machine,
            rules=rules,
            pinned=_pinned(machine),
            subject=subject,
            wanted_checks=machine.checks,
            limits=limits,
            led=None if is_planned else partial(Led.over, machine=machine, subject=subject),
        )

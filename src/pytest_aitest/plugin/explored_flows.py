"""The exploration of a session class: its tests, what they ask for, and what it means that they fail in another order.

Loaded by the first such exploration that runs.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from pytest_aitest.conversation.past import Past
from pytest_aitest.conversation.session import Session
from pytest_aitest.exploration.hosting import Profile
from pytest_aitest.exploration.run import Explorable, Limits
from pytest_aitest.flow import ExploredFlow, FlowSubject, FlowTest, ValueSet
from pytest_aitest.stateful.pinning import pinned_plans
from pytest_aitest.values.result import AgentResult

from . import exploring
from .collect import EXPLORED, Flow, promises_of, session_marker
from .collect_explorations import load_exploring
from .concluding import declarations_said, skip
from .live import AitestRun, Turning
from .parameters import Choices, is_skipped, own_parameters, parameters_of


def explore(test: object, request: pytest.FixtureRequest, fixtures: Mapping[str, Any]) -> None:
    """Run the exploration that `request` is of; `test` is the instance that its fixtures have prepared."""
    __tracebackhide__ = True
    profile = Profile.of()
    limits = exploring.limits_of(request.node.cls, request.config, profile, item=request.node)
    explored, explorable = _explorable(test, request, fixtures, profile, limits)
    if not explored.tests:
        skip("all its turns are skipped")
    exploring.explore(explorable, limits, request.node, profile=profile, order_notes=explored.notes.lines)


def forecast(kind: type, tests: int, config: pytest.Config) -> str:
    """What the exploration of a class of so many tests would ask, as far as can be said before any of them runs."""
    limits = exploring.limits_of(kind, config, Profile.of())
    return exploring.forecast_of(limits, [tests], None, config, unknown="the agents that its tests speak to")


def run_pinned(test: object, request: pytest.FixtureRequest, fixtures: Mapping[str, Any], name: str) -> None:
    """Run a pinned order of a session class."""
    __tracebackhide__ = True
    _, explorable = _explorable(test, request, fixtures, Profile.of())
    exploring.run_pinned(explorable, name, request.node)


def _explorable(
    test: object,
    request: pytest.FixtureRequest,
    fixtures: Mapping[str, Any],
    profile: Profile,
    limits: Limits | None = None,
) -> tuple[ExploredFlow, Explorable]:
    __tracebackhide__ = True
    item = request.node
    load_exploring(item.config)
    flow: Flow = item.stash[EXPLORED]
    marker = session_marker(item)

    def instance() -> Any:
        made = item.cls()
        vars(made).update(vars(test))  # what autouse fixtures have set on it
        return made

    with declarations_said():
        explored = ExploredFlow(
            kind=item.cls,
            tests=_tests(flow),
            fixtures=fixtures,
            speaking=lambda session: AitestRun(_Speaking(session)),
            instance=instance,
            fails=exploring.VERDICTS.fails,
            is_strict=marker.kwargs["explore"] == "strict",
        )
        explorable = exploring.explorable(
            item,
            seed=exploring.seed_of(item, profile),
            kind=item.cls,
            rules=explored.tests,
            pinned={"documented": explored.plan, **explored.completed(pinned_plans(item.cls, explored.signatures))},
            subject=partial(_subject, explored, flow.name, item.config.getoption("aitest_model")),
            wanted_checks=getattr(item.cls, "checks", {}),
            limits=limits,
        )
    return explored, explorable


def _subject(explored: ExploredFlow, name: str, model: str | None, past: Past) -> FlowSubject:
    return FlowSubject(explored, Session(name=name, model=model, past=past))


class _Speaking:
    """What `aitest_run` speaks through in an exploration. See `live.Speaking`."""

    def __init__(self, session: Session) -> None:
        self.turning: list[Turning] = []
        self._session = session

    async def take_turn(self, prompt: str, **how: Any) -> AgentResult:
        __tracebackhide__ = True
        return await self._session.say_async(prompt, **how)


def _tests(flow: Flow) -> list[FlowTest]:
    """The turns of a flow, without those that are skipped."""
    names = [turn.originalname for turn in flow.turns]
    own = own_parameters(flow.turns)
    return [_test(choices, own[choices[0]], names) for choices in flow.choices if not is_skipped(choices[0])]


def _test(choices: Choices, own: Sequence[str], names: list[str]) -> FlowTest:
    turn = choices[0]
    needs, phrasings = promises_of(turn, names)
    values = [
        ValueSet(values={name: parameters_of(test)[name] for name in own}, never_decides=_is_expected_to_fail(test))
        for test in choices
        if own and not is_skipped(test)
    ]
    return FlowTest(
        name=turn.originalname,
        needs=None if needs is None else frozenset(needs),
        phrasings=tuple(phrasings),
        values=tuple(values),
        never_decides=not own and _is_expected_to_fail(turn),
    )


def _is_expected_to_fail(test: pytest.Function) -> bool:
    return any(all(mark.args) for mark in test.iter_markers("xfail"))

"""Machines and explored session classes among what pytest collects: each gets its tests.

Loaded in every run, so it asks whether a class is a machine only where somebody has imported machines.
"""

import importlib
import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pytest_aitest.values.errors import DeclarationError
from pytest_aitest.values.plain import filled

from . import run
from .collect import EXPLORES
from .paying import mode_of

EXPLORING = "pytest_aitest.plugin.exploring"
FORECAST = "aitest_forecast"  # an attribute of the test that explores
_MACHINES = "pytest_aitest.stateful.machine"


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> pytest.Collector | list[pytest.Item] | None:
    """Collect a machine, also as `TestX = Machine.TestCase`, by its pinned orders and its exploration."""
    if inspect.isclass(obj) and "explore" in _session_options(obj):
        _add_exploration(obj)
    machine = _machine_in(obj)
    if machine is None or not collector.classnamefilter(name):
        return None
    if machine is not obj and collector.classnamefilter(machine.__name__) and _stands_in(machine, collector):
        return []  # the class itself is collected, and explored once
    explored: Any = importlib.import_module("pytest_aitest.plugin.explored")  # what it needs is loaded by now
    load_exploring(collector.config)
    try:
        node: pytest.Class = explored.MachineNode.of(collector, name=name, machine=machine)
    except DeclarationError as error:
        raise collector.CollectError(filled(str(error))) from None
    return node


def pytest_report_collectionfinish(config: pytest.Config, items: Sequence[pytest.Item]) -> list[str]:
    """Say before it is spent what explorations would ask."""
    if not config.getoption("collectonly") or mode_of(config) == "never":
        return []
    forecasts = ((item.nodeid, getattr(getattr(item, "function", None), FORECAST, None)) for item in items)
    return [f"aitest: {nodeid}: {forecast(config)}" for nodeid, forecast in forecasts if forecast is not None]


def _session_options(kind: type) -> Mapping[str, Any]:
    marks = [mark for mark in marks_of(kind) if mark.name == "session"]
    return marks[-1].kwargs if marks else {}


def _add_exploration(kind: type) -> None:
    """Give a session class its test `explore`, which asks for all fixtures that its tests ask for."""
    options = _session_options(kind)
    if options["explore"] not in (True, "strict") or hasattr(vars(kind).get("explore"), EXPLORES):
        return
    if hasattr(kind, "explore") and not hasattr(kind.explore, EXPLORES):
        raise pytest.Collector.CollectError(
            f"{kind.__name__}.explore has the name of the test that explore=... adds. Call it otherwise."
        )
    tests = [member for name, member in inspect.getmembers(kind, inspect.isfunction) if name.startswith("test")]
    names = dict.fromkeys(name for test in tests for name in list(inspect.signature(test).parameters)[1:])

    def explore(self: object, request: pytest.FixtureRequest, **fixtures: Any) -> None:
        __tracebackhide__ = True
        flows: Any = importlib.import_module("pytest_aitest.plugin.explored_flows")
        flows.explore(request, fixtures)

    asked = ["self", "request", *(name for name in names if name not in ("request", "aitest_run", "aitest_session"))]
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in asked]
    vars(explore).update(
        {EXPLORES: True, "__signature__": inspect.Signature(parameters), "__test__": True, "place_as": kind}
    )
    values = [mark for mark in getattr(tests[0], "pytestmark", []) if mark.name == "parametrize"] if tests else []
    vars(explore)[FORECAST] = lambda _: "the agents that its tests speak to, known when they run"
    vars(explore)["pytestmark"] = [*values, *exploration_marks(kind)]
    kind.explore = explore  # type: ignore[attr-defined]


def _machine_in(obj: object) -> Any:
    """The machine class that `obj` is, or is the unittest case of."""
    machines = sys.modules.get(_MACHINES)
    if machines is None or not inspect.isclass(obj):
        return None
    kind = getattr(getattr(obj, "runTest", None), "_hypothesis_state_machine_class", obj)
    base = machines.SessionMachine
    return kind if issubclass(kind, base) and kind is not base else None


def _stands_in(machine: type, collector: pytest.Module | pytest.Class) -> bool:
    return getattr(collector.obj, machine.__name__, None) is machine


def load_exploring(config: pytest.Config) -> None:
    """Have pytest listen to what conducts explorations, from now on."""
    run.load_live(config)
    if not config.pluginmanager.has_plugin(EXPLORING):
        config.pluginmanager.register(importlib.import_module(EXPLORING), EXPLORING)


def marks_of(kind: type) -> Sequence[pytest.Mark]:
    """The marks of a class and its parents, parents' first."""
    marks: list[pytest.Mark] = []
    for parent in reversed(kind.__mro__):
        marks += listed_marks(vars(parent).get("pytestmark", []))
    return marks


def exploration_marks(kind: type) -> list[pytest.Mark]:
    """Those of its exploration only, which a class gives in `explore_marks`."""
    return listed_marks(getattr(kind, "explore_marks", []))


def listed_marks(marks: Any) -> list[pytest.Mark]:
    """One mark or several, with or without arguments, as pytest takes them in `pytestmark`."""
    several = marks if isinstance(marks, list | tuple) else [marks]
    return [mark.mark if isinstance(mark, pytest.MarkDecorator) else mark for mark in several]

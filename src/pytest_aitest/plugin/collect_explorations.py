"""Machines and explored session classes among what pytest collects: each gets its tests.

Loaded in every run, so it asks whether a class is a machine only where somebody has imported machines.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from pytest_aitest.values.errors import DeclarationError
from pytest_aitest.values.plain import filled

from . import run
from .collect import EXPLORES, INVARIANT
from .parameters import parametrized
from .paying import mode_of
from .sharding import SHARD, exploration_of, is_empty, shard_of
from .tolerance import own_limits

EXPLORING = "pytest_aitest.plugin.exploring"
FORECAST = "aitest_forecast"  # an attribute of the test that explores
# A class that is marked for pytest-asyncio marks this test too, which runs its coroutines itself.
_NO_COROUTINE = pytest.mark.filterwarnings("ignore:.*is marked with '@pytest.mark.asyncio':pytest.PytestWarning")
_PINNED = "_aitest_pinned"
_MACHINES = "pytest_aitest.stateful.machine"


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> pytest.Collector | list[pytest.Item] | None:
    """Collect a machine, also as `TestX = Machine.TestCase`, by its pinned orders and its exploration."""
    if inspect.isclass(obj) and _session_options(obj).get("explore") in (True, "strict"):
        _add_exploration(obj, collector)
    elif inspect.isclass(obj) and hasattr(getattr(obj, "explore", None), EXPLORES):
        obj.explore = None  # type: ignore[attr-defined] # its parent's, which it does without
    machine = _machine_in(obj)
    if machine is None or not collector.classnamefilter(name):
        return None
    if machine is not obj and collector.classnamefilter(machine.__name__) and _stands_in(machine, collector):
        return []  # the class itself is collected, and explored once
    machines: Any = importlib.import_module("pytest_aitest.plugin.machines")  # what it needs is loaded by now
    load_exploring(collector.config)
    try:
        node: pytest.Class = machines.MachineNode.of(collector, name=name, machine=machine)
    except DeclarationError as error:
        raise collector.CollectError(filled(str(error))) from None
    return node


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Refuse limits that can't be meant, before a turn is paid for; drop shards without a plan."""
    report = yield
    report.result = [node for node in report.result if not (isinstance(node, pytest.Item) and is_empty(node))]
    try:
        for node in report.result:
            if isinstance(node, pytest.Function) and hasattr(node.function, FORECAST):
                own_limits(node.function.place_as, node)  # which is the class
    except DeclarationError as error:
        report.outcome, report.longrepr, report.result = "failed", filled(str(error)), []
    return report


def pytest_report_collectionfinish(config: pytest.Config, items: Sequence[pytest.Item]) -> list[str]:
    """Say before it is spent what explorations would ask."""
    if not config.getoption("collectonly") or mode_of(config) == "never":
        return []
    explorations: dict[str, list[pytest.Item]] = {}
    for item in items:
        if hasattr(getattr(item, "function", None), FORECAST):
            explorations.setdefault(exploration_of(item), []).append(item)
    return [f"aitest: {nodeid}: {_forecast_of(shards)}" for nodeid, shards in explorations.items()]


def _forecast_of(shards: Sequence[Any]) -> str:
    """What all shards of an exploration would ask together, or its only test."""
    forecast: str = getattr(shards[0].function, FORECAST)(shards[0].config)
    _, _, count = shard_of(shards[0]).partition("/")
    if not count:
        return forecast
    here = "" if len(shards) == int(count) else f", here {', '.join(map(shard_of, shards))}"
    return f"{forecast}; dealt among {count} shards{here}"


def _session_options(kind: type) -> Mapping[str, Any]:
    marks = [mark for mark in marks_of(kind) if mark.name == "session"]
    return marks[-1].kwargs if marks else {}


def _add_exploration(kind: type, collector: pytest.Module | pytest.Class) -> None:
    """Give a session class its test `explore`, and make tests of its pinned orders."""
    if hasattr(vars(kind).get("explore"), EXPLORES):
        return
    if hasattr(kind, "explore") and not hasattr(kind.explore, EXPLORES):
        raise pytest.Collector.CollectError(
            f"{kind.__name__}.explore has the name of the test that explore=... adds. Call it otherwise."
        )
    members = inspect.getmembers(kind, inspect.isfunction)
    tests = [member for name, member in members if collector.funcnamefilter(name) and not hasattr(member, _PINNED)]
    asked = _asked_by(tests, [member for _, member in members if hasattr(member, INVARIANT)])
    for name, member in members:
        if hasattr(member, _PINNED) and not hasattr(member, EXPLORES):
            pinned = _test(kind, asked, "run_pinned", name, marks=getattr(member, "pytestmark", []))
            setattr(pinned, _PINNED, member)
            setattr(kind, name, pinned)
    with_shard = replace(asked, fixtures=[*asked.fixtures, SHARD])
    explore = _test(kind, with_shard, "explore", marks=exploration_marks(kind))
    setattr(explore, FORECAST, partial(_forecast, kind, len(tests)))
    kind.explore = explore  # type: ignore[attr-defined]


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What the tests and invariants of a class ask for."""

    fixtures: Sequence[str]
    marks: Sequence[pytest.Mark]  # that give them some of it


def _forecast(kind: type, tests: int, config: pytest.Config) -> str:
    flows: Any = importlib.import_module("pytest_aitest.plugin.explored_flows")
    forecast: str = flows.forecast(kind, tests, config)
    return forecast


def _asked_by(tests: Sequence[Any], invariants: Sequence[Any]) -> _Asked:
    marks_of_tests = {function: listed_marks(getattr(function, "pytestmark", [])) for function in [*tests, *invariants]}
    given = {test: list(parametrized(marks_of_tests[test])) for test in tests}
    names = [{name for each in given[test] for name in each.names} for test in tests]
    shared = names[0].intersection(*names) if names else set()
    own = {test: {name for each in given[test] for name in each.direct} - shared for test in tests}
    asked = [
        each.name
        for function in marks_of_tests
        for each in list(inspect.signature(function).parameters.values())[1:]
        if each.default is each.empty and each.name not in own.get(function, ())
    ]
    marks = [mark for test in tests[:1] for mark in marks_of_tests[test]]
    shared_marks = [mark for mark in marks if any(each.names <= shared for each in parametrized([mark]))]
    shared_marks += [mark for marks in marks_of_tests.values() for mark in marks if mark.name == "usefixtures"]
    fixtures = [name for name in dict.fromkeys(asked) if name not in ("aitest_run", "aitest_session")]
    return _Asked(fixtures=fixtures, marks=shared_marks)


def _test(kind: type, asked: _Asked, conduct: str, *about: str, marks: Any) -> Callable[..., None]:
    """A test that has all fixtures that the tests and invariants of a class ask for."""

    def test(self: object, request: pytest.FixtureRequest, **fixtures: Any) -> None:
        __tracebackhide__ = True
        flows: Any = importlib.import_module("pytest_aitest.plugin.explored_flows")
        getattr(flows, conduct)(self, request, {"request": request, **fixtures}, *about)

    vars(test).update({EXPLORES: True, "__signature__": asking_for(asked.fixtures), "__test__": True})
    vars(test).update({"place_as": kind, "pytestmark": [*asked.marks, *listed_marks(marks), _NO_COROUTINE.mark]})
    return test


def asking_for(fixtures: Iterable[str]) -> inspect.Signature:
    """The signature of a test method that asks for these, and for its request."""
    names = dict.fromkeys(["self", "request", *fixtures])
    return inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names])


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

"""Which tests make up a flow: found and checked at collection, kept together, completed with context turns.

Knows tests, and nothing of the conversations they have.
"""

import inspect
from collections.abc import Generator, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import pytest

from pytest_aitest.values.errors import DeclarationError, did_you_mean, quoted
from pytest_aitest.values.plain import filled

from .parameters import Choices, check_values, flows_of, own_parameters
from .sharding import own_parameters_id, shard_of

if TYPE_CHECKING:
    from pytest_aitest.conversation.session import Session


MACHINE = "aitest_machine"  # an attribute of the node of a machine
INVARIANT = "hypothesis_stateful_invariant"  # what Hypothesis marks them with
EXPLORES = "aitest_explores"  # an attribute of the test that explores a flow


@dataclass(eq=False, kw_only=True)
class Flow:
    """A session written as tests: one class, or the functions of one module, and one set of parameters."""

    name: str  # "shopping-flow[gpt-5-mini]"
    key: str = ""  # tells it from all others of the run: "tests/test_shop.py::shopping-flow[gpt-5-mini]"
    parameters: str  # "gpt-5-mini"
    turns: list[pytest.Function]  # all of them, selected or not, in order of definition
    siblings: "list[Flow]" = field(repr=False)  # the flows of the same tests with other parameters; this one too
    choices: Sequence[Choices] = ()  # of each turn: the test itself, and the same test with other values to explore
    context: set[pytest.Function] = field(default_factory=set)  # turns that run only because a later one was selected
    began: dict[pytest.Item, int] = field(default_factory=dict)  # after how many events of the session each turn began
    failed: pytest.Item | None = None  # the turn after which nothing more is run
    failure: str = ""  # how, as pytest shows it
    session: "Session | None" = None
    is_over: bool = False  # its last turn is being torn down

    def begin(self, turn: pytest.Item) -> None:
        """Note where the conversation stands; a turn that is run again finds it as it was before its first attempt."""
        if turn in self.began and self.session is not None:
            self.session.close()
            self.session = self.session.rewound(events=self.began[turn])
        if turn is self.failed:
            self.failed, self.failure = None, ""
        self.began[turn] = 0 if self.session is None else len(self.session.past.events)

    def close(self) -> None:
        """End the conversation, if it ever began."""
        if self.session is not None:
            self.session.close()


FLOW = pytest.StashKey[Flow]()
EXPLORED = pytest.StashKey[Flow]()
LAST_TO_SPEAK = pytest.StashKey[bool]()


def group_of(item: pytest.Item) -> Hashable:
    """Equal for tests that share a conversation, or what is known of some; None for one that shares nothing.

    A shard shares nothing: the shards of an exploration are there to run side by side.
    """
    if shard_of(item):
        return None
    flow = item.stash.get(FLOW, None) or item.stash.get(EXPLORED, None)
    if flow is not None:
        return id(flow)
    if hasattr(item.parent, MACHINE):
        return id(item.parent), own_parameters_id(item) if isinstance(item, pytest.Function) else ""
    return None


def has_invariants(kind: type) -> bool:
    """Whether a session class says what must hold after each turn; told without importing what it is said with."""
    members = (member for parent in kind.__mro__ for member in vars(parent).values())
    return any(hasattr(member, INVARIANT) or type(member).__name__ == "CallInvariant" for member in members)


def speaks(item: pytest.Item) -> bool:
    """Whether a test is a turn of a flow, or asks for a conversation of its own."""
    return (
        FLOW in item.stash
        or EXPLORED in item.stash
        or not {"aitest_run", "aitest_session"}.isdisjoint(getattr(item, "fixturenames", ()))
    )


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Adopt the turns among what was collected, before --lf or a node id lets some of them go."""
    report = yield
    # pytest.Session "collects" what a node id selects of a class, after the class itself; by then the flow is known.
    turns = [node for node in report.result if _is_turn(node) and node.parent is collector]
    try:
        flows = _adopt([turn for turn in turns if not is_exploration(turn)])
        for exploration in filter(is_exploration, turns):
            _tie(exploration, flows)
    except DeclarationError as error:
        report.outcome, report.longrepr, report.result = "failed", filled(str(error)), []
    else:
        others = {test for flow in flows for _, *others in flow.choices for test in others}
        report.result = [node for node in report.result if node not in others]
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, object, object]:
    """Make flows whole again after every other plugin has sorted and selected."""
    result = yield
    items[:] = _whole_flows(items)
    speaking = [item for item in items if speaks(item)]
    last = speaking[-1].stash.get(FLOW, speaking[-1]) if speaking else None
    _tell_apart({id(flow): flow for item in speaking if (flow := item.stash.get(FLOW, None))}.values())
    for item in speaking:
        item.stash[LAST_TO_SPEAK] = item.stash.get(FLOW, item) is last
    return result


def _tell_apart(flows: Iterable[Flow]) -> None:
    """Give each its key: with the name of its class only where its module has another of its name."""
    by_name: dict[str, list[Flow]] = {}
    for flow in flows:
        by_name.setdefault(f"{flow.turns[0].nodeid.partition('::')[0]}::{flow.name}", []).append(flow)
    for key, named in by_name.items():
        for flow in named:
            flow.key = key if len(named) == 1 else f"{flow.turns[0].nodeid.rpartition('::')[0]}::{flow.name}"


def _adopt(turns: Sequence[pytest.Function]) -> list[Flow]:
    """Tie the turns of one collector to their flows.

    Raises:
        DeclarationError: A marker without a usable name, or turns whose parameters differ.
    """
    flows: list[Flow] = []
    by_name: dict[str, list[pytest.Function]] = {}
    for turn in turns:
        by_name.setdefault(_session_name(turn), []).append(turn)
    for name, named in by_name.items():
        is_explored = bool(session_marker(named[0]).kwargs.get("explore"))
        siblings: list[Flow] = []
        for parameters, choices in flows_of(name, named, is_explored=is_explored).items():
            flow = Flow(
                name=f"{name}[{parameters}]" if parameters else name,
                parameters=parameters,
                turns=[turn for turn, *_ in choices],
                choices=choices,
                siblings=siblings,
            )
            siblings.append(flow)
            for turn in flow.turns:
                turn.stash[FLOW] = flow
        flows += siblings
    return flows


def is_exploration(item: pytest.Item) -> bool:
    """Whether it is what `explore=True` adds to a flow."""
    return hasattr(getattr(item, "function", None), EXPLORES)


def _tie(exploration: pytest.Function, flows: Sequence[Flow]) -> None:
    """Let an exploration know the flow that it explores."""
    if not flows:
        raise DeclarationError(
            f"{exploration.nodeid} has no turns to explore: the class defines no test that this run collects. "
            "Define its turns as tests, or leave out explore=..."
        )
    # anyio's plugin runs each coroutine test once for each backend, and an exploration, which is none, on asyncio.
    flow = next((flow for flow in flows if flow.parameters == own_parameters_id(exploration)), flows[0])
    exploration.stash[EXPLORED] = flow
    _check_fixtures(exploration)
    for turn, own in own_parameters(flow.turns).items():
        _, phrasings = promises_of(turn, [turn.originalname for turn in flow.turns])
        check_values(turn, own, phrasings)


def promises_of(turn: pytest.Function, names: Sequence[str]) -> tuple[Sequence[str] | None, Sequence[str]]:
    """After which of the tests `names` a turn holds, None where it does not say; and its phrasings.

    Raises:
        DeclarationError: Its marker `turn` says something else.
    """
    marker = turn.get_closest_marker("turn")
    options = {} if marker is None else dict(marker.kwargs)
    if marker is not None and (marker.args or options.keys() - {"needs", "phrasings"}):
        raise DeclarationError(
            f"{turn.originalname} has a turn marker with other arguments than it takes. "
            'Write turn(needs="test_first") or turn(needs=(), phrasings=["..."]).'
        )
    needs = options.get("needs")
    needs = [needs] if isinstance(needs, str) else needs
    if needs is not None and not _are_texts(needs):
        raise DeclarationError(
            f"{turn.originalname} has needs={needs!r}, and it needs other tests by their names. "
            'Write needs="test_first", needs=["test_first", "test_second"], or needs=() if it holds anywhere.'
        )
    for name in needs or ():
        if name not in names:
            raise DeclarationError(
                f"{turn.originalname} needs {name!r}, which is no test of its session. "
                f"Its tests are {quoted(names)}.{did_you_mean(name, names)}"
            )
    phrasings = options.get("phrasings", ())
    if not _are_texts(phrasings):
        raise DeclarationError(
            f"{turn.originalname} has phrasings={phrasings!r}, and phrasings are other words for its first message. "
            'Write phrasings=["Move $200 to savings", ...].'
        )
    return needs, phrasings


def _are_texts(value: Any) -> bool:
    several = isinstance(value, list | tuple | set | frozenset)
    return several and all(isinstance(text, str) and text.strip() for text in value)


def _check_fixtures(exploration: pytest.Function) -> None:
    """Refuse async fixtures: a plan runs its tests itself, outside of what would await them."""
    definitions_of = exploration._fixtureinfo.name2fixturedefs  # noqa: SLF001 - pytest has no other way
    for name, definitions in definitions_of.items():
        if {"aitest_run", "aitest_session"} & {*definitions[-1].argnames}:
            raise DeclarationError(
                f"{exploration.nodeid} can't use the fixture {name!r}, which speaks: set up once, it would speak in a "
                "session of its own, while each plan has another. Speak in the tests, or leave out explore=..."
            )
        function = definitions[-1].func
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise DeclarationError(
                f"{exploration.nodeid} can't use the fixture {name!r}, which is async: an exploration runs the tests "
                "many times, each plan in an event loop of its own, while a fixture is set up once. Make it a plain "
                "fixture (asyncio.run(...) inside it, if need be), or leave out explore=..."
            )


def _is_turn(node: pytest.Item | pytest.Collector) -> TypeGuard[pytest.Function]:
    return isinstance(node, pytest.Function) and node.get_closest_marker("session") is not None


def session_marker(turn: pytest.Function) -> pytest.Mark:
    """Its own, else its class's, else that of the nearest parent; pytest puts parents' marks first."""
    for marked in (turn.function, *(turn.cls.__mro__ if turn.cls is not None else ())):
        own = vars(marked).get("pytestmark", [])
        for mark in reversed(own if isinstance(own, list) else [own]):
            if mark.name == "session":
                found: Any = getattr(mark, "mark", mark)
                return cast("pytest.Mark", found)
    closest = turn.get_closest_marker("session")
    assert closest is not None
    return closest


def _session_name(turn: pytest.Function) -> str:
    marker = session_marker(turn)
    of_its_own = any(mark.name == "session" for mark in getattr(turn.function, "pytestmark", []))
    if marker.kwargs.get("explore") and (turn.cls is None or of_its_own):
        raise DeclarationError(
            f"{turn.nodeid} has explore={marker.kwargs['explore']!r}, and is no class: a step needs an instance of "
            "its own. Make the session a class, and put the marker on it."
        )
    match marker.args, marker.kwargs:
        case [str(name)], {"explore": True | False | "strict"} if name.strip() and len(marker.kwargs) == 1:
            return name
        case [str(name)], {} if name.strip() and not marker.kwargs:
            return name
        case _:
            given = [*map(repr, marker.args), *(f"{key}={value!r}" for key, value in marker.kwargs.items())]
            raise DeclarationError(
                f"{turn.nodeid} has the marker session({', '.join(given)}), which takes one argument: the session's "
                "name, a string that is not empty. The name groups the turns of a conversation and stands in every "
                'report. Write @pytest.mark.session("some-name"); a class may add explore=True or explore="strict".'
            )


def _whole_flows(items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
    """`items` with each group of flows where its first turn stood, in order, and with the context that turns need."""
    items = list(items)
    selected = set(items)
    explorations: dict[int, list[pytest.Item]] = {}
    for item in items:
        if (flow := item.stash.get(EXPLORED, None)) is not None:
            explorations.setdefault(id(flow), []).append(item)
    done: set[int] = set()
    for item in items:
        flow = item.stash.get(FLOW, None) or item.stash.get(EXPLORED, None)
        if flow is None:
            yield item
        elif id(flow.siblings) not in done:
            done.add(id(flow.siblings))
            for sibling in flow.siblings:
                yield from _up_to_last_selected(sibling, selected)
                yield from explorations.get(id(sibling), [])


def _up_to_last_selected(flow: Flow, selected: set[pytest.Item]) -> list[pytest.Function]:
    wanted = [position for position, turn in enumerate(flow.turns) if turn in selected]
    run = flow.turns[: wanted[-1] + 1] if wanted else []
    flow.context = {turn for turn in run if turn not in selected}
    return run

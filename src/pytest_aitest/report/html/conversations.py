"""Sessions as a reader follows them: their parts in order, and the lanes in which users, agents and servers speak."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pytest_aitest.report.amounts import counted
from pytest_aitest.report.totals import WORDS
from pytest_aitest.values.record import Outcome, StepRecord, TestRecord
from pytest_aitest.values.transcript import TurnRecord

from .anchors import Anchors
from .texts import Passage, passage
from .turns import MOST_LANES, TurnMaker, TurnView, amounts


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A step: one test of a flow, one rule."""

    name: str  # "test_cart", "transfer(amount=1)"
    turns: list[TurnView]
    anchor: str = ""
    number: int = 0  # of its turn, or where that would have stood
    outcome: Outcome | None = None
    is_context: bool = False
    reason: str = ""
    failure: str = ""
    place: str = ""
    details: Passage | None = None


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Steps in lanes."""

    parts: list[Part]
    servers: list[str]
    agents: list[str]
    models: list[str]

    @property
    def lanes(self) -> list[str]:
        """Names of the servers' lanes."""
        shared = len(self.servers) - MOST_LANES + 1
        return self.servers if shared <= 1 else [*self.servers[: MOST_LANES - 1], f"{shared} more servers"]


@dataclass(frozen=True, kw_only=True)
class SessionView(Conversation):
    """A session under its key."""

    name: str  # "shopping-flow[gpt-5-mini]"
    module: str  # "tests/test_shop.py"
    anchor: str
    outcome: Outcome
    outcomes: list[Outcome]
    turns: int
    amounts: str
    tests: list[TestRecord]

    @property
    def about(self) -> str:
        """Where it stands, how long it is, who was asked, and what it took."""
        return " · ".join(
            filter(None, [self.module, counted(self.turns, "turn"), ", ".join(self.models), self.amounts])
        )


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """That which calls for a reader most."""
    return min(outcomes, key=list(WORDS).index, default="passed")


def sessions(tests: Iterable[TestRecord], anchors: Anchors) -> list[SessionView]:
    """All sessions of a run, in the order in which they began to end."""
    return [_session(key, told, anchors) for key, told in _by_session(tests)]


def conversation(steps: Sequence[StepRecord], anchors: Anchors, *, prefix: str, first_turn: int = 1) -> Conversation:
    """Steps by themselves, apart from any session."""
    turns = [turn for step in steps for turn in step.turns]
    maker = TurnMaker(turns, range(first_turn, first_turn + len(turns)), anchors, prefix=prefix)
    parts = [Part(name=step.code, turns=maker.turns(step), number=number) for number, step in enumerate(steps, 1)]
    return Conversation(parts=parts, servers=maker.servers, agents=_agents(turns), models=_models(turns))


def split_key(key: str) -> tuple[str, str]:
    """A session's module and name."""
    module, apart, name = key.partition("::")
    return (module, name) if apart else ("", key)


def _by_session(tests: Iterable[TestRecord]) -> Iterator[tuple[str, list[TestRecord]]]:
    """Tests of each session; where several workers had the same one, as `--dist each` makes them, of each worker."""
    by_key: dict[str, list[TestRecord]] = {}
    for test in tests:
        if key := test.session or (test.nodeid if test.turns else ""):
            by_key.setdefault(key, []).append(test)
    for key, told in by_key.items():
        ran = [(test.nodeid, test.worker) for test in told if test.worker]
        if len(set(ran)) == len({nodeid for nodeid, _ in ran}):
            yield key, told
        else:
            for worker in dict.fromkeys(test.worker for test in told):
                yield f"{key} on {worker}" if worker else key, [test for test in told if test.worker == worker]


def _session(key: str, tests: list[TestRecord], anchors: Anchors) -> SessionView:
    module, name = split_key(key)
    anchor = anchors.new("session", name)
    turns = [turn for test in tests for turn in test.turns]
    numbers = [number for test in tests for number in range(test.first_turn, test.first_turn + len(test.turns))]
    maker = TurnMaker(turns, numbers, anchors, prefix=anchor)
    parameters = "".join(name.partition("[")[1:])
    parts = [part for test in tests for part in _parts(test, maker, anchors, prefix=anchor, parameters=parameters)]
    outcomes = [test.outcome for test in tests]
    return SessionView(
        parts=parts,
        servers=maker.servers,
        agents=_agents(turns),
        models=_models(turns),
        name=name,
        module=module,
        anchor=anchor,
        outcome=worst(outcomes),
        outcomes=list(dict.fromkeys(outcomes)),
        turns=len(turns),
        amounts=amounts([turn for turn in turns if not turn.is_replayed]),
        tests=tests,
    )


def _parts(test: TestRecord, maker: TurnMaker, anchors: Anchors, *, prefix: str, parameters: str) -> Iterator[Part]:
    """A part for each step; how the test ended stands at the last, where it happened."""
    name = _function(test.nodeid).removesuffix(parameters)
    steps = test.steps or (StepRecord(code=name),)
    number = test.first_turn
    for position, step in enumerate(steps):
        is_last = position == len(steps) - 1
        turns = maker.turns(step)
        is_one_test = len(steps) == 1
        yield Part(
            name=name if is_one_test else step.code,
            turns=turns,
            anchor="" if any(turn.anchor for turn in turns) else anchors.new(prefix, f"turn-{number}"),
            number=number if is_one_test else 0,
            outcome=test.outcome if is_last else None,
            is_context=test.kind == "context",
            reason=test.reason if is_last else "",
            failure=test.failure if is_last else "",
            place=test.place if is_last else "",
            details=passage(test.details) if is_last and test.details else None,
        )
        number += len(step.turns)


def _function(nodeid: str) -> str:
    """What stands last in a node id, whatever its parameters hold."""
    before, bracket, parameters = nodeid.partition("[")
    return before.rpartition("::")[2] + bracket + parameters


def _agents(turns: Iterable[TurnRecord]) -> list[str]:
    return list(dict.fromkeys(turn.agent for turn in turns))


def _models(turns: Iterable[TurnRecord]) -> list[str]:
    return list(dict.fromkeys(turn.model for turn in turns))

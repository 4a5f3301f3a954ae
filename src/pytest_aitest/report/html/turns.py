"""Turns as a reader follows them: who said what to whom, row by row, and what a turn has from earlier ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_aitest.report.amounts import counted, listed, price
from pytest_aitest.report.continuity import builds_on
from pytest_aitest.values.record import StepRecord, ToolLook
from pytest_aitest.values.transcript import ToolCall, TurnRecord

from .anchors import Anchors
from .texts import Passage, arguments_passage, passage, result_passage

MOST_LANES = 6  # of servers; those beyond share the last


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Something said or done, and between whom."""

    kind: str  # "user", "said", "answer", "call", "look", "note", "error"
    text: Passage
    name: str = ""  # of the tool
    back: Passage | None = None  # what came back
    failed: bool = False
    server: str = ""
    lane: int = 0  # of the server, from 1; 0 where none was asked
    time: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """What a turn has from an earlier one, with a link to that."""

    value: str
    number: int
    anchor: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnView:
    """A turn, or calls past the model that stand alone."""

    rows: list[Row]
    anchor: str = ""
    number: int = 0  # in its session; 0: no turn
    agent: str = ""
    model: str = ""
    amounts: str = ""  # "853 tokens, $0.00042"
    time: str = ""
    is_replayed: bool = False
    builds_on: tuple[Built, ...] = ()

    def about(self, *, agents: int, models: int) -> str:
        """Who was asked, where that is not the same in all turns, and what it took."""
        who = [*([self.agent] if agents > 1 else []), *([self.model] if models > 1 else [])]
        return " · ".join(filter(None, [*who, "replayed" if self.is_replayed else "", self.amounts, self.time]))


def amounts(turns: Sequence[TurnRecord]) -> str:
    """Tokens and price."""
    tokens = sum(turn.prompt_tokens + turn.completion_tokens for turn in turns)
    priced = [turn.cost_usd for turn in turns if turn.cost_usd is not None]
    cost = price(sum(priced)) if len(priced) == len(turns) else price(None)
    return listed(counted(tokens, "token") if tokens else "", cost) if turns else ""


class TurnMaker:
    """Makes views of turns one after another, as it must know what came before."""

    def __init__(self, turns: Sequence[TurnRecord], numbers: Sequence[int], anchors: Anchors, *, prefix: str) -> None:
        called = (part.server for turn in turns for part in turn.said if isinstance(part, ToolCall))
        self.servers = list(dict.fromkeys(server for server in called if server))
        self._numbers = numbers
        self._anchors = [anchors.new(prefix, f"turn-{number}") for number in numbers]
        self._links = builds_on(turns)
        self._next = 0

    def turns(self, step: StepRecord) -> list[TurnView]:
        """What happened in a step: each turn, with the calls past the model that follow it."""
        views: list[TurnView] = []
        for happened in step.happened:
            if isinstance(happened, TurnRecord):
                views.append(self._turn(happened))
            else:
                _last(views).rows.append(_look("call", happened))
        for look in step.looks:
            _last(views).rows.append(_look("check", look))
        return views

    def _turn(self, turn: TurnRecord) -> TurnView:
        index, self._next = self._next, self._next + 1
        built = [
            Built(value=link.value, number=self._numbers[link.turn], anchor=self._anchors[link.turn])
            for link in self._links[index]
            if self._numbers[link.turn] < self._numbers[index]  # not of the same turn, run before
        ]
        return TurnView(
            rows=list(self._rows(turn)),
            anchor=self._anchors[index],
            number=self._numbers[index],
            agent=turn.agent,
            model=turn.model,
            amounts=amounts([turn]),
            time=milliseconds(turn.duration_ms),
            is_replayed=turn.is_replayed,
            builds_on=tuple(built),
        )

    def _rows(self, turn: TurnRecord) -> Iterator[Row]:
        yield Row(kind="user", text=passage(turn.user))
        for position, part in enumerate(turn.said):
            if isinstance(part, ToolCall):
                yield self._call(part)
            else:
                is_answer = position == len(turn.said) - 1 and turn.error is None
                yield Row(kind="answer" if is_answer else "said", text=passage(part.text, most_lines=24))
        for note in turn.notes:
            yield Row(kind="note", text=passage(note))
        if turn.error is not None:
            yield Row(kind="error", text=passage(turn.error), name=turn.error_kind or "")

    def _call(self, call: ToolCall) -> Row:
        said = call.result if call.error is None else call.error
        return Row(
            kind="call",
            text=arguments_passage(call.arguments),
            name=call.name,
            back=result_passage(said or ""),
            failed=call.error is not None,
            server=call.server or "",
            lane=min(self.servers.index(call.server) + 1, MOST_LANES) if call.server else 0,
            time=milliseconds(call.duration_ms) if call.duration_ms else "",
        )


def _last(views: list[TurnView]) -> TurnView:
    """The turn that something followed, or what stands for it where there was none."""
    if not views:
        views.append(TurnView(rows=[]))
    return views[-1]


def _look(kind: str, look: ToolLook) -> Row:
    return Row(kind="look", name=kind, text=passage(look.call), back=result_passage(look.said))


def milliseconds(duration_ms: float) -> str:
    """'12 ms', '1.2 s'."""
    if duration_ms < 1000:  # noqa: PLR2004
        return f"{duration_ms:.0f} ms"
    return f"{duration_ms / 1000:.1f} s" if duration_ms < 100_000 else f"{duration_ms / 1000:,.0f} s"  # noqa: PLR2004

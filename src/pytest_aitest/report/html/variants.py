"""How variants of a flow differ: the same session with other parameters, turn against turn."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pytest_aitest.values.plain import one_line
from pytest_aitest.values.record import Outcome, TestRecord
from pytest_aitest.values.transcript import ToolCall

from .anchors import Anchors
from .conversations import Part, SessionView
from .texts import call_line

_MOST = 300  # characters of an answer, of which the session has all
_MOST_OF_CALL = 160


@dataclass(frozen=True, kw_only=True)
class Call:
    """A tool call in one line."""

    text: str
    failed: bool


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a turn was in one variant."""

    outcome: Outcome | None
    anchor: str
    user: str
    calls: tuple[Call, ...]
    answer: str
    error: str
    failure: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A turn over all variants."""

    name: str
    cells: list[Cell | None]  # None where a variant has no such turn
    differs_in: list[str]
    user: str  # the words, where they are the same in all


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A parametrised flow."""

    name: str
    module: str
    anchor: str
    sessions: list[SessionView]
    labels: list[str]  # "azure/gpt-5-mini"
    lines: list[Line]


@dataclass(frozen=True, kw_only=True)
class _Called:
    """What a turn did, by which it is compared; words are another in each."""

    calls: list[tuple[str, bool]]
    results: list[str | None]


def grids(sessions: Iterable[SessionView], anchors: Anchors) -> list[Grid]:
    """A grid for each flow that ran with several parameters."""
    groups: dict[tuple[str, str], list[SessionView]] = {}
    for session in sessions:
        base, bracket, _ = session.name.partition("[")
        if bracket:
            groups.setdefault((session.module, base), []).append(session)
    return [_grid(module, base, group, anchors) for (module, base), group in groups.items() if len(group) > 1]


def _grid(module: str, base: str, sessions: list[SessionView], anchors: Anchors) -> Grid:
    columns = [dict(_cells(session)) for session in sessions]
    names = list(dict.fromkeys(name for column in columns for name in column))
    return Grid(
        name=base,
        module=module,
        anchor=anchors.new("variants", base),
        sessions=sessions,
        labels=[re.sub(r"\](?= \(|$)", "", session.name.partition("[")[2]) for session in sessions],
        lines=[_line(name, [column.get(name) for column in columns]) for name in names],
    )


def _line(name: tuple[str, int], cells: list[tuple[Cell, _Called] | None]) -> Line:
    shown = [cell[0] if cell else None for cell in cells]
    words = {cell.user for cell in shown if cell and cell.user}
    return Line(
        name=name[0] if name[1] == 1 else f"{name[0]} ({name[1]})",
        cells=shown,
        differs_in=list(_differences(cells)),
        user=words.pop() if len(words) == 1 else "",
    )


def _differences(cells: Sequence[tuple[Cell, _Called] | None]) -> Iterator[str]:
    """In what they differ; of turns that did not run, only that."""
    if None in cells:
        yield "presence"
    found = [cell for cell in cells if cell is not None]
    if len({cell.outcome for cell, _ in found}) > 1:
        yield "outcome"
    ran = [(cell, called) for cell, called in found if cell.user]
    if any(called.calls != ran[0][1].calls for _, called in ran):
        yield "tools"
    elif any(called.results != ran[0][1].results for _, called in ran):
        yield "results"
    if len({cell.error for cell, _ in ran}) > 1:
        yield "error"


def _cells(session: SessionView) -> Iterator[tuple[tuple[str, int], tuple[Cell, _Called]]]:
    """Cells under what they have in common with those of other variants."""
    met: Counter[str] = Counter()
    parts = iter(session.parts)
    for test in session.tests:
        own = [next(parts) for _ in range(max(len(test.steps), 1))]
        for position, part in enumerate(own):
            name = re.sub(r"\[.*", "", part.name, flags=re.DOTALL) if len(own) == 1 else part.name
            met[name] += 1
            yield (name, met[name]), _cell(test, part, position)


def _cell(test: TestRecord, part: Part, position: int) -> tuple[Cell, _Called]:
    """What is shown of a turn, and what it is compared by."""
    turns = test.steps[position].turns if test.steps else []
    calls = [said for turn in turns for said in turn.said if isinstance(said, ToolCall)]
    shown = Cell(
        outcome=part.outcome,
        anchor=next((turn.anchor for turn in part.turns if turn.anchor), part.anchor),
        user=_short(" / ".join(turn.user for turn in turns)),
        calls=tuple(
            Call(text=one_line(call_line(call.name, call.arguments), most=_MOST_OF_CALL), failed=call.error is not None)
            for call in calls
        ),
        answer=_short(turns[-1].answer) if turns else "",
        error=_short("; ".join(f"{turn.error_kind}: {turn.error}" for turn in turns if turn.error is not None)),
        failure=_short(part.failure),
        reason=part.reason,
    )
    return shown, _Called(
        calls=[(call_line(call.name, call.arguments), call.error is None) for call in calls],
        results=[call.result or call.error for call in calls],
    )


def _short(text: str) -> str:
    return text if len(text) <= _MOST else f"{text[: _MOST - 3]}..."

"""The rows of a store as conversations: what leads to what. Pure; knows rows, and no file."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from .database import Row
from .node import ROOT, history_after

Beginning = tuple[str, str, str]
"""A history that no sample leads to, what it goes on from, and how it begins."""


def descended(
    rows: Iterable[Row],
    beginnings: Collection[Beginning],
    *,
    starts: Iterable[str] = (ROOT,),
    order: Callable[[Row], Any] = lambda row: row.id,
) -> Iterator[Row]:
    """The rows that `starts` lead to, each conversation to its end before the next; what begins apart comes last."""
    after: dict[str, list[Row]] = defaultdict(list)
    apart: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        after[row.history].append(row)
    for history, before, _ in sorted(beginnings, key=lambda beginning: beginning[1:]):
        apart[before].append(history)
    waiting: list[Row | str] = [*reversed(list(starts))]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Row):
            yield found
            waiting.append(history_after(found))
        else:
            waiting += [*reversed(apart[found]), *sorted(after[found], key=order, reverse=True)]


def loose_ends(rows: Sequence[Row], beginnings: Collection[Beginning]) -> list[str]:
    """Histories that rows go on from, and that nothing leads to any more."""
    known = {ROOT, *map(history_after, rows), *(history for history, _, _ in beginnings)}
    before = {*(row.history for row in rows), *(before for _, before, _ in beginnings)}
    return sorted(before - known)

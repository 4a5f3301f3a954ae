"""What a store holds, in numbers, and how it gets rid of what nobody needs."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from pytest_aitest.values.errors import StoreError

from .database import Database, WriteError
from .descent import descended
from .file import existing


@dataclass(frozen=True, kw_only=True)
class ModelStats:
    """What is recorded of one model."""

    turns: int
    tokens: int
    cost_usd: float | None  # None where the price of a turn is not known


@dataclass(frozen=True, kw_only=True)
class Stats:
    """What a store holds."""

    entries: int  # turns, calls past the model, and looks
    turns: int
    looks: int
    histories: int
    tests: int
    size: int  # bytes
    first_day: str  # "" where nothing is recorded
    last_day: str
    models: Mapping[str, ModelStats]  # by what reports call them


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was removed, and what is left."""

    removed: int  # entries
    kept: int
    size_before: int  # bytes
    size: int


def stats(path: Path) -> Stats:
    """What a store holds.

    Raises:
        StoreError: It can't be read.
    """
    with closing(Database.open(existing(path), "replay")) as database:
        counted = database.read(
            "SELECT count(*), coalesce(sum(outcome LIKE '{\"turn\"%'), 0), coalesce(sum(is_look), 0), "
            "count(DISTINCT history), coalesce(min(recorded), ''), coalesce(max(recorded), '') FROM samples"
        )
        entries, turns, looks, histories, first, last = counted[0]
        models = database.read(
            "SELECT model, count(*), sum(prompt_tokens + completion_tokens), sum(cost_usd), count(cost_usd) "
            "FROM samples WHERE model <> '' GROUP BY model ORDER BY model"
        )
        return Stats(
            entries=entries,
            turns=turns,
            looks=looks,
            histories=histories,
            tests=database.read("SELECT count(DISTINCT test) FROM met")[0][0],
            size=path.stat().st_size,
            first_day=first,
            last_day=last,
            models={
                model: ModelStats(turns=count, tokens=tokens, cost_usd=cost if priced == count else None)
                for model, count, tokens, cost, priced in models
            },
        )


def prune(path: Path, *, days: int | None, today: date | None = None) -> Pruned:
    """Remove what nothing leads to any more, and what no test has met for so many `days`.

    A run that only replays does not write, so that it is not seen to meet anything.

    Raises:
        StoreError: It can't be used; it is left as it was.
    """
    with closing(Database.open(existing(path), "record")) as database:
        before = path.stat().st_size
        try:
            with database.writing():
                removed = _forget_old(database, days, today or datetime.now(UTC).date()) + _forget_unreachable(database)
            database.compact()
        except WriteError as error:
            raise StoreError(
                f"The store {path} could not be pruned: {error}. See what else uses it, and whether the disk has room."
            ) from None
        kept = database.read("SELECT count(*) FROM samples")[0][0]
    return Pruned(removed=removed, kept=kept, size_before=before, size=path.stat().st_size)


def _forget_old(database: Database, days: int | None, today: date) -> int:
    if days is None:
        return 0
    day = date.fromordinal(max(1, today.toordinal() - days)).isoformat()
    last_met = "coalesce((SELECT max(day) FROM met WHERE met.sample = samples.id), recorded)"
    return database.forget(f"{last_met} < ?", day)


def _forget_unreachable(database: Database) -> int:
    rows, beginnings = database.rows(), database.beginnings()
    reached = {row.id: row.history for row in descended(rows, beginnings)}
    removed = sum(database.forget("id=?", row.id) for row in rows if row.id not in reached)
    database.write("DELETE FROM events WHERE digest NOT IN (SELECT event FROM samples)")
    database.write("DELETE FROM met WHERE sample NOT IN (SELECT id FROM samples)")
    before = {history: earlier for history, earlier, _ in beginnings}
    needed: set[str] = set()
    for history in reached.values():
        while history in before and history not in needed:  # one may begin after another, to any depth
            needed.add(history)
            history = before[history]  # noqa: PLW2901 - a walk
    for history in before.keys() - needed:
        database.write("DELETE FROM beginnings WHERE history=?", history)
    return removed

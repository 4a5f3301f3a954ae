"""A store as text that a person reads and compares, and back. The same content is always the same text."""

import json
import re
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from pytest_aitest.conversation.tree import EventOutcome
from pytest_aitest.values.errors import StoreError
from pytest_aitest.values.plain import one_line
from pytest_aitest.values.transcript import Turn

from .database import Database, Met, Row, WriteError
from .descent import descended, loose_ends
from .described import Description, digest_of
from .encoded import canonical
from .file import existing
from .node import ROOT, history_beginning
from .outcomes import read
from .shelf import row_of

_FORMAT = "pytest-aitest store"
_VERSION = 1
_SHORT = 12  # hex digits that tell an event
# What no encoding has, what controls a terminal, and what breaks or reorders a line.
_UNSHOWN = re.compile("[\ud800-\udfff\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def _encodable(text: str) -> str:
    text.encode()
    return text


# What a database can hold.
_Text = Annotated[str, AfterValidator(_encodable)]
_Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Day = Annotated[str, Field(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


@dataclass(frozen=True, kw_only=True)
class _Meeting:
    test: _Text
    number: _Whole
    day: _Day


@dataclass(frozen=True, kw_only=True)
class _Beginning:
    """A conversation that goes on from other messages, or apart from all others."""

    after: _Text
    how: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A sample."""

    after: _Text  # a history; "" where nothing has happened yet
    event: str
    occurrence: _Whole
    is_look: bool
    outcome: dict[str, Any]
    recorded: _Day
    tools: dict[str, str]
    labels: list[str]
    met: list[_Meeting]


@dataclass(frozen=True, kw_only=True)
class _Exploration:
    seed: _Whole
    shards: Annotated[int, Field(ge=0, lt=2**31)]


@dataclass(frozen=True, kw_only=True)
class _Export:
    format: str
    version: int
    events: dict[str, Description]
    beginnings: list[_Beginning]
    entries: list[_Entry]
    explorations: dict[_Text, _Exploration]
    tool_lists: dict[_Text, _Text]


_EXPORT = TypeAdapter(_Export)


def exported(path: Path) -> str:
    """All that a store holds, as JSON.

    Raises:
        StoreError: It can't be read.
    """
    with closing(Database.open(existing(path), "replay")) as database:
        data = _EXPORT.dump_python(_export(database))
    text = json.dumps(data, ensure_ascii=False, indent=1, sort_keys=True)
    return _UNSHOWN.sub(lambda match: f"\\u{ord(match.group()):04x}", text) + "\n"


def _export(database: Database) -> _Export:
    rows, beginnings = database.rows(), database.beginnings()
    events = {digest: json.loads(description) for digest, description in database.pairs("events").items()}
    met: dict[int, list[Met]] = defaultdict(list)
    for each in database.met():
        met[each.sample].append(each)

    def order(row: Row) -> tuple[Any, ...]:
        event = events.get(row.event, {})
        words = canonical(event.get("prompt") or event.get("tool"))
        return row.is_look, words, row.event, row.outcome_digest, row.occurrence

    starts = [ROOT, *loose_ends(rows, beginnings)]
    return _Export(
        format=_FORMAT,
        version=_VERSION,
        events={digest[:_SHORT]: description for digest, description in events.items()},
        beginnings=[
            _Beginning(after=before, how=json.loads(how))
            for _, before, how in sorted(beginnings, key=lambda beginning: beginning[1:])
        ],
        entries=[_entry(row, met[row.id or 0]) for row in descended(rows, beginnings, starts=starts, order=order)],
        explorations={test: _Exploration(seed=seed, shards=shards) for test, seed, shards in database.explorations()},
        tool_lists=database.pairs("tool_lists"),
    )


def _entry(row: Row, met: list[Met]) -> _Entry:
    return _Entry(
        after=row.history,
        event=row.event[:_SHORT],
        occurrence=row.occurrence,
        is_look=bool(row.is_look),
        outcome=json.loads(row.outcome),
        recorded=row.recorded,
        tools=json.loads(row.tools),
        labels=json.loads(row.labels),
        met=[_Meeting(test=each.test, number=each.number, day=each.day) for each in met],
    )


# Back


def imported(text: str, path: Path, *, source: str) -> int:
    """Add to a store, or to a new one, what it lacks of what `exported` wrote; all of it, or nothing.

    Args:
        text: What it wrote.
        path: The store.
        source: Names the text in errors.

    Returns:
        How many samples were added.

    Raises:
        StoreError: The text is something else, of another version, or damaged; or the store can't be used.
    """
    export = _checked(text, source)
    try:
        digests = {digest_of(description)[:_SHORT]: digest_of(description) for description in export.events.values()}
        if digests.keys() != export.events.keys():
            raise ValueError("an event is not what its digest says")  # noqa: TRY301 - as all that is wrong with it
        rows = [(_row(entry, digests), entry.met) for entry in export.entries]
    except (ValueError, RecursionError) as error:
        raise _damaged(source, one_line(str(error), most=200)) from None
    with closing(Database.open(path, "record")) as database:
        try:
            with database.writing():
                return _add(database, export, rows)
        except WriteError as error:
            raise StoreError(
                f"The store {path} could not be written: {error}. It holds what it held; see to that, and import again."
            ) from None


def _add(database: Database, export: _Export, rows: list[tuple[Row, list[_Meeting]]]) -> int:
    database.add_pairs("events", {digest_of(event): canonical(event) for event in export.events.values()})
    for test, exploration in export.explorations.items():
        database.add_exploration(test, exploration.seed, exploration.shards, replaces=False)
    database.add_pairs("tool_lists", export.tool_lists)
    for beginning in export.beginnings:
        how = canonical(beginning.how)
        database.add_beginning(history_beginning(beginning.after, how), beginning.after, how)
    added = 0
    for row, meetings in rows:
        same = "history=? AND event=? AND outcome_digest=? AND occurrence=?"
        known = database.rows(same, row.history, row.event, row.outcome_digest, row.occurrence)
        sample = known[0].id if known else database.add_copy(row).id
        added += not known
        assert sample is not None
        where = {"history": row.history, "event": row.event, "sample": sample}
        met = (Met(**where, test=each.test, number=each.number, day=each.day) for each in meetings)  # type: ignore[arg-type]
        database.add_met(met, replaces=False)
    return added


def _row(entry: _Entry, digests: dict[str, str]) -> Row:
    if entry.event not in digests:
        raise ValueError(f"an entry is of event {entry.event!r}, which it does not tell")
    outcome = canonical(entry.outcome)
    _check(read(outcome))
    return row_of(
        history=entry.after,
        event=digests[entry.event],
        outcome=outcome,
        tools=canonical(entry.tools),
        labels=canonical(entry.labels),
        recorded=entry.recorded,
        is_look=entry.is_look,
        occurrence=entry.occurrence,
    )


def _check(outcome: EventOutcome) -> None:
    """Refuse what a database can't hold, or nobody count with."""
    if isinstance(outcome, Turn):
        _encodable(outcome.model)
        if max(outcome.model_calls, outcome.prompt_tokens, outcome.completion_tokens) >= 2**63:
            raise ValueError("a number is too large")
        if not isfinite(outcome.cost_usd or 0):
            raise ValueError("a cost is no number")


def _checked(text: str, source: str) -> _Export:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = error if isinstance(error, ValueError) else "it is nested too deeply"
        raise StoreError(f"{source} is no JSON: {why}. Give a file that `pytest-aitest store export` wrote.") from None
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        raise StoreError(f"{source} is JSON, but no store. Give a file that `pytest-aitest store export` wrote.")
    if data.get("version") != _VERSION:
        raise StoreError(
            f"{source} is of version {one_line(str(data.get('version')), most=40)}, and this pytest-aitest reads "
            f"version {_VERSION}. Import it with the one that wrote it, or export it anew."
        )
    try:
        return _EXPORT.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(source, f"{one_line('.'.join(map(str, first['loc'])), most=200)}: {first['msg']}") from None


def _damaged(source: str, why: str) -> StoreError:
    return StoreError(f"{source} is a damaged store: {why}. Export it anew.")

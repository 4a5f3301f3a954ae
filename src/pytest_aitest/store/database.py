"""The one door to sqlite3: a file that holds samples of what was answered, and who met them.

A single file with a rollback journal: it can be read where nothing may be written, copied, and kept in a repository.
Safe for several processes and threads. Knows rows, and nothing of what is in them.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

from pytest_aitest.values.errors import StoreError

from .file import APPLICATION_ID, RESTORE, Mode, check, cut_off, journal_of, may_write

_VERSION = 1
_BUSY_SECONDS = 30.0
_SCHEMA = """
CREATE TABLE samples (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    history TEXT NOT NULL, event TEXT NOT NULL, occurrence INTEGER NOT NULL, outcome_digest TEXT NOT NULL,
    tools TEXT NOT NULL, labels TEXT NOT NULL, outcome TEXT NOT NULL, recorded TEXT NOT NULL, is_look INTEGER NOT NULL,
    model TEXT NOT NULL, model_calls INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, cost_usd REAL,
    UNIQUE (history, event, outcome_digest, occurrence)
);
CREATE TABLE events (digest TEXT PRIMARY KEY, description TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE beginnings (history TEXT PRIMARY KEY, before TEXT NOT NULL, description TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE met (
    test TEXT NOT NULL, history TEXT NOT NULL, event TEXT NOT NULL, number INTEGER NOT NULL, sample INTEGER NOT NULL,
    day TEXT NOT NULL, PRIMARY KEY (test, history, event, number)
) WITHOUT ROWID;
CREATE INDEX met_sample ON met (sample);
CREATE TABLE tool_lists (server_digest TEXT PRIMARY KEY, tools TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE explorations (test TEXT PRIMARY KEY, seed INTEGER NOT NULL, shards INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A sample as it is kept."""

    id: int | None  # None before it is
    history: str
    event: str
    occurrence: int  # among the equal outcomes of this event after this history
    outcome_digest: str
    tools: str  # JSON: digests of what the agent's servers offered, by digests of servers
    labels: str  # JSON: what those were called
    outcome: str
    recorded: str  # the day
    is_look: int
    model: str
    model_calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


@dataclass(frozen=True, kw_only=True)
class Met:
    """That a test met a sample, under a number."""

    test: str
    history: str
    event: str
    number: int
    sample: int
    day: str


_COLUMNS = [field.name for field in fields(Row)]
_INSERT = f"INSERT INTO samples ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - our own names

_ADD_MET = "INSERT INTO met VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_REPLACE_MET = """
INSERT INTO met VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO
UPDATE SET sample=excluded.sample, day=excluded.day WHERE (sample, day) <> (excluded.sample, excluded.day)
"""


class WriteError(StoreError):
    """What was to be written is not; the message is the reason alone."""


class Database:
    """An open file."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path, mode: Mode) -> Self:
        """Open a store, or make a new one where `mode` writes.

        Raises:
            StoreError: It is none, is damaged, or may not be used so. It is then left as it was.
        """
        path = path.absolute()
        check(path, mode)
        _recover(path, mode)
        connection = None
        try:
            connection = _connected(path, "ro" if mode == "replay" else "rw")
            database = cls(path, connection)
            database._check_or_make(mode)
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error):
                raise _damage(path, error) from None
            raise
        return database

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _check_or_make(self, mode: Mode) -> None:
        self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # undoes what a killed run left
        if mode != "replay":
            self._connection.execute("PRAGMA synchronous=NORMAL")
            if self.path.stat().st_size == 0:
                self._make()
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version != _VERSION:
            raise StoreError(
                f"{self.path} is a store of version {version}, and this pytest-aitest reads version {_VERSION}. "
                "Use the pytest-aitest that wrote it, or the path of another file."
            )

    def _make(self) -> None:
        self._connection.execute("BEGIN EXCLUSIVE")
        try:
            if not self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in _SCHEMA.split(";\n"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
                self._connection.execute(f"PRAGMA user_version={_VERSION}")
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    # Reading and writing

    def read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query finds.

        Raises:
            StoreError: The file can't be read any more.
        """
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise _damage(self.path, error) from None

    @contextmanager
    def writing(self) -> Iterator["Database"]:
        """All that is written in this block, or nothing.

        Raises:
            WriteError: Nothing.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self
                self._connection.execute("COMMIT")
            except BaseException as error:
                with suppress(sqlite3.Error):  # it may have been rolled back already
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise WriteError(str(error)) from None
                raise

    def write(self, statement: str, *values: Any) -> int:
        """Carry out one statement, inside `writing`; how many rows it changed."""
        return self._connection.execute(statement, values).rowcount

    def compact(self) -> None:
        """Give the room back that was left by what was deleted."""
        with self._lock:
            try:
                self._connection.execute("VACUUM")
            except sqlite3.Error as error:
                raise WriteError(str(error)) from None

    def rows(self, condition: str = "1", *values: Any) -> list[Row]:
        """Samples in the order in which they were recorded."""
        query = f"SELECT {', '.join(_COLUMNS)} FROM samples WHERE {condition} ORDER BY id"  # noqa: S608 - our own
        return [Row(**dict(zip(_COLUMNS, row, strict=True))) for row in self.read(query, *values)]

    def met(self, condition: str = "1", *values: Any) -> list[Met]:
        """Who met what, by number."""
        names = [field.name for field in fields(Met)]
        query = f"SELECT {', '.join(names)} FROM met WHERE {condition} ORDER BY test, history, event, number"  # noqa: S608 - our own
        return [Met(**dict(zip(names, row, strict=True))) for row in self.read(query, *values)]

    def pairs(self, table: Literal["events", "tool_lists"]) -> dict[str, Any]:
        """A table of names and values."""
        return dict(self.read(f"SELECT * FROM {table}"))  # noqa: S608 - our own

    def descriptions(self, history: str) -> list[Any]:
        """The events that are recorded after a history, in the order in which they first were."""
        query = (
            "SELECT description FROM events JOIN samples ON event=digest WHERE history=? "
            "GROUP BY digest ORDER BY min(samples.id)"
        )
        return [json.loads(description) for (description,) in self.read(query, history)]

    def last_id(self) -> int:
        """The number of the sample that was recorded last."""
        return int(self.read("SELECT coalesce(max(id), 0) FROM samples")[0][0])

    def add_row(self, row: Row) -> Row:
        """Keep a sample, inside `writing`; it comes back as it is kept, told from those with an equal outcome."""
        query = "SELECT coalesce(max(occurrence) + 1, 0) FROM samples WHERE history=? AND event=? AND outcome_digest=?"
        values = row.history, row.event, row.outcome_digest
        row = replace(row, occurrence=int(self.read(query, *values)[0][0]))
        return self.add_copy(row)

    def add_copy(self, row: Row) -> Row:
        """Keep a sample as it was kept elsewhere, inside `writing`."""
        return replace(row, id=self._connection.execute(_INSERT, astuple(replace(row, id=None))).lastrowid)

    def forget(self, condition: str, *values: Any) -> int:
        """Remove samples, inside `writing`, and who met them; how many there were."""
        self.write(f"DELETE FROM met WHERE sample IN (SELECT id FROM samples WHERE {condition})", *values)  # noqa: S608 - our own
        return self.write(f"DELETE FROM samples WHERE {condition}", *values)  # noqa: S608 - our own

    def add_pairs(self, table: Literal["events", "tool_lists"], pairs: Mapping[str, Any]) -> None:
        """Add what a table lacks, inside `writing`."""
        for pair in pairs.items():
            self.write(f"INSERT OR IGNORE INTO {table} VALUES (?, ?)", *pair)  # noqa: S608 - our own

    def add_met(self, met: Iterable[Met], *, replaces: bool = True) -> None:
        """Note who met what, inside `writing`; what is noted already leaves the file as it is."""
        for each in met:
            self.write(_REPLACE_MET if replaces else _ADD_MET, *astuple(each))

    def explorations(self) -> list[tuple[str, int, int]]:
        """The tests that explored, their seeds, and among how many shards; 0 for one that has asked nothing yet."""
        return [(str(test), int(seed), int(shards)) for test, seed, shards in self.read("SELECT * FROM explorations")]

    def add_exploration(self, test: str, seed: int, shards: int, *, replaces: bool) -> None:
        """Note how a test explores, inside `writing`; what is noted already gives way or stays."""
        otherwise = "REPLACE" if replaces else "IGNORE"
        self.write(f"INSERT OR {otherwise} INTO explorations VALUES (?, ?, ?)", test, seed, shards)  # noqa: S608 - our own

    def beginnings(self) -> list[tuple[str, str, str]]:
        """Histories that no sample leads to, what they went on from, and how they begin."""
        return [(str(history), str(before), str(how)) for history, before, how in self.read("SELECT * FROM beginnings")]

    def add_beginning(self, history: str, before: str, how: str) -> None:
        """Note one, inside `writing`."""
        self.write("INSERT OR IGNORE INTO beginnings VALUES (?, ?, ?)", history, before, how)


# Opening


def _connected(path: Path, access: Literal["ro", "rw"]) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.as_uri()}?mode={access}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def _recover(path: Path, mode: Mode) -> None:
    """Undo what a killed process left half written; a connection that only reads could not."""
    if mode != "replay" or not journal_of(path).exists():
        return
    if not may_write(path):
        raise StoreError(
            f"The store {path} was left half written by a run that was killed, and may not be written to mend that. "
            "Allow it once, or copy the store and its journal to where it is allowed."
        )
    with suppress(sqlite3.Error):  # what is wrong is found, and told, when it is opened to be read
        connection = _connected(path, "rw")
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            connection.close()


def _damage(path: Path, error: sqlite3.Error) -> StoreError:
    """What `error` means to whoever wants to use the file."""
    if (problem := cut_off(path)) is not None:
        return problem
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreError(f"The store {path} is damaged: {error}. {RESTORE}")
    return StoreError(f"The store {path} can't be read: {error}. See what else uses it, or give the path of another.")

"""The file as nodes of the tree use it: what of it holds in this run, and what is added to it.

Knows what may be taken and what is written when; `database` knows how, and `node` who asks.
"""

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pytest_aitest.conversation.tree import Event, EventOutcome
from pytest_aitest.values.agent import MCPServer
from pytest_aitest.values.errors import StoreError
from pytest_aitest.values.model import ToolSpec
from pytest_aitest.values.run_record import jsonable
from pytest_aitest.values.secrets import hide_within
from pytest_aitest.values.transcript import Turn

from .database import Database, Met, Row
from .described import Description, server_described
from .encoded import canonical, sha256
from .file import Mode
from .outcomes import outcome_digest, written

_Written = TypeVar("_Written")


def today() -> str:
    """The day, as it is written: the same in all time zones."""
    return datetime.now(UTC).date().isoformat()


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in the file a sample stands, and what of."""

    test: str
    history: str
    digest: str  # of the event
    description: Description

    def met(self, number: int, row: Row) -> Met:
        """That the test met a sample here."""
        assert row.id is not None
        return Met(test=self.test, history=self.history, event=self.digest, number=number, sample=row.id, day=today())


class Shelf:
    """A file of samples, as one process of a run uses it.

    Attributes:
        problems: What could not be written, a sentence each.
        remarks: Which servers offer other tools than before, a sentence each.
        added: How many samples this process recorded.
    """

    def __init__(self, database: Database, mode: Mode, *, began: int, folder: Path | None = None) -> None:
        self.database = database
        self.folder = folder  # where the paths of a project begin
        self.mode: Mode = mode
        self.began = began  # the last sample from before this run
        self.problems: list[str] = []
        self.remarks: list[str] = []
        self.added = 0
        self.lock = threading.RLock()
        self.epoch = 0  # counts changes of what servers offer
        self._tool_lists: dict[str, str] = database.pairs("tool_lists")
        self._unwritten_met: list[Met] = []
        self._unwritten_beginnings: dict[str, tuple[str, str]] = {}
        self._remarked: set[str] = set()

    @property
    def writes(self) -> bool:
        """Whether what is asked live is kept."""
        return self.mode != "replay" and not self.problems

    def rows(self, history: str, event: str) -> list[Row]:
        """What is recorded of an event after a history, as far as it holds in this run."""
        after = self.began if self.mode == "refresh" else 0
        rows = self.database.rows("history=? AND event=? AND id>?", history, event, after)
        if rows and self.mode != "replay":
            self._tool_lists |= self.database.pairs("tool_lists")
        return [row for row in rows if self.holds(row)]

    def holds(self, row: Row) -> bool:
        """Whether the servers still offer what they did when it was recorded."""
        tools: dict[str, str] = json.loads(row.tools)
        return all(self._tool_lists.get(server, offered) == offered for server, offered in tools.items())

    def note_met(self, met: Met) -> None:
        """Note who met what; written with what is written next, or at the end."""
        if self.writes:
            self._unwritten_met.append(met)

    def note_beginning(self, history: str, before: str, description: str) -> None:
        """Note where a history comes from that no sample leads to."""
        if self.writes:
            self._unwritten_beginnings[history] = before, description

    def keep(
        self, place: Place, event: Event, outcome: EventOutcome, *, number: int, is_look: bool = False
    ) -> Row | None:
        """Write a sample, and that this test met it; nothing comes back where it could not be written.

        An equal look is not written twice: nothing happens by it, so that there is nothing to tell apart.
        """
        with self.lock:
            tools = self._tools_of(event, outcome)
            row = _row(place, event, outcome, tools=tools, is_look=is_look)

            def insert(database: Database) -> tuple[Row, bool]:
                if self.mode == "refresh":
                    mine = "history=? AND event=? AND id<=? AND id NOT IN (SELECT sample FROM met WHERE test<>?)"
                    database.forget(mine, row.history, row.event, self.began, place.test)
                same = "history=? AND event=? AND outcome_digest=? AND tools=?"
                equal = database.rows(same, row.history, row.event, row.outcome_digest, row.tools) if is_look else []
                kept = equal[-1] if equal else database.add_row(row)
                database.add_pairs("events", {place.digest: canonical(place.description)})
                for pair in tools.items():
                    database.write("INSERT OR REPLACE INTO tool_lists VALUES (?, ?)", *pair)
                database.add_met([place.met(number, kept)])
                return kept, not equal

            written = self.write_with(insert)
            if written is None:
                return None
            kept, is_new = written
            self.added += is_new
            return kept

    def write_with(self, what: Callable[[Database], _Written]) -> _Written | None:
        """Write in one go, with what waits; None where that failed, which is noted, and the end of writing."""
        with self.lock:
            if not self.writes:
                return None
            written: _Written | None
            try:
                with self.database.writing() as database:
                    for history, (before, description) in self._unwritten_beginnings.items():
                        database.add_beginning(history, before, description)
                    database.add_met(self._unwritten_met)
                    written = what(database)
            except StoreError as error:
                self.problems.append(
                    f"The store {self.database.path} could not be written: {error}. "
                    "What this run asked from then on is not in it."
                )
                written = None
            self._unwritten_met.clear()
            self._unwritten_beginnings.clear()
            return written

    def write_what_waits(self) -> None:
        """Write what was only noted."""
        if self._unwritten_met or self._unwritten_beginnings:
            self.write_with(lambda _: None)

    # What servers offer

    def _tools_of(self, event: Event, outcome: EventOutcome) -> dict[str, str]:
        """Digests of what the servers of `event` offer, as its outcome says, or as far as that is known."""
        allowed = None if event.agent is None else event.agent.allowed_tools
        servers = () if event.agent is None else event.agent.mcp_servers
        digests = {_offer_digest(server, allowed, self.folder): server for server in servers}
        if not isinstance(outcome, Turn):
            return {digest: self._tool_lists[digest] for digest in digests if digest in self._tool_lists}
        now = {
            digest: _tools_digest(tool for tool in outcome.tools if tool.server == server.label)
            for digest, server in digests.items()
        }
        for digest, tools in now.items():
            if self._tool_lists.get(digest, tools) != tools:
                self.epoch += 1
                self._remark(digests[digest].label)
        self._tool_lists |= now
        return now

    def _remark(self, label: str) -> None:
        if label not in self._remarked:
            self._remarked.add(label)
            self.remarks.append(
                f"Server {label!r} offers other tools than when {self.database.path} was recorded; "
                "what was answered with those is not used any more."
            )


def _row(place: Place, event: Event, outcome: EventOutcome, *, tools: dict[str, str], is_look: bool) -> Row:
    """A sample as it is kept; the file says which of equal ones it is."""
    labels = [] if event.agent is None else [server.label for server in event.agent.mcp_servers]
    return row_of(
        history=place.history,
        event=place.digest,
        outcome=written(outcome),
        tools=canonical(tools),
        labels=canonical(jsonable(hide_within(labels))),
        recorded=today(),
        is_look=is_look,
    )


def row_of(
    *,
    history: str,
    event: str,
    outcome: str,
    tools: str,
    labels: str,
    recorded: str,
    is_look: bool,
    occurrence: int = 0,
) -> Row:
    """A row, with what its outcome says of itself."""
    said = json.loads(outcome).get("turn", {})
    return Row(
        id=None,
        history=history,
        event=event,
        occurrence=occurrence,
        outcome_digest=outcome_digest(outcome),
        tools=tools,
        labels=labels,
        outcome=outcome,
        recorded=recorded,
        is_look=int(is_look),
        model=said.get("model", ""),
        model_calls=said.get("model_calls", 0),
        prompt_tokens=said.get("prompt_tokens", 0),
        completion_tokens=said.get("completion_tokens", 0),
        cost_usd=said.get("cost_usd", 0.0),
    )


def _offer_digest(server: MCPServer, allowed: Sequence[str] | None, root: Path | None) -> str:
    """What tells a server, and which of its tools are wanted, from all others."""
    return sha256(canonical([server_described(server, root), None if allowed is None else sorted(set(allowed))]))


def _tools_digest(tools: Iterable[ToolSpec]) -> str:
    """What a model is told of tools, in whatever order, and whatever their server is called here."""
    specs = [canonical(jsonable(hide_within(replace(tool, server="")))) for tool in tools]
    return sha256(canonical(sorted(specs)))

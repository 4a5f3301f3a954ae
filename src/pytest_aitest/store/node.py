"""A node of the conversation tree that answers from a file what it does not know itself, and keeps there what is new.

It is loaded when it is first asked; from then on it answers from memory. Knows histories, and leaves to the shelf what
of the file holds.
"""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from pytest_aitest.conversation.keys import UnkeyableError
from pytest_aitest.conversation.servers import ToolOutcome
from pytest_aitest.conversation.tree import Called, Event, EventOutcome, Node, Said, Sample
from pytest_aitest.values.errors import StoreError
from pytest_aitest.values.model import Message
from pytest_aitest.values.secrets import hide_within

from .database import Met, Row
from .described import Description, described, digest_of
from .encoded import canonical, encoded, sha256
from .outcomes import read
from .shelf import Place, Shelf

ROOT = ""
"""The history in which nothing has happened yet."""


def history_after(row: Row) -> str:
    """The history that a sample leads to; equal samples lead to histories of their own."""
    return _chained(row.history, row.event, row.outcome_digest, str(row.occurrence))


def history_beginning(history: str, description: str) -> str:
    """The history of a conversation that begins at `history` with what `description` says."""
    return _chained(history, "begins", description)


def _chained(history: str, *parts: str) -> str:
    return sha256("\0".join((history, *parts)))


def look_described(look: Called, root: Path | None) -> Description:
    """A look as an event of its own: it changes nothing, so it is no call.

    Raises:
        UnkeyableError: It depends on an object of which nothing is known.
    """
    return described(look, root) | {"kind": "looked"}


@dataclass(slots=True, eq=False)
class StoredSample(Sample):
    """A sample that is in the file."""

    row: Row


@dataclass(slots=True, eq=False, kw_only=True)
class _Edge:
    """What is known of one event at one node."""

    place: Place
    event: Event  # as it was when it was first asked here
    samples: list[Sample]
    epoch: int  # of what servers offer, at which they were valid
    is_loaded: bool = False
    asked: int = 0  # how often a turn asked for it that is not to be replayed


@dataclass(slots=True, eq=False)
class StoredNode(Node):
    """A history that the file may know of."""

    answers_all: ClassVar[bool] = True

    shelf: Shelf = field(kw_only=True)
    test: str = field(kw_only=True)
    shares: bool = field(kw_only=True)
    history: str = field(kw_only=True)
    known: dict[Hashable, _Edge] = field(default_factory=dict, kw_only=True)

    def samples(self, event: Event) -> list[Sample]:
        """The known outcomes of `event`: those that this test has met, as then, then those of others if it shares.

        Raises:
            UnkeyableError: It depends on what has no key.
            StoreError: The file can't be read.
        """
        edge = self._edge(event)
        # What another process has recorded since is taken, but not while this one asks: its own answer goes before.
        if not edge.is_loaded or not (edge.samples or self.shelf.mode == "replay" or event.key in self.asking):
            self._load(edge)
        return edge.samples

    def next_number(self, event: Event) -> int:
        """The number that the next live outcome of `event` will have, whatever others record meanwhile."""
        try:
            edge = self._edge(event)
        except UnkeyableError:
            return self.unkeyed
        if not edge.is_loaded:
            self._load(edge)
        return len(edge.samples)

    def recorded(self, event: Event) -> Sample | None:
        """What a turn takes that is asked each time: another sample for each time that this test asks.

        Raises:
            StoreError: The file can't be read.
        """
        try:
            edge = self._edge(event)
        except UnkeyableError:
            return None
        with self.shelf.lock:
            number, edge.asked = edge.asked, edge.asked + 1
            if not edge.is_loaded:
                self._load(edge)
            if number >= len(edge.samples) and self.shelf.mode != "refresh":
                rows = self._untaken(edge).values()
                self._take(edge, [row for row in rows if (row.id or 0) <= self.shelf.began][:1])
            if number < len(edge.samples):
                return edge.samples[number]
            return edge.samples[-1] if edge.samples and self.shelf.mode == "replay" else None

    def add(self, event: Event, outcome: EventOutcome, *, keep: bool = True) -> Sample:
        """Hang one more outcome of `event` under this history, and keep it in the file if it may be kept."""
        try:
            edge = self._edge(event)
        except UnkeyableError:
            sample = Node.add(self, event, outcome, keep=False)
            self.unkeyed = sample.number + 1
            return sample
        with self.shelf.lock:
            if not (keep and self.shelf.writes) or event.has_changed():
                return Node.add(self, event, outcome, keep=keep)
            number = self.next_number(event)
            row = self.shelf.keep(edge.place, event, outcome, number=number)
            if row is None:
                return Node.add(self, event, outcome, keep=keep)
            sample = self._sample(row, outcome, event, number)
            edge.samples.append(sample)
            return sample

    def look(self, look: Called) -> ToolOutcome | None:
        """What a tool that only looks said at this point, if that is known.

        Raises:
            UnkeyableError: It depends on what has no key.
            StoreError: The file can't be read.
        """
        known = Node.look(self, look)
        if known is not None:
            return known
        place = self._place(look_described(look, self.shelf.folder))
        with self.shelf.lock:
            rows = self.shelf.rows(self.history, place.digest)
            if not rows:
                return None
            own = {met.sample for met in self._own_met(place.digest)}
            row = next((row for row in reversed(rows) if row.id in own), rows[-1])
            outcome = self._read(row)
            assert isinstance(outcome, ToolOutcome)
            self.observed[look.key] = outcome
            self.shelf.note_met(place.met(0, row))
            return outcome

    def add_look(self, look: Called, outcome: ToolOutcome) -> None:
        """Note what it said.

        Raises:
            UnkeyableError: It depends on what has no key.
        """
        Node.add_look(self, look, outcome)
        description = look_described(look, self.shelf.folder)
        if self.shelf.writes:
            self.shelf.keep(self._place(description), look, outcome, number=0, is_look=True)

    def beginning(self, messages: Sequence[Message]) -> Node:
        """The history of a session that goes on from `messages`."""
        known = len(self.beginnings)
        made = Node.beginning(self, messages)
        if len(self.beginnings) > known:
            key = next(reversed(self.beginnings))
            made = self.beginnings[key] = self._begun(made, {"messages": encoded(list(messages))})
        return made

    def apart(self, name: str) -> Node:
        """A history of which nothing is known that is known of this one."""
        return self._begun(Node.apart(self, name), {"apart": name})

    def _begun(self, node: Node, how: Mapping[str, Any]) -> "StoredNode":
        description = canonical(hide_within(how))
        history = history_beginning(self.history, description)
        self.shelf.note_beginning(history, self.history, description)
        return StoredNode(node.address, shelf=self.shelf, test=self.test, shares=self.shares, history=history)

    def _edge(self, event: Event) -> _Edge:
        """What is known of an event; made when it is first asked, before anything that answers it can change."""
        edge = self.known.get(event.key)
        if edge is None:
            description = described(event, self.shelf.folder)
            samples = self.edges.setdefault(event.key, [])
            edge = _Edge(place=self._place(description), event=event, samples=samples, epoch=self.shelf.epoch)
            edge = self.known.setdefault(event.key, edge)
        if edge.epoch != self.shelf.epoch:
            self._drop_what_holds_no_more(edge)
        return edge

    def _place(self, description: Description) -> Place:
        return Place(test=self.test, history=self.history, digest=digest_of(description), description=description)

    def _drop_what_holds_no_more(self, edge: _Edge) -> None:
        with self.shelf.lock:
            edge.epoch = self.shelf.epoch
            edge.samples[:] = [
                sample
                for sample in edge.samples
                if not isinstance(sample, StoredSample) or self.shelf.holds(sample.row)
            ]
            for number, sample in enumerate(edge.samples):
                sample.number = number

    def _load(self, edge: _Edge) -> None:
        """Take what this test has met, as it was numbered then, and of what others recorded, if it shares that."""
        with self.shelf.lock:
            edge.is_loaded = True
            rows = self._untaken(edge)
            met = self._own_met(edge.place.digest) if rows else []
            own = [rows.pop(each.sample) for each in met if each.sample in rows]
            self._take(edge, [*own, *(rows.values() if self.shares else ())])

    def _untaken(self, edge: _Edge) -> dict[int | None, Row]:
        taken = {sample.row.id for sample in edge.samples if isinstance(sample, StoredSample)}
        rows = self.shelf.rows(self.history, edge.place.digest)
        return {row.id: row for row in rows if row.id not in taken}

    def _own_met(self, digest: str) -> list[Met]:
        return self.shelf.database.met("test=? AND history=? AND event=?", self.test, self.history, digest)

    def _take(self, edge: _Edge, rows: Sequence[Row]) -> None:
        """Let this test have met what is recorded, from now on under these numbers."""
        for row in rows:
            number = len(edge.samples)
            edge.samples.append(self._sample(row, self._read(row), _as_recorded(edge.event, row), number))
            self.shelf.note_met(edge.place.met(number, row))

    def _sample(self, row: Row, outcome: EventOutcome, event: Event, number: int) -> StoredSample:
        address, history = self.address_after(event, number), history_after(row)
        node = StoredNode(address, shelf=self.shelf, test=self.test, shares=self.shares, history=history)
        return StoredSample(outcome, number, node, event, row)

    def _read(self, row: Row) -> EventOutcome:
        try:
            return read(row.outcome)
        except ValueError as error:
            raise StoreError(
                f"The store {self.shelf.database.path} is damaged: what is recorded as its entry {row.id} is no "
                f"outcome ({type(error).__name__}). Remove the file, and record anew."
            ) from None


def _as_recorded(event: Event, row: Row) -> Event:
    """`event`, with the names that its servers had when its outcome was recorded, which the outcome has in it."""
    labels = json.loads(row.labels)
    if not isinstance(event, Said) or labels == [server.label for server in event.agent.mcp_servers]:
        return event
    pairs = zip(event.agent.mcp_servers, labels, strict=True)
    servers = tuple(server.model_copy(update={"name": label}) for server, label in pairs)
    return replace(event, agent=event.agent.model_copy(update={"mcp_servers": servers}))

"""The conversation tree: what is known of every history met so far.

A node is a history with its outcomes, an edge is the next event, with one or several sampled outcomes; each outcome
leads to a node of its own, so that what followed one sample is never taken for what would follow another.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pytest_aitest.values.agent import Agent, MCPServer
from pytest_aitest.values.model import Message
from pytest_aitest.values.plain import call_text
from pytest_aitest.values.transcript import Turn

from .keys import UnkeyableError, agent_key, key_of, server_key
from .servers import ToolOutcome


class _Keyed(ABC):
    """An event, known by what it depends on at the moment when it begins."""

    def __post_init__(self) -> None:
        try:
            vars(self)["_key"] = self._made_key()
        except UnkeyableError as error:
            vars(self)["_key"] = error

    @property
    def key(self) -> Hashable:
        """Equal for two events exactly if their outcome after the same history depends on the same things.

        Raises:
            UnkeyableError: It depends on what has no key.
        """
        key: Hashable | UnkeyableError = vars(self)["_key"]
        if isinstance(key, UnkeyableError):
            raise key.with_traceback(None)
        return key

    def has_changed(self) -> bool:
        """Whether it depends on something that is not now what it was when this began."""
        try:
            return bool(self.key != self._made_key())
        except UnkeyableError:
            return False

    @abstractmethod
    def _made_key(self) -> Hashable: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Said(_Keyed):
    """A user's message to an agent."""

    prompt: str
    agent: Agent
    max_model_calls: int
    timeout_seconds: float
    messages: Sequence[Message] | None = None  # a history to go on from, in place of the session's own

    def _made_key(self) -> Hashable:
        limits = self.max_model_calls, float(self.timeout_seconds)
        return "said", agent_key(self.agent), self.prompt, limits, key_of(self.messages)

    def __str__(self) -> str:
        return self.prompt


@dataclass(frozen=True, kw_only=True, eq=False)
class Called(_Keyed):
    """A tool called past the model."""

    tool: str
    arguments: Mapping[str, Any]
    server: str | None = None  # its label, where the caller named it
    named: MCPServer | None = None  # which that is, if any agent so far has it
    agent: Agent | None = None  # whose servers are meant, where the caller said so

    def _made_key(self) -> Hashable:
        whose = None if self.agent is None else agent_key(self.agent)
        server = self.server if self.named is None else server_key(self.named)
        return "called", self.tool, key_of(self.arguments), server, whose

    def __str__(self) -> str:
        return call_text(self.tool, self.arguments)


Event = Said | Called
EventOutcome = Turn | ToolOutcome


@dataclass(slots=True, eq=False)
class Node:
    """A history."""

    answers_all: ClassVar[bool] = False  # also what is asked by tests that no exploration is
    address: bytes = b""  # tells it from all others, the same in every process
    edges: dict[Hashable, list["Sample"]] = field(default_factory=dict)
    observed: dict[Hashable, ToolOutcome] = field(default_factory=dict)  # what tools said that only look
    beginnings: dict[Hashable, "Node"] = field(default_factory=dict)  # sessions that go on from other messages
    asking: set[Hashable] = field(default_factory=set)  # events that some session is asking live at this moment
    unkeyed: int = 0  # how many outcomes there were of events without a key

    def samples(self, event: Event) -> list["Sample"]:
        """The known outcomes of `event`, in the order in which they were met.

        Raises:
            UnkeyableError: It depends on what has no key.
        """
        return self.edges.get(event.key, [])

    def recorded(self, _event: Event) -> "Sample | None":
        """What a turn takes that is not to be replayed: nothing, unless a store was asked for by name."""
        return None

    def next_number(self, event: Event) -> int:
        """The number that the next live outcome of `event` will have."""
        try:
            return len(self.samples(event))
        except UnkeyableError:
            return self.unkeyed

    def add(self, event: Event, outcome: EventOutcome, *, keep: bool = True) -> "Sample":
        """Hang one more outcome of `event` under this history; one that is not kept, or has no key, is hung nowhere."""
        number = self.next_number(event)
        sample = Sample(outcome, number, Node(self.address_after(event, number)), event)
        try:
            key = event.key
        except UnkeyableError:
            self.unkeyed += 1
        else:
            if keep:
                self.edges.setdefault(key, []).append(sample)
        return sample

    def look(self, look: Called) -> ToolOutcome | None:
        """What a tool that only looks said at this point, if that is known.

        Raises:
            UnkeyableError: It depends on what has no key.
        """
        return self.observed.get(look.key)

    def add_look(self, look: Called, outcome: ToolOutcome) -> None:
        """Note what it said.

        Raises:
            UnkeyableError: It depends on what has no key.
        """
        self.observed[look.key] = outcome

    def beginning(self, messages: Sequence[Message]) -> "Node":
        """The history of a session that goes on from `messages`."""
        key = key_of(messages)
        if key not in self.beginnings:
            self.beginnings[key] = Node(_digest(self.address, *map(json.dumps, messages)))
        return self.beginnings[key]

    def apart(self, name: str) -> "Node":
        """An empty history of which nothing is known that is known of this one."""
        return Node(_digest(self.address, name))

    def address_after(self, event: Event, number: int) -> bytes:
        """What tells the history after this sample of `event` from all others."""
        agent = event.agent
        who = () if agent is None else (agent.name, agent.provider.label, agent.system_prompt or "")
        where = event.server or "" if isinstance(event, Called) else ""
        return _digest(self.address, type(event).__name__, *who, where, str(event), str(number))


def _digest(before: bytes, *parts: str) -> bytes:
    return hashlib.sha256(before + "\0".join(parts).encode(errors="surrogatepass")).digest()


@dataclass(slots=True, eq=False)
class Sample:
    """One outcome of an event, and the history that it led to."""

    outcome: EventOutcome
    number: int  # among those of its event
    node: Node
    event: Event  # as it was when this was asked live

"""What was said and done: tool calls, turns, transcripts; immutable, with their plain text.

Knows nothing of how it came about.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import chain, islice
from typing import Any

from .errors import ErrorKind
from .model import Message, ToolSpec
from .plain import call_text, compact_json, labelled, one_line


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """One tool invocation inside a turn. `result` is None exactly where `error` is not."""

    name: str
    arguments: Mapping[str, Any] | str  # a string: the model wrote this, which is no JSON object
    result: str | None = None  # the text that the model was given
    error: str | None = None
    server: str | None = None  # None where no server was asked
    duration_ms: float = 0.0
    id: str = ""  # the model's own; ties the call to the messages


@dataclass(frozen=True, kw_only=True)
class AgentText:
    """What the agent said, before a tool call or as its answer."""

    text: str


@dataclass(frozen=True, kw_only=True)
class TurnRecord:
    """A turn as whoever reads of it needs it: what was said and done, in the order in which it went."""

    agent: str
    model: str
    user: str
    said: tuple[AgentText | ToolCall, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None
    error_kind: str | None = None
    duration_ms: float = 0.0
    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0  # None where a price is not known
    is_replayed: bool = False  # from the conversation tree: nothing of this was asked

    @property
    def answer(self) -> str:
        """What it ended in; empty where it did not end in an answer."""
        texts = [part.text for part in self.said if isinstance(part, AgentText)]
        return texts[-1] if texts and self.error is None else ""

    def __str__(self) -> str:
        """Text of at most 80 columns, whatever the model or a tool wrote."""
        lines = (labelled(label, text, most_lines=most_lines) for label, text, most_lines in self._parts())
        return "\n".join(chain.from_iterable(lines))

    @property
    def in_one_line(self) -> str:
        """The same, its error first, as one line of whatever length."""
        parts = sorted(self._parts(), key=lambda part: part[0] != "error")
        return "; ".join(one_line(f"{label} {text}", most=200) for label, text, _ in parts)

    def _parts(self) -> Iterator[tuple[str, str, int | None]]:
        """Who or what speaks, what it said, and how many lines that is worth."""
        yield "user", self.user, None
        for part in self.said:
            if isinstance(part, AgentText):
                yield "agent", part.text, None
            else:
                yield "tool", _called(part), 3 if part.error is None else 8
        for note in self.notes:
            yield "note", note, None
        if self.error is not None:
            yield "error", f"{self.error_kind}: {self.error}", None


@dataclass(frozen=True, kw_only=True, repr=False)
class Turn:
    """One user message and everything until the agent yielded."""

    agent: str
    model: str
    user: str
    messages: tuple[Message, ...] = ()  # of this turn only, the user's first
    tool_calls: tuple[ToolCall, ...] = ()
    error: str | None = None
    error_kind: ErrorKind | None = None
    available_tools: tuple[str, ...] = ()
    tools: tuple[ToolSpec, ...] = ()  # what the agent was told of
    offered_tools: tuple[str, ...] = ()  # what the servers have, before `allowed_tools`
    notes: tuple[str, ...] = ()  # e.g. that a sampling request was declined
    duration_ms: float = 0.0
    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0  # None where a price is not known

    @property
    def success(self) -> bool:
        """Whether the agent answered."""
        return self.error is None

    @cached_property
    def responses(self) -> tuple[str, ...]:
        """All texts of the agent in this turn, those said before a tool call too."""
        return tuple(text for message in self.messages if (text := _said(message)))

    @property
    def final_response(self) -> str:
        """The answer; empty where the turn did not end in one."""
        return self.responses[-1] if self.success else ""

    def __repr__(self) -> str:
        return f"<turn: {self.record.in_one_line}>"

    def __str__(self) -> str:
        """The turn as text of at most 80 columns, whatever the model or a tool wrote."""
        return str(self.record)

    @property
    def record(self) -> TurnRecord:
        """What is told of it."""
        same = {name: getattr(self, name) for name in _TOLD}
        return TurnRecord(**same, said=tuple(self._spoken()))

    def _spoken(self) -> Iterator[AgentText | ToolCall]:
        calls = iter(self.tool_calls)
        for message in self.messages:
            if text := _said(message):
                yield AgentText(text=text)
            yield from islice(calls, len(message.get("tool_calls") or ()))


_TOLD = [field.name for field in fields(TurnRecord) if field.name not in ("said", "is_replayed")]


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """The ordered turns of a session."""

    name: str = ""
    context: tuple[Message, ...] = ()  # messages that the session was started from
    turns: tuple[Turn, ...] = ()

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        """What the next turn builds on: the messages of all turns that ended in an answer."""
        return self.context + tuple(message for turn in self.turns if turn.success for message in turn.messages)

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """All tool calls, in order."""
        return tuple(call for turn in self.turns for call in turn.tool_calls)

    def with_turn(self, turn: Turn) -> "Transcript":
        """This transcript, one turn longer."""
        return replace(self, turns=(*self.turns, turn))

    def __str__(self) -> str:
        return "\n".join(f"turn {number}\n{turn}" for number, turn in enumerate(self.turns, 1))


def _said(message: Message) -> str:
    """The text of an assistant's message, else nothing."""
    content = message.get("content")
    return content if message["role"] == "assistant" and isinstance(content, str) else ""


def summary(turns: Iterable[Turn]) -> str:
    """A line of at most 80 columns for each turn: what the user said, which tools were called, what came of it."""
    return "\n".join(_summarised(number, turn) for number, turn in enumerate(turns, 1))


def _summarised(number: int, turn: Turn) -> str:
    came = turn.final_response if turn.success else f"failed: {turn.error_kind}"
    steps = [turn.user, *(call.name for call in turn.tool_calls), came]
    return one_line(f"{number} {' -> '.join(one_line(step, most=40) for step in steps)}", most=80)


def _called(call: ToolCall) -> str:
    outcome = f"-> {compact_json(call.result or '')}" if call.error is None else f"failed: {call.error}"
    return f"{call_text(call.name, call.arguments)} {outcome}"

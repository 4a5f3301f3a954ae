"""What was said and done: tool calls, turns, transcripts; immutable, with their plain text.

Knows nothing of how it came about.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

from .errors import ErrorKind
from .model import Message
from .plain import call_text, labelled


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

    def lines(self) -> Iterator[str]:
        """The turn as text of at most 80 columns, whatever the model or a tool wrote."""
        yield from labelled("user", self.user)
        calls = iter(self.tool_calls)
        for message in self.messages:
            if text := _said(message):
                yield from labelled("agent", text)
            for call in islice(calls, len(message.get("tool_calls") or ())):
                yield from _call_lines(call)
        for note in self.notes:
            yield from labelled("note", note)
        if self.error is not None:
            yield from labelled("error", f"{self.error_kind}: {self.error}")

    def __str__(self) -> str:
        return "\n".join(self.lines())


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


def _call_lines(call: ToolCall) -> Iterator[str]:
    outcome, most_lines = (f"-> {call.result}", 3) if call.error is None else (f"failed: {call.error}", 8)
    yield from labelled("tool", f"{call_text(call.name, call.arguments)} {outcome}", most_lines=most_lines)

"""What the builtin model remembers: the messages of a request, read as a conversation.

It looks back at a bounded part of them, so that an answer costs the same after three turns and after three hundred.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from pytest_aitest.values.model import Message

from .json_text import parse_json
from .records import Listing, list_records

LOOK_BACK = 40
"""Messages before the current turn that are read: ten turns with one tool call (user, call, result, answer).

What somebody refers to without naming it was said a moment ago; what was named an hour ago would be a guess.
"""
_MOST_LISTINGS = 3  # results among whose records "the blue one" is looked for
_MOST_OPEN = 4  # messages of the user that are taken for one wish, after as many questions of ours


@dataclass(frozen=True, kw_only=True)
class Call:
    """A tool call and what came of it."""

    name: str
    arguments: Mapping[str, Any]
    result: str = ""

    @property
    def failed(self) -> bool:
        """Whether the tool said that it could not."""
        return find_error(self.result) is not None


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A message of the user and what followed it."""

    text: str = ""
    calls: Sequence[Call] = ()
    answer: str = ""

    @property
    def is_open(self) -> bool:
        """Whether the user was asked something back instead of being served."""
        return not self.calls and self.answer.rstrip().endswith("?")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The conversation as far as the model looks back."""

    past: Sequence[Exchange] = ()  # oldest first; those that are over
    open: Sequence[Exchange] = ()  # oldest first; those that ended in a question, and so lead up to the current one
    current: Exchange = field(default_factory=Exchange)

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """Earlier calls that did not fail, latest first."""
        return tuple(call for exchange in reversed(self.past) for call in reversed(exchange.calls) if not call.failed)

    @cached_property
    def listings(self) -> tuple[tuple[str, Listing], ...]:
        """The records in earlier results, latest first, each with the name of the tool that gave it."""
        found = ((call.name, list_records(call.result)) for call in self.calls)
        return tuple(islice(((name, records) for name, records in found if records.records), _MOST_LISTINGS))


def remember(messages: Sequence[Message]) -> Memory:
    """Read the messages of a request."""
    starts = [index for index, message in enumerate(messages) if message.get("role") == "user"]
    if not starts:
        return Memory()
    starts = [start for start in starts if start >= starts[-1] - LOOK_BACK]
    ends = [*starts[1:], len(messages)]
    *past, current = [_exchange(messages[start:end]) for start, end in zip(starts, ends, strict=True)]
    first_open = len(past)
    while first_open > max(0, len(past) - _MOST_OPEN) and past[first_open - 1].is_open:
        first_open -= 1
    return Memory(past=past[:first_open], open=past[first_open:], current=current)


def _exchange(messages: Sequence[Message]) -> Exchange:
    results = {str(m.get("tool_call_id")): _text(m) for m in messages if m.get("role") == "tool"}
    said = [message for message in messages if message.get("role") == "assistant"]
    wanted = [call for message in said for call in _mappings(message.get("tool_calls"))]
    answers = [text for message in said if (text := _text(message))]
    return Exchange(
        text=_text(messages[0]),
        calls=[_call(call, results) for call in wanted],
        answer=answers[-1] if answers else "",
    )


def _call(call: Mapping[str, Any], results: Mapping[str, str]) -> Call:
    function = call.get("function")
    function = function if isinstance(function, Mapping) else {}
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = next(iter(parse_json(arguments)), None)
    return Call(
        name=str(function.get("name")),
        arguments=arguments if isinstance(arguments, Mapping) else {},
        result=results.get(str(call.get("id")), ""),
    )


def _text(message: Message) -> str:
    """The text of a message, whether it is one string, a list of parts or missing."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    texts = [part.get("text") for part in _mappings(content)]
    return "\n".join(text for text in texts if isinstance(text, str))


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def find_error(result: str) -> str | None:
    """What a failed tool said; None where it did not fail. Chat messages have no other sign of it than their text."""
    text = result.strip()
    said = re.sub(r"\A(error:\s*)?(error executing tool [\w.-]+:\s*)?", "", text, flags=re.IGNORECASE)
    if said != text:
        return said
    for value in parse_json(text)[:1]:
        if isinstance(value, Mapping) and isinstance(error := value.get("error"), str) and error:
            return error
    return None

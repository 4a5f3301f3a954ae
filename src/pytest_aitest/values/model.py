"""What passes between a turn and a model: a request, an answer, the tools on offer.

Messages are plain dictionaries in OpenAI's chat form, because every user has read one before. Knows no provider.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

Message = Mapping[str, Any]
"""One chat message in OpenAI's form, e.g. `{"role": "user", "content": "hello"}`."""


@dataclass(frozen=True, kw_only=True)
class ToolSpec:
    """A tool as a server offers it."""

    name: str  # "get_balance"
    description: str = ""
    input_schema: Mapping[str, Any] = field(default_factory=dict)  # JSON Schema of the arguments
    server: str = ""  # label of the server that offers it
    read_only: bool | None = None  # the server's readOnlyHint; None where it says nothing
    open_world: bool | None = None  # likewise openWorldHint

    def as_function(self) -> dict[str, Any]:
        """This tool in the form of OpenAI's `tools` parameter."""
        parameters = dict(self.input_schema) or {"type": "object", "properties": {}}
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": parameters},
        }


@dataclass(frozen=True, kw_only=True)
class ToolRequest:
    """A model's wish to have a tool called.

    `arguments` is a string only where the model wrote something that is no JSON object; it is then what it wrote.
    An empty `id` is filled in by the turn.
    """

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """Everything one model call may depend on, besides the provider's settings.

    Time spent inside `with off_the_clock()` counts towards no limit: waiting for `rpm` and `tpm`, loading a library.
    """

    messages: Sequence[Message]  # system prompt first, where there is one
    tools: Sequence[ToolSpec]
    timeout_seconds: float  # for the answer, all tries included
    off_the_clock: Callable[[], AbstractContextManager[object]] = nullcontext  # for waits that are nobody's fault


@dataclass(frozen=True, kw_only=True)
class ModelAnswer:
    """What a model said: text, or tools it wants called, or both.

    A callable model may return one of these:

    >>> ModelAnswer(tool_requests=[ToolRequest(name="get_balance", arguments={"account": "checking"})]).text
    ''
    """

    text: str = ""
    tool_requests: Sequence[ToolRequest] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0  # None: the price is not known
    message: Message | None = None  # the assistant message as the provider wants it back; None: made from the above

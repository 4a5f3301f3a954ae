"""Assistant messages in OpenAI's form, read generously and copied cleanly.

For what litellm answers and for what a user's function returns. Knows neither.
"""

import json
import marshal
from collections.abc import Mapping
from typing import Any

from pytest_aitest.values.model import ModelAnswer, ToolRequest


def plain(value: Any) -> Any:
    """`value` as fresh dictionaries and lists, whatever mappings and sequences it was made of."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def copied(value: Any) -> Any:
    """The same as `plain` for the plain data that messages and tools are, many times faster: histories are long."""
    try:
        return marshal.loads(marshal.dumps(value))  # noqa: S302 - what was written in this very line
    except ValueError:  # a mapping of another kind, or somebody's own object, is among it
        return plain(value)


def answer_from(message: Mapping[str, Any], *, prompt_tokens: int = 0, completion_tokens: int = 0) -> ModelAnswer:
    """What an assistant message says and wants.

    `tool_calls` may be in OpenAI's form or in short, `{"name": ..., "arguments": {...}}`. The answer keeps the message
    for the history, with all that a provider wants to see again, where its calls have the ids that results refer to.

    Raises:
        AttributeError, KeyError, TypeError: it is not in that form.
    """
    calls = [_full_call(call) for call in message.get("tool_calls") or ()]
    requests = [_request(call) for call in calls]
    kept = {**plain(message), "role": "assistant", "content": plain(message.get("content"))}
    if calls:
        kept["tool_calls"] = calls
    return ModelAnswer(
        text=_text(message.get("content")),
        tool_requests=requests,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        message=kept if all(request.id for request in requests) else None,
    )


def _text(content: Any) -> str:
    """The text of a message's content, which may be absent, a string, or a list of parts."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text") or "" for part in content)


def _full_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call in OpenAI's form, its arguments written out."""
    rest = {key: plain(value) for key, value in call.items() if key not in {"name", "arguments", "function"}}
    function = plain(call.get("function") or {key: call[key] for key in ("name", "arguments") if key in call})
    written = function.get("arguments")
    if not isinstance(written, str):
        written = json.dumps({} if written is None else written)
    return {**rest, "type": "function", "function": {**function, "name": function["name"], "arguments": written}}


def _request(call: Mapping[str, Any]) -> ToolRequest:
    function = call["function"]
    return ToolRequest(name=function["name"], arguments=_arguments(function["arguments"]), id=call.get("id") or "")


def _arguments(written: str) -> dict[str, Any] | str:
    """The object that the model wrote; what it wrote, where that is none."""
    if not written.strip():
        return {}
    try:
        arguments = json.loads(written)
    except (ValueError, RecursionError):  # truncated, malformed; nested beyond reason
        return written
    return arguments if isinstance(arguments, dict) else written

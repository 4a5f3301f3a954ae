"""A tool call as checks see it: how it is shown, and when two are the same."""

import json
from collections.abc import Mapping
from typing import Any

from pytest_aitest.values.plain import call_text, one_line
from pytest_aitest.values.transcript import ToolCall

MOST = 200  # characters of a call, an answer, an error in our messages


def identity(call: ToolCall) -> tuple[str, str]:
    """Equal for calls that ask for the same thing: 100 is 100.0, and the order of arguments means nothing."""
    return call.name, json.dumps(_normal(call.arguments), sort_keys=True, default=repr)


def _normal(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _normal(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def shown(call: ToolCall) -> str:
    outcome = f" failed: {call.error}" if call.error is not None else f" -> {call.result}" if call.result else ""
    return one_line(f"{call_text(call.name, call.arguments)}{outcome}", most=MOST)


def allowed(most: int) -> str:
    return f"at most {most} {'is' if most == 1 else 'are'} allowed"

"""What came of an event, as text without secrets that reads back as it was. Knows no database."""

import json
from typing import Any

from pydantic import TypeAdapter

from pytest_aitest.conversation.servers import ToolOutcome
from pytest_aitest.conversation.tree import EventOutcome
from pytest_aitest.values.run_record import jsonable
from pytest_aitest.values.secrets import hide_within
from pytest_aitest.values.transcript import Turn

from .encoded import canonical, sha256

_TURN = TypeAdapter(Turn)
_TOOL = TypeAdapter(ToolOutcome)


def written(outcome: EventOutcome) -> str:
    """`outcome` as one line of JSON; what JSON or Unicode can't hold is a text that says what it was."""
    kind = "turn" if isinstance(outcome, Turn) else "tool"
    return canonical({kind: jsonable(hide_within(outcome))})


def read(text: str) -> EventOutcome:
    """What `written` made a text of.

    Raises:
        ValueError: It is no such text.
    """
    match json.loads(text):
        case {"turn": turn, **others} if not others:
            return _TURN.validate_python(turn)
        case {"tool": tool, **others} if not others:
            return _TOOL.validate_python(tool)
    raise ValueError("it is neither a turn nor what a tool said")


def outcome_digest(text: str) -> str:
    """A digest of what `written` made; how long it took is no part of what was said."""
    return sha256(canonical(_timeless(json.loads(text))))


def _timeless(data: dict[str, Any]) -> dict[str, Any]:
    if "turn" not in data:
        return data
    turn = {name: value for name, value in data["turn"].items() if name != "duration_ms"}
    turn["tool_calls"] = [
        {name: value for name, value in call.items() if name != "duration_ms"} for call in turn["tool_calls"]
    ]
    return {"turn": turn}

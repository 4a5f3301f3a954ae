"""Tests of multi-turn conversations with LLM agents, as pytest sessions.

Public names load at first use: pytest imports this package in every project that has it installed, used or not.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conversation.session import Session
    from .plugin.live import AitestRun
    from .values.agent import Agent, MCPServer, Provider, Wait
    from .values.errors import (
        AitestError,
        DeclarationError,
        ErrorKind,
        ExplorationWarning,
        ProviderError,
        ServerDiedError,
        ServerError,
        ServerStartError,
        SessionError,
        ToolError,
        UnknownToolWarning,
    )
    from .values.model import Message, ModelAnswer, ToolRequest, ToolSpec
    from .values.result import AgentResult
    from .values.transcript import ToolCall, Transcript, Turn

_HOMES = {
    "conversation.session": ["Session"],
    "plugin.live": ["AitestRun"],
    "values.agent": ["Agent", "MCPServer", "Provider", "Wait"],
    "values.errors": [
        "AitestError",
        "DeclarationError",
        "ErrorKind",
        "ExplorationWarning",
        "ProviderError",
        "ServerDiedError",
        "ServerError",
        "ServerStartError",
        "SessionError",
        "ToolError",
        "UnknownToolWarning",
    ],
    "values.model": ["Message", "ModelAnswer", "ToolRequest", "ToolSpec"],
    "values.result": ["AgentResult"],
    "values.transcript": ["ToolCall", "Transcript", "Turn"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Agent",
    "AgentResult",
    "AitestError",
    "AitestRun",
    "DeclarationError",
    "ErrorKind",
    "ExplorationWarning",
    "MCPServer",
    "Message",
    "ModelAnswer",
    "Provider",
    "ProviderError",
    "ServerDiedError",
    "ServerError",
    "ServerStartError",
    "Session",
    "SessionError",
    "ToolCall",
    "ToolError",
    "ToolRequest",
    "ToolSpec",
    "Transcript",
    "Turn",
    "UnknownToolWarning",
    "Wait",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value  # the next use does not come by here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})

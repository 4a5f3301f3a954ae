"""The Model Context Protocol, spoken through what mcp 1.30 and 2.x have in common.

With `transports` the only module that imports mcp. Answers leave it as values of ours, read from their JSON form, whose
names are the same in every version.
"""

import functools
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
from mcp import ClientSession, types
from mcp.shared import exceptions

from pytest_aitest.values.model import ToolSpec

from .faults import ClosedError, RefusedError, cut, described
from .outcome import ToolOutcome
from .transports import Streams

McpError: Any = getattr(exceptions, "MCPError", None) or vars(exceptions)["McpError"]  # its names in 2.x and in 1.x

_NO_SUCH_METHOD = -32601
_NO_HANDSHAKE = -32022  # says a server that speaks the protocol of 2026 only
_CLOSED = (-32000, "Connection closed")
_MOST_PAGES = 100
_MOST_ROUNDS = 10


@asynccontextmanager
async def session_over(
    streams: Streams, *, asked: Callable[[str], None], tools_changed: Callable[[], None], lost: Callable[[str], None]
) -> AsyncIterator["Session"]:
    """A session that has not shaken hands yet.

    Args:
        streams: How its messages travel.
        asked: Told of each request for a user or a model; there is neither, and the server has been told so.
        tools_changed: Called when the tools that the server listed are no longer those it has.
        lost: Told of an answer that can't be read, so that whoever waits for it waits in vain.
    """

    async def elicit(_context: Any, params: Any) -> Any:
        asked(f"for elicitation ({cut(params.message)}); declined")
        return types.ElicitResult(action="decline")

    async def sample(_context: Any, params: Any) -> Any:
        asked(f"for sampling ({cut(_last_text(_json(params)))}); declined")
        return types.ErrorData(code=types.INVALID_REQUEST, message="Declined: this client has no model to lend.")

    async def hear(message: Any) -> None:
        if isinstance(message, Exception):
            if not isinstance(message, RuntimeError):  # which is how 1.x tells of an answer to a call that was given up
                lost(f"it sent what is no message of the protocol ({described(message)})")
        elif getattr(getattr(message, "root", message), "method", "") == "notifications/tools/list_changed":
            tools_changed()

    callbacks: Any = {"sampling_callback": sample, "elicitation_callback": elicit, "message_handler": hear}
    async with ClientSession(*streams, **callbacks) as session:
        yield Session(session)


@dataclass(frozen=True)
class Session:
    """The SDK's session, asked in plain values.

    Each method may raise `RefusedError` or `ClosedError`.
    """

    _session: Any

    async def handshake(self) -> None:
        """Agree on a version of the protocol."""
        with _errors_as_ours():
            try:
                await self._session.initialize()
            except McpError as error:
                if error.error.code != _NO_HANDSHAKE or not hasattr(self._session, "discover"):
                    raise
                await self._session.discover()

    async def list_tools(self, *, server: str) -> tuple[ToolSpec, ...]:
        """All pages of the list; `server` is the label that the tools shall carry."""
        tools: list[ToolSpec] = []
        page: dict[str, Any] = {}
        for _ in range(_MOST_PAGES):
            listing = await self._tools_page(**page)
            tools += [_tool_spec(tool, server=server) for tool in listing["tools"]]
            if not listing.get("nextCursor"):
                return tuple(tools)
            page = {"params": types.PaginatedRequestParams(cursor=listing["nextCursor"])}
        raise RefusedError(f"its list of tools does not end; {_MOST_PAGES} pages were read")

    async def _tools_page(self, **page: Any) -> dict[str, Any]:
        with _errors_as_ours():
            try:
                return _json(await self._session.list_tools(**page))
            except McpError as error:
                if error.error.code != _NO_SUCH_METHOD:
                    raise
                return {"tools": []}  # a server of prompts or resources only

    async def call_tool(self, name: str, arguments: Mapping[str, Any]) -> ToolOutcome:
        """Call a tool; a result that breaks the tool's own schema is an error of the tool."""
        with _errors_as_ours():
            try:
                return await self._called(name, dict(arguments))
            except (RuntimeError, ValueError) as error:  # what the SDK raises about the result
                return ToolOutcome(text=str(error).partition("\n\n")[0], is_error=True)

    async def _called(self, name: str, arguments: dict[str, Any]) -> ToolOutcome:
        # A server of the 2026 protocol can't send requests. It answers a call with what it wants to know, and is called
        # again with what it was told.
        modern = getattr(self._session, "discover_result", None) is not None
        settings: dict[str, Any] = {"allow_input_required": True} if modern else {}
        for _ in range(_MOST_ROUNDS):
            result = await self._session.call_tool(name, arguments, **settings)
            if not hasattr(result, "input_requests"):
                return ToolOutcome.of(_json(result))
            answers = {}
            for key, request in (result.input_requests or {}).items():
                answers[key] = await self._session.dispatch_input_request(None, request)
                if isinstance(answers[key], types.ErrorData):
                    return ToolOutcome(text=answers[key].message, is_error=True)
            settings |= {"input_responses": answers or None, "request_state": result.request_state}
        return ToolOutcome(text=f"{name} kept asking for input, which was declined each time.", is_error=True)


@contextmanager
def _errors_as_ours() -> Iterator[None]:
    try:
        yield
    except McpError as error:
        if (error.error.code, error.error.message) == _CLOSED:
            raise ClosedError from error
        raise RefusedError(error.error.message) from error
    except (anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
        raise ClosedError from error


def _json(value: Any) -> dict[str, Any]:
    form: dict[str, Any] = value.model_dump(by_alias=True, mode="json")
    return form


def _tool_spec(tool: Mapping[str, Any], *, server: str) -> ToolSpec:
    return _spec_read(json.dumps(tool), server)


@functools.lru_cache(maxsize=1024)  # each turn tells of its tools, and each session has a server of its own
def _spec_read(text: str, server: str) -> ToolSpec:
    tool = json.loads(text)
    hints = tool.get("annotations") or {}
    return ToolSpec(
        name=tool["name"],
        description=tool.get("description") or "",
        input_schema=tool["inputSchema"],
        server=server,
        read_only=hints.get("readOnlyHint"),
        open_world=hints.get("openWorldHint"),
    )


def _last_text(params: Mapping[str, Any]) -> str:
    content = (params.get("messages") or [{}])[-1].get("content") or {}
    block = content[-1] if isinstance(content, list) else content
    return str(block.get("text") or "")

"""How messages travel: over a process's pipes, in memory, over HTTP. Knows no message's meaning.

With `protocol` the only module that imports mcp.
"""

import inspect
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import anyio
from mcp import types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.message import SessionMessage
from pydantic import TypeAdapter

from pytest_aitest.values.agent import MCPServer

from . import quiet
from .factory import built
from .launch import filled_in
from .process import ServerProcess

Streams = tuple[Any, Any]
"""Of the SDK's `SessionMessage`: from the server, and to it."""

_MESSAGE = TypeAdapter[Any](types.JSONRPCMessage)
_STOP_SECONDS = 2.0


class LowLevelServer(Protocol):
    """What every in-process server comes down to, in all versions of mcp."""

    def create_initialization_options(self) -> Any:
        """What `run` wants as `options`."""

    async def run(self, read: Any, write: Any, options: Any, /) -> None:
        """Serve one client, until `read` is at its end."""


@asynccontextmanager
async def streams_to(
    server: MCPServer,
    *,
    process: ServerProcess | None,
    garbage: Callable[[bytes], None],
    answered: Callable[[Any], Awaitable[None]],
    stopped: Callable[[], None],
) -> AsyncIterator[Streams]:
    """The way to `server`, which is `process` where it is a command; the other arguments are those of the ways below.

    Raises:
        ServerStartError: There is no way: a factory that fails, a header that asks for an unknown variable.
    """
    if process is not None:
        way = over_process(process, garbage=garbage, stopped=stopped)
    elif server.factory is not None:
        way = in_process(await built(server.factory, label=server.label), stopped=stopped)
    else:
        headers = filled_in(server.headers, field="headers", label=server.label)
        way = over_http(str(server.url), sse=server.transport == "sse", headers=headers, answered=answered)
    async with way as streams:
        yield streams


@asynccontextmanager
async def over_process(
    process: ServerProcess, *, garbage: Callable[[bytes], None], stopped: Callable[[], None]
) -> AsyncIterator[Streams]:
    """A message is a line on a process's stdin and stdout; a line that is none goes to `garbage`.

    `stopped` is called when no more lines will come.
    """
    to_client, incoming = anyio.create_memory_object_stream[Any](math.inf)
    outgoing, to_server = anyio.create_memory_object_stream[Any](math.inf)

    async def read() -> None:
        with to_client:
            async for line in process.lines():
                try:
                    message = _MESSAGE.validate_json(line)
                except ValueError:
                    if line.strip():
                        garbage(line)
                else:
                    to_client.send_nowait(SessionMessage(message))
        stopped()

    async def write() -> None:
        async for item in to_server:
            process.send(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode())

    with to_client, incoming, outgoing, to_server:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            tasks.start_soon(write)
            yield incoming, outgoing
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def in_process(server: LowLevelServer, *, stopped: Callable[[], None]) -> AsyncIterator[Streams]:
    """A message is handed over in memory; `stopped` is called when the server has left."""
    to_client, incoming = anyio.create_memory_object_stream[Any](math.inf)
    outgoing, to_server = anyio.create_memory_object_stream[Any](math.inf)
    left = anyio.Event()

    async def serve() -> None:
        try:
            await server.run(to_server, to_client, server.create_initialization_options())
        finally:
            to_client.close()
            left.set()
            stopped()

    with to_client, incoming, outgoing, to_server:
        async with anyio.create_task_group() as tasks:
            with quiet.ours(yes=False):  # what the user's own server logs is theirs to hear
                tasks.start_soon(serve)
            yield incoming, outgoing
            outgoing.close()  # with its input at an end it leaves by itself, which takes as long as its lifespan takes
            with anyio.move_on_after(_STOP_SECONDS):
                await left.wait()
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def over_http(
    url: str, *, sse: bool, headers: Mapping[str, str], answered: Callable[[Any], Awaitable[None]]
) -> AsyncIterator[Streams]:
    """A message is an HTTP request; `answered` sees every response, because the SDK keeps the status to itself."""

    def client(headers: Any = None, timeout: Any = None, auth: Any = None) -> Any:
        made: Any = create_mcp_http_client(headers, timeout, auth)
        made.event_hooks = {"response": [answered]}
        return made

    if sse:
        async with sse_client(url, headers=dict(headers), httpx_client_factory=client) as streams:
            yield streams
        return
    # 2.x refuses an event of more than 1 MB, and a tool may well say more; 1.x has no limit.
    limit = "max_sse_event_size"
    unlimited: Any = {limit: None} if limit in inspect.signature(streamable_http_client).parameters else {}
    async with (
        client(headers=dict(headers)) as http,
        streamable_http_client(url, http_client=http, **unlimited) as (read, write, *_),
    ):
        yield read, write

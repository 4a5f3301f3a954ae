"""The live servers of one session: opened when first needed, matched by equality, closed together.

Decides which declaration means which connection; how one is opened is the pool's business.
"""

import asyncio
from collections.abc import Sequence

import anyio

from pytest_aitest.values.agent import Agent, MCPServer
from pytest_aitest.values.errors import SessionError, did_you_mean, quoted

from .servers import Connection, ServerPool


class Connections:
    """What one session is connected to, in the order of opening."""

    def __init__(self, pool: ServerPool) -> None:
        self._pool = pool
        self._open: list[Connection] = []
        self._seats: dict[tuple[str, int], Connection] = {}  # (agent's name, position in its mcp_servers)

    async def serving(self, agent: Agent) -> list[Connection]:
        """The connections to `agent`'s servers, in its order; those that are missing are opened side by side.

        Raises:
            SessionError: A server differs from the one that the session knows by this name, or in this place.
            ServerStartError: One did not become ready. Those that did stay open.
        """
        missing = [
            server for position, server in enumerate(agent.mcp_servers) if not self._knows(agent, position, server)
        ]
        opened: dict[int, Connection] = {}
        errors: dict[int, BaseException] = {}

        async def open_one(number: int, server: MCPServer) -> None:
            try:
                opened[number] = await self._pool.open(server)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - a reset may call pytest.skip(); raised below, at the turn
                errors[number] = error

        try:
            async with anyio.create_task_group() as opening:
                for number, server in enumerate(missing):
                    opening.start_soon(open_one, number, server)
        finally:
            self._open.extend(opened[number] for number in sorted(opened))
        if errors:
            raise errors[min(errors)]
        serving = [self._open[self._declared.index(server)] for server in agent.mcp_servers]
        self._seats.update({(agent.name, position): connection for position, connection in enumerate(serving)})
        return serving

    def with_tool(self, name: str, server: str | None) -> Connection:
        """The connection that has tool `name`; `server` picks one by its label.

        Raises:
            SessionError: There is no such tool or server, or several servers have the tool.
        """
        labels = [connection.label for connection in self._open]
        if server is not None and server not in labels:
            raise SessionError(
                f"The session has no server {server!r}. It has {quoted(labels)}.{did_you_mean(server, labels)}"
            )
        if not self._open:
            raise SessionError(f"There is no tool {name!r} to call: the agent of this session has no tool servers.")
        asked = [connection for connection in self._open if server in (None, connection.label)]
        having = [connection for connection in asked if any(tool.name == name for tool in connection.tools)]
        if not having:
            names = [tool.name for connection in asked for tool in connection.tools]
            raise SessionError(f"No server has a tool {name!r}. There are {quoted(names)}.{did_you_mean(name, names)}")
        if len(having) > 1:
            raise SessionError(
                f"Servers {quoted(connection.label for connection in having)} all have a tool {name!r}. "
                "Say which is meant: call_tool(..., server=...)."
            )
        return having[0]

    def close_soon(self) -> None:
        """Close all in the background, last opened first."""
        self._pool.close_soon(self._open)
        self._open, self._seats = [], {}

    def __bool__(self) -> bool:
        return bool(self._open)

    @property
    def _declared(self) -> Sequence[MCPServer]:
        return [connection.server for connection in self._open]

    def _knows(self, agent: Agent, position: int, server: MCPServer) -> bool:
        """Whether `server` is open; an open one that it would silently replace is an error."""
        if server in self._declared:
            return True
        same_name = [link for link in self._open if server.name is not None and link.server.name == server.name]
        rival = next(iter(same_name), None) or self._seats.get((agent.name, position))
        if rival is not None:
            raise SessionError(_declared_anew(agent, rival.server, server))
        return False


def _declared_anew(agent: Agent, before: MCPServer, now: MCPServer) -> str:
    changed = [
        f"{field} was {getattr(before, field)!r} and is now {getattr(now, field)!r}"
        for field in MCPServer.model_fields
        if getattr(before, field) != getattr(now, field)
    ]
    return (
        f"Server {now.label!r} of agent {agent.name!r} is declared differently than in an earlier turn of this "
        f"session: {'; '.join(changed)}. A new server would have lost the state of the conversation. "
        "If a fixture makes it, give the fixture class scope (with tmp_path_factory in place of tmp_path), so that all "
        "turns share one declaration. If they are two servers, give each a name; if two agents, likewise."
    )

"""All connections of the process: opened, started ahead of need, closed in the background.

Owns the tasks that the connections live in. Everything here is called on the loop's own thread.
"""

import os
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Self

import anyio

from pytest_aitest.values.agent import MCPServer
from pytest_aitest.values.errors import ServerStartError

from . import quiet
from .connection import Connection
from .launch import Launch
from .reset import start_over
from .warm import Templates

_MOST_SPARES = 4  # processes that wait for a session, in suites with many different servers or with several lanes
_MOST_STARTING = os.cpu_count() or 1  # of one server at once: more would only slow down each other
_MOST_MET = 100


class ServerPool:
    """Opens connections, and holds them as long as its `async with` block lasts; nothing of a server outlives it."""

    def __init__(self) -> None:
        self.more_to_come = False  # whether more sessions are expected, so that a server met twice is started ahead
        self.the_same_to_come = False  # whether they will all want the same servers, so that one met once is
        self.started = 0  # servers, spare ones too
        self._connections: list[Connection] = []  # all that have not ended, in the order of their beginning
        self._spares: list[Connection] = []
        self._templates = Templates()
        self._met = deque[MCPServer](maxlen=_MOST_MET)  # no set, because declarations hold mappings and can't be hashed

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as entered:
            entered.enter_context(quiet.sdk_at_debug_level())
            entered.push_async_callback(self._templates.end)  # once no task can ask for one
            self._tasks = await entered.enter_async_context(anyio.create_task_group())
            entered.callback(self._tasks.cancel_scope.cancel)  # whoever did not end when asked to
            entered.push_async_callback(self.aclose)
            self._exits = entered.pop_all()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._exits.aclose()

    async def open(self, server: MCPServer) -> Connection:
        """A connection to `server` in its first state.

        Raises:
            ServerStartError: There is none. What was started of it is gone; after a failed reset it is going.
        """
        launch = Launch.of(server) if server.command else None
        connection = await self._spare(server, launch) or self._begin(server, launch)
        await connection.ready()
        try:
            await start_over(connection)
        except BaseException:
            connection.leave()
            raise
        if server.command and server.start_ahead:
            is_met = server in self._met
            if not is_met:
                self._met.append(server)
            if self.the_same_to_come or (self.more_to_come and is_met):
                self.start_ahead(server)
        return connection

    def start_ahead(self, server: MCPServer) -> None:
        """Start spare processes of `server`, if it is a command, for what is opened next: as many as are in use now.

        The first one may take the place of another server's, further ones only what place is left.
        """
        if not server.command:
            return
        living = [each for each in self._connections if each.server == server and not (each.leaving or each.is_over)]
        spares = [each for each in living if each in self._spares]
        in_use, starting = len(living) - len(spares), sum(not spare.is_alive for spare in spares)
        lacking = min(in_use - len(spares), _MOST_SPARES - len(self._spares), _MOST_STARTING - starting)
        for _ in range(lacking if spares else max(lacking, 1)):
            with suppress(ServerStartError):  # which the opening will raise, if it comes to one
                self._spares.append(self._begin(server, Launch.of(server)))
                self._tasks.start_soon(self._start_next, self._spares[-1])
        for spare in self._spares[:-_MOST_SPARES]:
            spare.leave()
        del self._spares[:-_MOST_SPARES]

    async def _start_next(self, spare: Connection) -> None:
        """Go on starting spares once this one is ready; after one that never is, the next would fail the same."""
        with suppress(ServerStartError):
            await spare.ready()
            if self.more_to_come or self.the_same_to_come:
                self.start_ahead(spare.server)

    def close_soon(self, connections: Sequence[Connection]) -> None:
        """Close `connections` in the background, one after another, the last one first."""
        for connection in connections:
            connection.leaving = True
        self._tasks.start_soon(self._close, tuple(reversed(connections)))

    async def aclose(self) -> None:
        """Close all connections, and wait until they are closed."""
        for spare in self._spares:
            spare.leave()
        await self._close(tuple(reversed(self._connections)))

    def _begin(self, server: MCPServer, launch: Launch | None) -> Connection:
        self.started += 1
        connection = Connection(server, launch=launch, templates=self._templates)
        self._connections.append(connection)
        self._tasks.start_soon(self._hold, connection)
        return connection

    async def _hold(self, connection: Connection) -> None:
        try:
            await connection.live()
        finally:
            self._connections.remove(connection)

    async def _spare(self, server: MCPServer, launch: Launch | None) -> Connection | None:
        """A ready process that was started ahead, if it is what would be started now.

        One that did not become ready is nobody's error, for it may be that it could not run beside another.
        """
        while spare := next((spare for spare in self._spares if spare.server == server), None):
            self._spares.remove(spare)
            if spare.launch == launch:  # else the environment has changed since
                with suppress(ServerStartError):
                    await spare.ready()
                    if spare.is_alive:
                        return spare
            spare.leave()
        return None

    async def _close(self, connections: Sequence[Connection]) -> None:
        for connection in connections:
            await connection.close()

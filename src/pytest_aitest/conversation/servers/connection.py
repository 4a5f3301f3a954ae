"""One live link to one server, from its start to its end.

Entered and left by one task of its own, because the SDK's cancel scopes must be. Whoever calls a tool does so from
their own task, and is told when the link breaks under the call.
"""

import json
import math
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import anyio

from pytest_aitest.values.agent import MCPServer
from pytest_aitest.values.errors import ServerDiedError, ServerStartError, quoted
from pytest_aitest.values.model import ToolSpec

from . import quiet
from .exclusive import turn_at
from .faults import ClosedError, Faults, RefusedError
from .launch import Launch
from .outcome import ToolOutcome
from .process import ServerProcess
from .warm import Templates

_LEAVE_SECONDS = 5.0  # for an orderly end; a process takes its own time, which is bounded too
_CLOSE_SECONDS = 30.0  # more than that, and than a process may take
_TOOLS_POLL_SECONDS = 0.1
_MOST_NOTES = 20


class Connection:
    """One live link to one server. Made by `ServerPool.open`."""

    def __init__(self, server: MCPServer, *, launch: Launch | None, templates: Templates) -> None:
        self.server = server
        self.launch = launch
        self._templates = templates
        self.label = server.label
        self.tools: tuple[ToolSpec, ...] = ()  # without the one that resets the server
        self.offered: list[str] = []  # the names of all tools, that one included
        self.leaving = False  # it has been, or will at once be, told to end
        self._ready = False
        self._leave = anyio.Event()
        self._settled = anyio.Event()  # it is ready, or has ended
        self._ended = anyio.Event()
        self._tools_changed = anyio.Event()
        self._scope = anyio.CancelScope()
        self._calls: set[anyio.CancelScope] = set()
        self._notes: dict[str, None] = {}
        self._faults = Faults(server, launch=launch)

    @property
    def is_alive(self) -> bool:
        """Whether a tool could be called now."""
        return self._ready and not self.leaving and not self._leave.is_set()

    @property
    def is_over(self) -> bool:
        """Whether no tool can be called any more, nor ever will."""
        return self._leave.is_set()

    async def ready(self) -> None:
        """Wait until tools can be called; who gives up waiting gives up the connection.

        Raises:
            ServerStartError: That will not be; nothing of the server is left.
        """
        try:
            await self._settled.wait()
        except BaseException:
            self.leave()
            raise
        if self._ready:
            return
        if isinstance(self._faults.error, ServerStartError):
            raise self._faults.error.with_traceback(None)
        raise ServerStartError(self._faults.start_message()) from self._faults.cause

    async def call_tool(self, name: str, arguments: Mapping[str, Any] | None = None) -> ToolOutcome:
        """Call a tool, known or not; what the server says of it, errors included, is the outcome.

        Raises:
            ServerDiedError: The server is gone, or goes while it is asked.
        """
        if not self.is_alive:
            if self._leave.is_set():
                await self._ended.wait()  # then all is known about its end
            raise self._gone(f"before its tool {name!r} was called")
        try:
            json.dumps(arguments, ensure_ascii=False).encode()
        except (TypeError, ValueError) as error:  # half of an emoji, say; it would end the link
            return ToolOutcome(text=f"The arguments can't be sent as JSON: {error}", is_error=True)
        with quiet.ours(), anyio.CancelScope() as call:
            self._calls.add(call)
            try:
                return await self._session.call_tool(name, arguments or {})
            except RefusedError as refusal:
                return ToolOutcome(text=str(refusal), is_error=True)
            except ClosedError:
                self._leave.set()
                await self._ended.wait()
            finally:
                self._calls.discard(call)
        raise self._gone(f"while its tool {name!r} was called")

    def take_notes(self) -> tuple[str, ...]:
        """What the server did unasked since the last time, such as asking for a user's input; each thing once."""
        notes, self._notes = tuple(self._notes), {}
        return notes

    def leave(self) -> None:
        """Tell it to end, whatever it is doing, and don't wait for that."""
        self.leaving = True
        if self._ready:
            self._leave.set()
        else:
            self._scope.cancel()

    async def close(self) -> None:
        """End it; the second time does nothing."""
        self.leave()
        with anyio.move_on_after(_CLOSE_SECONDS):
            await self._ended.wait()

    async def live(self) -> None:
        """Hold the link from its start to its end, in the one task that may. Raises nothing but cancellation."""
        try:
            with quiet.ours(), self._scope:
                async with AsyncExitStack() as stack:
                    await self._start(stack)
                    self._scope.deadline = math.inf
                    self._ready = True
                    self._settled.set()
                    await self._leave.wait()
                    self._scope.deadline = anyio.current_time() + _LEAVE_SECONDS
        except anyio.get_cancelled_exc_class():
            self.leaving = True
            raise
        except BaseException as error:  # noqa: BLE001 - also what is no Exception, as pytest's outcomes in a factory's tool
            self._faults.error = _innermost(error)
        finally:
            given_up = self.leaving or bool(self._faults.lost)
            self._faults.timed_out = self._scope.cancel_called and not self._ready and not given_up
            for event in (self._leave, self._settled, self._ended):
                event.set()
            for call in self._calls:
                call.cancel()

    async def _start(self, stack: AsyncExitStack) -> None:
        server, seen = self.server, self._faults
        if server.url is not None and server.reset is not None:
            await stack.enter_async_context(turn_at(server.url, holder=self))
        if self.launch is not None:
            seen.process = await self._process(self.launch, stack)
        # The door to mcp, whose import takes 0.3 s (1.30) to 0.45 s (2.3) on two cores: paid when the first server is
        # opened, on nobody's time limit, and for a command while its process, which mostly imports mcp too, is booting.
        from .protocol import session_over  # noqa: PLC0415
        from .transports import streams_to  # noqa: PLC0415

        self._scope.deadline = anyio.current_time() + server.wait.timeout_seconds
        streams = await stack.enter_async_context(
            streams_to(
                server,
                process=seen.process,
                garbage=self._hear_garbage,
                answered=self._hear_response,
                stopped=self._leave.set,
            )
        )
        self._session = await stack.enter_async_context(
            session_over(streams, asked=self._asked, tools_changed=self._relist, lost=self._give_up)
        )
        if server.wait.log is not None and seen.process is not None:
            seen.doing = f"no line on its stderr matched {server.wait.log!r}"
            await seen.process.log_matched.wait()
        seen.doing = "it has not answered the handshake"
        await self._session.handshake()
        seen.doing = "it has not listed its tools"
        offered = await self._all_tools()
        self.offered = [tool.name for tool in offered]
        self.tools = tuple(tool for tool in offered if tool.name != server.reset)
        if self.launch is not None and seen.process is not None:
            self._templates.came_up(self.launch, seen.process)

    async def _process(self, launch: Launch, stack: AsyncExitStack) -> ServerProcess:
        try:
            running = self._templates.running(launch, warm=self.server.warm, ready_log=self.server.wait.log)
            return await stack.enter_async_context(running)
        except (OSError, ValueError) as error:
            why = launch.why_it_failed(error)
            raise ServerStartError(f"Server {self.label!r} can't be started: {why}") from None

    async def _all_tools(self) -> tuple[ToolSpec, ...]:
        while True:
            self._tools_changed = anyio.Event()
            tools = await self._session.list_tools(server=self.label)
            names = [tool.name for tool in tools]
            missing = [name for name in self.server.wait.tools if name not in names]
            if not missing:
                return tools
            self._faults.doing = f"it offers {quoted(names)}, but not {quoted(missing)}"
            with anyio.move_on_after(_TOOLS_POLL_SECONDS):  # not every server says when its tools change
                await self._tools_changed.wait()

    def _gone(self, during: str) -> ServerDiedError:
        if self.leaving:
            return ServerDiedError(
                f"Server {self.label!r} was closed {during}, because a session takes its servers along. "
                "Call tools while it is open."
            )
        death = ServerDiedError(self._faults.death_message(during=during))
        death.__cause__ = self._faults.cause
        return death

    # What the server does unasked.

    def _asked(self, what: str) -> None:
        self._note(f"server {self.label!r} asked {what}")

    def _relist(self) -> None:
        self._tools_changed.set()

    def _hear_garbage(self, line: bytes) -> None:
        self._note(self._faults.saw_garbage(line))

    async def _hear_response(self, response: Any) -> None:
        if why := await self._faults.saw_response(response):
            self._give_up(why)

    def _give_up(self, why: str) -> None:
        self._faults.lost = self._faults.lost or why
        if self._ready:
            self._leave.set()
        else:
            self._scope.cancel()

    def _note(self, text: str) -> None:
        if len(self._notes) < _MOST_NOTES:
            self._notes[text] = None


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

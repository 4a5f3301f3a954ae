"""A template, seen from outside: its start, and the processes that are forked from it.

Speaks the lines that `template.py` describes. A forked process is no child of ours, so its template tells how it ended;
whoever holds it sees a transport like that of any subprocess.
"""

import asyncio
import json
import os
import signal
import socket
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import cast

import anyio

from .launch import Launch, PythonRun

_PROGRAM = str(Path(__file__).with_name("template.py"))
# Of other people's code only what servers of mcp import, the last two once they run: what happens before the fork is
# shared by all servers, and a server's own modules may keep state, draw lots or start threads as they are imported.
_WARM = "mcp.server,mcp.server.stdio,anyio._backends._asyncio,rich.logging"
_STDIN, _STDOUT, _STDERR = range(3)
_PATIENCE_SECONDS = 2.0
_ANSWER_SECONDS = 5.0  # a fork takes some milliseconds


class Template(asyncio.Protocol):
    """A process that has imported mcp, and what was forked from it."""

    def __init__(self) -> None:
        self.is_ready = False
        self.settled = asyncio.Event()  # it is ready, or never will be
        self._program: asyncio.SubprocessTransport | None = None
        self._unfinished_line = b""
        self._asked = deque[_Forked]()  # those that it has not told of yet, in its order
        self._living: dict[int, _Forked] = {}

    async def begin(self, launch: Launch) -> None:
        """Start it, for a launch that runs Python; it is not ready yet.

        Raises:
            OSError: It could not be created.
        """
        run, loop = cast("PythonRun", launch.python), asyncio.get_running_loop()
        with ExitStack() as failing:
            failing.callback(self.settled.set)
            self._socket, theirs = socket.socketpair()
            with theirs:
                await loop.create_connection(lambda: self, sock=self._socket)
                failing.callback(self._link.close)
                self._program, self._end = await loop.subprocess_exec(
                    _Program,
                    *(*run.interpreter, _PROGRAM, str(theirs.fileno()), _WARM, launch.cwd, *run.arguments),
                    # Its streams are pipes that nobody uses. Python asks only once whether a stream can seek: had it
                    # /dev/null, which can, a server that asks its pipe for the position would fail (mcp 1.x does).
                    cwd=launch.cwd,
                    env=launch.env,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C in a terminal is not for it
                )
            failing.pop_all()

    @property
    def is_in_use(self) -> bool:
        """Whether anything that was forked from it lives."""
        return bool(self._asked or self._living)

    async def fork(self, process: asyncio.SubprocessProtocol) -> None:
        """Fork a server; `process` hears of it as of any subprocess. Don't cancel this.

        Raises:
            OSError: There is none, and `process` has heard nothing.
        """
        forked = _Forked(process)
        try:
            with ExitStack() as theirs:
                files = await forked.connect(theirs)
                if self.is_ready:
                    socket.send_fds(self._socket, [b"+"], files)
                    self._asked.append(forked)  # only now: what was never asked for will not be told of
                    with anyio.move_on_after(_ANSWER_SECONDS):
                        await forked.settled.wait()
                    if self.is_ready and not forked.settled.is_set():
                        self._kill()
            if not forked.get_pid():
                raise ConnectionError("the template did not fork it")
        finally:
            if not forked.get_pid():
                forked.close()

    async def end(self) -> None:
        """End it, and all that was forked from it. Can't be cancelled."""
        if self._program is None:  # it could not be created
            return
        with anyio.CancelScope(shield=True):
            self._link.close()  # at which it ends by itself
            with anyio.move_on_after(_PATIENCE_SECONDS):
                await self._end.exited.wait()
            self._program.close()  # which kills it, if it has not
            await self._end.exited.wait()

    def _kill(self) -> None:
        """End it at once, and all that was forked from it, told of or not."""
        self.is_ready = False
        self._link.close()
        program = cast("asyncio.SubprocessTransport", self._program)
        with suppress(ProcessLookupError):
            program.send_signal(signal.SIGSTOP)  # so that it has no further child, and no process takes over an id
            for child in _children(program.get_pid()):
                for kill in (os.killpg, os.kill):  # it may not have come to lead its group
                    with suppress(ProcessLookupError, PermissionError):
                        kill(child, signal.SIGKILL)
            program.kill()

    # What the loop says of the socket.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It can be read."""
        self._link = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """The template wrote."""
        *lines, self._unfinished_line = (self._unfinished_line + data).split(b"\n")
        for line in lines:
            self._told(**json.loads(line))

    def _told(self, pid: int = 0, code: int | None = None) -> None:
        if not pid:
            self.is_ready = True
            self.settled.set()
        elif pid < 0:
            self._asked.popleft().settled.set()
        elif code is None:
            self._living[pid] = self._asked.popleft()
            self._living[pid].begin(pid)
        elif server := self._living.pop(pid, None):  # else a child of another kind: of a `sitecustomize`, say
            server.exited(code)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The template is no more."""
        self.is_ready = False
        self.settled.set()
        for forked in self._asked:
            forked.settled.set()
        for pid, forked in self._living.items():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            forked.exited(-signal.SIGKILL)
        self._asked.clear()
        self._living.clear()


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


class _Program(asyncio.SubprocessProtocol):
    """What asyncio says of the template's process."""

    def __init__(self) -> None:
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        """It is no more."""
        self.exited.set()


class _Forked(asyncio.SubprocessTransport):
    """A forked process, which tells `process` what asyncio tells of one that it has started itself."""

    def __init__(self, process: asyncio.SubprocessProtocol) -> None:
        super().__init__()
        self.settled = asyncio.Event()  # it runs, or never will
        self._process = process
        self._pid = 0
        self._code: int | None = None
        self._pipes: dict[int, _Pipe] = {}

    async def connect(self, theirs: ExitStack) -> list[int]:
        """Make its pipes, silent until `begin`; the three ends that are to be its own, which `theirs` closes."""
        loop = asyncio.get_running_loop()
        files = []
        for number in (_STDIN, _STDOUT, _STDERR):
            reading, writing = os.pipe()
            pipe = _Pipe(self, number)
            files.append(reading if number == _STDIN else writing)
            theirs.callback(os.close, files[-1])
            if number == _STDIN:
                await loop.connect_write_pipe(pipe.itself, os.fdopen(writing, "wb", 0))
            else:
                await loop.connect_read_pipe(pipe.itself, os.fdopen(reading, "rb", 0))
            self._pipes[number] = pipe
        return files

    def begin(self, pid: int) -> None:
        """It runs."""
        self._pid = pid
        self._process.connection_made(self)
        for number in (_STDOUT, _STDERR):
            cast("asyncio.ReadTransport", self._pipes[number].transport).resume_reading()
        self.settled.set()

    def exited(self, code: int) -> None:
        """It has ended, with an exit code as of `subprocess`."""
        self._code = code
        self._process.process_exited()
        self._release()

    def heard(self, number: int, data: bytes) -> None:
        """A pipe brought something."""
        self._process.pipe_data_received(number, data)

    def disconnected(self, number: int, error: Exception | None) -> None:
        """A pipe is at its end."""
        if self._pid:
            self._process.pipe_connection_lost(number, error)
            self._release()

    def _release(self) -> None:
        if self._code is not None and all(pipe.is_over for pipe in self._pipes.values()):
            self._process.connection_lost(None)

    # What a transport is asked.

    def get_pid(self) -> int:
        """Its process id; 0 while, or if, it does not run."""
        return self._pid

    def get_returncode(self) -> int | None:
        """Its exit code, once it has ended."""
        return self._code

    def get_pipe_transport(self, fd: int) -> asyncio.BaseTransport:
        """Our end of its stdin (0), stdout (1) or stderr (2)."""
        return self._pipes[fd].transport

    def close(self) -> None:
        """Close our ends of its pipes."""
        for pipe in self._pipes.values():
            pipe.transport.close()


class _Pipe(asyncio.Protocol):
    """One of a forked process's pipes."""

    transport: asyncio.BaseTransport

    def __init__(self, owner: _Forked, number: int) -> None:
        self.is_over = False
        self._owner = owner
        self._number = number

    def itself(self) -> "_Pipe":
        """What the loop takes in place of a class."""
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there; what comes through it has to wait until its process is known."""
        self.transport = transport
        if self._number != _STDIN:
            cast("asyncio.ReadTransport", transport).pause_reading()

    def data_received(self, data: bytes) -> None:
        """Something came."""
        self._owner.heard(self._number, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing will come any more."""
        self.is_over = True
        self._owner.disconnected(self._number, exc)

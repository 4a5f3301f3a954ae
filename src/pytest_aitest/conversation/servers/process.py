"""A server's process: lines in, lines out, its last words and its end. Knows nothing of what the lines mean.

Built on asyncio's own transport, not on the SDK's `stdio_client`. That tells neither the exit code nor the process id,
and with mcp 1.30 waits for whoever inherited the pipes: giving up a launcher (such as `uv run`) whose child did not
listen, with 1 s for its start, took the 60 s that the child lived. This takes 1 s.
"""

import asyncio
import math
import os
import re
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Self, cast

import anyio

from pytest_aitest.values.plain import inert

from .launch import Launch

_STDOUT, _STDERR = 1, 2
_MOST_LINE_BYTES = {_STDOUT: 256_000_000, _STDERR: 8_192}  # a longer one is cut in two, so that memory is bounded
_KEPT_LOG_LINES = 12
_MOST_WAITING_LINES = 10_000  # more, and the process has to wait until they are read
_PATIENCE_SECONDS = 2.0  # to end once its input is closed, and again when asked to; the protocol wants this order
_LAST_WORDS_SECONDS = 0.5  # between the end of a process, or of its stdout, and the end of its other pipes
_REAP_SECONDS = 5.0  # nothing survives SIGKILL; this is for a kernel that is late


class ServerProcess(asyncio.SubprocessProtocol):
    """One process and its pipes; it lives as long as the `async with` block. Made by `started`, or forked."""

    def __init__(self, *, ready_log: str | None) -> None:
        self.fate = ""  # how it ended, as a sentence's end; empty while it runs, and where it was us who ended it
        self.log: deque[str] = deque(maxlen=_KEPT_LOG_LINES)  # the last lines of its stderr
        self.log_matched = asyncio.Event()  # a line of it matched `ready_log`, or there will be none
        self._ready_log = re.compile(ready_log) if ready_log is not None else None
        self._parts: dict[int, list[bytes]] = {_STDOUT: [], _STDERR: []}  # of the line that has not ended yet
        self._stopping = False
        self._ended = False
        self._exited = asyncio.Event()
        self._released = asyncio.Event()

    def send(self, line: bytes) -> None:
        """Write a line to its stdin."""
        self._stdin.write(line + b"\n")

    async def lines(self) -> AsyncIterator[bytes]:
        """What it writes to stdout, without the ends of the lines."""
        async for line in self._lines:
            if not self._lines.statistics().current_buffer_used:
                self._stdout.resume_reading()
            yield line

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._transport.get_pid()

    @property
    def unfinished_line(self) -> bytes:
        """What it wrote to stdout after the last end of a line."""
        return b"".join(self._parts[_STDOUT])

    @property
    def last_words(self) -> str:
        """The end of its stderr, harmless and indented, or nothing."""
        return "".join(f"\n    {inert(line)[:300]}" for line in self.log)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        """End it and all that it started; after an exception or cancellation it gets no time to do so by itself."""
        await self._stop(patience_seconds=_PATIENCE_SECONDS if kind is None else 0.0)

    async def _stop(self, *, patience_seconds: float) -> None:
        self._stopping = True
        with anyio.CancelScope(shield=True):
            self._stdin.close()
            if patience_seconds and not self.fate and not await self._exits_within(patience_seconds):
                self._signal(signal.SIGTERM)
                await self._exits_within(patience_seconds)
            self._signal(_KILL)  # also what a process that has ended left behind
            await self._exits_within(_REAP_SECONDS)
            self._transport.close()
            with anyio.move_on_after(_REAP_SECONDS):
                await self._released.wait()
            self._end()
            self._lines.close()

    async def _exits_within(self, seconds: float) -> bool:
        with anyio.move_on_after(seconds):
            await self._exited.wait()
        return self._exited.is_set()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._transport.send_signal(number)
            else:
                os.killpg(self._transport.get_pid(), number)  # it leads a group of its own; see `started`

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop says: it was created."""
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self._stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        self._stdout = cast("asyncio.ReadTransport", self._transport.get_pipe_transport(_STDOUT))
        self._sender, self._lines = anyio.create_memory_object_stream[bytes](math.inf)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """The loop says: it wrote something."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._line(fd, b"".join((*self._parts[fd], end)))
            self._parts[fd] = []
        self._parts[fd].append(rest)
        if sum(map(len, self._parts[fd])) > _MOST_LINE_BYTES[fd]:
            self._line(fd, b"".join(self._parts[fd]))
            self._parts[fd] = []

    def _line(self, fd: int, line: bytes) -> None:
        if fd == _STDOUT:
            with suppress(anyio.ClosedResourceError):  # too late: its end has been told
                self._sender.send_nowait(line)
            if self._sender.statistics().current_buffer_used > _MOST_WAITING_LINES:
                self._stdout.pause_reading()
            return
        text = line.decode(errors="replace").rstrip()
        self.log.append(text)
        if self._ready_log is not None and self._ready_log.search(text):
            self.log_matched.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The loop says: one of its pipes is at its end."""
        if fd == _STDOUT:
            self._end_soon()

    def process_exited(self) -> None:
        """The loop says: it is no more, though others may still hold its pipes."""
        self._exited.set()
        self._end_soon()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The loop says: it is no more, and all its pipes are at their end."""
        self._released.set()
        self._end()

    def _end_soon(self) -> None:
        # Not at once: what it said last may still be in the other pipe. But not only once all pipes are at their end
        # either: a child that inherited them may hold them for ever.
        asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, self._end)

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if not self._stopping:
            self.fate = self._fate()
        if rest := b"".join(self._parts[_STDERR]):
            self._line(_STDERR, rest)
        self._sender.close()
        self.log_matched.set()

    def _fate(self) -> str:
        code = self._transport.get_returncode()
        if code is None:
            return "its process closed its stdout"
        if code < 0:
            return f"its process was killed by {_NAMES.get(-code, f'signal {-code}')}"
        return f"its process ended with exit code {code}"


_KILL = signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL
_NAMES = {int(number): number.name for number in signal.Signals}


async def started(launch: Launch, *, ready_log: str | None = None) -> ServerProcess:
    """A process that runs a program of its own. Don't cancel this: it would be left behind.

    Raises:
        OSError, ValueError: It could not be created.
    """
    _, process = await asyncio.get_running_loop().subprocess_exec(
        lambda: ServerProcess(ready_log=ready_log),
        launch.program,
        *launch.command[1:],
        cwd=launch.cwd,
        env=launch.env,
        start_new_session=True,  # a process group of its own, so that it can be ended with all that it started
    )
    return process

"""The one event loop of the process, in its own thread, with all that lives on it: servers, rates, models.

The only place that knows threads. Everybody else is async, or blocks on what runs here. One loop for all, because
litellm warns and leaks at each new one, and because a server must outlive the loop that a runner makes for one test.
"""

import asyncio
import atexit
import concurrent.futures
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread
from anyio.from_thread import start_blocking_portal

from pytest_aitest.values.agent import Provider
from pytest_aitest.values.errors import AitestError, SessionError

from .models import Model, close_models, model_for
from .rates import Rates
from .servers import ServerPool

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Engine:
    """A running loop with its servers; `Engine.shared()` is the process's own."""

    _shared: ClassVar[dict[int, Self]] = {}  # by process: after a fork the parent's is only a memory
    _starting: ClassVar[threading.Lock] = threading.Lock()

    @classmethod
    def shared(cls) -> Self:
        """The process's engine, started at the first call and again after `close_shared`."""
        with cls._starting:
            engine = cls._shared.get(os.getpid())
            if engine is None or not engine.is_running:
                engine = cls._shared[os.getpid()] = cls()
            return engine

    @classmethod
    def close_shared(cls) -> None:
        """Close what `shared` started, if anything: no server, task or thread of it is left."""
        with cls._starting:
            engine = cls._shared.pop(os.getpid(), None)
        if engine is not None:
            engine.close()

    def __init__(self) -> None:
        self._process = os.getpid()
        self._closed = False
        # Known in the loop, not by whoever asked: Ctrl-C may come before they hold what they asked for.
        self._running: set[anyio.CancelScope] = set()
        # Under xdist all workers draw on one account.
        self.rates = Rates(share=int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
        with ExitStack() as starting:
            self._portal = starting.enter_context(start_blocking_portal("asyncio"))
            starting.callback(self._portal.call, close_models)
            self.pool = starting.enter_context(self._portal.wrap_async_context_manager(self._portal.call(ServerPool)))
            self._thread = self._portal.call(threading.current_thread)
            self._exits = starting.pop_all()

    def close(self) -> None:
        """Give up what still runs, close all servers and models, last opened first, and end the loop's thread."""
        was_running, self._closed = self.is_running, True
        if was_running:
            self._portal.call(self._give_up)
            self._exits.close()

    def _give_up(self) -> None:
        for scope in tuple(self._running):
            scope.cancel()

    @property
    def is_running(self) -> bool:
        """Whether anything can still be run: not after `close`, a `sys.exit()` in the loop, or a fork."""
        return not self._closed and self._process == os.getpid() and self._thread.is_alive()

    def model(self, provider: Provider) -> Model:
        """The model that a provider names."""
        return model_for(provider, rates=self.rates)

    def run(self, function: Callable[[*Arguments], Awaitable[Result]], *arguments: *Arguments) -> Result:
        """Run on the loop and block this thread until done; Ctrl-C here cancels there.

        Raises:
            SessionError: This thread is the loop's own, which would wait for itself for ever, or the loop has ended.
        """
        __tracebackhide__ = True
        if threading.current_thread() is self._thread:
            raise SessionError(
                "A coroutine that is a model or a server blocks on a session, and both run on one event loop. "
                "Await it instead: `await session.say_async(...)`, `await session.call_tool_async(...)`."
            )
        future = self._start(function, *arguments)
        try:
            return _returned(future.result())
        except concurrent.futures.CancelledError:
            raise self._ended() from None
        finally:
            future.cancel()

    async def run_async(self, function: Callable[[*Arguments], Awaitable[Result]], *arguments: *Arguments) -> Result:
        """The same, awaited from any other loop, asyncio's or trio's; cancelling here cancels there."""
        __tracebackhide__ = True
        if threading.current_thread() is self._thread:  # a model that asks another
            return await function(*arguments)
        future = self._start(function, *arguments)
        try:
            # A thread that waits, because a future of ours can't wake a loop whose kind we don't know.
            return _returned(await anyio.to_thread.run_sync(future.result, abandon_on_cancel=True))
        except concurrent.futures.CancelledError:
            raise self._ended() from None
        finally:
            future.cancel()

    def _start(self, function: Callable[..., Awaitable[Result]], *arguments: Any) -> "Future[Result | _Raised]":
        if not self.is_running:
            raise self._ended()
        try:
            return self._portal.start_task_soon(self._conducted, function, *arguments)
        except RuntimeError:  # the loop is about to end
            raise self._ended() from None

    async def _conducted(self, function: Callable[..., Awaitable[Result]], *arguments: Any) -> "Result | _Raised":
        with anyio.CancelScope() as scope:
            self._running.add(scope)
            if self._closed:
                scope.cancel()
            try:
                return await _caught(function, *arguments)
            finally:
                self._running.discard(scope)
        raise asyncio.CancelledError

    def _ended(self) -> SessionError:
        self._closed = True
        return SessionError(
            "The session's event loop has ended: with the pytest run, because the process was forked, or because a "
            "tool or a model in it called sys.exit(). Open a new session here, and raise an ordinary error there."
        )


@dataclass(frozen=True)
class _Raised:
    """An error on its way to the thread that asked; raised in the loop, `pytest.fail()` of a model would end it."""

    error: BaseException


async def _caught(function: Callable[..., Awaitable[Result]], *arguments: Any) -> Result | _Raised:
    try:
        return await function(*arguments)
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to whoever asked
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        return _Raised(error)


def _returned(outcome: Result | _Raised) -> Result:
    __tracebackhide__ = True
    if not isinstance(outcome, _Raised):
        return outcome
    if isinstance(outcome.error, AitestError):  # it says all; only the caller's frames help
        raise outcome.error.with_traceback(None) from outcome.error.__cause__
    raise outcome.error


atexit.register(Engine.close_shared)

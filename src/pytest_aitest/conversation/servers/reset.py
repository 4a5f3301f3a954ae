"""Bringing a server to its first state, by what its declaration says in `reset`."""

import inspect
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread

from pytest_aitest.values.errors import ServerDiedError, ServerStartError, did_you_mean, quoted

from .connection import Connection
from .faults import cut, described


async def start_over(connection: Connection) -> None:
    """Run the server's `reset`, if it has one.

    Raises:
        ServerStartError: There is no such tool, or it failed, or it took longer than the server may take to start.
    """
    reset, seconds = connection.server.reset, connection.server.wait.timeout_seconds
    if reset is None:
        return
    try:
        with anyio.fail_after(seconds):
            await (_by_tool(connection, reset) if isinstance(reset, str) else _by_function(reset))
    except ServerStartError:
        raise
    except ServerDiedError as error:
        raise ServerStartError(str(error)) from None
    except TimeoutError as error:
        raise ServerStartError(
            f"Server {connection.label!r} was not reset within {seconds:g} s. Make its reset faster, "
            "or give it more time with wait=Wait.ready(timeout_seconds=...)."
        ) from error
    except Exception as error:
        name = getattr(reset, "__name__", repr(reset))
        raise ServerStartError(
            f"Server {connection.label!r} can't be reset: {name} raised {described(error)}. "
            "Until it works, no session would start in a known state."
        ) from error


async def _by_tool(connection: Connection, name: str) -> None:
    if name not in connection.offered:
        raise ServerStartError(
            f"Server {connection.label!r} has no tool {name!r} to be reset with. "
            f"It offers {quoted(connection.offered)}.{did_you_mean(name, connection.offered)}"
        )
    outcome = await connection.call_tool(name)
    if outcome.is_error:
        raise ServerStartError(
            f"Server {connection.label!r} can't be reset: its tool {name!r} answered with an error, "
            f"{cut(outcome.text)}. Until it works, no session would start in a known state."
        )


async def _by_function(reset: Callable[[], Any]) -> None:
    # A plain function may block (that is how one talks to a database), so it gets a thread.
    made = (
        reset() if inspect.iscoroutinefunction(reset) else await anyio.to_thread.run_sync(reset, abandon_on_cancel=True)
    )
    if inspect.isawaitable(made):
        await made

"""In-process servers: what a factory returns, whichever version of which framework it was written for."""

import inspect
from collections.abc import Callable
from typing import Any

from pytest_aitest.values.errors import ServerStartError

from . import quiet
from .faults import described


async def built(factory: Callable[[], Any], *, label: str) -> Any:
    """A fresh low-level server of `factory`'s.

    Called on the loop's thread, where mcp 1.x runs tools that are plain functions too, so that they may use what a
    factory opened (an sqlite3 connection, say).

    Raises:
        ServerStartError: It raised, or returned something else.
    """
    try:
        with quiet.ours(yes=False), quiet.root_logger_kept():
            made = factory()
            if inspect.isawaitable(made):
                made = await made
    except Exception as error:
        raise ServerStartError(
            f"Server {label!r} can't be started: its factory raised {described(error)}. Call it by itself to see where."
        ) from error
    # `MCPServer` of 2.x, `FastMCP` of 1.x and of the package of that name, or a low-level server as it is.
    for candidate in (getattr(made, "_lowlevel_server", None), getattr(made, "_mcp_server", None), made):
        if hasattr(candidate, "create_initialization_options") and hasattr(candidate, "run"):
            return candidate
    raise ServerStartError(
        f"Server {label!r} can't be started: its factory returned {_described(made)}, which is no MCP server. "
        "Return an mcp MCPServer (FastMCP in mcp 1.x) or a low-level Server."
    )


def _described(made: Any) -> str:
    return "None" if made is None else f"a {type(made).__qualname__}"

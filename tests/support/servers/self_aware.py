"""A server that knows what its process is, and can end it in more than one way."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

try:
    from mcp.server import MCPServer
except ImportError:  # mcp 1.x
    from mcp.server.fastmcp import FastMCP as MCPServer

CALLS = itertools.count(1)


def start() -> dict[str, Any]:
    """What is the same in two processes that were started the same."""
    parent = sys.modules.get(__package__ or "")
    return {
        "module": {name: of_value(value) for name, value in globals().items() if name.startswith("__")},
        "spec": __spec__ and [__spec__.name, __spec__.origin],
        "is the main module": vars(sys.modules["__main__"]) is globals(),
        "argv": list(sys.argv),
        "argv in the package": getattr(parent, "ARGV", None),
        "orig_argv": sys.orig_argv,
        "path": list(sys.path),
        "flags": str(sys.flags),
        "cwd": str(Path.cwd()),
        "env": dict(os.environ),
        "descriptors": sorted(descriptors()),
        "streams": [of_stream(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "signals": {number.name: str(signal.getsignal(number)) for number in signal.Signals},
        "blocked signals": len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "threads": threading.active_count(),
    }


def of_value(value: Any) -> str:
    return str(value) if isinstance(value, str | dict | None) else type(value).__name__


def of_stream(stream: Any) -> dict[str, Any]:
    names = ("name", "mode", "encoding", "errors", "newlines", "line_buffering", "write_through")
    return {name: getattr(stream, name) for name in names} | {
        "buffer": repr(stream.buffer),
        "is a terminal": stream.isatty(),
        "can seek": stream.seekable(),
        "blocks": os.get_blocking(stream.fileno()),
        "is inherited": os.get_inheritable(stream.fileno()),
    }


def descriptors() -> dict[int, str]:
    """Those that are open, and what they lead to; without the one that it takes to look."""
    folder = Path("/proc/self/fd")
    return {int(each.name): str(each.readlink()) for each in folder.iterdir() if each.is_symlink()}


AT_START = start()


def build() -> MCPServer:
    server = MCPServer("self_aware", log_level="ERROR")  # mcp 1.x tells of each request otherwise

    @server.tool()
    def tell() -> str:
        """What this process is."""
        ids = {"pid": os.getpid(), "ppid": os.getppid(), "pgid": os.getpgrp(), "sid": os.getsid(0)}
        return json.dumps(ids | {"start": AT_START, "descriptors": descriptors()})

    @server.tool()
    def count() -> int:
        """How often it was called."""
        return next(CALLS)

    @server.tool()
    def draw() -> float:
        """A random number."""
        return random.random()

    @server.tool()
    def leave() -> None:
        """End without ado."""
        log("I am leaving")
        os._exit(3)

    @server.tool()
    def die() -> None:
        """End by a signal."""
        os.kill(os.getpid(), signal.SIGKILL)

    @server.tool()
    def beget() -> int:
        """Start a process that would live on; its id."""
        sleeping = "import time; time.sleep(600)"
        return subprocess.Popen([sys.executable, "-c", sleeping], stdin=subprocess.DEVNULL).pid

    return server


def log(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> None:
    log("I am awake")
    build().run()


if __name__ == "__main__":
    main()

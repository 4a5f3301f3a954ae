"""The bank on loopback, over both HTTP transports at once: `/mcp` and `/sse`. All clients share its two accounts.

As a process it prints the port that it listens on once it does.
"""

import runpy
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn


@contextmanager
def running() -> Iterator[str]:
    """The bank in a process of its own; where it is reached, without the path."""
    # By path, not as a module: the package of the tests is found by pytest, not by Python.
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def main() -> None:
    server = runpy.run_path(str(Path(__file__).with_name("bank.py")))["build"]()
    app = server.streamable_http_app()
    app.router.routes.extend(server.sse_app().routes)
    listening = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listening.getsockname()[1]}\n")  # from here on whoever connects waits for the server's start
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])


if __name__ == "__main__":
    main()

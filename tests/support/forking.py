"""pytest in processes forked from one that has imported what pytest and we are built on: half a second sooner each.

No plugin is imported before the fork, and nothing of ours: what a run registers and leaves behind is its own.
Uses the template of our servers.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from pytest_aitest.conversation.servers import template

_MODULES = (
    "pytest _pytest.pytester hypothesis.stateful hypothesis.internal.conjecture.engine pydantic.dataclasses "
    "anyio._backends._asyncio anyio.from_thread rich.console rich.table jsonschema sqlite3 mcp.server.stdio "
    "mcp.client.sse mcp.client.streamable_http"
)
_PROGRAM = Path(__file__).with_name("pytest_run.py")


class Forking:
    """The process that they are forked from, for as long as the `with` block lasts."""

    def __enter__(self) -> Self:
        self._link, theirs = socket.socketpair()
        program = [sys.executable, template.__file__]
        command = [*program, str(theirs.fileno()), ",".join(_MODULES.split()), str(Path.cwd()), str(_PROGRAM)]
        with theirs:  # by a shell that ends at once, because there are tests that count the children of their process
            fds, env = [theirs.fileno()], _sober(os.environ)
            subprocess.run(["sh", "-c", '"$0" "$@" &', *command], pass_fds=fds, env=env, check=True)
        self._lines = self._link.makefile()
        assert self._told() == {}
        return self

    def __exit__(self, *_error: object) -> None:
        self._lines.close()
        self._link.close()  # at which it ends

    def run(self, arguments: Sequence[str], *, cwd: Path, out: Path, err: Path) -> int:
        """Run `pytest` with `arguments`, in the environment of now; its exit code."""
        job = {"arguments": arguments, "cwd": str(cwd), "env": dict(os.environ)}
        reading, writing = os.pipe()
        with out.open("wb") as stdout, err.open("wb") as stderr:
            socket.send_fds(self._link, [b"+"], [reading, stdout.fileno(), stderr.fileno()])
        os.close(reading)
        with os.fdopen(writing, "w") as stdin:
            json.dump(job, stdin)
        begun = self._told()
        assert begun["pid"] > 0
        ended = self._told()
        assert begun["pid"] == ended["pid"]
        return ended["code"]

    def _told(self) -> dict[str, int]:
        told: dict[str, int] = json.loads(self._lines.readline())
        return told


def _sober(env: Mapping[str, str]) -> dict[str, str]:
    """Without what says that this is CI, which Hypothesis would believe as it is imported."""
    return {name: value for name, value in env.items() if name not in ("CI", "GITHUB_ACTIONS")}

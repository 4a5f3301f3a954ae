"""What a server is started with: the declaration, with everything that it takes from the environment filled in.

Pure but for reading the environment. Two equal launches start the same thing.
"""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pytest_aitest.values.agent import MCPServer
from pytest_aitest.values.errors import ServerStartError, did_you_mean
from pytest_aitest.values.secrets import SECRETS

# What the SDK's own stdio client passes on, in 1.x and 2.x. A copy, so that a process can be started, and boot, while
# mcp is being imported.
_INHERITED = (
    "APPDATA HOMEDRIVE HOMEPATH LOCALAPPDATA PATH PATHEXT PROCESSOR_ARCHITECTURE SYSTEMDRIVE SYSTEMROOT TEMP USERNAME "
    "USERPROFILE"
    if sys.platform == "win32"
    else "HOME LOGNAME PATH SHELL TERM USER"
).split()

_PYTHON = re.compile(r"python(\d+(\.\d+)?)?")
_OPTIONS = ("-u", "-B", "-O", "-OO", "-E", "-s", "-P")  # those of Python that mean the same to a fork of it


@dataclass(frozen=True, kw_only=True)
class Launch:
    """All that decides how a process comes up. `env` may hold secrets, so messages show `command` only."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False, hash=False)
    cwd: str

    @classmethod
    def of(cls, server: MCPServer) -> "Launch":
        """What `server`, a command, would be started with at this moment.

        Raises:
            ServerStartError: It asks for a variable that isn't set.
        """
        inherited = {
            name: value
            for name in _INHERITED
            # A value that is a shell function, as old versions of bash export them, is a security risk.
            if (value := os.environ.get(name)) is not None and not value.startswith("()")
        }
        # As in an activated environment: "python" is the one that runs the tests, whether or not somebody activated it.
        inherited["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
        return cls(
            command=(*server.command, *server.args),
            env=inherited | filled_in(server.env, field="env", label=server.label),
            cwd=str(Path(server.cwd or ".").absolute()),
        )

    @property
    def python(self) -> "PythonRun | None":
        """The parts of a command that runs Python; None where it runs anything else, or Python in a way of its own."""
        words = self.command[1:]
        begin = next((at for at, word in enumerate(words) if word not in _OPTIONS), len(words))
        match words[begin:]:
            case ["-m", _, *_] as arguments:
                pass
            case [script, *_] as arguments if not script.startswith("-"):
                pass
            case _:
                return None
        if not _PYTHON.fullmatch(Path(self.command[0]).name):
            return None
        return PythonRun(interpreter=(self.command[0], *words[:begin]), arguments=arguments)

    @property
    def shown(self) -> str:
        """The command as one would type it."""
        return shlex.join(self.command)

    @property
    def program(self) -> str:
        """What to execute; Windows doesn't find `npx.cmd` as `npx` by itself."""
        if sys.platform == "win32":
            return shutil.which(self.command[0], path=self.env.get("PATH")) or self.command[0]
        return self.command[0]

    def why_it_failed(self, error: Exception) -> str:
        """What kept the process from being created, and what to do instead."""
        if not Path(self.cwd).is_dir():
            return f"its cwd {self.cwd!r} is not a folder. Give the path of one that exists."
        if not isinstance(error, FileNotFoundError):
            return f"{self.shown!r} can't be run: {error}. Try it in a terminal."
        program = self.command[0]
        if Path(program).name != program:
            return f"there is no program {program!r}. Check the path; a relative one starts at {self.cwd!r}."
        return f"command {program!r} was not found on PATH.{did_you_mean(program, sorted(self._programs()))} " + (
            "For the Python that runs the tests, write sys.executable."
            if program.startswith("py")
            else "Install it, or give its full path."
        )

    def _programs(self) -> Iterator[str]:
        for folder in self.env.get("PATH", "").split(os.pathsep):
            with suppress(OSError):
                yield from os.listdir(folder or ".")  # noqa: PTH208 - names are all we want of thousands of files


@dataclass(frozen=True, kw_only=True)
class PythonRun:
    """A command that runs Python, in its parts."""

    interpreter: Sequence[str]  # with its options
    arguments: Sequence[str]  # the script or `-m module`, and what follows


def filled_in(values: Mapping[str, str], *, field: str, label: str) -> dict[str, str]:
    """`values` with each `${NAME}` replaced by that variable; any other dollar sign is one.

    Raises:
        ServerStartError: No such variable is set.
    """
    filled = {key: _filled_in(value, place=f"{field}[{key!r}]", label=label) for key, value in values.items()}
    SECRETS.learn(field, filled)  # a variable's own name may not tell
    return filled


def _filled_in(value: str, *, place: str, label: str) -> str:
    def variable(match: re.Match[str]) -> str:
        name = match[1]
        if name not in os.environ:
            raise ServerStartError(
                f"Server {label!r} can't be started: {place} asks for ${{{name}}}, and no such variable is set."
                f"{did_you_mean(name, list(os.environ))} Set it before the tests run, or write the value itself."
            )
        return os.environ[name]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", variable, value)

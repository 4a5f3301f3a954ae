"""Events as readable data that holds all that their outcome can depend on, and nothing else.

Equal in every process, on every machine and in every folder: paths are those from a root that all runs have in common,
commands and code are named by what is in them. Knows no database.
"""

import functools
import hashlib
import importlib.metadata
import os
import shutil
import sys
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pytest_aitest.conversation.keys import agent_key, server_key
from pytest_aitest.conversation.tree import Called, Event
from pytest_aitest.values.agent import Agent, MCPServer, Provider
from pytest_aitest.values.secrets import hide_within

from .callables import callable_encoded, home_of
from .encoded import canonical, encoded, sha256

Description = dict[str, Any]

_AGENTS: dict[Hashable, tuple[Description, object]] = {}  # with what they describe, so that nothing else takes its id
_SERVERS: dict[Hashable, tuple[Description, object]] = {}
_MOST = 1024  # of each that are kept, so that a run that makes agents without end does not grow without end


def described(event: Event, root: Path | None = None) -> Description:
    """All that the outcome of `event` can depend on, as plain data without secrets.

    Args:
        event: What is asked.
        root: Where paths begin; without it, the current folder.

    Raises:
        UnkeyableError: It depends on an object of which nothing is known.
    """
    if isinstance(event, Called):
        return _hidden(
            {
                "kind": "called",
                "tool": event.tool,
                "arguments": encoded(event.arguments),
                "server": event.server if event.named is None else server_described(event.named, root),
                "agent": None if event.agent is None else _agent(event.agent, root),
            }
        )
    said: Description = {
        "kind": "said",
        "prompt": event.prompt,
        "max_model_calls": event.max_model_calls,
        "timeout_seconds": float(event.timeout_seconds),
    }
    if event.messages is not None:
        said["messages"] = encoded(event.messages)
    return _hidden(said) | {"agent": _agent(event.agent, root)}


def digest_of(description: Description) -> str:
    """A digest that is equal for equal descriptions only."""
    return sha256(canonical(description))


def server_described(server: MCPServer, root: Path | None = None) -> Description:
    """All that a server's first state can depend on; see `described`.

    Raises:
        UnkeyableError: Its factory or reset holds an object of which nothing is known.
    """
    key = root, server_key(server), _surroundings(server, root)
    if key not in _SERVERS:
        _keep(_SERVERS, key, _hidden(_server(server, root or Path.cwd())), server)
    return _SERVERS[key][0]


def _agent(agent: Agent, root: Path | None) -> Description:
    around = [_surroundings(server, root) for server in agent.mcp_servers]
    key = root, agent_key(agent), home_of(agent.provider.model), *around
    if key not in _AGENTS:
        description = {
            "provider": _provider(agent.provider),
            "system_prompt": agent.system_prompt,
            "allowed_tools": None if agent.allowed_tools is None else sorted(set(agent.allowed_tools)),
            "servers": [server_described(server, root) for server in agent.mcp_servers],
        }
        _keep(_AGENTS, key, _hidden(description), agent)
    return _AGENTS[key][0]


def _keep(known: dict[Hashable, tuple[Description, object]], key: Hashable, made: Description, of: object) -> None:
    if len(known) >= _MOST:
        known.clear()
    known[key] = made, of


def _hidden(description: Description) -> Description:
    hidden: Description = hide_within(description)
    return hidden


def _provider(provider: Provider) -> Description:
    settings = {
        name: encoded(getattr(provider, name))
        for name in ("temperature", "max_tokens", "api_base", "timeout_seconds", "extra")
    }
    if callable(provider.model):
        return {"model": callable_encoded(provider.model), **settings}
    if provider.model == "builtin":
        return {"model": "builtin", "version": _our_version(), **settings}
    return {"model": provider.model, **settings}


@functools.cache
def _our_version() -> str:
    return importlib.metadata.version("pytest-aitest")


def _server(server: MCPServer, root: Path) -> Description:
    reset = callable_encoded(server.reset) if callable(server.reset) else server.reset
    if server.factory is not None:
        return {"factory": callable_encoded(server.factory), "reset": reset}
    if server.url is not None:
        return {"url": server.url, "transport": server.transport, "headers": dict(server.headers), "reset": reset}
    folder = Path(server.cwd or ".").absolute()
    return {
        "command": [_word(word, folder, root, is_program=not place) for place, word in enumerate(_words(server))],
        "files": _contents(_files(server, root), root),
        "env": dict(server.env),
        "cwd": None if server.cwd is None else _shown(folder, root),
        "reset": reset,
    }


# Commands


def _words(server: MCPServer) -> tuple[str, ...]:
    return (*server.command, *server.args)


def _word(word: str, folder: Path, root: Path, *, is_program: bool) -> str:
    """A part of a command as it is written on every machine."""
    if _is_running_python(word):
        return "python"
    option, equals, value = word.rpartition("=") if word.startswith("-") else ("", "", word)
    path = folder / value
    if not value or not _exists(path) or (is_program and not os.path.dirname(value)):  # noqa: PTH120 - "" where it is a bare name
        return word
    return f"{option}{equals}{_shown(path, root)}"


@functools.lru_cache(maxsize=1024)
def _is_running_python(word: str) -> bool:
    if word == sys.executable:
        return True
    if not Path(word).name.lower().removesuffix(".exe").startswith("python"):
        return False
    if Path(word).name == word:  # as servers are started: the folder of the running Python comes first
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        word = shutil.which(word, path=path) or word
    return os.path.realpath(word) == os.path.realpath(sys.executable)


def _shown(path: Path, root: Path) -> str:
    """A path from the root, else its last part."""
    path = Path(os.path.normpath(path))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _files(server: MCPServer, root: Path) -> Iterator[Path]:
    """The files that a command names: as arguments, as values of options, as the module after `-m`."""
    folder, words = Path(server.cwd or ".").absolute(), _words(server)
    for place, word in enumerate(words):
        value = word.rpartition("=")[2] if word.startswith("-") else word
        path = folder / value
        if value and not _is_running_python(word) and _is_file(path):
            is_program_of_ours = path.is_relative_to(root) and not path.is_relative_to(sys.prefix)
            if place or is_program_of_ours:  # another one is installed, and differs on each machine
                yield path
        if place and words[place - 1] == "-m":
            base = folder.joinpath(*word.split("."))
            yield from filter(_is_file, (base.with_name(f"{base.name}.py"), base / "__main__.py"))


def _contents(files: Iterable[Path], root: Path) -> dict[str, str]:
    """What is in each, also where two from elsewhere have one name."""
    contents: dict[str, str] = {}
    for path in files:
        name, number = _shown(path, root), 1
        while (shown := name if number == 1 else f"{name} ({number})") in contents:
            number += 1
        contents[shown] = _content(path)
    return contents


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - pathlib's raises for what can't be a path


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - likewise


def _surroundings(server: MCPServer, root: Path | None) -> Hashable:
    """What its description depends on that may change while a process runs: the current folder, files, modules."""
    if server.command:
        files = _files(server, root or Path.cwd())
        return os.fspath(Path.cwd()), tuple((str(path), *_version(path)) for path in files)
    return home_of(server.factory), home_of(server.reset)


def _version(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size


def _content(path: Path) -> str:
    return _content_of(path, _version(path))


@functools.lru_cache(maxsize=1024)
def _content_of(path: Path, _version: tuple[int, int]) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

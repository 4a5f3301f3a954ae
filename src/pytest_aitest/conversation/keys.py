"""When two things are the same as far as an outcome can depend on them: keys that are equal exactly then.

A key is hashable, lives in this process, and holds content, not identity: a callable is its code, its defaults and what
it closes over, whatever it is called.
"""

import copyreg
import enum
import functools
import sys
import types
from collections.abc import Hashable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from pytest_aitest.values.agent import Agent, MCPServer, Provider

_PROVIDER_FIELDS = ("model", "temperature", "max_tokens", "api_base", "timeout_seconds", "extra")
_SERVER_FIELDS = ("command", "args", "env", "cwd", "factory", "url", "transport", "headers", "reset")
_DEEPEST = 50
_MOST_PARTS = 10_000


class UnkeyableError(Exception):
    """Something whose content can't be told, so that what depends on it is never taken for known."""


def agent_key(agent: Agent) -> Hashable:
    """A key of all that an agent's answers can depend on: not of names, nor of rates and prices.

    Raises:
        UnkeyableError: Its model, or a server's factory or reset, is a callable that holds what has no key.
    """
    allowed = None if agent.allowed_tools is None else frozenset(agent.allowed_tools)
    return _shared(
        (
            _fields_key(agent.provider, _PROVIDER_FIELDS),
            agent.system_prompt,
            allowed,
            tuple(server_key(server) for server in agent.mcp_servers),
        )
    )


@functools.lru_cache(maxsize=1024)
def _shared(key: Hashable) -> Hashable:
    """The first of equal keys: each event holds one, and there are thousands of events for an agent."""
    return key


def server_key(server: MCPServer) -> Hashable:
    """A key of all that a server's first state can depend on.

    Raises:
        UnkeyableError: Its factory or reset holds what has no key.
    """
    return _fields_key(server, _SERVER_FIELDS)


def _fields_key(declaration: Provider | MCPServer, fields: tuple[str, ...]) -> Hashable:
    return tuple(key_of(getattr(declaration, name)) for name in fields)


def key_of(value: Any) -> Hashable:
    """A key of any value. 1, 1.0 and True are three values, as they are in JSON; lists and tuples are one.

    Raises:
        UnkeyableError: It is, or holds, an object of which nothing is known.

    >>> key_of({"a": 1, "b": [2]}) == key_of({"b": (2,), "a": 1}), key_of(1) == key_of(True)
    (True, False)
    """
    return _Keying().key(value)


class _Keying:
    """The making of one key. Bounded, because a value may hold itself, or the same part very often."""

    def __init__(self) -> None:
        self._depth = 0
        self._parts = 0

    def key(self, value: Any) -> Hashable:
        if value is None or (isinstance(value, str | bytes) and type(value) in (str, bytes)):
            return value
        self._parts += 1
        if self._depth > _DEEPEST or self._parts > _MOST_PARTS:
            raise UnkeyableError(f"a {type(value).__qualname__} that is nested too deeply, or holds itself")
        self._depth += 1
        try:
            return self._key(value)
        finally:
            self._depth -= 1

    def _key(self, value: Any) -> Hashable:  # noqa: PLR0911 - a line for each kind of value
        match value:
            case enum.Enum():
                return type(value), value.name
            case bool() | int() | float() | complex() | str() | bytes():
                return type(value), repr(value)
            case list() | tuple():
                return list, tuple(map(self.key, value))
            case Mapping():
                return dict, frozenset((self.key(key), self.key(part)) for key, part in value.items())
            case AbstractSet():
                return set, frozenset(map(self.key, value))
            case PurePath():
                return PurePath, str(value)
            case type() | types.ModuleType():
                return value
        key = self._callable_key(value)
        return self._object_key(value) if key is None else key

    def _callable_key(self, value: Any) -> Hashable | None:
        match value:
            case types.BuiltinFunctionType() if isinstance(value.__self__, types.ModuleType | None):
                return value
            case types.FunctionType():
                closed_over = [_content(cell, value) for cell in value.__closure__ or ()]
                parts = (value.__defaults__, value.__kwdefaults__, closed_over, vars(value))
                return types.FunctionType, value.__module__, value.__qualname__, value.__code__, self.key(parts)
            case types.MethodType():
                return types.MethodType, self.key(value.__func__), self.key(value.__self__)
            case functools.partial():
                return functools.partial, self.key((value.func, value.args, value.keywords))
        return None

    def _object_key(self, value: Any) -> Hashable:
        """By what pickling would keep of it: all that it is, or an error."""
        kind = type(value)
        if isinstance(value, BaseModel):
            fields = {name: getattr(value, name) for name in kind.model_fields}
            return kind, self.key((fields, value.__pydantic_extra__, value.__pydantic_private__))
        kept = kept_by_pickling(value)
        return (kind, value.__module__, kept) if isinstance(kept, str) else (kind, self.key(kept))


def kept_by_pickling(value: object) -> str | tuple[Any, ...]:
    """All that pickling would keep of an object: its name, where it is global in its module, else its parts.

    Raises:
        UnkeyableError: It can't be pickled.
    """
    try:
        registered = copyreg.dispatch_table.get(type(value))
        reduced: Any = registered(value) if registered is not None else value.__reduce_ex__(2)
    except Exception as error:
        raise _unkeyable(value) from error
    if isinstance(reduced, str):
        if getattr(sys.modules.get(getattr(value, "__module__", "")), reduced, None) is value:
            return reduced
        raise _unkeyable(value)
    rebuild, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    return rebuild, arguments, state, list(items or ()), list(pairs or ())


def _unkeyable(value: Any) -> UnkeyableError:
    return UnkeyableError(f"a {type(value).__module__}.{type(value).__qualname__}")


def _content(cell: types.CellType, function: types.FunctionType) -> Any:
    """What a closure's cell holds; nothing where the cell is empty, or holds the function itself."""
    try:
        held = cell.cell_contents
    except ValueError:
        return None
    return None if held is function else held

"""Values as JSON that is equal in every process exactly if the values are.

Like `conversation.keys`, but for what outlives a process. A callable is its name here; `callables` knows what it does.
"""

import enum
import functools
import hashlib
import json
import types
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from math import isfinite
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from pytest_aitest.conversation.keys import UnkeyableError, kept_by_pickling

DEEPEST = 50
_MOST_PARTS = 10_000


def canonical(data: Any) -> str:
    """Plain data as the one text that stands for it."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def sha256(text: str) -> str:
    """The digest of a text in hex."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def encoded(value: Any) -> Any:
    """`value` as plain data; 1, 1.0 and True are three values, lists and tuples are one.

    Raises:
        UnkeyableError: It is, or holds, an object of which nothing is known.

    >>> encoded({"a": (1, 2.0), "b": {"x"}})
    {'a': [1, 2.0], 'b': {'$set': ['x']}}
    """
    return _Encoding().of(value)


class _Encoding:
    """The making of one. Bounded, because a value may hold itself, or the same part very often."""

    def __init__(self) -> None:
        self._depth = 0
        self._parts = 0

    def of(self, value: Any) -> Any:
        if value is None or type(value) in (str, bool, int):
            return value
        self._parts += 1
        if self._depth > DEEPEST or self._parts > _MOST_PARTS:
            raise UnkeyableError(f"a {type(value).__qualname__} that is nested too deeply, or holds itself")
        self._depth += 1
        try:
            return self._of(value)
        finally:
            self._depth -= 1

    def _of(self, value: Any) -> Any:  # noqa: PLR0911 - a line for each kind of value
        match value:
            case enum.Enum():
                return {"$enum": [name_of(type(value)), value.name]}
            case float() if type(value) is float:
                return value if isfinite(value) else {"$float": repr(value)}
            case bool() | int() | float() | complex() | str() | bytes():
                return {"$value": [name_of(type(value)), repr(value)]}
            case list() | tuple():
                return [self.of(part) for part in value]
            case Mapping():
                return self._mapping(value)
            case AbstractSet():
                return {"$set": sorted((self.of(part) for part in value), key=canonical)}
            case PurePath():
                return {"$path": value.as_posix()}
            case types.ModuleType():
                return {"$module": value.__name__}
        found = self._callable(value)
        return self._object(value) if found is None else found

    def _mapping(self, value: Mapping[Any, Any]) -> Any:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: self.of(part) for key, part in value.items()}
        return {"$dict": sorted(([self.of(key), self.of(part)] for key, part in value.items()), key=canonical)}

    def _callable(self, value: Any) -> Any:
        """By name: what it does is told where it is reached."""
        match value:
            case type() | types.FunctionType():
                return {"$name": name_of(value)}
            case types.BuiltinFunctionType() if isinstance(value.__self__, types.ModuleType | None):
                return {"$name": name_of(value)}
            case types.MethodType():
                return {"$method": [self.of(value.__func__), self.of(value.__self__)]}
            case functools.partial():
                return {"$partial": [self.of(value.func), self.of(value.args), self.of(value.keywords)]}
        return None

    def _object(self, value: Any) -> Any:
        """By what pickling would keep of it: all that it is, or an error."""
        kind = type(value)
        if isinstance(value, BaseModel):
            fields = {name: getattr(value, name) for name in kind.model_fields}
            return {"$object": [name_of(kind), self.of(fields), self.of(value.__pydantic_extra__)]}
        kept = kept_by_pickling(value)
        if isinstance(kept, str):
            return {"$name": f"{value.__module__}.{kept}"}
        return {"$object": [name_of(kind), self.of(kept)]}


def name_of(value: Any) -> str:
    """`module.qualname` of a function or a class; of anything else, that of its class."""
    named = value if hasattr(value, "__qualname__") else getattr(value, "func", type(value))
    return f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', type(named).__qualname__)}"

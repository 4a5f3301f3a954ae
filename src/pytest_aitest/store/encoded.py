"""Values as JSON that is equal in every process exactly if the values are, and callables as what their answers rest on.

Like `conversation.keys`, but for what outlives a process: a callable is its source text and that of all it reaches,
with the values of what it holds and of the globals that it uses. Knows nothing of events.
"""

import ast
import copyreg
import enum
import functools
import hashlib
import importlib.util
import inspect
import json
import sys
import textwrap
import types
from collections.abc import Callable, Hashable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from math import isfinite
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from pytest_aitest.conversation.keys import UnkeyableError, key_of
from pytest_aitest.conversation.reach import MOST, Reference, is_foreign, references

_DEEPEST = 50
_MOST_PARTS = 10_000
_MOST_CODE = 1024
_CODE: dict[Hashable, tuple[str, object]] = {}  # digests; what they are of, so that nothing else takes its id


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


def callable_encoded(function: Callable[..., Any]) -> dict[str, str]:
    """A callable's name, and a digest of all that its answers can depend on besides its arguments.

    Made once for each content: what a global holds counts as it was when the callable was first met.

    Raises:
        UnkeyableError: It holds an object of which nothing is known.
    """
    key = home_of(function), key_of(function)
    if key not in _CODE:
        if len(_CODE) >= _MOST_CODE:
            _CODE.clear()
        _CODE[key] = sha256(canonical(sorted({canonical(part) for part in _code_parts(function)}))), function
    return {"callable": _name(function), "code": _CODE[key][0]}


def home_of(function: Any) -> int:
    """What tells the module of a callable from one of the same name that was loaded in its place."""
    while not isinstance(function, types.FunctionType):
        inner = getattr(function, "func", None) or getattr(function, "__func__", None) or type(function).__call__
        if not callable(inner) or inner is function or isinstance(inner, types.WrapperDescriptorType):
            return 0
        function = inner
    return id(function.__globals__)


class _Encoding:
    """The making of one. Bounded, because a value may hold itself, or the same part very often."""

    def __init__(self) -> None:
        self._depth = 0
        self._parts = 0

    def of(self, value: Any) -> Any:
        if value is None or type(value) in (str, bool, int):
            return value
        self._parts += 1
        if self._depth > _DEEPEST or self._parts > _MOST_PARTS:
            raise UnkeyableError(f"a {type(value).__qualname__} that is nested too deeply, or holds itself")
        self._depth += 1
        try:
            return self._of(value)
        finally:
            self._depth -= 1

    def _of(self, value: Any) -> Any:  # noqa: PLR0911 - a line for each kind of value
        match value:
            case enum.Enum():
                return {"$enum": [_name(type(value)), value.name]}
            case float() if type(value) is float:
                return value if isfinite(value) else {"$float": repr(value)}
            case bool() | int() | float() | complex() | str() | bytes():
                return {"$value": [_name(type(value)), repr(value)]}
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
                return {"$name": _name(value)}
            case types.BuiltinFunctionType() if isinstance(value.__self__, types.ModuleType | None):
                return {"$name": _name(value)}
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
            return {"$object": [_name(kind), self.of(fields), self.of(value.__pydantic_extra__)]}
        try:
            registered = copyreg.dispatch_table.get(kind)
            reduced: Any = registered(value) if registered is not None else value.__reduce_ex__(2)
        except Exception as error:
            raise _unkeyable(value) from error
        if isinstance(reduced, str):  # the name of what is global, if it is that
            if getattr(sys.modules.get(getattr(value, "__module__", "")), reduced, None) is value:
                return {"$name": f"{value.__module__}.{reduced}"}
            raise _unkeyable(value)
        rebuild, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        parts = (rebuild, arguments, state, list(items or ()), list(pairs or ()))
        return {"$object": [_name(kind), self.of(parts)]}


def _unkeyable(value: Any) -> UnkeyableError:
    return UnkeyableError(f"a {type(value).__module__}.{type(value).__qualname__}")


def _name(value: Any) -> str:
    """`module.qualname` of a function or a class; of anything else, that of its class."""
    named = value if hasattr(value, "__qualname__") else getattr(value, "func", type(value))
    return f"{getattr(named, '__module__', '')}.{getattr(named, '__qualname__', type(named).__qualname__)}"


# What the answers of a callable rest on


def _code_parts(function: Callable[..., Any]) -> Iterator[Any]:
    """What of all that it reaches is the user's own, each part as plain data."""
    yield "itself", encoded(function)
    found = list(references(function))
    if len(found) >= MOST:
        raise UnkeyableError(f"a {_name(function)} that reaches more than can be compared")
    for reference in found:
        value = reference.value
        if isinstance(value, types.FunctionType):
            yield "closed over", _name(value), _closed_over(value)
            if not is_foreign(value):
                held = value.__defaults__, value.__kwdefaults__, vars(value)
                yield "function", _name(value), _source(value), encoded(held)
        elif isinstance(value, type | types.ModuleType):
            if not is_foreign(value):
                yield "defined", _name(value) if isinstance(value, type) else value.__name__, _source(value)
        elif reference.name is not None:
            yield "global", reference.module, reference.name, _global(reference)


def _closed_over(function: types.FunctionType) -> Any:
    """What it closes over but itself; of any function, because a decorator of others closes over what is the user's."""
    closed_over = []
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # an empty one
            closed_over.append(None if cell.cell_contents is function else cell.cell_contents)
    return encoded(closed_over)


def _global(reference: Reference) -> Any:
    """A global's content where that is plain data, else the statement that makes it: objects change by being used."""
    module = sys.modules.get(reference.module or "")
    if module is not None and is_foreign(module):
        return None  # its name says what it is; what `os.environ` holds is another matter on each machine
    if _is_data(reference.value):
        return encoded(reference.value)
    statement = _statement(module, reference.name or "")
    return encoded(reference.value) if statement is None else {"$source": statement}


def _is_data(value: Any, depth: int = 0) -> bool:
    if type(value) in (list, tuple, set, frozenset):
        return depth <= _DEEPEST and all(_is_data(part, depth + 1) for part in value)
    if type(value) is dict:
        return depth <= _DEEPEST and all(_is_data(part, depth + 1) for item in value.items() for part in item)
    return value is None or isinstance(value, str | bytes | int | float | complex | enum.Enum | PurePath)


def _statement(module: types.ModuleType | None, name: str) -> str | None:
    """The source of what binds a global, in the module that it comes from."""
    tree, text = _parsed(module)
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom):
            origin = next((alias.name for alias in statement.names if name == (alias.asname or alias.name)), None)
            if origin is not None:
                dots = "." * statement.level
                home = importlib.util.resolve_name(dots + (statement.module or ""), getattr(module, "__package__", ""))
                made_in = sys.modules.get(home)
                return f"{home}.{origin}" if made_in is None or is_foreign(made_in) else _statement(made_in, origin)
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
            if any(node.id == name and isinstance(node.ctx, ast.Store) for node in names):
                return ast.get_source_segment(text, statement)
    return None


def _source(value: Any) -> str:
    """The source text; where there is none, what it was compiled to."""
    if isinstance(value, types.FunctionType) and value.__name__ == "<lambda>" and (text := _lambda_source(value)):
        return text
    try:
        return textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError, SyntaxError):
        if isinstance(value, types.FunctionType):
            return canonical(_compiled(value.__code__))
        return "" if isinstance(value, type) else value.__name__


def _compiled(code: types.CodeType) -> Any:
    constants = [_compiled(part) if isinstance(part, types.CodeType) else encoded(part) for part in code.co_consts]
    return [code.co_code.hex(), constants, list(code.co_names), list(code.co_varnames)]


def _lambda_source(function: types.FunctionType) -> str | None:
    """A lambda's own text: `inspect` gives the lines that it stands on, and another may stand there too."""
    tree, text = _parsed(inspect.getmodule(function))
    places = [(line, column) for line, _, column, _ in function.__code__.co_positions() if line and column is not None]
    if not places:
        return None
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Lambda)
        and (node.body.lineno, node.body.col_offset) <= max(places)
        and max(places) < (node.body.end_lineno or 0, node.body.end_col_offset or 0)
    ]
    return ast.get_source_segment(text, around[-1]) if around else None


@functools.lru_cache(maxsize=64)
def _parsed(module: types.ModuleType | None) -> tuple[ast.Module, str]:
    try:
        text = inspect.getsource(module) if module is not None else ""
        return ast.parse(text), text
    except (OSError, TypeError, SyntaxError):
        return ast.parse(""), ""

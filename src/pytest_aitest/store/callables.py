"""Callables as what their answers rest on besides their arguments.

That is their source text and that of all they reach, with the values of what they hold and of the globals that they
use. Reads code and does not call it; knows nothing of events.
"""

import ast
import enum
import functools
import importlib.util
import inspect
import re
import sys
import textwrap
import types
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from pathlib import PurePath
from typing import Any

from pytest_aitest.conversation.keys import UnkeyableError, key_of
from pytest_aitest.conversation.reach import MOST, Reference, is_foreign, references

from .encoded import DEEPEST, canonical, encoded, name_of, sha256

_MOST_CODE = 1024
_CODE: dict[Hashable, tuple[str, object]] = {}  # digests; what they are of, so that nothing else takes its id


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
    return {"callable": name_of(function), "code": _CODE[key][0]}


def home_of(function: Any) -> int:
    """What tells the module of a callable from one of the same name that was loaded in its place."""
    while not isinstance(function, types.FunctionType):
        inner = getattr(function, "func", None) or getattr(function, "__func__", None) or type(function).__call__
        if not callable(inner) or inner is function or isinstance(inner, types.WrapperDescriptorType):
            return 0
        function = inner
    return id(function.__globals__)


_FROM_ENVIRONMENT = re.compile(r"\benviron\b|\bgetenv\b")


def _code_parts(function: Callable[..., Any]) -> Iterator[Any]:
    """What of all that it reaches is the user's own, each part as plain data."""
    yield "itself", encoded(function)
    found = list(references(function))
    if len(found) >= MOST:
        raise UnkeyableError(f"a {name_of(function)} that reaches more than can be compared")
    for reference in found:
        value = reference.value
        if isinstance(value, types.FunctionType):
            yield "closed over", name_of(value), _closed_over(value)
            if not is_foreign(value):
                held = value.__defaults__, value.__kwdefaults__, vars(value)
                yield "function", name_of(value), _source(value), encoded(held)
        elif isinstance(value, type | types.ModuleType):
            if not is_foreign(value):
                yield "defined", name_of(value) if isinstance(value, type) else value.__name__, _source(value)
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
    """A global's content where that can't change, else the statement that makes it: objects change by being used.

    What is taken from the environment may be a secret, and is another thing on each machine.
    """
    module = sys.modules.get(reference.module or "")
    if module is not None and is_foreign(module):
        return None  # its name says what it is; what `os.environ` holds is another matter on each machine
    statement = _statement(module, reference.name or "")
    if _is_data(reference.value) and not (statement and _FROM_ENVIRONMENT.search(statement)):
        return encoded(reference.value)
    return encoded(reference.value) if statement is None else {"$source": statement}


def _is_data(value: Any, depth: int = 0) -> bool:
    if type(value) in (tuple, frozenset):
        return depth <= DEEPEST and all(_is_data(part, depth + 1) for part in value)
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

"""What conversations that run side by side would change for one another: state on a class, lots from one urn.

Reads declarations and code, and runs neither. Errs on the side of one lane.
"""

import ast
import enum
import functools
import inspect
import re
import textwrap
import types
from collections.abc import Callable, Hashable, Iterator, MutableMapping, MutableSequence, MutableSet
from contextlib import suppress
from pathlib import PurePath
from typing import Any, TypeVar, cast

from pydantic import BaseModel

from pytest_aitest.conversation.keys import UnkeyableError
from pytest_aitest.conversation.reach import draws_lots, is_foreign, reached
from pytest_aitest.conversation.tree import Event

_FIXED = (
    *(type(None), bool, int, float, complex, str, bytes, type, range, slice),
    *(enum.Enum, re.Pattern, PurePath, BaseModel, functools.partial),
    *(types.ModuleType, types.BuiltinFunctionType, types.MappingProxyType),
)
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_DECLARATIONS = {"pytestmark", "checks", "explore_marks"}  # read before anything runs
_FRAMEWORKS = ("hypothesis", "pytest", "_pytest", "pytest_aitest")


def why_not_beside_itself(kind: type, *, above: tuple[type, ...] = (object,)) -> str:
    """Why instances of `kind`, a user's class, can't be used side by side; empty where they can.

    `above` are the classes of frameworks among its parents, which are not looked at.
    """
    for parent in kind.__mro__:
        if parent in above or parent.__module__.partition(".")[0] in _FRAMEWORKS:
            continue
        if "__init__" in vars(parent):
            return f"{parent.__name__} has an __init__ of its own, and what that shares is not known."
        for name, value in vars(parent).items():
            if not _is_fixed(name, value):
                return (
                    f"{parent.__name__} keeps state on the class, `{name}`, which all conversations would share. "
                    "Make it in a rule or fixture; what never changes may be a tuple, or a types.MappingProxyType."
                )
        for method, name in _set_by_methods(parent):
            return f"{parent.__name__}.{method} sets `{name}` of the class, which all conversations would share."
    return ""


def why_not_beside_others(event: Event) -> str:
    """Why what an event asks can't be asked beside others; empty where it can."""
    try:
        _ = event.key
    except UnkeyableError as error:
        return (
            f"the agent holds {error}, which can't be compared, so what one conversation asks tells no other anything."
        )
    for server in () if event.agent is None else event.agent.mcp_servers:
        for function in (server.factory, server.reset):
            if callable(function) and (changed := _found(_changed_by, function)):
                return (
                    f"server {server.label!r} changes {changed!r}, which all servers of this process share. "
                    "Made anew by each call of its factory, it could be used in several lanes."
                )
    model = None if event.agent is None else event.agent.provider.model
    if callable(model) and _found(draws_lots, model):
        return (
            f"model function {getattr(model, '__name__', type(model).__name__)!r} draws from the global `random`, "
            "which has one state for all lanes. With a random.Random of its own it could be asked in several."
        )
    return ""


Found = TypeVar("Found")
_CHANGES = {"append", "extend", "insert", "add", "update", "setdefault"}
_CHANGES |= {"pop", "popitem", "remove", "discard", "clear"}


def _changed_by(function: object) -> str:
    """The name of a container outside of it that a function, or what it uses, changes; empty where there is none."""
    for used in reached(function):
        if isinstance(used, types.FunctionType) and not is_foreign(used):
            outside = dict(used.__globals__)
            for name, cell in zip(used.__code__.co_freevars, used.__closure__ or (), strict=True):
                with suppress(ValueError):  # an empty one
                    outside[name] = cell.cell_contents
            for name in _changed_names(used):
                if isinstance(outside.get(name), MutableSequence | MutableMapping | MutableSet | bytearray):
                    return name
    return ""


def _changed_names(function: types.FunctionType) -> Iterator[str]:
    """Names of what its source changes in place."""
    for node in ast.walk(_source_of(function)):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attribute)) if attribute in _CHANGES:
                yield name
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                yield name


def _found(look: Callable[[Any], Found], function: Any) -> Found:
    """What is found in a function, which is asked at each live turn, and takes long for a large module."""
    try:
        return cast("Found", _remembered(look, function))
    except TypeError:  # an object that compares by value may have no hash
        return look(function)


@functools.lru_cache(maxsize=128)
def _remembered(look: Callable[[Any], object], function: Hashable) -> object:
    return look(function)


def _source_of(code: type | types.FunctionType) -> ast.Module:
    """Nothing where it was made in a shell, or by a program."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, TypeError, SyntaxError):
        return ast.Module(body=[], type_ignores=[])


def _is_fixed(name: str, value: Any) -> bool:
    """Whether a member of a class can't change, or is a method in whatever form."""
    if name.startswith(("__", "_abc_")) or name in _DECLARATIONS:
        return True
    if isinstance(value, tuple | frozenset):
        return all(_is_fixed("", part) for part in value)
    is_foreign = type(value).__module__.partition(".")[0] in _FRAMEWORKS
    return is_foreign or isinstance(value, _FIXED) or hasattr(type(value), "__get__")


def _set_by_methods(kind: type) -> Iterator[tuple[str, str]]:
    """What methods of `kind` set on a class, or on anything but their own instance if it stands on the class."""
    tree = _source_of(kind)
    names = {name for parent in kind.__mro__[:-1] for name in vars(parent)}
    classes = {parent.__name__ for parent in kind.__mro__}
    functions = [node for node in ast.walk(tree) if isinstance(node, _FUNCTION)]
    inner = {part for function in functions for part in ast.walk(function) if part is not function}
    for method in functions:
        if method in inner:  # seen with the method that it is in, whose `self` it knows
            continue
        first = method.args.args[0].arg if method.args.args else ""
        is_of_class = any(isinstance(each, ast.Name) and each.id == "classmethod" for each in method.decorator_list)
        for target, name in _targets(method):
            is_class = _is_class(target, first, classes | ({first} if is_of_class else set()))
            is_own = isinstance(target, ast.Name) and target.id == first
            if is_class or (name in names and not is_own):
                yield method.name, name


def _targets(method: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Whose attributes code sets or deletes, and which."""
    for node in ast.walk(method):
        match node:
            case ast.Attribute(value=target, attr=name, ctx=ast.Store() | ast.Del()):
                yield target, name
            case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[target, ast.Constant(value=str(name)), *_]):
                yield target, name


def _is_class(node: ast.expr, own: str, classes: set[str]) -> bool:
    """Whether it is one of `classes`, or that of `own`."""
    match node:
        case ast.Name(id=name):
            return name in classes
        case ast.Call(func=ast.Name(id="type"), args=[ast.Name(id=name)]):
            return name == own
        case ast.Attribute(value=ast.Name(id=name), attr="__class__"):
            return name == own
    return False

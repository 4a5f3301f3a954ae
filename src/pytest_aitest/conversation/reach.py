"""What a callable refers to, transitively: what its answers can depend on besides its arguments.

Reads code and does not call it; modules of the user's own that it imports are imported. Knows no models, and not what
somebody wants to know of what is found.
"""

import dis
import functools
import importlib
import importlib.util
import inspect
import random
import re
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

MOST = 10_000
"""How many things are reached at most."""

_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FAST", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT")
_FAST = re.compile("(?:LOAD|STORE)_FAST")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")
_OURS = str(Path(__file__).parents[1])
_LIBRARY = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
_INSTALLED = {"site-packages", "dist-packages"}
_DATA = (str, bytes, bytearray, int, float, complex, type(None), type(...))


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """A thing that was reached, and as which global of which module, where it was one."""

    value: object
    module: str | None = None
    name: str | None = None


def reached(function: object) -> Iterator[object]:
    """`function`, and all that it refers to, each once.

    What belongs to the standard library, to an installed package or to us is reached, and not walked into.
    """
    return iter({id(reference.value): reference.value for reference in references(function)}.values())


def references(function: object) -> Iterator[Reference]:
    """The same, with the names of what is global."""
    waiting = [Reference(value=function)]
    seen: dict[int, object] = {}  # the things too, so that no other can take an id
    named: set[tuple[str | None, str | None]] = set()
    while waiting and len(seen) < MOST:
        reference = waiting.pop()
        place = reference.module, reference.name
        is_new = id(reference.value) not in seen
        if not is_new and (reference.name is None or place in named):
            continue
        seen[id(reference.value)] = reference.value
        named.add(place)
        yield reference
        if is_new:
            waiting += _referred(reference.value)


def draws_lots(function: object) -> bool:
    """Whether it reaches the randomness that the whole process shares: that of `random`, or of `numpy.random`."""
    return any(_is_shared_randomness(value) for value in reached(function))


def is_foreign(value: object) -> bool:
    """Whether a function, class or module is of the standard library, an installed package or ours."""
    if isinstance(value, types.FunctionType):
        return _is_foreign_file(value.__code__.co_filename, value.__module__)
    name = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
    file = getattr(sys.modules.get(name or ""), "__file__", None)
    return _is_foreign_file(file, name)


def _is_shared_randomness(value: object) -> bool:
    numpy = sys.modules.get("numpy.random")
    owner = value.__self__ if isinstance(value, types.BuiltinFunctionType | types.MethodType) else None
    shared = (random, numpy, getattr(random, "_inst", None), getattr(getattr(numpy, "mtrand", None), "_rand", None))
    return any(each is not None and (value is each or owner is each) for each in shared)


@functools.lru_cache(maxsize=4096)
def _is_foreign_file(file: str | None, module: str | None) -> bool:
    if file is None or file.startswith("<frozen"):
        return (module or "").partition(".")[0] in sys.stdlib_module_names
    path = Path(file)
    if _INSTALLED & set(path.parts):
        return True
    return any(path.is_relative_to(folder) for folder in (_OURS, *filter(None, _LIBRARY)))


def _referred(value: Any) -> Iterator[Reference]:
    """What `value` refers to by itself."""
    if isinstance(value, types.FunctionType) and not is_foreign(value):
        names = _Names.of(value)
        names.read(value.__code__)
        yield from names.used
    yield from (Reference(value=part) for part in _parts(value))


def _parts(value: Any) -> Iterator[Any]:  # noqa: PLR0911 - a line for each kind of value
    match value:
        case types.FunctionType():
            return _held(value)  # of any: a decorator that somebody installed closes over what is the user's
        case types.MethodType():
            return iter((value.__func__, value.__self__))
        case types.BuiltinFunctionType():
            return iter(() if isinstance(value.__self__, types.ModuleType | None) else (value.__self__,))
        case functools.partial():
            return iter((value.func, value.args, value.keywords))
        case types.ModuleType() | type():
            return iter(()) if is_foreign(value) else _members(value)
        case property():
            return iter((value.fget, value.fset, value.fdel))
        case Mapping():
            return iter([*value.keys(), *value.values()])
        case list() | tuple() | AbstractSet():
            return iter(value)
    return iter(()) if isinstance(value, _DATA) else _attributes(value)


def _held(function: types.FunctionType) -> Iterator[Any]:
    """Its defaults, what it closes over, and what was hung on it: a wrapper knows so what it wraps."""
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield from vars(function).values()
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # an empty one
            yield cell.cell_contents


def _members(value: type | types.ModuleType) -> Iterator[Any]:
    """The functions, classes and modules of a module; all of a class, and of those that it inherits from."""
    if isinstance(value, types.ModuleType):
        yield from (part for part in vars(value).values() if callable(part) or isinstance(part, types.ModuleType))
        return
    yield from value.__bases__
    for name, part in vars(value).items():
        if not (name.startswith("__") and name.endswith("__")) or isinstance(part, types.FunctionType):
            yield getattr(part, "__func__", part)


def _attributes(value: Any) -> Iterator[Any]:
    """What an object knows: its class, what it wraps, and its attributes."""
    yield type(value)
    if is_foreign(type(value)) and inspect.getattr_static(value, "__wrapped__", None) is None:
        return
    yield from getattr(value, "__dict__", {}).values()
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for slot in [slots] if isinstance(slots, str) else slots:
            with suppress(AttributeError):
                yield getattr(value, slot)


# What code names


@dataclass(kw_only=True)
class _Names:
    """The names that code may use, and what of them it was seen to use; `module.name` is what that is."""

    known: dict[str, Reference]
    package: str | None = None
    used: list[Reference] = field(default_factory=list)

    @classmethod
    def of(cls, function: types.FunctionType) -> Self:
        """Those of a function."""
        home = function.__globals__
        module = home.get("__name__") or ""
        known = {name: Reference(value=value, module=module, name=name) for name, value in home.items()}
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            known.pop(name, None)
            with suppress(ValueError):  # an empty one
                known[name] = Reference(value=cell.cell_contents)
        return cls(known=known, package=home.get("__package__"))

    def read(self, code: types.CodeType) -> None:
        """Note what `code` uses, and the code inside it, which sees its names and what it imports."""
        own = {*code.co_varnames, *code.co_cellvars}
        inner = _Names(
            known={name: what for name, what in self.known.items() if name not in own},
            package=self.package,
            used=self.used,
        )
        inner._read_instructions(code)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                inner.read(constant)

    def _read_instructions(self, code: types.CodeType) -> None:
        last: Reference | None = None  # what the instructions before left, where that is known
        imported: Reference | None = None  # of which names are still to come
        constants: list[Any] = [0, None]
        for kind, name in _instructions(code):
            if kind in _ATTRIBUTES and last is not None and isinstance(last.value, types.ModuleType):
                last = _attribute(last.value, name)
                continue
            if kind.startswith("STORE_") and last is not None and isinstance(name, str):
                self.known[name] = last
            elif last is not None and kind != "IMPORT_FROM":
                self.used.append(last)
            last = None
            if kind in ("LOAD_CONST", "LOAD_SMALL_INT"):
                constants = [constants[-1], name]
            elif kind == "IMPORT_NAME":
                last = imported = _imported(name, level=constants[0], package=self.package, has_list=bool(constants[1]))
            elif kind == "IMPORT_FROM" and imported is not None and isinstance(imported.value, types.ModuleType):
                last = _attribute(imported.value, name)
            elif kind.startswith(_LOADS) and isinstance(name, str):
                last = self.known.get(name)


def _instructions(code: types.CodeType) -> Iterator[tuple[str, Any]]:
    """What code does, one name at a time: since Python 3.13, an instruction may load or store two."""
    for instruction in dis.get_instructions(code):
        kinds = _FAST.findall(instruction.opname)
        if len(kinds) > 1:
            yield from zip(kinds, instruction.argval, strict=True)
        else:
            yield instruction.opname, instruction.argval


def _attribute(module: types.ModuleType, name: str) -> Reference | None:
    return Reference(value=getattr(module, name), module=module.__name__, name=name) if hasattr(module, name) else None


def _imported(name: str, *, level: object, package: str | None, has_list: bool) -> Reference | None:
    """The module that `import name` stands for; nothing where it is not there, or not yet and somebody else's."""
    try:
        full = importlib.util.resolve_name("." * level + name, package) if isinstance(level, int) and level else name
        top = full.partition(".")[0]
        if full not in sys.modules:
            spec = importlib.util.find_spec(top)
            if spec is None or _is_foreign_file(spec.origin, top):
                return None
            importlib.import_module(full)
    except Exception:  # noqa: BLE001  # whatever a user's module raises, it will when the code runs
        return None
    return Reference(value=sys.modules[full if has_list else top])

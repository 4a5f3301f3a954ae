"""Warnings that a foreign package raises while it works for us: not the user's, not even under `-W error`.

Not `warnings.catch_warnings`: that is for the whole process, and around an `await` others would lose their warnings
too, or get back filters that were never theirs.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from typing import Any, cast

_inside: ContextVar[bool] = ContextVar("inside", default=False)
_open: list[Token[bool]] = []  # one for each `unheard()` that has not ended


class _InsideOnly(type):
    def __subclasscheck__(cls, subclass: type) -> bool:
        return _inside.get()


class _Unheard(Warning, metaclass=_InsideOnly):
    """To a filter, the parent of all warnings in contexts that are inside `unheard()`, and of none elsewhere."""


_FILTER = ("ignore", None, _Unheard, None, 0)


@contextmanager
def unheard() -> Iterator[None]:
    """Ignore all warnings inside, and in tasks and threads that inherit the context, and nowhere else."""
    warnings.simplefilter("ignore", _Unheard)  # each time: whoever catches warnings may have put the old filters back
    token = _inside.set(True)
    _open.append(token)
    try:
        yield
    finally:
        _inside.reset(token)
        _open.remove(token)
        if not _open:
            with suppress(ValueError):
                cast("list[Any]", warnings.filters).remove(_FILTER)

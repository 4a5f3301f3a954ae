"""Text of models, tools and users, fit to stand in a page: inert, JSON laid out, what is long in two pieces.

Knows nothing of HTML: escaping is for the templates. What is cut is said.
"""

import json
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from pytest_aitest.values.plain import inert
from pytest_aitest.values.secrets import SECRETS, Hide, hide

_MOST_LINES = 8  # of a text that is shown at once
_LEEWAY = 3  # lines; folding away two lines helps nobody
_MOST_AT_ONCE = 1_500  # characters
_MOST_OF_DATA = 500  # likewise; arguments and results have less room
_MOST_IN_FILE = (200_000, 50_000, 10_000, 2_000, 500)  # characters of one text: the first for which there is room
_ROOM = 10_000_000  # characters of all texts; with what stands around and between them, a page is half as large again
_WIDTH = 72  # columns; JSON and arguments that are shorter stay on their line
_MEGABYTES_FROM = 100_000
_JSON_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')


_HIDE: ContextVar[Hide] = ContextVar("hide", default=hide)
_KEPT: ContextVar[int] = ContextVar("kept", default=_MOST_IN_FILE[0])


@contextmanager
def for_one_page(lengths: Sequence[int]) -> Iterator[None]:
    """Find out once what holds for all texts of a page.

    That is how much of each text there is room for, and what is a secret: asking that for each of 250,000 texts took
    15 s.
    """
    long = [length for length in lengths if length > _MOST_IN_FILE[-1]]
    short = sum(lengths) - sum(long)
    fitting = (most for most in _MOST_IN_FILE if short + sum(min(length, most) for length in long) <= _ROOM)
    kept, hidden = _KEPT.set(next(fitting, _MOST_IN_FILE[-1])), _HIDE.set(SECRETS.hiding())
    try:
        yield
    finally:
        _KEPT.reset(kept)
        _HIDE.reset(hidden)


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A text, and how much of it is shown at once."""

    head: str
    rest: str = ""  # what follows, right after it
    more: str = ""  # "240 more lines"
    cut: str = ""  # what is not in the file: "4.9 MB, whole in the JSON report"


def visible(text: str) -> str:
    r"""`text` without secrets; what can't be seen or would reorder a line as escapes.

    >>> visible("a\u202eb")
    'a\\u202eb'
    """
    text = _HIDE.get()(text)
    if text.isprintable():
        return text
    return "\n".join(line if line.isprintable() else inert(line) for line in text.split("\n"))


def passage(text: str, *, most_lines: int = _MOST_LINES) -> Passage:
    """A text as it was said, whitespace and all."""
    return _folded(*_fitting(text), most_lines=most_lines, most=_MOST_AT_ONCE)


def result_passage(text: str) -> Passage:
    """What a tool returned; JSON is laid out."""
    kept, cut = _fitting(text)
    return _folded(kept if cut else laid_out(kept), cut, most_lines=_MOST_LINES, most=_MOST_OF_DATA)


def call_line(name: str, arguments: Mapping[str, Any] | str) -> str:
    """A call as one writes it, on one line of whatever length."""
    return f"{name}({_inline(arguments)})"


def arguments_passage(arguments: Mapping[str, Any] | str) -> Passage:
    """Arguments as one writes them; those that don't fit on a line, one a line."""
    text = _inline(arguments)
    if len(text) > _WIDTH and not isinstance(arguments, str):
        lines = [line for part in arguments.items() for line in _argument(*part).split("\n")]
        text = "\n".join(["", *(f"  {line}" for line in lines), ""])
    return _folded(*_fitting(text), most_lines=_MOST_LINES, most=_MOST_OF_DATA)


def laid_out(text: str) -> str:
    """JSON over lines, its numbers and strings as they were written; other text unchanged."""
    if text[:1] not in "{[" or (len(text) <= _WIDTH and "\n" not in text):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return "\n".join(_lines(_JSON_PIECE.findall(text)))


def size(text: str) -> str:
    number = len(text.encode(errors="replace"))
    return f"{number / 1e6:.1f} MB" if number >= _MEGABYTES_FROM else f"{number:,} bytes"


def _inline(arguments: Mapping[str, Any] | str) -> str:
    if isinstance(arguments, str):
        return arguments
    return ", ".join(f"{name}={_literal(value)}" for name, value in arguments.items())


def _argument(name: str, value: Any) -> str:
    return f"{name}={laid_out(_literal(value))},"


def _literal(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=repr)
    except (ValueError, RecursionError):
        return reprlib.repr(value)  # deeper than Python can follow


def _fitting(text: str) -> tuple[str, str]:
    """As much of a text as a file should hold, and what is to be said of the rest."""
    text = _HIDE.get()(text)  # before it is cut: half a secret would not be known as one
    if len(text) <= _KEPT.get():
        return text, ""
    return text[: _KEPT.get()], f"{size(text)} in all, whole in the JSON report"


def _folded(text: str, cut: str, *, most_lines: int, most: int) -> Passage:
    lines = text.split("\n")
    if len(lines) <= most_lines + _LEEWAY and len(text) <= 2 * most:
        return Passage(head=text, cut=cut)
    shown = "\n".join(lines[:most_lines])
    if len(shown) <= 2 * most and len(lines) > most_lines:
        left = len(lines) - most_lines
        return Passage(head=shown, rest="\n".join(lines[most_lines:]), more=f"{left:,} more lines", cut=cut)
    end = text.rfind(" ", most // 2, most) + 1 or most
    return Passage(head=text[:end], rest=text[end:], more=f"{len(text) - end:,} more characters", cut=cut)


def _lines(pieces: list[str]) -> Iterator[str]:
    """JSON's pieces in lines; objects and lists that fit on one stay there."""
    ends, widths = _extents(pieces)
    indent, line, position = 0, "", 0
    while position < len(pieces):
        piece = pieces[position]
        if piece in "[{" and indent + len(line) + widths[position] > _WIDTH and ends[position] > position + 1:
            yield " " * indent + line + piece
            indent, line = indent + 2, ""
        elif piece in "[{":
            line += "".join(map(_spaced, pieces[position : ends[position] + 1]))
            position = ends[position]
        elif piece in "]}":
            if line:
                yield " " * indent + line
            indent, line = indent - 2, piece
        elif piece == ",":
            yield " " * indent + line + piece
            line = ""
        else:
            line += _spaced(piece)
        position += 1
    yield " " * indent + line


def _spaced(piece: str) -> str:
    return f"{piece} " if piece in ",:" else piece


def _extents(pieces: list[str]) -> tuple[list[int], list[int]]:
    """For each bracket, where it is closed, and how wide it is on one line."""
    ends, widths = [0] * len(pieces), [0] * len(pieces)
    opened: list[tuple[int, int]] = []
    width = 0
    for position, piece in enumerate(pieces):
        if piece in "[{":
            opened.append((position, width))
        width += len(_spaced(piece))
        if piece in "]}":
            begin, before = opened.pop()
            ends[begin], widths[begin] = position, width - before
    return ends, widths

"""Text from models and tools as a terminal may safely show it: inert, wrapped, cut.

Knows nothing of turns; a label and a text come in, lines go out.
"""

import json
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from .secrets import hide

WIDTH = 80
_MEGABYTES_FROM = 100_000


def inert(text: str) -> str:
    r"""Make `text` fit to be shown: without secrets; what controls a terminal, or reorders a line, as escapes.

    >>> print(inert("a\x1b[31mb"))
    a\x1b[31mb
    """
    text = hide(text)
    if text.isprintable():
        return text
    return "".join(char if _harmless(char) else char.encode("unicode_escape").decode() for char in text)


def _harmless(char: str) -> bool:
    return char.isprintable() or char in "\n\t" or unicodedata.category(char) == "Zs"


def one_line(text: str, *, most: int) -> str:
    """`text` in at most so many characters of one line."""
    text = hide(text)  # before it is cut: half a secret would not be known as one
    line = inert(" ".join(text[: 2 * most].split()))
    return line if len(line) <= most and len(text) <= 2 * most else f"{line[: most - 3]}..."


def filled(text: str) -> str:
    """A message of ours in lines of at most 80 columns."""
    return "\n".join(
        textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False) for line in text.split("\n")
    )


def call_text(name: str, arguments: Mapping[str, Any] | str) -> str:
    """A tool call as one would write it: `transfer(amount=1, to="savings")`."""
    if isinstance(arguments, str):
        return f"{name}({arguments})"
    return f"{name}({', '.join(f'{key}={_literal(value)}' for key, value in arguments.items())})"


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)


def labelled(label: str, text: str, *, most_lines: int | None = None) -> Iterator[str]:
    """Lines of at most 80 columns that say `text` under `label`.

    With `most_lines` no more than so many, the last then saying how much there is.
    """
    return hanging(f"  {label:<7} ", text, most_lines=most_lines)


def hanging(prefix: str, text: str, *, most_lines: int | None = None) -> Iterator[str]:
    """Lines of at most 80 columns, the first after `prefix`, the others below the text."""
    for number, line in enumerate(wrapped(text, width=WIDTH - len(prefix), most_lines=most_lines)):
        yield f"{prefix if number == 0 else ' ' * len(prefix)}{line}".rstrip()


def wrapped(text: str, *, width: int = WIDTH, most_lines: int | None = None) -> list[str]:
    """Lines of at most `width` columns; with `most_lines` no more than so many, the last then saying how much there is.

    Args:
        text: Whatever a model or a tool wrote; it is made inert.
        width: Columns for a line.
        most_lines: None where nothing is to be cut.
    """
    text = hide(text)
    # Enough of a huge text to fill the lines that are kept: wrapping 5 MB takes seconds.
    shown = text if most_lines is None else text[: most_lines * WIDTH]
    lines = [line for paragraph in inert(shown).expandtabs(4).split("\n") for line in _folded(paragraph, width)]
    if most_lines is not None and (len(lines) > most_lines or len(shown) < len(text)):
        lines[most_lines - 1 :] = [f"... {_size(text)} in all"]
    return lines


def columns(text: str) -> int:
    """How wide `text` is in a terminal, where ideographs and most emoji take two columns."""
    return len(text) if text.isascii() else len(text) + sum(map(_is_wide, text))


def _folded(paragraph: str, width: int) -> list[str]:
    if columns(paragraph) == len(paragraph):
        return textwrap.wrap(paragraph, width) or [""]
    # textwrap counts characters, so a NUL, which inert text can't hold, stands for the second column of a wide one.
    # One column is left free for a wide character whose NUL went to the next line.
    spread = "".join(f"{char}\0" if _is_wide(char) else char for char in paragraph)
    return [line.replace("\0", "") for line in textwrap.wrap(spread, width - 1) if line != "\0"]


def _is_wide(char: str) -> bool:
    return unicodedata.east_asian_width(char) in "WF"


def compact_json(text: str) -> str:
    """JSON that was laid out over lines as one line, its numbers and strings as they were; other text unchanged."""
    if "\n" not in text:
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    # In JSON a line ends only between two tokens, never in a string.
    pieces: list[str] = []
    for line in filter(None, map(str.strip, text.split("\n"))):
        is_apart = pieces and pieces[-1][-1] not in "[{" and line[0] not in "]}"
        pieces.append(f" {line}" if is_apart else line)
    return "".join(pieces)


def _size(text: str) -> str:
    size = len(text.encode(errors="replace"))
    return f"{size / 1e6:.1f} MB" if size >= _MEGABYTES_FROM else f"{size:,} bytes"

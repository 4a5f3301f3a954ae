"""Text from models and tools as a terminal may safely show it: inert, wrapped, cut.

Knows nothing of turns; a label and a text come in, lines go out.
"""

import json
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

WIDTH = 80
_MEGABYTES_FROM = 100_000
_LABEL = 10  # columns before the text: two of margin, seven of label, one between


def inert(text: str) -> str:
    r"""Make `text` harmless: control characters, and those that reorder a line, are shown as escapes.

    >>> print(inert("a\x1b[31mb"))
    a\x1b[31mb
    """
    if text.isprintable():
        return text
    return "".join(char if _harmless(char) else char.encode("unicode_escape").decode() for char in text)


def _harmless(char: str) -> bool:
    return char.isprintable() or char in "\n\t" or unicodedata.category(char) == "Zs"


def one_line(text: str, *, most: int) -> str:
    """`text` in at most so many characters of one line."""
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
    # Enough of a huge text to fill the lines that are kept: wrapping 5 MB takes seconds.
    shown = text if most_lines is None else text[: most_lines * WIDTH]
    lines = [
        line
        for paragraph in inert(shown).expandtabs(4).split("\n")
        for line in textwrap.wrap(paragraph, WIDTH - _LABEL, drop_whitespace=False) or [""]
    ]
    if most_lines is not None and (len(lines) > most_lines or len(shown) < len(text)):
        lines[most_lines - 1 :] = [f"... {_size(text)} in all"]
    for number, line in enumerate(lines):
        yield f"  {label if number == 0 else '':<7} {line}".rstrip()


def _size(text: str) -> str:
    size = len(text.encode(errors="replace"))
    return f"{size / 1e6:.1f} MB" if size >= _MEGABYTES_FROM else f"{size:,} bytes"

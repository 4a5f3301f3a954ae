"""Markdown around text that is not ours: names, what models and tools said.

Such a text becomes code, always. Nothing in code is markup, nor does GitHub make links of its @mentions, #references,
addresses and commits, nor formulas of its dollars.
"""

import html
import re

from pytest_aitest.values.plain import inert, one_line

_MOST_OF_A_NAME = 300


def code(text: str) -> str:
    """`text` in one line, for a paragraph or a heading."""
    line = one_line(text, most=_MOST_OF_A_NAME) or " "
    ticks = "`" * (_longest_run(line) + 1)
    room = " " if line[0] in "` " or line[-1] in "` " else ""
    return f"{ticks}{room}{line}{room}{ticks}"


def cell(text: str) -> str:
    """The same for a table."""
    return code(text).replace("|", r"\|")


def summary(text: str) -> str:
    """The same for an HTML element."""
    return f"<code>{html.escape(one_line(text, most=_MOST_OF_A_NAME))}</code>"


def fence(text: str, kind: str = "text") -> str:
    """`text` in its lines; `kind` says how to colour it."""
    ticks = "`" * max(3, _longest_run(text) + 1)
    return f"{ticks}{kind}\n{inert(text)}\n{ticks}"


def folded(title: str, body: str) -> str:
    """A block that a click opens; `title` is HTML."""
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def _longest_run(text: str) -> int:
    """Of backticks."""
    return max(map(len, re.findall("`+", text)), default=0)

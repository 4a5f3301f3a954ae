"""A row of the table that `affordable` prints, and how rows become Markdown. Knows nothing of what is measured."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing measured beside another, in one run of the command."""

    what: str
    measured_on: str
    figures: str
    ratio: str
    target: str = ""


def markdown(rows: Iterable[Row]) -> str:
    """The rows as a table."""
    names = [field.name.replace("_", " ") for field in fields(Row)]
    lines = [names, ["---"] * len(names), *(list(astuple(row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

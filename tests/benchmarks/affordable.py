"""What lanes, shards and the store save: one table of ratios, each measured side by side in this run of the command."""

import logging
import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from time import perf_counter

from pytest_aitest.conversation.engine import Engine

from . import dealt, kept, several, waiting
from .table import Row, markdown

ROWS: dict[str, Callable[[], list[Row]]] = {
    "servers": waiting.for_servers,
    "lanes": several.finding,
    "nothing": several.finding_nothing,
    "stock": several.beside_hypothesis,
    "hit": kept.a_hit,
    "replay": kept.a_replay,
    "shards": dealt.beside_one_process,
}


def measure(rows: Iterable[str] = tuple(ROWS)) -> None:
    """Measure the rows of these names, and print them as one Markdown table."""
    logging.disable(logging.INFO)  # building a server lets records of its SDK through to the terminal
    made: list[Row] = []
    started = perf_counter()
    for name in rows:
        made += told(name, ROWS[name]())
    Engine.close_shared()
    print(markdown(made))
    print()
    print(f"Measured in {perf_counter() - started:.0f} s on {os.cpu_count()} cores, ", end="")
    print(f"Python {platform.python_version()}, on {datetime.now(UTC).date()}.")


def told(name: str, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows, told of at once on stderr, for the table takes minutes."""
    for row in rows:
        print(f"{name}: {row.what}: {row.ratio} ({row.figures})", file=sys.stderr, flush=True)
    return rows

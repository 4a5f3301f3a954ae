"""What lanes, shards and the store save: one table of ratios, each measured side by side in this run of the command."""

import logging
import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
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


def measure(rows: Iterable[str] = ()) -> None:
    """Measure the rows of these names, else all, and print them as one Markdown table."""
    logging.disable(logging.INFO)  # building a server lets records of its SDK through to the terminal
    made: list[Row] = []
    started = perf_counter()
    for name in list(rows) or ROWS:
        made += told(name, ROWS[name]())
    Engine.close_shared()
    print(markdown(made))
    print()
    seconds, load = perf_counter() - started, os.getloadavg()[1] if hasattr(os, "getloadavg") else float("nan")
    print(f"Measured in {seconds:.0f} s on {os.cpu_count()} cores (mean load meanwhile about {load:.1f}), ", end="")
    print(f"Python {platform.python_version()}.")


def told(name: str, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows, told of at once on stderr, for the table takes minutes."""
    for row in rows:
        print(f"{name}: {row.what}: {row.ratio} ({row.figures})", file=sys.stderr, flush=True)
    return rows

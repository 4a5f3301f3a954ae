"""`pytest-aitest store`: what a store holds, as numbers and as text, and how it is made smaller or added to.

Knows what to say of it; what is done is the store's own business.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytest_aitest.report.amounts import price
from pytest_aitest.store.exported import exported, imported
from pytest_aitest.store.upkeep import Stats, prune, stats
from pytest_aitest.values.plain import columns, inert, one_line

from . import files

_EXPORT = "pytest-aitest store export"
_MEGABYTE = 1_000_000
_MOST_OF_A_NAME = 40  # columns


def add_to(commands: Any) -> None:
    """Make it one of `commands`."""
    what = "the file in which `pytest --aitest-store PATH` keeps what agents answered"
    description = f"Look after a store: {what}."
    store = commands.add_parser("store", help="look after a store of what agents answered", description=description)
    actions = store.add_subparsers(required=True, metavar="COMMAND")

    def action(name: str, command: Callable[[argparse.Namespace], str], short: str, more: str) -> Any:
        made = actions.add_parser(name, help=short, description=f"{short[0].upper()}{short[1:]}{more}")
        made.add_argument("path", type=Path, metavar="PATH", help="the store")
        made.set_defaults(command=command)
        return made

    action(
        "stats",
        _stats,
        "say what a store holds",
        ", and what a run saves that takes all of it from there. Turns are what agents answered, calls what tests "
        "asked of tools themselves, looks what invariants did; histories are where in conversations they did so.",
    )
    export = action("export", _export, "write a store as JSON", ", which can be read, compared and imported again.")
    export.add_argument("--output", type=Path, metavar="FILE", help="where to; without it, to standard output")
    adding = action(
        "import", _import, "add to a store what it lacks of an export", "; a store that is not there is made."
    )
    adding.add_argument("file", metavar="FILE", help=f"what `{_EXPORT}` wrote; - is standard input")
    pruning = action(
        "prune",
        _prune,
        "remove what is of no use any more",
        ": what no conversation leads to and, with --days, what is old.",
    )
    pruning.add_argument(
        "--days", type=_days, metavar="N", help="remove, too, what no test that recorded has met for N days"
    )


def _days(text: str) -> int:
    try:
        days = int(text)
    except ValueError:
        days = 0
    if days < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days. Give 1 or more, or leave it out.")
    return days


def _export(asked: argparse.Namespace) -> str:
    if asked.output is not None:
        files.check([asked.path], {"output": asked.output})
    text = exported(asked.path)
    if asked.output is None:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8")  # it is mostly sent to a file, which is read as that
        return text
    files.write(asked.output, text)
    sys.stderr.write(f"Wrote {inert(str(asked.output))}\n")
    return ""


def _import(asked: argparse.Namespace) -> str:
    if asked.file == "-":
        source = "standard input"
        text = files.decoded(sys.stdin.buffer.read(), source=source, made_by=_EXPORT)
    else:
        source = asked.file
        text = files.read(Path(source), made_by=_EXPORT)
    added = imported(text, asked.path, source=source)
    return f"Added {_entries(added)}; {inert(str(asked.path))} holds {stats(asked.path).entries:,} now.\n"


def _prune(asked: argparse.Namespace) -> str:
    pruned = prune(asked.path, days=asked.days)
    before = _entries(pruned.removed + pruned.kept)
    return f"Removed {pruned.removed:,} of {before}; {_size(pruned.size_before)} are now {_size(pruned.size)}.\n"


def _stats(asked: argparse.Namespace) -> str:
    found = stats(asked.path)
    return "\n\n".join(filter(None, [_numbers(found), _models(found)])) + "\n"


def _numbers(found: Stats) -> str:
    numbers = {
        "turns": found.turns,
        "calls": found.entries - found.turns - found.looks,
        "looks": found.looks,
        "histories": found.histories,
        "tests": found.tests,
    }
    days = inert(" to ".join(dict.fromkeys(filter(None, [found.first_day, found.last_day]))))
    lines = [f"{name:<10}{number:>12,}" for name, number in numbers.items()]
    return "\n".join([*lines, f"{'size':<10}{_size(found.size):>12}", f"{'recorded':<10}{days or 'nothing':>12}"])


def _models(found: Stats) -> str:
    """What a replay saves, model by model."""
    if not found.models:
        return ""
    lines = [("a replay saves", "turns", "tokens", "cost")]
    lines += [
        (_name(model), f"{its.turns:,}", f"{its.tokens:,}", price(its.cost_usd)) for model, its in found.models.items()
    ]
    return _table(lines)


def _name(model: str) -> str:
    return one_line(model, most=_MOST_OF_A_NAME if model.isascii() else _MOST_OF_A_NAME // 2)


def _table(lines: Sequence[tuple[str, ...]]) -> str:
    """Aligned: names to the left, numbers to the right."""
    widths = [max(map(columns, column)) for column in zip(*lines, strict=True)]
    rows = []
    for name, *numbers in lines:
        aligned = [f"{number:>{width}}" for number, width in zip(numbers, widths[1:], strict=True)]
        rows.append("  ".join([name + " " * (widths[0] - columns(name)), *aligned]))
    return "\n".join(rows)


def _entries(count: int) -> str:
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def _size(size: int) -> str:
    return f"{size / _MEGABYTE:,.1f} MB" if size >= _MEGABYTE else f"{size:,} bytes"

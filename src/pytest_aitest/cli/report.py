"""`pytest-aitest report`: reports of runs that are long over, or that ran in pieces, from the JSON that they left.

All is read and made before anything is written, and what a target holds stays until it can be replaced as a whole.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_aitest.report import formats
from pytest_aitest.report.merge import merged
from pytest_aitest.values.plain import inert
from pytest_aitest.values.run_record import RunRecord, read_run

from . import files

_FORMATS = {
    "html": "a report to look at, in one file",
    "md": "a report for a CI job's summary",
    "json": "the records of all runs as those of one",
}


def add_to(commands: Any) -> None:
    """Make it one of `commands`."""
    report: argparse.ArgumentParser = commands.add_parser(
        "report",
        help="make reports from what `pytest --aitest-json` wrote",
        description="Make reports from what `pytest --aitest-json` wrote; without an option, say in short how it went.",
    )
    report.add_argument("sources", nargs="+", metavar="IN.json", help="a run; of several, one report is made")
    for name, what in _FORMATS.items():
        report.add_argument(f"--{name}", metavar="OUT", help=f"write {what}")
    report.set_defaults(command=_report)


def _report(asked: argparse.Namespace) -> str:
    """Make and write what was asked for; the answer, where that was no file."""
    sources = [Path(source) for source in asked.sources]
    targets = {name: Path(path) for name in _FORMATS if (path := getattr(asked, name)) is not None}
    files.check(sources, targets)
    run = merged([_read(source) for source in sources], names=_names(sources))
    if not targets:
        return formats.rendered("text", run)
    texts = {path: formats.rendered(name, run) for name, path in targets.items()}
    for path, text in texts.items():
        files.write(path, text)
        sys.stderr.write(f"Wrote {inert(str(path))}\n")
    return ""


def _read(source: Path) -> RunRecord:
    return read_run(files.read(source, made_by="pytest --aitest-json"), source=str(source))


def _names(sources: Sequence[Path]) -> list[str]:
    """What tells files apart: `gpt-5-mini` and `gpt-5-nano` where they are called `<that>/aitest.json`."""
    parts = [path.with_suffix("").parts for path in sources]
    while all(parts) and len({part[-1] for part in parts}) == 1:
        parts = [part[:-1] for part in parts]
    names = [part[-1] if part else "" for part in parts]
    return names if len(set(names)) == len(names) else [str(path) for path in sources]

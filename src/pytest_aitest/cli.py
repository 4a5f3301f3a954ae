"""The command line: reports of runs that are long over, or that ran in pieces, from the JSON that they left.

All is read and made before anything is written, and what a target holds stays until it can be replaced as a whole.
"""

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_aitest.report import files, formats
from pytest_aitest.report.merge import merged
from pytest_aitest.values.errors import AitestError
from pytest_aitest.values.plain import inert
from pytest_aitest.values.run_record import RunRecord, read_run

_FORMATS = {
    "html": "a report to look at, in one file",
    "md": "a report for a CI job's summary",
    "json": "the records of all runs as those of one",
}


class CommandError(AitestError):
    """A command that can't be carried out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal need not be able to show what a model says
    asked = _parser().parse_args(arguments)
    try:
        if text := _report(asked):
            sys.stdout.write(text)
            sys.stdout.flush()
    except AitestError as error:
        sys.stderr.write(f"pytest-aitest: {inert(str(error))}\n")
        return 2
    except BrokenPipeError:  # its reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pytest-aitest", description="Tests of conversations with LLM agents.")
    version = f"%(prog)s {importlib.metadata.version('pytest-aitest')}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    report = commands.add_parser(
        "report",
        help="make reports from what `pytest --aitest-json` wrote",
        description="Make reports from what `pytest --aitest-json` wrote; without an option, say in short how it went.",
    )
    report.add_argument("sources", nargs="+", metavar="IN.json", help="a run; of several, one report is made")
    for name, what in _FORMATS.items():
        report.add_argument(f"--{name}", metavar="OUT", help=f"write {what}")
    return parser


def _report(asked: argparse.Namespace) -> str:
    """Make and write what was asked for; the answer, where that was no file."""
    sources = [Path(source) for source in asked.sources]
    targets = {name: Path(path) for name in _FORMATS if (path := getattr(asked, name)) is not None}
    _check(sources, targets)
    run = merged([_read(source) for source in sources], names=_names(sources))
    if not targets:
        return formats.rendered("text", run)
    texts = {path: formats.rendered(name, run) for name, path in targets.items()}
    for path, text in texts.items():
        _write(path, text)
        sys.stderr.write(f"Wrote {inert(str(path))}\n")
    return ""


def _read(source: Path) -> RunRecord:
    try:
        text = source.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise CommandError(f"{source} does not exist. Give a file that `pytest --aitest-json` wrote.") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise CommandError(f"{source} can't be read: {why}. Give a file that `pytest --aitest-json` wrote.") from None
    return read_run(text, source=str(source))


def _names(sources: Sequence[Path]) -> list[str]:
    """What tells files apart: `gpt-5-mini` and `gpt-5-nano` where they are called `<that>/aitest.json`."""
    parts = [path.with_suffix("").parts for path in sources]
    while all(parts) and len({part[-1] for part in parts}) == 1:
        parts = [part[:-1] for part in parts]
    names = [part[-1] if part else "" for part in parts]
    return names if len(set(names)) == len(names) else [str(path) for path in sources]


# Where reports go


def _check(sources: Sequence[Path], targets: dict[str, Path]) -> None:
    """Refuse what can't be written, before anything is."""
    taken = {path.resolve(): str(path) for path in sources}
    for name, path in targets.items():
        if (other := taken.get(path.resolve())) is not None:
            raise CommandError(
                f"--{name} {path} would overwrite {other}, which is read or written too. Give the path of another file."
            )
        if not path.parent.is_dir():
            raise CommandError(f"--{name} {path}: there is no folder {path.parent}. Make it, or give another path.")
        if path.is_dir():
            raise CommandError(f"--{name} {path} is a folder, and a report is a file. Give the path of a file in it.")
        taken[path.resolve()] = f"--{name}"


def _write(path: Path, text: str) -> None:
    try:
        files.write(path, text)
    except OSError as error:
        raise CommandError(
            f"{path} can't be written: {error.strerror}. What it held is unchanged; give another path."
        ) from None

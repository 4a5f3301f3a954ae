"""The command line: what a command says goes to standard output; why it can't be carried out, to standard error.

Knows streams and exit statuses; each command has a module that knows what it does.
"""

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Sequence

from pytest_aitest.values.errors import AitestError
from pytest_aitest.values.plain import inert

from . import report, store


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal need not be able to show what a model says
    asked = _parser().parse_args(arguments)
    try:
        text: str = asked.command(asked)
    except AitestError as error:
        return _refused(str(error))
    return _said(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pytest-aitest", description="Tests of conversations with LLM agents.")
    version = f"%(prog)s {importlib.metadata.version('pytest-aitest')}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    report.add_to(commands)
    store.add_to(commands)
    return parser


def _refused(why: str) -> int:
    sys.stderr.write(f"pytest-aitest: {inert(why)}\n")
    return 2


def _said(text: str) -> int:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # its reader has seen enough
        status = 0
    except OSError as error:
        status = _refused(f"Standard output can't be written: {error.strerror}. Make room, or let it go elsewhere.")
    else:
        return 0
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left: Python tries again as it exits
    return status

"""What all tests of a run have left, as one record: heard of by other plugins, summed up, written to files.

Lives where reports arrive, under pytest-xdist in the controller. Every run loads it: what reads records comes with the
first of them.
"""

import importlib
import importlib.metadata
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_aitest.values.record import Outcome, TestRecord
    from pytest_aitest.values.run_record import RunRecord

_FORMATS = {
    "json": ("pytest_aitest.values.run_record", "run_json", "the records of the run, from which all else can be made"),
    "html": ("pytest_aitest.report.html", "render", "a report to look at, in one file"),
    "md": ("pytest_aitest.report.markdown", "render", "a report for a CI job's summary"),
}


def add_options(parser: pytest.Parser, group: pytest.OptionGroup) -> None:
    for name, (_, _, what) in _FORMATS.items():
        group.addoption(f"--aitest-{name}", metavar="PATH", help=f"write {what}")
    parser.addini("aitest_secrets", "regular expressions of what no report may show", type="linelist", default=[])


def check_options(config: pytest.Config) -> None:
    """Say at once what can't be written, before anything is spent."""
    for name in _FORMATS:
        path = _target(config, name)
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise pytest.UsageError(f"--aitest-{name} {path}: its folder can't be made: {error.strerror}.") from None
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise pytest.UsageError(f"--aitest-{name} {path}: it can't be written. Give the path of a file.")


def _target(config: pytest.Config, name: str) -> Path | None:
    path = config.getoption(f"aitest_{name}")
    return None if path is None else config.invocation_params.dir / path


class Recorder:
    """Hears of every test of the run that spoke, wherever that ran."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._began = datetime.now(UTC)
        self._clock = time.monotonic()
        self._tests: dict[tuple[str, str], list[TestRecord | None]] = {}  # by test and worker, each attempt at it
        self.written: list[Path] = []
        self.unwritten: list[str] = []  # what went wrong with files

    @property
    def tests(self) -> "list[TestRecord]":
        """All attempts at those that have ended, in the order in which they began to."""
        return [record for attempts in self._tests.values() for record in attempts if record is not None]

    def run(self) -> "RunRecord":
        """The run so far."""
        records: Any = importlib.import_module("pytest_aitest.values.run_record")
        run: RunRecord = records.RunRecord(
            tests=tuple(self.tests),
            began=self._began.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._clock, 3),
            model=self._config.getoption("aitest_model") or "",
            written_by=f"pytest-aitest {importlib.metadata.version('pytest-aitest')}",
        )
        return run

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        worker = getattr(report, "worker_id", "") if self._config.getoption("dist", "no") == "each" else ""
        test = report.nodeid, worker
        attempts = self._tests.get(test)
        if report.when == "setup" and attempts:  # it is run again
            attempts.append(None)
        if (data := getattr(report, "aitest_record", None)) is not None:
            records: Any = importlib.import_module("pytest_aitest.values.run_record")
            record: TestRecord = replace(records.unpacked(data), worker=worker)
            attempts = self._tests.setdefault(test, [None])
            attempts[-1] = _joined(attempts[-1], record, report)
        if report.when == "teardown" and attempts and attempts[-1] is not None:
            self._tell(attempts[-1])

    def _tell(self, record: "TestRecord") -> None:
        hook = self._config.hook
        for turn in record.turns:
            hook.pytest_aitest_turn(turn=turn, nodeid=record.nodeid, config=self._config)
        if record.exploration is not None:
            hook.pytest_aitest_exploration(exploration=record.exploration, nodeid=record.nodeid, config=self._config)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        for name, (module, function, _) in _FORMATS.items():
            path = _target(self._config, name)
            if path is None:
                continue
            write: Callable[[RunRecord], str] = getattr(importlib.import_module(module), function)
            try:
                path.write_text(write(self.run()), encoding="utf-8", newline="\n")
                self.written.append(path)
            except OSError as error:
                self.unwritten.append(f"--aitest-{name} {path}: it could not be written: {error.strerror}.")


def _joined(earlier: "TestRecord | None", record: "TestRecord", report: pytest.TestReport) -> "TestRecord":
    """What the phases of a test say of it together; the last one knows all turns, the first failed one the outcome."""
    if earlier is None or report.when == "call":
        return replace(record, outcome=_outcome(report, record))
    if report.failed and earlier.outcome in ("passed", "noted"):
        return replace(record, outcome="error")
    told = ("outcome", "failure", "place", "details", "reason", "seconds")
    return replace(record, **{name: getattr(earlier, name) for name in told})


def _outcome(report: pytest.TestReport, record: "TestRecord") -> "Outcome":
    """How the test ended, in our words; what pytest does not tell apart the record says."""
    if str(report.outcome) == "rerun":  # by pytest-rerunfailures
        return "rerun"
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.failed:
        return "failed" if report.when == "call" else "error"
    if getattr(report, "aitest_context", "").endswith("FAILED"):
        return "failed"
    if report.skipped:
        return record.outcome if record.outcome in ("not run", "priced") else "skipped"
    return record.outcome

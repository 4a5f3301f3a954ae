"""What all tests of a run have left, as one record: heard of by other plugins, summed up, written to files.

Lives where reports arrive, under pytest-xdist in the controller. Every run loads it: what reads records comes with the
first of them.
"""

import importlib
import importlib.metadata
import os
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aitest.report import files, formats
from pytest_aitest.values.plain import inert, one_line

if TYPE_CHECKING:
    from pytest_aitest.values.record import Outcome, TestRecord
    from pytest_aitest.values.run_record import RunRecord

_FORMATS = {
    "json": "the records of the run, from which all else can be made",
    "html": "a report to look at, in one file",
    "md": "a report for a CI job's summary",
}
_MOST_OF_AN_ERROR = 200  # characters


def add_options(group: pytest.OptionGroup) -> None:
    for name, what in _FORMATS.items():
        group.addoption(f"--aitest-{name}", metavar="PATH", help=f"write {what}")


def check_options(config: pytest.Config) -> None:
    """Say at once what can't be written, before anything is spent."""
    taken: dict[Path, str] = {}
    for name, path in _targets(config).items():
        if why := _why_not(path):
            raise pytest.UsageError(f"--aitest-{name} {inert(str(path))}: {why}")
        if other := taken.get(path.resolve()):
            raise pytest.UsageError(
                f"--aitest-{name} {inert(str(path))}: {other} is written there too. Give each a file of its own."
            )
        taken[path.resolve()] = f"--aitest-{name}"


def _why_not(path: Path) -> str:
    """What keeps `path` from being written, as far as can be known before it is."""
    if path.is_dir():
        return "that is a folder, and a report is a file. Give the path of a file in it."
    if path.suffix == ".py":  # the path was forgotten, and a test stands in its place
        return "that is Python code, and would be overwritten. Give the path of the report before what is to be run."
    if path.exists() and not path.is_file():  # /dev/stdout
        return "" if os.access(path, os.W_OK) else "it can't be written. Give another path."
    above = next(folder for folder in path.parents if folder.exists())
    if not above.is_dir():
        return f"{inert(str(above))} is no folder, so nothing can be in it. Give another path."
    if not os.access(above, os.W_OK):
        return f"nothing can be written in the folder {inert(str(above))}. Give another path, or change its mode."
    return ""


def _targets(config: pytest.Config) -> dict[str, Path]:
    """Where each format that was asked for is to be written."""
    given = {name: config.getoption(f"aitest_{name}") for name in _FORMATS}
    return {
        name: config.invocation_params.dir / Path(path).expanduser() for name, path in given.items() if path is not None
    }


@dataclass(kw_only=True)
class _Attempt:
    """One attempt at a test."""

    record: "TestRecord"
    says: bool = False  # how the test went, not only that it began
    is_told: bool = False
    subtest: "TestRecord | None" = None  # as it stood when the first of its subtests failed


class Recorder:
    """Hears of every test of the run that spoke, wherever that ran."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._began = datetime.now(UTC)
        self._clock = time.monotonic()
        self._attempts: dict[tuple[str, str], list[_Attempt]] = {}  # by test and worker
        self._positions: dict[str, int] = {}  # of tests that workers run, in the order in which one process would
        self._other_failures = 0  # of tests that did not speak, and of files
        self._was_stopped = False
        self.written: list[Path] = []
        self.unwritten: list[str] = []  # what went wrong with files

    @property
    def tests(self) -> "list[TestRecord]":
        """All attempts at those that have ended, in the order in which one process runs them."""
        last = len(self._positions)
        order = sorted(self._attempts, key=lambda test: (self._positions.get(test[0], last), test[1]))
        return [attempt.record for test in order for attempt in self._attempts[test] if attempt.says]

    def run(self) -> "RunRecord":
        """The run so far."""
        records: Any = importlib.import_module("pytest_aitest.values.run_record")
        run: RunRecord = records.RunRecord(
            tests=tuple(self.tests),
            began=self._began.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._clock, 3),
            model=self._config.getoption("aitest_model") or "",
            other_failures=self._other_failures,
            was_stopped=self._was_stopped,
            written_by=f"pytest-aitest {importlib.metadata.version('pytest-aitest')}",
        )
        return run

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        self._positions = self._positions or {nodeid: position for position, nodeid in enumerate(ids)}

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._other_failures += report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = report.nodeid, self._worker_of(report)
        data = getattr(report, "aitest_record", None)
        if data is None and test not in self._attempts:
            self._other_failures += report.failed
            return
        attempts = self._attempts.setdefault(test, [])
        if getattr(report, "context", None) is not None:  # a subtest; what was said in it is its test's
            if report.failed and data is not None and attempts[-1:]:
                attempts[-1].subtest = attempts[-1].subtest or self._unpacked(data, report)
            return
        if data is not None:
            self._note(attempts, data, report)
        elif report.when not in ("setup", "call", "teardown"):  # its worker died
            _note_crash(attempts[-1], report)
        if report.when not in ("setup", "call") or str(report.outcome) == "rerun":  # nothing more will come
            self._tell(attempts[-1])

    def _note(self, attempts: list[_Attempt], data: dict[str, Any], report: pytest.TestReport) -> None:
        record = self._unpacked(data, report)
        if report.when == "setup" or not attempts:
            attempts.append(_Attempt(record=record))
        attempt = attempts[-1]
        attempt.record = _joined(attempt.record if attempt.says else None, record, report)
        if attempt.subtest is not None and not attempt.record.failure:  # pytest says so only to whoever shows it
            failed = {name: getattr(attempt.subtest, name) for name in ("failure", "place", "details")}
            attempt.record = replace(attempt.record, outcome="failed", **failed)
        attempt.says = attempt.says or report.when != "setup" or not report.passed

    def _unpacked(self, data: dict[str, Any], report: pytest.TestReport) -> "TestRecord":
        records: Any = importlib.import_module("pytest_aitest.values.run_record")
        record: TestRecord = replace(records.unpacked(data), worker=self._worker_of(report))
        return record

    def _worker_of(self, report: pytest.TestReport) -> str:
        """Who ran it, where that tells it from the same test elsewhere."""
        if self._config.getoption("dist", "no") != "each":
            return ""
        worker = getattr(report, "worker_id", None)
        return worker or str(getattr(getattr(getattr(report, "node", None), "gateway", None), "id", ""))

    def _tell(self, attempt: _Attempt) -> None:
        if attempt.is_told or not attempt.says:
            return
        attempt.is_told = True
        hook, record = self._config.hook, attempt.record
        for turn in record.turns:
            hook.pytest_aitest_turn(turn=turn, nodeid=record.nodeid, config=self._config)
        if record.exploration is not None:
            hook.pytest_aitest_exploration(exploration=record.exploration, nodeid=record.nodeid, config=self._config)

    @pytest.hookimpl(wrapper=True, trylast=True)  # before the terminal's summary, which says what was written
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        try:
            return (yield)
        finally:
            is_interrupted = session.exitstatus == pytest.ExitCode.INTERRUPTED
            self._was_stopped = is_interrupted or bool(session.shouldstop or session.shouldfail)
            if not self._config.getoption("collectonly"):  # else the report of the last run would be lost
                self._write()
            if self.unwritten and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _write(self) -> None:
        targets = _targets(self._config)
        if not targets:
            return
        run = self.run()
        for name, path in targets.items():
            try:
                text = formats.rendered(name, run)
            except Exception as error:  # noqa: BLE001 - said below
                why = one_line(f"{type(error).__name__}: {error}", most=_MOST_OF_AN_ERROR)
                self._note_unwritten(name, path, f"it could not be made: {why}. Please report that as a defect.")
                continue
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                files.write(path, text)
            except OSError as error:
                self._note_unwritten(name, path, f"it could not be written: {error.strerror}.")
            else:
                self.written.append(path)

    def _note_unwritten(self, name: str, path: Path, why: str) -> None:
        self.unwritten.append(f"--aitest-{name} {inert(str(path))}: {why}")


def _joined(earlier: "TestRecord | None", record: "TestRecord", report: pytest.TestReport) -> "TestRecord":
    """What the phases of a test say of it together; the last one knows all turns, the first failed one the outcome."""
    outcome = _outcome(report, record)
    if earlier is None or report.when == "call":
        return replace(record, outcome=outcome)
    if outcome in ("error", "rerun") and earlier.outcome not in ("failed", "error"):
        return replace(record, outcome=outcome, seconds=earlier.seconds)
    told = {name: getattr(earlier, name) for name in ("outcome", "failure", "place", "details", "reason", "seconds")}
    if outcome == "error":
        told["failure"] = f"{earlier.failure}\n\nAnd when it was torn down:\n{record.failure}"
        told["details"] = f"{earlier.details}\n\n{record.details}"
    return replace(record, **told)


def _note_crash(attempt: _Attempt, report: pytest.TestReport) -> None:
    """Take what is said of a dead worker for the end of the test that it ran, unless that had failed before."""
    record = attempt.record
    if not attempt.says or record.outcome not in ("failed", "error"):
        text = str(report.longrepr)
        attempt.record = replace(record, outcome="error", failure=text, details=text, place="", reason="")
    attempt.says = True


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

"""The shards of an exploration in the terminal: what several of them found is told once, and of all of them together.

Lives where reports arrive, under pytest-xdist in the controller, so that one process and many workers say the same.
"""

import importlib
from typing import Any

import pytest

from pytest_aitest.values.plain import filled

from .paying import counting_verdicts
from .recorder import Recorder

TOLD_ONCE = "aitest_told_once"  # an attribute of a report: what failed in which exploration, in words


class Gathering:
    """Hears of each shard, and speaks when all have ended."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._first: dict[tuple[str, str], str] = {}  # which shard told of what failed

    @pytest.hookimpl(tryfirst=True)  # before it is shown to anybody
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = getattr(report, TOLD_ONCE, None)
        if told is None:
            return
        exploration, what = told
        first = self._first.setdefault((exploration, what), report.nodeid)
        if first != report.nodeid:
            report.longrepr = filled(f"{what}, as in {first.partition('::')[2]}.")

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        if not self._first or config.getoption("tbstyle") == "no":
            return
        shards: Any = importlib.import_module("pytest_aitest.report.shards")
        for title, what, sections in shards.failures(self._recorder.run(), verdicts=counting_verdicts(config)):
            terminalreporter.section(title)
            terminalreporter.write_line(what)
            for heading, text in sections:
                terminalreporter.write_sep("-", heading)
                terminalreporter.write_line(text)

"""What the run says of itself: the model that replaces all others, what became of its flows, what the turns cost.

Reads only what reports carry, so that one process and many workers say the same.
"""

import importlib
from typing import Any

import pytest

from .recorder import Recorder

INTERRUPTED = pytest.StashKey[str]()  # what an exploration had found before Ctrl-C


class Summary:
    """Speaks in the header and at the end."""

    def __init__(self, model: str | None, recorder: Recorder) -> None:
        self._model = model
        self._recorder = recorder

    def pytest_report_header(self) -> str | None:
        return f"aitest: every agent asks {_named(self._model)}" if self._model else None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        if found := config.stash.get(INTERRUPTED, ""):
            terminalreporter.section("found before the interruption")
            terminalreporter.write_line(found)
        if self._recorder.tests:
            shards: Any = importlib.import_module("pytest_aitest.report.shards")
            tests = shards.gathered(self._recorder.run()).tests
            terminal: Any = importlib.import_module("pytest_aitest.report.terminal")  # brings rich
            if terminalreporter.verbosity >= 0:
                self._show_conversations(terminal, tests, terminalreporter)
            asked = [] if terminalreporter.verbosity < 0 else [terminal.cost_line(tests)]
            models = {model for test in tests for model in test.asked.models}
            models |= {turn.model for test in tests for turn in test.turns}  # replayed ones too
            # A notice that even a quiet run must give: green means little where no language model was asked.
            said = [*(asked if models else []), *([_named("builtin")] if "builtin" in models else [])]
            if said:
                terminalreporter.write_line(f"aitest: {', '.join(said)}")
        for path in self._recorder.written:
            terminalreporter.write_line(f"aitest: wrote {path}")
        for problem in self._recorder.unwritten:
            terminalreporter.write_line(f"aitest: {problem}", red=True)

    def _show_conversations(self, terminal: Any, tests: Any, reporter: pytest.TerminalReporter) -> None:
        writer = reporter._tw  # noqa: SLF001 - no other way to know what it can show
        shown = terminal.conversations(
            tests,
            width=writer.fullwidth,
            in_colour=writer.hasmarkup,
            all_flows=reporter.verbosity > 0,
        )
        if shown:
            reporter.write_sep("-", "conversations")
            reporter.write_line(shown)


def _named(model: str | None) -> str:
    return f"model {model}" + (": not a language model" if model == "builtin" else "")

"""What the run says of itself: the model that replaces all others, and what the turns cost.

Reads only what reports carry, so that one process and many workers say the same.
"""

from typing import Any

import pytest

INTERRUPTED = pytest.StashKey[str]()  # what an exploration had found before Ctrl-C


class Summary:
    """Hears of every turn of the run, wherever it was taken."""

    def __init__(self, model: str | None) -> None:
        self._model = model
        self._explored: list[str] = []  # what explorations tried, and what they noted
        self._turns: list[dict[str, Any]] = []  # as `live` writes them into reports

    def pytest_report_header(self) -> str | None:
        return f"aitest: every agent asks {_named(self._model)}" if self._model else None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._explored.extend(getattr(report, "aitest_explored", []))
        self._turns.extend(getattr(report, "aitest_turns", []))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        if found := config.stash.get(INTERRUPTED, ""):
            terminalreporter.section("found before the interruption")
            terminalreporter.write_line(found)
        quiet = terminalreporter.verbosity < 0
        for line in [] if quiet else self._explored:
            terminalreporter.write_line(f"aitest: {line}")
        said = self._stand_in() if quiet else self._spent() + self._stand_in()
        if self._turns and said:
            terminalreporter.write_line(f"aitest: {', '.join(said)}")

    def _stand_in(self) -> list[str]:
        """A notice that even a quiet run must give: green means little where no language model was asked."""
        return [_named("builtin")] if any(turn["model"] == "builtin" for turn in self._turns) else []

    def _spent(self) -> list[str]:
        calls, tokens = (sum(turn[what] for turn in self._turns) for what in ("model_calls", "tokens"))
        priced = [turn["cost_usd"] for turn in self._turns if turn["cost_usd"] is not None]
        unpriced = len(self._turns) - len(priced)
        cost = f"${sum(priced):.4f}" if any(priced) else "$0.00" if priced else "price unknown"
        if priced and unpriced:
            cost += f" and {_counted(unpriced, 'turn')} of unknown price"
        return [_counted(len(self._turns), "turn"), _counted(calls, "model call"), _counted(tokens, "token"), cost]


def _named(model: str | None) -> str:
    return f"model {model}" + (": not a language model" if model == "builtin" else "")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")

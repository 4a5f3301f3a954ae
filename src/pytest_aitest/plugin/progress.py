"""What is going on, for whoever waits for it: on a terminal in the rest of the current line, in a log now and then.

Writes only where pytest's own reporter would, and leaves no trace on a terminal. Says nothing under -q, and nothing in
a worker of pytest-xdist, which has no terminal.
"""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from pytest_aitest.conversation.tree import Event, Said
from pytest_aitest.report.amounts import counted, listed, price
from pytest_aitest.search.exploration import Progress as Searched
from pytest_aitest.values.plain import one_line
from pytest_aitest.values.transcript import Turn

_REPAINTED_EVERY = 0.1  # seconds
_NARROWEST = 24  # columns that are worth writing into
_SAVE, _RESTORE, _CLEAR = "\x1b7", "\x1b8", "\x1b[0K"  # the cursor; and what is right of it


class Progress:
    """That of one test."""

    def __init__(self, item: pytest.Item, *, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        config = item.config
        self._reporter: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
        if self._reporter is not None and (self._reporter.verbosity < 0 or hasattr(config, "workerinput")):
            self._reporter = None
        self._capture: Any = config.pluginmanager.get_plugin("capturemanager")
        self._speaks = config.getoption("capture", "no") == "no"
        self._every: float = float(config.getini("aitest_progress_seconds"))
        self._name = name
        self._clock = clock
        self._said_at = clock()
        self._painted_at = -_REPAINTED_EVERY
        self._is_painted = False
        self._searched: Searched | None = None
        self.turns = 0  # so far, in what this is the progress of
        self._cost_usd: float | None = 0.0

    def asking(self, event: Event) -> None:
        """An event is about to go live."""
        asked = f"asking {event.agent.provider.label}" if isinstance(event, Said) else f"calling {event}"
        self._show(listed(self._state(), asked))

    def expects(self, asked: str) -> None:
        """What is about to be asked costs: said at once, for it may be too much."""
        self._said_at = self._painted_at = -math.inf
        self._show(f"may ask {asked}")

    def searched(self, searched: Searched) -> None:
        """The search is one plan further."""
        self._searched = searched
        self._show(self._state())

    def heard(self, turn: Turn) -> None:
        """A turn was taken live; with -s it is shown as it was spoken."""
        self.turns += 1
        known = None not in (self._cost_usd, turn.cost_usd)
        self._cost_usd = (self._cost_usd or 0) + (turn.cost_usd or 0) if known else None
        if self._speaks and self._reporter is not None:
            self._line(f"{self._name}, turn {self.turns}\n{turn}")

    def end(self) -> None:
        """Leave the terminal as it was."""
        if self._is_painted:
            self._write(_CLEAR)
            self._is_painted = False

    def _state(self) -> str:
        searched = self._searched
        if searched is None:
            return f"turn {self.turns + 1}"
        spent = counted(self.turns, "fresh turn"), price(self._cost_usd) if self._cost_usd != 0 else ""
        match searched.phase:
            case "find":
                return listed(f"plan {min(searched.tried + 1, searched.plans)} of {searched.plans}", *spent)
            case "shrink":
                return listed(f"fails; shrinking {searched.found} steps -> {searched.shortest}", *spent)
        return listed(f"fails in {counted(searched.shortest, 'step')}; confirming", *spent)

    def _show(self, text: str) -> None:
        if self._reporter is None or self._speaks:
            return
        now = self._clock()
        if self._reporter._tw.hasmarkup:  # noqa: SLF001 - no other way to know whether it is a terminal
            if now - self._painted_at >= _REPAINTED_EVERY:
                self._painted_at = now
                self._paint(text)
        elif now - self._said_at >= self._every:
            self._said_at = now
            self._line(f"aitest: {self._name}: {text}")

    def _paint(self, text: str) -> None:
        assert self._reporter is not None
        writer = self._reporter._tw  # noqa: SLF001
        room = writer.fullwidth - writer.width_of_current_line - 2
        if room >= _NARROWEST:
            self._write(f"{_SAVE} {one_line(text, most=room)}{_CLEAR}{_RESTORE}")
            self._is_painted = True

    def _write(self, text: str) -> None:
        """Past the writer, which would count it as a part of the line."""
        assert self._reporter is not None
        with self._uncaptured():
            file = self._reporter._tw._file  # noqa: SLF001
            file.write(text)
            file.flush()

    def _line(self, text: str) -> None:
        assert self._reporter is not None
        with self._uncaptured():
            self._reporter.write_line(text)

    def _uncaptured(self) -> AbstractContextManager[None]:
        return nullcontext() if self._capture is None else self._capture.global_and_fixture_disabled()

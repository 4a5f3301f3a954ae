"""What explorations may spend in one run, and what they have spent."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from pytest_aitest.search.runner import StopSearchError
from pytest_aitest.values.transcript import Turn

_MANY = 10**9


class BudgetSpentError(StopSearchError):
    """A budget of the run is spent."""


@dataclass(kw_only=True)
class Budget:
    """Limits over all explorations of a run. Calls that cost nothing count towards the seconds only."""

    calls: int = 400
    usd: float = 1.0
    seconds: float | None = None
    spent_calls: int = 0
    spent_usd: float = 0.0
    spent_seconds: float = 0.0
    _since: float | None = None
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)  # of the lanes that spend

    @classmethod
    def unlimited(cls) -> Self:
        """No limit of any kind."""
        return cls(calls=_MANY, usd=_MANY)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time that the block takes."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._pause()

    def charge(self, turn: Turn) -> None:
        """Note what a fresh turn took."""
        if turn.cost_usd != 0:
            with self._one_at_a_time:
                self.spent_calls += turn.model_calls
                self.spent_usd += turn.cost_usd or 0.0

    @property
    def is_scarce(self) -> bool:
        """Whether half of it is spent, so that the rest is for what is needed in any case."""
        return self.spent_calls * 2 >= self.calls or self.spent_usd * 2 >= self.usd

    def check(self) -> None:
        """Raise where nothing more may be asked.

        Raises:
            BudgetSpentError: One of the limits is reached.
        """
        with self._one_at_a_time:
            if self._since is not None:
                self._pause()
                self._since = time.monotonic()
        limits = {
            f"{self.calls} model calls": self.spent_calls >= self.calls,
            f"${self.usd:.2f}": self.spent_usd >= self.usd,
            f"{self.seconds or 0:g} s": self.seconds is not None and self.spent_seconds >= self.seconds,
        }
        for limit, is_reached in limits.items():
            if is_reached:
                raise BudgetSpentError(f"budget of {limit} spent")

    def _pause(self) -> None:
        if self._since is not None:
            self.spent_seconds += time.monotonic() - self._since
            self._since = None

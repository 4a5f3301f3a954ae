"""How often a conversation fails, and whether that counts. Knows nothing of how it was run."""

from dataclasses import dataclass
from math import ceil, log, sqrt
from typing import Literal

_Z = 1.959964  # of a 95 % interval
_MISSED = 0.05  # accepted chance that a sub-plan which can fail passes in all its samples

Verdict = Literal["fails", "tolerated", "seen once"]
"""`tolerated`: no more often than the author accepts; `seen once`: never again when run fresh."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """In how many of several fresh runs a plan failed."""

    failed: int
    runs: int

    def __str__(self) -> str:
        low, high = self.interval
        return f"Fails {self.failed} of {self.runs} fresh runs (95 % interval {low * 100:.0f} to {high * 100:.0f} %)"

    @property
    def share(self) -> float:
        return self.failed / self.runs if self.runs else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's: honest with five runs, and at 0 and 100 %."""
        if not self.runs:
            return 0.0, 1.0
        weight = _Z**2 / self.runs
        middle = (self.share + weight / 2) / (1 + weight)
        half = sqrt(weight * (self.share * (1 - self.share) + weight / 4)) / (1 + weight)
        return max(0.0, middle - half), min(1.0, middle + half)

    @property
    def samples(self) -> int:
        """How many samples it takes to believe that what passes in all of them does not fail at this rate."""
        if self.share in (0.0, 1.0):
            return 1
        return ceil(log(_MISSED) / log(1 - self.share))


def judge(rate: Rate | None, *, tolerate: float = 0.0) -> Verdict:
    """What a failure means that was confirmed at `rate`; None where nothing was run again."""
    if rate is None or not rate.runs:
        return "fails"
    if not rate.failed:
        return "seen once"
    return "tolerated" if rate.share <= tolerate else "fails"

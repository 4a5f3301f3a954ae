"""What is found out about one failure: the shortest plan that shows it, and how often it does.

Keeps what it knows at each moment, so that a search that is stopped has the best so far.
"""

from collections.abc import Mapping, Sequence

from .arguments import Values
from .exploration import Finding
from .meter import Meter, Phase, Turns
from .minimise import Minimiser
from .plan import Plan
from .runner import Outcome, Rule
from .verdict import Rate, judge

_SAMPLES = 2  # that a plan has to pass in before it counts as passing, while nothing speaks for a rate
_MOST_SAMPLES = 6


class Inquiry:
    """One failure under investigation."""

    def __init__(
        self, failing: Outcome, *, found_in: str, meter: Meter, rules: Sequence[Rule], values: Mapping[str, Values]
    ) -> None:
        self._found_in = found_in
        self.found_as = failing.executed
        self._meter = meter
        self._minimiser = Minimiser(meter.run, failing, rules=rules, values=values, samples=_SAMPLES)
        self._is_unstable = False
        self._rate: Rate | None = None

    def investigate(self, *, confirm_runs: int) -> None:
        """Minimise and confirm; what fails only sometimes is minimised again, with as many samples as its rate asks."""
        self._meter.phase = "shrink"
        again = self._meter.run(self.found_as)
        # What had to be asked anew may well come out otherwise.
        self._is_unstable = again.fresh_turns == 0 and again.failure != self._minimiser.best.failure
        if self._is_unstable:
            self._confirm(confirm_runs)
            return
        self._minimiser.minimise()
        self._confirm(confirm_runs)
        while self._rate is not None and 0 < self._rate.failed < self._rate.runs:
            wanted = min(self._rate.samples, _MOST_SAMPLES)
            if self._minimiser.varies and wanted <= self._minimiser.samples:
                break
            before = self._minimiser.best.executed
            self._meter.phase = "shrink"
            self._minimiser.varies = True
            self._minimiser.samples = max(wanted, self._minimiser.samples)
            self._minimiser.minimise()
            if self._minimiser.best.executed != before:
                self._confirm(confirm_runs)

    @property
    def shortest(self) -> Plan:
        """The shortest plan known to fail."""
        return self._minimiser.best.executed

    def finding(self, *, tolerate: float, turns: Mapping[Phase, Turns]) -> Finding:
        """What is known now."""
        return Finding(
            outcome=self._minimiser.best,
            found_in=self._found_in,
            found_as=self.found_as,
            is_minimal=self._minimiser.is_minimal,
            necessity=self._minimiser.necessity,
            is_unstable=self._is_unstable,
            rate=self._rate,
            verdict=judge(self._rate, tolerate=tolerate),
            turns=turns,
        )

    def _confirm(self, runs: int) -> None:
        self._meter.phase = "confirm"
        self._rate = None
        best = self._minimiser.best
        for _ in range(runs):
            outcome = self._meter.confirm(best.executed)
            if outcome.inapplicable is None:
                before = self._rate or Rate(failed=0, runs=0)
                self._rate = Rate(failed=before.failed + (outcome.failure == best.failure), runs=before.runs + 1)

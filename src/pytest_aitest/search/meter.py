"""What a search costs, by what the turns were asked for. Adds nothing to the runner that it counts for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .plan import Plan
from .runner import Outcome, Runner

Phase = Literal["find", "shrink", "confirm"]


@dataclass(frozen=True, kw_only=True)
class Turns:
    """How many turns were asked live, and how many answered from what was known."""

    fresh: int = 0
    replayed: int = 0

    def __add__(self, other: "Turns") -> "Turns":
        return Turns(fresh=self.fresh + other.fresh, replayed=self.replayed + other.replayed)

    def __sub__(self, other: "Turns") -> "Turns":
        return Turns(fresh=self.fresh - other.fresh, replayed=self.replayed - other.replayed)


class Meter:
    """A runner's two verbs, counted."""

    def __init__(self, runner: Runner, *, watch: Callable[[], object] = lambda: None) -> None:
        """`watch` is called after each of them."""
        self.phase: Phase = "find"
        self.total: dict[Phase, Turns] = {"find": Turns(), "shrink": Turns(), "confirm": Turns()}
        self.confirmed = 0  # fresh runs, of all findings
        self._runner = runner
        self._watch = watch

    def run(self, plan: Plan, again: int = 0) -> Outcome:
        return self._counted(self._runner.run(plan, again=again))

    def confirm(self, plan: Plan) -> Outcome:
        self.confirmed += 1
        return self._counted(self._runner.confirm(plan))

    def since(self, before: dict[Phase, Turns]) -> dict[Phase, Turns]:
        """What was added to `before`, an earlier copy of the total."""
        return {phase: turns - before[phase] for phase, turns in self.total.items()}

    def _counted(self, outcome: Outcome) -> Outcome:
        self.total[self.phase] += Turns(fresh=outcome.fresh_turns, replayed=outcome.replayed_turns)
        self._watch()
        return outcome

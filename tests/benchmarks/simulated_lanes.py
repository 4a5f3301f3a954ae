"""Lanes in which nothing but the model takes time: each turn one moment, counted and not waited for.

The policy is that of `exploration.lanes`, without its threads; what it comes to is what lanes could reach at best.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pytest_aitest.search.foresight import Wanted
from pytest_aitest.search.plan import Plan
from pytest_aitest.search.runner import Outcome, Rule

from . import zoo
from .simulated import FAILURE
from .zoo import Defect


@dataclass(frozen=True, kw_only=True)
class Followed:
    """How far a plan gets by what is known."""

    outcome: Outcome
    turn: object = None  # what has to be asked next; None: it has come to its end
    history: Sequence[zoo.Event] = ()


@dataclass(kw_only=True)
class SimulatedLanes:
    """An agent that shows its defect wherever it can, in up to so many conversations at once. See `Runner`."""

    defect: Defect
    rules: Sequence[Rule]
    lanes: int
    moments: int = 0
    asked: int = 0
    _known: dict[object, bool] = field(default_factory=dict)  # by history and sample: whether it shows
    _jobs: dict[object, Wanted] = field(default_factory=dict)
    _answers: dict[object, Outcome] = field(default_factory=dict)
    _upcoming: Callable[..., list[Wanted]] | None = None
    _confirmed: int = 0

    def foresee(self, upcoming: Callable[..., list[Wanted]]) -> None:
        self._upcoming = upcoming

    def run(self, plan: Plan, *, again: int = 0) -> Outcome:
        return self._answer(Wanted(plan=plan, again=again))

    def confirm(self, plan: Plan) -> Outcome:
        self._confirmed += 1
        return self._answer(Wanted(plan=plan, fresh_run=self._confirmed))

    def _answer(self, wanted: Wanted) -> Outcome:
        self._jobs[wanted.key] = wanted
        while (followed := self._followed(wanted)).turn is not None:
            self._look_ahead(wanted)
            self._let_a_moment_pass()
        self._jobs.pop(wanted.key, None)
        return followed.outcome

    def _look_ahead(self, asked: Wanted) -> None:
        """Have as many plans under way as there are lanes, the most urgent ones."""
        if self.lanes == 1 or self._upcoming is None:
            return
        is_new = True
        while is_new:
            is_new = False
            urgent = self._upcoming(lambda wanted: self._answers.get(wanted.key), most=self.lanes)
            kept = {asked.key, *(wanted.key for wanted in urgent)}
            if len(self._jobs) >= self.lanes:
                self._jobs = {key: wanted for key, wanted in self._jobs.items() if key in kept}
            for wanted in urgent:
                if len(self._jobs) < self.lanes and wanted.key not in self._jobs:
                    followed = self._followed(wanted)
                    if followed.turn is None:  # it costs nothing, and may tell what else will be wanted
                        is_new = is_new or wanted.key not in self._answers
                        self._answers[wanted.key] = followed.outcome
                    else:
                        self._jobs[wanted.key] = wanted

    def _let_a_moment_pass(self) -> None:
        """Each plan under way takes a turn; what two of them want to ask is asked once."""
        turns = {followed.turn: followed for followed in map(self._followed, self._jobs.values())}
        self._known |= {turn: self.defect.shows(followed.history) for turn, followed in turns.items()}
        self.moments += 1
        self.asked += len(turns)
        for key, wanted in list(self._jobs.items()):
            followed = self._followed(wanted)
            if followed.turn is None:
                self._answers[key] = followed.outcome
                del self._jobs[key]

    def _followed(self, wanted: Wanted) -> Followed:
        history: list[zoo.Event] = []
        outcome = Outcome(executed=())
        address: tuple[object, ...] = (wanted.fresh_run,)
        for position, step in enumerate(wanted.plan):
            number = wanted.again if position == len(wanted.plan) - 1 else 0
            address = (*address, step.code)
            history.append((step.rule, step.arguments))
            turn = address, number
            if turn not in self._known:
                return Followed(outcome=outcome, turn=turn, history=history)
            failure = FAILURE if self._known[turn] else None
            executed = (*outcome.executed, replace(step, samples=(number,)))
            outcome = Outcome(executed=executed, failure=failure, fresh_turns=len(executed))
            if failure is not None:
                break
        return Followed(outcome=outcome)

"""An agent with a planted defect, simulated: a tree of what is known, one turn a step, fresh turns counted."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from pytest_aitest.search.plan import Plan, Step
from pytest_aitest.search.runner import Failure, Outcome, Rule, StopSearchError
from pytest_aitest.stateful.values import StrategyRule

from .zoo import Defect, Event

FAILURE = Failure(check="invariant", error_type="AssertionError", place="agent.py:1")


def rules_of(defect: Defect) -> list[StrategyRule]:
    return [
        StrategyRule(name=rule, strategies={name: argument.strategy for name, argument in arguments.items()})
        for rule, arguments in defect.machine.items()
    ]


class SimulatedRunner:
    """Shows its defect with a given probability wherever it can; keeps all samples of all turns."""

    def __init__(
        self,
        defect: Defect,
        *,
        rules: Sequence[Rule] = (),
        probability: float = 1.0,
        seed: int = 0,
        most_fresh: int | None = None,
    ) -> None:
        self.rules = rules
        self.fresh_turns = 0  # asked so far, confirmations aside
        self._defect = defect
        self._probability = probability
        self._random = Random(f"{defect.name} {seed}")
        self._most_fresh = most_fresh
        self._samples: dict[tuple[int, str], list[tuple[bool, int]]] = {}  # (node, step) -> (shows, next node)
        self._nodes = 1

    def run(self, plan: Plan, *, again: int = 0) -> Outcome:
        node, executed, fresh = 0, [], 0
        for position, step in enumerate(plan):
            known = self._samples.setdefault((node, step.code), [])
            chosen = choose(step, len(known), again if position == len(plan) - 1 else 0)
            if chosen == len(known):
                fresh += 1
                known.append(self._ask(executed, step))
            shows, node = known[chosen]
            executed.append(replace(step, samples=(chosen,)))
            if shows:
                break
        failure = FAILURE if plan and shows else None
        return Outcome(
            executed=tuple(executed), failure=failure, fresh_turns=fresh, replayed_turns=len(executed) - fresh
        )

    def confirm(self, plan: Plan) -> Outcome:
        history: list[Event] = []
        for step in plan:
            history.append((step.rule, step.arguments))
            if self._shows(history):
                return Outcome(executed=plan[: len(history)], failure=FAILURE, fresh_turns=len(history))
        return Outcome(executed=plan, fresh_turns=len(plan))

    def true_rate(self, plan: Plan) -> float:
        """How often a fresh run of `plan` fails."""
        history = [(step.rule, step.arguments) for step in plan]
        passes = 1.0
        for end in range(1, len(history) + 1):
            if self._defect.shows(history[:end]):
                passes *= 1 - self._probability
        return 1 - passes

    def _ask(self, executed: Sequence[Step], step: Step) -> tuple[bool, int]:
        if self.fresh_turns == self._most_fresh:
            raise StopSearchError(f"{self._most_fresh} turns were asked")
        self.fresh_turns += 1
        self._nodes += 1
        return self._shows([(each.rule, each.arguments) for each in (*executed, step)]), self._nodes

    def _shows(self, history: Sequence[Event]) -> bool:
        return self._defect.shows(history) and self._random.random() < self._probability


def choose(step: Step, known: int, again: int) -> int:
    """Which sample of a step to take; `known` stands for the next live one."""
    wanted = step.samples[0] if step.samples and step.samples[0] < known else 0
    order = [wanted, *(sample for sample in range(known) if sample != wanted)]
    return order[again] if again < known else known

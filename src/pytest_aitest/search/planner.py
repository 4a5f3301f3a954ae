"""The next conversation to try: the one that differs most from those already had. Runs nothing."""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Self

from .arguments import Values, documented_values
from .coverage import Coverage, Past
from .plan import Plan, Step
from .runner import Rule

_ATTEMPTS = 20  # at a plan that was not tried yet


class Planner:
    """Proposes plans that begin with all initial rules and hold `plan_turns` other steps."""

    def __init__(self, rules: Sequence[Rule], *, pinned: Iterable[Plan], plan_turns: int, seed: int) -> None:
        documented = documented_values(pinned)
        self.values = {rule.name: Values(rule, documented) for rule in rules}
        self.coverage = Coverage(self.values)
        self._initial = [rule.name for rule in rules if rule.is_initial]
        self._rules = [rule.name for rule in rules if not rule.is_initial]
        self._plan_turns = plan_turns
        self._random = Random(seed)  # noqa: S311  no secret
        self._tried: set[Plan] = set()

    def copy(self) -> Self:
        """One that proposes the same from here on, and learns by itself."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other.coverage, other._tried = self.coverage.copy(), set(self._tried)
        other._random = Random()  # noqa: S311  no secret
        other._random.setstate(self._random.getstate())
        return other

    def note(self, executed: Plan, *, planned: Plan = ()) -> None:
        """Learn what was tried, so that the next plan differs."""
        self.coverage.note(executed, planned=planned)
        for plan in (executed, planned):
            self._tried.update(plan[:end] for end in range(1, len(plan) + 1))

    def propose(self) -> Plan | None:
        """A plan not tried yet, or None where none is left to be found."""
        for _ in range(_ATTEMPTS):
            plan = self._build()
            if plan and plan not in self._tried:
                return plan
        return None

    def _build(self) -> Plan:
        """Take the step that is newest, again and again; any step once all is seen."""
        coverage, past = self.coverage.copy(), Past()
        for rule in self._initial:
            coverage.add(past, self._newest_step(coverage, past, rule))
        for _ in range(self._plan_turns if self._rules else 0):
            rule = self._newest_rule(coverage, past)
            coverage.add(past, self._newest_step(coverage, past, rule))
        return tuple(past.steps)

    def _newest_rule(self, coverage: Coverage, past: Past) -> str:
        return self._rules[self._pick([coverage.gain_of_rule(past, rule) for rule in self._rules])]

    def _newest_step(self, coverage: Coverage, past: Past, rule: str) -> Step:
        steps = [Step(rule=rule, arguments=arguments) for arguments in self.values[rule].options(self._random)]
        return steps[self._pick([coverage.gain_of_arguments(past, step) for step in steps])]

    def _pick(self, gains: Sequence[int]) -> int:
        """The place of the greatest gain, any of them where there are several."""
        most = max(gains)
        return self._random.choice([place for place, gain in enumerate(gains) if gain == most])

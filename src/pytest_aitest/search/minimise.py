"""The shortest conversation that fails in the same way, with the plainest arguments.

Asks only for plans to be run; what it learns stands in `Minimiser`, so that a search that is stopped keeps the best so
far. Knows no costs: what was asked before is answered from its own memory or from the runner's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile, zip_longest
from typing import Any, Literal

from .arguments import Listed, Values
from .plan import Given, Plan, Step
from .runner import Outcome, Rule

Run = Callable[[Plan, int], Outcome]  # a plan, and which further sample of its last step


@dataclass(frozen=True, kw_only=True)
class Necessity:
    """What became of the minimal plan without one of its steps."""

    samples: int = 0  # in how many samples it passed; 0 where it was not tried, or did something else
    result: Literal["passes", "fails otherwise", "can't run", "does not count"] = "passes"
    by: str = ""  # the check that failed or does not count, the rule that can't run


class Minimiser:
    """Keeps the shortest failing outcome known; each method tries to better it."""

    def __init__(
        self,
        run: Run,
        failing: Outcome,
        *,
        rules: Sequence[Rule],
        values: Mapping[str, Values],
        samples: int = 2,
    ) -> None:
        self.best = failing
        self.is_minimal = False
        self.samples = samples  # that a plan without one step has to pass in before that step counts as needed
        self.varies = False  # whether verdicts are known to vary; then each candidate has to pass in so many
        self._run = run
        self._rules = {rule.name: rule for rule in rules}
        self._values = values
        self._failed: dict[Plan, Outcome] = {failing.executed: failing}
        self._others: dict[Plan, list[Outcome]] = {}  # of samples that did not fail the same

    @property
    def necessity(self) -> tuple[Necessity, ...]:
        """For each step of the best plan, what is known of the plan without it."""
        return tuple(map(self._necessity, range(len(self.best.executed))))

    def _necessity(self, index: int) -> Necessity:
        plan = self.best.executed
        rest, shorter = plan[:index] + plan[index + 1 :], without(plan, {index})
        if (missing := _first_missing(rest, shorter)) is not None:
            return Necessity(result="can't run", by=missing.rule)
        outcomes = self._others.get(shorter, [])
        told = (self._instead(rest, outcome) for outcome in outcomes)
        return next(filter(None, told), Necessity(samples=len(outcomes)))

    def _instead(self, planned: Plan, outcome: Outcome) -> Necessity | None:
        """What a sample did that did not fail the same; None where it passed."""
        if outcome.failure is not None:
            return Necessity(result="fails otherwise", by=outcome.failure.check)
        if outcome.inapplicable is not None:
            return Necessity(result="can't run", by=(outcome.executed or planned)[-1].rule)
        if (missing := _first_missing(planned, outcome.executed)) is not None:
            return Necessity(result="can't run", by=missing.rule)
        return Necessity(result="does not count", by=planned[-1].rule) if self._is_undecided(outcome) else None

    def _is_undecided(self, outcome: Outcome) -> bool:
        """Whether what failed here, and does not count here, is what the failure sought is about."""
        assert self.best.failure is not None
        return outcome.is_undecided and outcome.executed[-1].rule == self.best.failure.check

    def minimise(self) -> None:
        """Shorten, simplify, and go on until no single deletion is left that fails the same."""
        self.is_minimal = False
        self._gallop()
        while True:
            self._simplify()
            length = len(self.best.executed)
            self._delete_singly()
            if len(self.best.executed) == length:
                break
        self.is_minimal = True

    # Deleting steps

    def _gallop(self) -> None:
        """Delete much at a time, without proof: all but the last step; then find from the back which ones are needed.

        From the back, because only the kept steps after a deletion are asked anew.
        """
        kept = 1  # steps at the end that are needed
        while self._loose(self.best.executed, kept):
            kept = kept + 1 if self._delete_before(kept) else 1

    def _delete_before(self, kept: int) -> bool:
        """Delete as many steps before the `kept` last ones as can be; False if the runner dropped others as well."""
        plan = self.best.executed
        loose = self._loose(plan, kept)
        low, high = 0, len(loose)  # how many can be deleted, and how many may be
        delete = high
        while low < high:
            candidate = without(plan, set(loose[len(loose) - delete :]))
            if self._try(candidate):
                if len(self.best.executed) != len(plan) - delete:
                    return False
                low = delete
            else:
                high = delete - 1
            delete = (low + high + 1) // 2
        return True

    def _delete_singly(self) -> None:
        """Prove that each step is needed, the last first; after a deletion, prove it again."""
        index = len(self.best.executed) - 1
        while index >= 0:
            plan = self.best.executed
            # Without its last step the plan is what already passed on the way to the failure.
            samples = self.samples if index < len(plan) - 1 else 1
            if not self._is_initial(plan[index]) and self._try(without(plan, {index}), samples=samples):
                index = len(self.best.executed)
            index -= 1

    def _loose(self, plan: Plan, kept: int) -> list[int]:
        return [index for index, step in enumerate(plan[: len(plan) - kept]) if not self._is_initial(step)]

    def _is_initial(self, step: Step) -> bool:
        rule = self._rules.get(step.rule)
        return rule is not None and rule.is_initial

    # Simplifying arguments

    def _simplify(self) -> None:
        """Bring each argument towards the documented value, then the simplest; the last step's first."""
        plan = self.best.executed
        if self._try(tuple(self._usual(step) for step in plan)):
            return
        for index in reversed(range(len(plan))):
            if index < len(self.best.executed) and self._stays_together(self.best.executed[index]):
                self._simplify_together(index)
            for name in plan[index].arguments:
                if index < len(self.best.executed) and name in self.best.executed[index].arguments:
                    self._simplify_argument(index, name)

    def _simplify_together(self, index: int) -> None:
        """Take the listed set that is nearest to the usual one, of those between it and what is there."""
        before, step, after = self.best.executed[:index], self.best.executed[index], self.best.executed[index + 1 :]
        usual = self._usual(step).arguments
        between = [
            arguments
            for arguments in self._rules[step.rule].pool
            if all(
                is_same(value, usual[name]) or is_same(value, step.arguments[name]) for name, value in arguments.items()
            )
        ]
        for arguments in sorted(between, key=lambda each: sum(not is_same(each[name], usual[name]) for name in each)):
            if self._try((*before, replace(step, arguments=arguments), *after)):
                return

    def _stays_together(self, step: Step) -> bool:
        """Whether its arguments, changed one by one, would be none that may be tried."""
        return len(step.arguments) > 1 and isinstance(self._rules[step.rule].pool, Listed)

    def _usual(self, step: Step) -> Step:
        if step.rule not in self._values:
            return step
        usual = self._values[step.rule].usual()
        return replace(
            step,
            arguments={
                name: value if isinstance(value, Given) else usual.get(name, value)
                for name, value in step.arguments.items()
            },
        )

    def _simplify_argument(self, index: int, name: str) -> None:
        """Alone, and then together with all places that have the same value: they may have to agree."""
        step = self.best.executed[index]
        if isinstance(step.arguments[name], Given) or name not in self._plain(step.rule):
            return
        same = [
            (place, name)
            for place, other in enumerate(self.best.executed)
            if other.rule == step.rule
            and name in other.arguments
            and is_same(other.arguments[name], step.arguments[name])
        ]
        for places in ([(index, name)], same)[: len(same)]:
            if self._simplify_value(places, step.rule, step.arguments[name]):
                return

    def _simplify_value(self, places: Sequence[tuple[int, str]], rule: str, value: Any) -> bool:
        plan, name = self.best.executed, places[0][1]
        for wanted in (*self._values[rule].documented.get(name, ()), self._rules[rule].simplest[name]):
            if is_same(wanted, value):
                return True
            if self._try(replaced(plan, places, wanted)):
                return True
        shrunk = self._rules[rule].shrunk(
            name, value, lambda other: self._failing(replaced(plan, places, other)) is not None
        )
        return self._try(replaced(plan, places, shrunk)) and not is_same(shrunk, value)

    def _plain(self, rule: str) -> Mapping[str, Any]:
        return self._rules[rule].simplest if rule in self._rules else {}

    # Asking

    def _try(self, plan: Plan, *, samples: int = 1) -> bool:
        """Whether `plan` fails the same; then what was executed of it is the best now."""
        outcome = self._failing(plan, samples=samples)
        if outcome is not None:
            self.best = outcome
        return outcome is not None

    def _failing(self, plan: Plan, *, samples: int = 1) -> Outcome | None:
        if not plan or plan in self._failed:
            return self._failed.get(plan)
        wanted = max(samples, self.samples) if self.varies else samples
        others = self._others.setdefault(plan, [])
        for again in range(len(others), wanted):
            if others and self._is_undecided(others[-1]):
                break  # nor would it count in a further sample
            outcome = self._run(self._where_known(plan), again)
            if outcome.failure == self.best.failure:
                self.varies |= again > 0
                self._failed[plan] = self._failed[outcome.executed] = outcome
                return outcome
            others.append(replace(outcome, evidence=None))
            if outcome.failure is not None or outcome.inapplicable is not None:
                break  # it ended before its last step, or in another way: a further sample tells nothing
        return None

    def _where_known(self, plan: Plan) -> Plan:
        """Without the samples of what follows a change: its history is another, where their numbers mean nothing."""
        pairs = zip(plan, self.best.executed, strict=False)
        same = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        return (*plan[:same], *(replace(step, samples=()) for step in plan[same:]))


def _first_missing(planned: Plan, executed: Plan) -> Step | None:
    """The first step of a plan that is not among those left of it."""
    return next((step for step, other in zip_longest(planned, executed) if step != other), None)


def without(plan: Plan, indexes: set[int]) -> Plan:
    """`plan` without these steps, and without those that were given their results."""
    kept: list[Step] = []
    lost: set[str] = set()
    for index, step in enumerate(plan):
        if index in indexes or lost.intersection(step.needs()):
            if step.gives is not None:
                lost.add(step.gives)
        else:
            kept.append(step)
    return tuple(kept)


def replaced(plan: Plan, places: Sequence[tuple[int, str]], value: Any) -> Plan:
    """`plan` with one value in all these places."""
    steps = list(plan)
    for index, name in places:
        steps[index] = replace(steps[index], arguments={**steps[index].arguments, name: value})
    return tuple(steps)


def is_same(value: Any, other: Any) -> bool:
    """Whether two values look the same in code; a user's type may refuse to be compared."""
    return repr(value) == repr(other)

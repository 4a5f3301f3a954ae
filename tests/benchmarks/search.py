"""What it costs to find and minimise a planted defect, in turns asked live, beside what there is without our search."""

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan
from random import Random
from statistics import mean
from time import perf_counter
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import seed as seeded
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from pytest_aitest.search.explore import explore
from pytest_aitest.search.plan import Plan, Step
from pytest_aitest.search.runner import Rule, StopSearchError

from . import zoo
from .simulated import SimulatedRunner, rules_of
from .zoo import Argument, Defect

SEEDS = 10
VARYING_SEEDS = 10
STOCK_EVERY = 5
STOCK_MOST_FRESH = 3_000
RANDOM_HALF = 2026
MOST_FRESH = 600
PLAN_TURNS = 12
TINY = 1e-9


@dataclass(frozen=True, kw_only=True)
class Run:
    """One defect met once."""

    defect: Defect
    plan: Plan | None  # None: not found
    fresh: int = 0  # from the start to the minimal transcript, the documented order included, confirmation not
    find: int = 0
    holds: bool = True  # whether the interval of the confirmed rate holds the true one

    @property
    def excess(self) -> int:
        assert self.plan is not None
        return len(self.plan) - self.defect.shortest

    @property
    def is_plain(self) -> bool:
        assert self.plan is not None
        return self.defect.has_minimal_arguments([(step.rule, step.arguments) for step in self.plan])


Approach = Callable[[Defect, Sequence[Rule], int], Run]


def ours(defect: Defect, rules: Sequence[Rule], seed: int, *, probability: float = 1.0) -> Run:
    runner = SimulatedRunner(defect, rules=rules, probability=probability, seed=seed, most_fresh=MOST_FRESH)
    found = explore(runner, pinned={"documented": defect.documented}, plans=600, plan_turns=PLAN_TURNS, seed=seed)
    if not found.findings:
        return Run(defect=defect, plan=None)
    finding = found.findings[0]
    low, high = finding.rate.interval if finding.rate else (0.0, 1.0)
    return Run(
        defect=defect,
        plan=finding.plan,
        fresh=finding.turns["find"].fresh + finding.turns["shrink"].fresh,
        find=finding.turns["find"].fresh,
        holds=low - TINY <= runner.true_rate(finding.plan) <= high + TINY,
    )


def naive(defect: Defect, rules: Sequence[Rule], seed: int) -> Run:
    """Random plans of 16 turns; then each turn is left out, from the back, if the rest still fails."""
    runner = SimulatedRunner(defect, rules=rules, seed=seed, most_fresh=MOST_FRESH)
    random = Random(seed)
    try:
        outcome = runner.run(defect.documented)
        while outcome.failure is None:
            chosen = random.choices(rules, k=16)
            outcome = runner.run(tuple(Step(rule=rule.name, arguments=random.choice(rule.pool)) for rule in chosen))
        plan, find = outcome.executed, runner.fresh_turns
        for index in reversed(range(len(plan) - 1)):
            shorter = runner.run(plan[:index] + plan[index + 1 :])
            plan = shorter.executed if shorter.failure else plan
    except StopSearchError:
        return Run(defect=defect, plan=None)
    return Run(defect=defect, plan=plan, fresh=runner.fresh_turns, find=find)


def stock(
    defect: Defect, rules: Sequence[Rule], seed: int, *, shares_tree: bool = True, limits: settings | None = None
) -> Run:
    """Hypothesis's own state machine, at its defaults; with and without a tree that answers what is known."""
    runner = SimulatedRunner(defect, rules=rules, seed=seed, most_fresh=STOCK_MOST_FRESH)
    failing: list[Plan] = []
    asked = [0]

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.plan: Plan = ()

        def take(self, step: Step) -> None:
            asked[0] += 1
            if not shares_tree and asked[0] > STOCK_MOST_FRESH:
                raise Spent
            self.plan = (*self.plan, step)
            try:
                outcome = runner.run(self.plan)
            except StopSearchError:
                raise Spent from None
            if outcome.failure:
                failing.append(self.plan)
                raise AssertionError

    for name, arguments in defect.machine.items():
        setattr(Machine, name, method(name, arguments))
    runner.run(defect.documented)
    fresh = len(defect.documented)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            run_state_machine_as_test(
                seeded(seed)(Machine),
                settings=settings(limits, database=None, deadline=None, suppress_health_check=list(HealthCheck)),
            )
    except AssertionError:
        fresh = runner.fresh_turns if shares_tree else fresh + asked[0]
        return Run(defect=defect, plan=failing[-1], fresh=fresh)
    except (Spent, Flaky):  # a budget that ends within an example looks flaky to Hypothesis
        pass
    return Run(defect=defect, plan=None)


class Spent(BaseException):
    """The stock machine has asked too much; no Exception, or it would be shrunk."""


def method(name: str, arguments: Mapping[str, Argument]) -> Any:
    def act(self: Any, **values: Any) -> None:
        self.take(Step(rule=name, arguments=values))

    act.__name__ = name
    return rule(**{name: argument.strategy for name, argument in arguments.items()})(act)


def measure() -> None:
    started = perf_counter()
    halves = zoo.by_hand(), zoo.at_random(RANDOM_HALF)
    made: dict[int, Sequence[Rule]] = {}  # by machine: drawing values takes longer than a search
    rules = {
        defect.name: made.get(id(defect.machine)) or made.setdefault(id(defect.machine), rules_of(defect))
        for half in halves
        for defect in half
    }

    def meet(approach: Approach, seeds: int, every: int = 1) -> list[list[Run]]:
        return [
            [approach(defect, rules[defect.name], seed) for defect in half[::every] for seed in range(seeds)]
            for half in halves
        ]

    print(f"{sum(map(len, halves))} planted defects, half by hand, half from seed {RANDOM_HALF}; mean turns asked")
    print(
        f"live from the start to the minimal transcript; at most {MOST_FRESH} ({STOCK_MOST_FRESH} for stock machines)"
    )
    print(f"{'':40}  found   by hand   random   excess  optimal    plain  interval")
    show(f"ours, {SEEDS} seeds", meet(ours, SEEDS))
    show(f"random 16 + deletion, {SEEDS} seeds", meet(naive, SEEDS))
    for probability in (0.8, 0.5):
        runs = meet(partial(ours, probability=probability), VARYING_SEEDS)
        show(f"ours, shown with p={probability}, {VARYING_SEEDS} seeds", runs)
    print(f"({perf_counter() - started:.0f} s until here)")
    for shares_tree in (True, False):
        runs = meet(partial(stock, shares_tree=shares_tree), 1, STOCK_EVERY)
        with_or_without = "with" if shares_tree else "without"
        show(f"stock machine {with_or_without} tree, every {STOCK_EVERY}th, 1 seed", runs)


def show(approach: str, halves: Sequence[Sequence[Run]]) -> None:
    runs = [run for half in halves for run in half]
    found = [run for run in runs if run.plan is not None]
    fresh = [mean([run.fresh for run in half if run.plan is not None] or [nan]) for half in halves]
    print(
        f"{approach:40} {len(found) / len(runs):6.1%} {fresh[0]:9.1f} {fresh[1]:8.1f} "
        f"{mean(run.excess for run in found):8.3f} {mean(not run.excess for run in found):8.1%} "
        f"{mean(run.is_plain for run in found):8.1%} {mean(run.holds for run in found):9.1%}",
        flush=True,
    )

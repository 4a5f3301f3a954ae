"""Explorations of several lanes beside one, and beside Hypothesis alone: seconds, where a turn takes 300 ms.

The zoo met by real sessions, as in `real`; how far lanes can get at all is told by simulated ones that cost nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from time import perf_counter
from typing import Any

from pytest_aitest import Provider
from pytest_aitest.exploration.run import Limits
from pytest_aitest.search.exploration import Exploration
from pytest_aitest.search.explore import explore
from pytest_aitest.search.plan import Plan
from pytest_aitest.stateful.values import StrategyRule

from . import real, search, slow_bank, zoo
from .simulated_lanes import SimulatedLanes
from .slow_bank import LATENCY, slowed
from .table import Row
from .zoo import Defect

EVERY = 15
STOCK_EVERY = 2  # of the sample
MORE_LANES = (2, 4, 8)
MANY_LANES = 64
FIND = Limits(plans=600, plan_turns=search.PLAN_TURNS)
FIND_NOTHING = Limits(plans=25, plan_turns=search.PLAN_TURNS)


@dataclass(frozen=True, kw_only=True)
class Took:
    """What one or several explorations took."""

    seconds: float
    asked: int
    found: tuple[Any, ...]  # what must be the same for all numbers of lanes

    @classmethod
    def all_of(cls, took: Sequence["Took"]) -> "Took":
        found = tuple(each.found for each in took)
        return cls(seconds=sum(each.seconds for each in took), asked=sum(each.asked for each in took), found=found)

    def __str__(self) -> str:
        return f"{self.seconds:.0f} s, {self.asked} turns"


def told(found: Exploration) -> tuple[Any, ...]:
    """What an exploration found out, its cost aside."""
    assert found.stopped is None, found.stopped
    findings = [(each.plan, each.failure.check, each.is_minimal, each.rate) for each in found.findings]
    return found.tried, findings, found.pairs


def plans_of(found: tuple[Any, ...]) -> list[Plan]:
    return [finding[0] for finding in found[1]]


@cache
def sample(every: int = EVERY) -> Mapping[str, tuple[Defect, Sequence[StrategyRule]]]:
    """Every so manieth defect of both halves of the zoo, with its rules, whose values have been drawn."""
    rules: dict[int, Sequence[StrategyRule]] = {}  # by machine: drawing takes longer than a search
    chosen = [*zoo.by_hand()[::every], *zoo.at_random(search.RANDOM_HALF)[::every]]
    for defect in chosen:
        made = rules.setdefault(id(defect.machine), real.planned_rules(defect))
        _ = [(rule.pool, rule.simplest) for rule in made]
    return {defect.name: (defect, rules[id(defect.machine)]) for defect in chosen}


def of_sample(every: int = 1) -> str:
    of_them = len(list(sample())[::every])
    return f"every {EVERY * every}th planted defect ({of_them}), real sessions, in-process servers, 300 ms a turn"


# Real sessions


def met(lanes: int, *, every: int = 1) -> Took:
    """The sample, or a part of it, found, cut down and confirmed."""
    return Took.all_of([met_one(name, lanes) for name in list(sample())[::every]])


@cache
def met_one(name: str, lanes: int) -> Took:
    defect, rules = sample()[name]
    subject, machine = real.begun(defect, 0)
    assert machine.agent is not None
    assert callable(machine.agent.provider.model)
    model = partial(slowed, machine.agent.provider.model)
    machine.agent = machine.agent.model_copy(update={"provider": Provider(model=model)})
    made = replace(real.explorable(machine, rules, subject, 0), lanes=lanes)
    started = perf_counter()
    found, _ = made.explore(FIND, database=None)
    return Took(seconds=perf_counter() - started, asked=subject.asked, found=told(found))


def finding() -> list[Row]:
    one = met(1)
    rows = [beside(one, met(lanes), lanes, "find, shrink and confirm", of_sample()) for lanes in MORE_LANES]
    return [*rows[:-1], replace(rows[-1], target="5 times"), limit()]


def limit() -> Row:
    """How far lanes can get with this search: where nothing but the model takes time."""
    one, eight, many = (Took.all_of(list(simulated(lanes).values())) for lanes in (1, 8, MANY_LANES))
    assert one.found == eight.found
    for name in sample():
        assert plans_of(simulated(1)[name].found) == plans_of(met_one(name, 1).found)
    return replace(
        beside(one, many, MANY_LANES, "the same, simulated: what this search can reach"),
        measured_on=f"all {len(simulated(1))} planted defects, the same latency; all else takes no time",
        figures=f"{one}; {many} (8 lanes: {eight.seconds:.0f} s, {one.seconds / eight.seconds:.1f} times faster)",
    )


@cache
def simulated(lanes: int) -> Mapping[str, Took]:
    """The whole zoo, by name."""
    return {name: simulated_one(*each, lanes=lanes) for name, each in sample(every=1).items()}


def simulated_one(defect: Defect, rules: Sequence[StrategyRule], *, lanes: int) -> Took:
    runner = SimulatedLanes(defect=defect, rules=rules, lanes=lanes)
    pinned = {"documented": defect.documented}
    found = explore(runner, pinned=pinned, plans=FIND.plans, plan_turns=search.PLAN_TURNS, seed=0)
    return Took(seconds=runner.moments * LATENCY, asked=runner.asked, found=told(found))


def finding_nothing() -> list[Row]:
    plans = f"{FIND_NOTHING.plans} plans of {FIND_NOTHING.plan_turns} turns"
    on = f"example bank without a defect, in-process server, {plans}, 300 ms a turn"
    return [beside(correct(1), correct(8), 8, "nothing to find", on)]


def correct(lanes: int) -> Took:
    made = slow_bank.explorable(slow_bank.in_process("banking_mcp"), lanes=lanes)
    started = perf_counter()
    found, _ = made.explore(FIND_NOTHING, database=None)
    return Took(seconds=perf_counter() - started, asked=len(made.runner.fresh), found=told(found))


def beside(one: Took, took: Took, lanes: int, what: str, measured_on: str = "") -> Row:
    assert one.found == took.found, f"{lanes} lanes find something else than one"
    return Row(
        what=f"{lanes} lanes beside 1: {what}",
        measured_on=measured_on,
        figures=f"{one}; {took}",
        ratio=f"{one.seconds / took.seconds:.1f} times faster",
    )


def beside_hypothesis() -> list[Row]:
    """`real.alone` with an agent that answers at once; its turns would have taken 300 ms each, one after another."""
    totals = real.Totals()
    runs = [real.alone(totals, *each, 0) for each in list(sample().values())[::STOCK_EVERY]]
    given_up = sum(run.plan is None for run in runs)
    alone = totals.asked * LATENCY + totals.seconds
    why = f"computed: {totals.asked} turns x 300 ms + {totals.seconds:.0f} s of its own; {given_up} of {len(runs)} "
    why += f"given up after {search.STOCK_MOST_FRESH} turns" if given_up else "given up"
    return [
        Row(
            what=f"{lanes} lane{'s' * (lanes > 1)} beside stock Hypothesis without the tree",
            measured_on=of_sample(STOCK_EVERY),
            figures=f"stock {alone:.0f} s ({why}); ours {took}, confirmation included",
            ratio=f"{'at least ' * bool(given_up)}{alone / took.seconds:.0f} times faster",
            target="30 times",
        )
        for lanes, took in {lanes: met(lanes, every=STOCK_EVERY) for lanes in (1, 8)}.items()
    ]

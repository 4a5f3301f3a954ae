"""The planted defects of the benchmark are what they say, and the search finds their optimum."""

import pytest

from pytest_aitest.search.explore import explore
from tests.benchmarks import zoo
from tests.benchmarks.simulated import SimulatedRunner, rules_of
from tests.benchmarks.zoo import Defect

DEFECTS = [*zoo.by_hand(), *zoo.at_random(2026)]


def test_there_are_enough_and_each_has_its_own_name() -> None:
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS) >= 40


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_does_not_show_in_the_documented_order_but_elsewhere(defect: Defect) -> None:
    history = [(step.rule, step.arguments) for step in defect.documented]
    assert not any(defect.shows(history[:end]) for end in range(1, len(history) + 1))
    assert 1 <= defect.shortest <= 12


def test_the_same_seed_draws_the_same_defects() -> None:
    again, other = zoo.at_random(2026, 5), zoo.at_random(2027, 5)
    assert [defect.documented for defect in again] == [defect.documented for defect in DEFECTS[30:35]]
    assert [defect.documented for defect in other] != [defect.documented for defect in again]


@pytest.mark.parametrize("defect", DEFECTS[::7], ids=lambda defect: defect.name)
def test_the_shortest_conversation_with_the_plainest_arguments_is_found(defect: Defect) -> None:
    runner = SimulatedRunner(defect, rules=rules_of(defect), seed=3)
    found = explore(runner, pinned={"documented": defect.documented}, plans=60, plan_turns=12, seed=3)
    (finding,) = found.findings
    assert len(finding.plan) == defect.shortest
    assert defect.has_minimal_arguments([(step.rule, step.arguments) for step in finding.plan])

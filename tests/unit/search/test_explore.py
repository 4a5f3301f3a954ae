import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aitest.search.deck import Shard
from pytest_aitest.search.exploration import Exploration
from pytest_aitest.search.explore import explore
from pytest_aitest.search.plan import Plan, Step
from pytest_aitest.search.runner import Outcome, StopSearchError

from .agents import FAILURE, OTHER, Agent, Choice, codes, in_order, names, plan, step

LETTERS = [Choice(name=name) for name in "abcd"]


def explored(agent: Agent, **changes: Any) -> Exploration:
    wanted: dict[str, Any] = {"pinned": {"documented": plan("a b")}, "plan_turns": 6, "seed": 1, **changes}
    return explore(agent, **wanted)


def test_it_finds_minimises_and_confirms() -> None:
    found = explored(Agent(LETTERS, in_order("b", "a")))
    (finding,) = found.findings
    assert names(finding.plan) == "b a"
    assert (finding.failure, finding.verdict, finding.is_minimal) == (FAILURE, "fails", True)
    assert str(finding.rate).startswith("Fails 5 of 5")
    assert finding.found_in == f"plan {found.tried}"
    assert finding.turns["confirm"].fresh == 10
    assert found.stopped is None


def test_pinned_plans_run_first_then_kept_ones_then_planned_ones() -> None:
    agent = Agent(LETTERS, lambda history: False)
    found = explored(agent, kept=[plan("d d d")], plans=3)
    assert [names(asked) for asked, _ in agent.asked[:2]] == ["a b", "d d d"]
    assert (found.tried, found.plans, len(agent.asked)) == (3, 3, 4)


@pytest.mark.parametrize(
    ("pinned", "kept", "name"),
    [({"documented": plan("b c a")}, [], "documented"), ({}, [plan("c"), plan("b c a")], "kept failure 2")],
)
def test_what_a_given_plan_shows_is_found_like_any_other(pinned: dict[str, Plan], kept: list[Plan], name: str) -> None:
    (finding,) = explored(Agent(LETTERS, in_order("b", "a")), pinned=pinned, kept=kept).findings
    assert finding.found_in == name
    assert names(finding.found_as) == "b c a"
    assert names(finding.plan) == "b a"


def test_an_agent_without_fault_is_asked_all_plans() -> None:
    found = explored(Agent(LETTERS, lambda history: False), plans=7)
    assert (found.findings, found.tried, found.is_exhausted) == ((), 7, False)
    assert ("a", "b") in found.pairs
    assert len(found.pairs) == 16


def test_no_plan_is_tried_twice_and_it_says_when_none_is_left() -> None:
    agent = Agent([Choice(name="a")], lambda history: False)
    found = explored(agent, pinned={"documented": plan("a")}, plan_turns=3)
    assert (found.tried, found.is_exhausted) == (1, True)


def test_initial_rules_run_once_and_first_in_each_plan() -> None:
    agent = Agent([*LETTERS, Choice(name="log_in", is_initial=True)], lambda history: False)
    explored(agent, pinned={}, plans=4)
    for asked, _ in agent.asked:
        assert [each.rule for each in asked].count("log_in") == 1
        assert asked[0].rule == "log_in"
        assert len(asked) == 7


def test_a_verdict_that_changes_on_replay_is_said_and_not_shrunk() -> None:
    class Leaky(Agent):
        def run(self, plan: Plan, *, again: int = 0) -> Outcome:
            outcome = super().run(plan, again=again)
            if len(self.asked) == 1:
                return Outcome(executed=outcome.executed, failure=FAILURE, fresh_turns=outcome.fresh_turns)
            return outcome

    agent = Leaky(LETTERS, lambda history: False)
    (finding,) = explored(agent, plans=0).findings
    assert finding.is_unstable
    assert not finding.is_minimal
    assert names(finding.plan) == "a b"
    assert finding.verdict == "seen once"


def test_all_plans_inapplicable_means_nothing_was_explored() -> None:
    found = explored(Agent(LETTERS, lambda history: False, refuses=lambda history: "no server"), plans=3)
    assert found.is_inapplicable
    assert [each.name for each in found.inapplicable] == ["documented", "plan 1", "plan 2", "plan 3"]
    assert found.inapplicable[0].reason == "no server"


def test_some_plans_inapplicable_are_only_counted() -> None:
    agent = Agent(LETTERS, lambda history: False, refuses=lambda history: "skip" if history[-1].rule == "d" else None)
    assert not explored(agent, plans=3).is_inapplicable


def two_faults(history: Sequence[Step]) -> Any:
    if history[-1].rule == "c":
        return OTHER
    return history[-1].rule == "d"


def test_the_first_finding_ends_it() -> None:
    assert len(explored(Agent(LETTERS, two_faults)).findings) == 1


def test_it_goes_on_if_asked_to_and_tells_each_failure_once() -> None:
    found = explored(Agent(LETTERS, two_faults), keep_going=True)
    assert sorted(names(finding.plan) for finding in found.findings) == ["c", "d"]
    assert found.tried == 25
    total = sum(sum(turns.fresh for turns in finding.turns.values()) for finding in found.findings)
    assert total <= sum(turns.fresh for turns in found.turns.values())


def test_a_tolerated_failure_does_not_hide_another() -> None:
    class Mild(Agent):
        def confirm(self, plan: Plan) -> Outcome:
            outcome = super().confirm(plan)
            return Outcome(executed=plan) if outcome.failure == OTHER and len(self.live) % 2 else outcome

    found = explored(Mild(LETTERS, two_faults), tolerate=0.7, pinned={"documented": plan("c")})
    assert [finding.verdict for finding in found.findings] == ["tolerated", "fails"]


def test_a_budget_that_ends_while_looking_leaves_no_finding() -> None:
    found = explored(Agent(LETTERS, lambda history: False, most_turns=20))
    assert isinstance(found.stopped, StopSearchError)
    assert found.findings == ()
    assert found.turns["find"].fresh <= 20


@pytest.mark.parametrize("ends_with", [StopSearchError, KeyboardInterrupt])
def test_the_best_so_far_is_kept_when_it_has_to_stop(ends_with: type[BaseException]) -> None:
    agent = Agent(LETTERS, in_order("a", "b", "c"), most_turns=13, ends_with=ends_with)
    found = explored(agent, pinned={"documented": plan("a d d b d d d c")})
    (finding,) = found.findings
    assert isinstance(found.stopped, ends_with)
    assert not finding.is_minimal
    assert finding.rate is None
    assert len(finding.plan) < 8


def test_a_budget_that_ends_while_confirming_leaves_the_runs_that_were_had() -> None:
    agent = Agent(LETTERS, in_order("b"), most_turns=4)
    (finding,) = explored(agent, pinned={"documented": plan("b")}).findings
    assert finding.is_minimal
    assert finding.rate is not None
    assert (finding.rate.failed, finding.rate.runs) == (3, 3)


def test_what_fails_sometimes_is_minimised_with_more_samples() -> None:
    best = [
        len(explored(seeded(Agent(LETTERS, in_order("b", "a"), probability=0.5), seed), seed=seed).findings[0].plan)
        for seed in range(40)
    ]
    assert best.count(2) >= 34


def seeded(agent: Agent, seed: int) -> Agent:
    agent._random.seed(seed)
    return agent


@given(seed=st.integers(0, 50), rules=st.permutations("abcd"), probability=st.sampled_from([1.0, 0.5]))
def test_the_same_seed_gives_the_same_exploration(seed: int, rules: list[str], probability: float) -> None:
    def once() -> tuple[Any, ...]:
        agent = Agent(LETTERS, in_order(*rules[:3]), probability=probability)
        found = explored(agent, seed=seed)
        return agent.asked, agent.live, [finding.plan for finding in found.findings], found.turns

    assert once() == once()


def test_the_same_seed_gives_the_same_exploration_in_another_process() -> None:
    script = (
        "from tests.unit.search.test_explore import *\n"
        "rules = [*LETTERS, Choice(name='pay', choices={'amount': range(9)})]\n"
        "agent = Agent(rules, lambda history: False)\n"
        "explored(agent, plans=4)\n"
        "print([codes(asked) for asked, _ in agent.asked])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1
    assert "pay(amount=" in outputs.pop()


def test_a_step_that_is_always_dropped_does_not_crowd_out_the_others() -> None:
    agent = Agent(LETTERS, lambda history: False, allows=lambda history, each: each.rule != "d")
    explored(agent, plans=12)
    last = [names(asked) for asked, _ in agent.asked[-4:]]
    assert all(asked.split().count("d") <= 3 for asked in last)


def test_documented_and_extreme_values_are_both_tried() -> None:
    agent = Agent([Choice(name="pay", choices={"amount": range(50)})], lambda history: False)
    explored(agent, pinned={"documented": (step("pay", amount=20),)}, plans=5)
    tried = {code for asked, _ in agent.asked[1:] for code in codes(asked)}
    assert {"pay(amount=20)", "pay(amount=0)", "pay(amount=49)"} <= tried


@given(of=st.integers(1, 6), plans=st.integers(0, 12), kept=st.integers(0, 3), seed=st.integers(0, 20))
def test_together_shards_try_what_one_exploration_would_each_plan_once(
    of: int, plans: int, kept: int, seed: int
) -> None:
    how: dict[str, Any] = {"plans": plans, "kept": [plan("d d d"), plan("c c"), plan("b d")][:kept], "seed": seed}

    def asked(shard: Shard) -> list[str]:
        agent = Agent(LETTERS, lambda history: False)
        found = explored(agent, shard=shard, **how)
        assert found.tried == len(agent.asked) - (shard.number == 1)  # which alone has the pinned order
        return [names(asked) for asked, _ in agent.asked]

    alone = asked(Shard())
    shards = [asked(Shard(number, of)) for number in range(1, of + 1)]
    given_plans = 1 + min(kept, plans)
    assert shards[0][:given_plans] == alone[:given_plans]
    dealt = [shards[0][given_plans:], *shards[1:]]
    assert [dealt[position % of][position // of] for position in range(len(alone) - given_plans)] == alone[given_plans:]
    assert sum(map(len, dealt)) == len(alone) - given_plans


@given(plans=st.integers(0, 30), of=st.integers(1, 9))
def test_the_shares_of_all_shards_are_all_plans(plans: int, of: int) -> None:
    shards = [Shard(number, of) for number in range(1, of + 1)]
    assert sum(shard.share(plans) for shard in shards) == plans
    assert all(sum(shard.has(position) for shard in shards) == 1 for position in range(1, plans + 1))

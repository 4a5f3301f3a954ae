from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aitest.search.arguments import Values, documented_values
from pytest_aitest.search.minimise import Minimiser, without
from pytest_aitest.search.plan import Given, Plan, Step
from pytest_aitest.search.runner import Failure, StopSearchError

from .agents import FAILURE, OTHER, Agent, Choice, codes, in_order, names, plan, step

LETTERS = [Choice(name=name) for name in "abcd"]
AMOUNTS = [Choice(name="pay", choices={"amount": range(100), "note": ["", "hi"]}), Choice(name="wait")]


def minimiser(agent: Agent, failing: Plan, *, documented: Plan = (), samples: int = 2) -> Minimiser:
    outcome = agent.run(failing)
    assert outcome.failure is not None
    known = documented_values([documented])
    values = {rule.name: Values(rule, known) for rule in agent.rules}
    return Minimiser(
        lambda plan, again: agent.run(plan, again=again), outcome, rules=agent.rules, values=values, samples=samples
    )


def minimised(agent: Agent, failing: Plan, *, documented: Plan = ()) -> Plan:
    search = minimiser(agent, failing, documented=documented)
    search.minimise()
    assert search.is_minimal
    return search.best.executed


def test_a_failure_that_needs_its_last_turn_only_costs_one_turn_to_minimise() -> None:
    agent = Agent(LETTERS, lambda history: history[-1].rule == "d")
    assert names(minimised(agent, plan("a b c a b c d"))) == "d"
    assert len(agent.live) == 7 + 1


def test_turns_that_are_needed_are_kept_in_their_order() -> None:
    agent = Agent(LETTERS, in_order("a", "b", "c"))
    assert names(minimised(agent, plan("d a d d a b d b d d c"))) == "a b c"


def test_only_the_same_failure_is_followed() -> None:
    def wrong(history: Sequence[Step]) -> object:
        rules = [each.rule for each in history]
        if rules == ["c"]:
            return OTHER
        return rules[-1] == "c" and "a" in rules

    agent = Agent(LETTERS, wrong)  # type: ignore[arg-type]
    assert names(minimised(agent, plan("b a b c"))) == "a c"


def test_initial_steps_are_never_deleted() -> None:
    agent = Agent([Choice(name="log_in", is_initial=True), *LETTERS], in_order("c"))
    assert names(minimised(agent, plan("log_in a b c"))) == "log_in c"


def test_steps_that_were_given_a_deleted_result_go_too() -> None:
    cart = Step(rule="a", gives="cart")
    show = step("b", of=Given("cart"))
    assert without((cart, show, *plan("c")), {0}) == plan("c")
    agent = Agent(LETTERS, in_order("c"))
    assert names(minimised(agent, (cart, show, cart, show, *plan("c")))) == "c"


def test_a_needed_result_is_kept_with_the_step_that_gives_it() -> None:
    cart = Step(rule="a", gives="cart")
    agent = Agent(LETTERS, lambda history: bool(list(history[-1].needs())))
    assert codes(minimised(agent, (*plan("c"), cart, *plan("d d"), step("b", of=Given("cart"))))) == [
        "a()",
        "b(of=cart)",
    ]


def test_what_the_runner_drops_is_not_looked_for_again() -> None:
    agent = Agent(LETTERS, in_order("d"), allows=lambda history, each: each.rule != "c" or names(history) == "a b")
    agent.run(plan("a b c d"))
    assert names(minimised(agent, plan("a b c d"))) == "d"


def test_arguments_become_documented_before_they_become_simplest() -> None:
    agent = Agent(AMOUNTS, lambda history: history[-1].rule == "pay")
    found = minimised(agent, (step("pay", amount=77, note="hi"),), documented=(step("pay", amount=20, note="hi"),))
    assert codes(found) == ["pay(amount=20, note='hi')"]
    assert codes(minimised(agent, (step("pay", amount=77, note="hi"),))) == ["pay(amount=0, note='')"]


def test_an_argument_that_matters_becomes_the_least_that_fails() -> None:
    agent = Agent(AMOUNTS, lambda history: history[-1].rule == "pay" and history[-1].arguments["amount"] > 30)
    found = minimised(
        agent, (*plan("wait"), step("pay", amount=77, note="hi")), documented=(step("pay", amount=5, note=""),)
    )
    assert codes(found) == ["pay(amount=31, note='')"]


def test_values_that_have_to_agree_are_simplified_together() -> None:
    agent = Agent(AMOUNTS, lambda history: len(history) > 1 and history[-1] in history[:-1] and sums_over(history, 20))
    found = minimised(agent, (step("pay", amount=77, note="hi"), *plan("wait"), step("pay", amount=77, note="hi")))
    assert codes(found) == ["pay(amount=11, note='')"] * 2


def sums_over(history: Sequence[Step], limit: int) -> bool:
    return sum(each.arguments.get("amount", 0) for each in history) > limit


def test_a_candidate_that_passed_by_luck_is_sampled_again() -> None:
    agent = Agent(LETTERS, in_order("c"))
    search = minimiser(agent, plan("a c"))
    lucky = iter([0.9, 0.1])  # the first live sample of `c` alone passes, the next one fails
    agent._probability, agent._random.random = 0.5, lambda: next(lucky)  # type: ignore[method-assign]
    search.minimise()
    assert names(search.best.executed) == "c"
    assert search.best.executed[0].samples == (1,)


def test_it_tells_how_often_the_plan_passed_without_each_step() -> None:
    search = minimiser(Agent(LETTERS, in_order("a", "b")), plan("a b"), samples=3)
    search.minimise()
    assert [each.samples for each in search.necessity] == [3, 1]


def without_each(agent: Agent, failing: Plan) -> list[tuple[str, str]]:
    search = minimiser(agent, failing)
    search.minimise()
    assert search.best.executed == failing
    assert not any(each.samples for each in search.necessity if each.result != "passes")
    return [(each.result, each.by) for each in search.necessity]


def test_without_a_step_that_makes_a_later_one_possible_nothing_was_judged() -> None:
    agent = Agent(
        LETTERS, in_order("a", "b", "c"), allows=lambda history, each: each.rule != "c" or "b" in names(history)
    )
    assert without_each(agent, plan("a b c")) == [("passes", ""), ("can't run", "c"), ("passes", "")]


def test_without_a_step_whose_result_a_later_one_is_given_nothing_was_judged() -> None:
    failing = (Step(rule="a", gives="cart"), step("b", of=Given("cart")), *plan("c"))
    agent = Agent(LETTERS, in_order("a", "b", "c"))
    assert without_each(agent, failing) == [("can't run", "b"), ("passes", ""), ("passes", "")]


def test_without_a_step_another_may_skip() -> None:
    agent = Agent(LETTERS, in_order("a", "b", "c"), refuses=lambda history: "no" if names(history) == "b" else None)
    assert without_each(agent, plan("a b c"))[0] == ("can't run", "b")


def test_without_a_step_it_may_fail_otherwise() -> None:
    def wrong(history: Sequence[Step]) -> Failure | bool:
        return OTHER if names(history) == "b" else names(history) == "a b"

    assert without_each(Agent(LETTERS, wrong), plan("a b")) == [("fails otherwise", "invariant"), ("passes", "")]


@pytest.mark.parametrize(("check", "result"), [("b", ("does not count", "b")), ("invariant", ("passes", ""))])
def test_a_failed_assertion_that_does_not_count_matters_where_it_is_what_fails(
    check: str, result: tuple[str, str]
) -> None:
    def wrong(history: Sequence[Step]) -> Failure | None:
        return replace(FAILURE, check=check) if names(history) == "a b" else None

    agent = Agent(LETTERS, wrong, only_notes=lambda history: names(history) == "b")
    assert without_each(agent, plan("a b")) == [result, ("passes", "")]
    asked = [live for live in agent.live if live == ("b()",)]
    assert len(asked) == (1 if check == "b" else 2)  # whether it counts, no further sample will change


def test_what_was_best_when_the_search_had_to_stop_is_kept() -> None:
    agent = Agent(LETTERS, in_order("a", "b", "c"), most_turns=14)
    search = minimiser(agent, plan("a b d d d d d d d c"))
    with pytest.raises(StopSearchError):
        search.minimise()
    assert not search.is_minimal
    assert agent.run(search.best.executed).failure is not None
    assert 3 <= len(search.best.executed) < 10


wrongs = st.lists(st.sampled_from("abcd"), min_size=1, max_size=4).map(lambda rules: in_order(*rules))
plans = st.lists(st.sampled_from("abcd"), min_size=1, max_size=14).map(lambda rules: plan(" ".join(rules)))


@given(wrong=wrongs, long=plans)
def test_the_minimal_plan_fails_the_same_and_no_single_step_can_be_left_out(wrong: object, long: Plan) -> None:
    agent = Agent(LETTERS, wrong)  # type: ignore[arg-type]
    first = agent.run(long)
    if first.failure is None:
        return
    found = minimised(agent, first.executed)
    assert agent.run(found).failure == first.failure
    for index in range(len(found)):
        assert agent.run(found[:index] + found[index + 1 :]).failure is None


@given(long=plans, seed=st.integers(0, 5))
def test_no_history_is_asked_live_twice(long: Plan, seed: int) -> None:
    agent = Agent(LETTERS, in_order("a", "b"))
    if agent.run(long).failure is not None:
        minimiser(agent, long, samples=1).minimise()
    assert len(agent.live) == len(set(agent.live))

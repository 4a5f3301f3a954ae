"""Which arguments are tried in a step."""

from collections.abc import Mapping
from random import Random
from typing import Any

from pytest_aitest.flow import FlowTest, ValueSet
from pytest_aitest.search.arguments import Arguments, Values
from pytest_aitest.search.minimise import Minimiser
from pytest_aitest.search.plan import Plan, Step
from pytest_aitest.search.planner import Planner

from .agents import FAILURE, Agent, Choice

SETS: list[Mapping[str, Any]] = [{"amount": amount, "account": f"account {amount}"} for amount in range(4)]
LISTED = FlowTest(name="pay", values=tuple(ValueSet(values=values) for values in SETS))
LOOK = Choice(name="look")


def options(rule: Any, **documented: Any) -> list[Arguments]:
    known = {(rule.name, name): [value] for name, value in documented.items()}
    return Values(rule, known).options(Random(0))


def test_arguments_of_a_pool_are_mixed() -> None:
    pay = Choice(name="pay", choices={"amount": [1, 2, 3], "account": ["a", "b", "c"]})
    assert {"amount": 3, "account": "a"} in options(pay)


def test_arguments_of_a_pool_that_lists_all_stay_together() -> None:
    tried = options(LISTED, **SETS[2])
    assert tried[0] == SETS[2]
    assert sorted(tried[1:], key=str) == SETS


def test_of_a_long_list_some_are_options_each_time() -> None:
    many = FlowTest(name="pay", values=tuple(ValueSet(values={"amount": amount}) for amount in range(200)))
    values, random = Values(many, {}), Random(0)
    tried = [values.options(random) for _ in range(40)]
    assert all(each[0] == {"amount": 0} and len(each) < 30 for each in tried)
    assert len({each["amount"] for one in tried for each in one}) > 150


def test_all_that_is_listed_is_planned_and_nothing_else() -> None:
    planner = Planner([LISTED, LOOK], pinned=[(Step(rule="pay", arguments=SETS[0]),)], plan_turns=4, seed=0)
    planned: list[Plan] = []
    for _ in range(10):
        plan = planner.propose()
        assert plan is not None
        planner.note(plan, planned=plan)
        planned.append(plan)
    tried = [step.arguments for plan in planned for step in plan if step.rule == "pay"]
    assert {str(each) for each in tried} == {str(each) for each in SETS}


def test_what_is_cut_down_keeps_listed_arguments_together() -> None:
    """Those that are not listed are dropped by whoever carries the plan out."""

    def wrong(history: Any) -> bool:
        return history[-1].rule == "look" and any(step.arguments.get("amount", 0) > 1 for step in history)

    agent = Agent(
        [LISTED, LOOK],
        wrong,
        allows=lambda history, step: step.rule == "look" or LISTED.chosen(step.arguments) is not None,
    )
    values = {rule.name: Values(rule, {}) for rule in (LISTED, LOOK)}
    failing = agent.run((*(Step(rule="pay", arguments=each) for each in SETS), Step(rule="look")))
    assert failing.failure == FAILURE
    minimiser = Minimiser(lambda plan, again: agent.run(plan, again=again), failing, rules=agent.rules, values=values)
    minimiser.minimise()
    assert [step.code for step in minimiser.best.executed] == ["pay(amount=2, account='account 2')", "look()"]
    assert minimiser.is_minimal


def test_each_step_gets_its_documented_set_back_where_it_may() -> None:
    """Not argument by argument, which would give sets that nobody listed."""

    def wrong(history: Any) -> bool:
        paid = [step for step in history if step.rule == "pay"]
        return len(paid) == 2 and paid[-1].arguments["amount"] > 1

    agent = Agent([LISTED, LOOK], wrong, allows=lambda history, step: LISTED.chosen(step.arguments) is not None)
    failing = agent.run((Step(rule="pay", arguments=SETS[3]), Step(rule="pay", arguments=SETS[2])))
    known = {("pay", name): [value] for name, value in SETS[0].items()}
    values = {"pay": Values(LISTED, known), "look": Values(LOOK, {})}
    search = Minimiser(
        lambda plan, again: agent.run(plan, again=again), failing, rules=agent.rules, values=values, samples=2
    )
    search.minimise()
    assert [step.arguments for step in search.best.executed] == [SETS[0], SETS[2]]


def test_the_nearest_listed_set_is_taken_where_the_usual_one_does_not_fail() -> None:
    """What matters is the phrasing, and it is kept; the rest goes back to what is documented."""
    order = FlowTest(
        name="order",
        phrasings=("Put a hat into it",),
        values=tuple(ValueSet(values=values) for values in SETS),
    )

    def wrong(history: Any) -> bool:
        return history[-1].arguments["phrasing"] == "Put a hat into it"

    agent = Agent([order], wrong, allows=lambda history, step: order.chosen(step.arguments) is not None)
    failing = agent.run((Step(rule="order", arguments={**SETS[3], "phrasing": "Put a hat into it"}),))
    minimiser = Minimiser(
        lambda plan, again: agent.run(plan, again=again),
        failing,
        rules=agent.rules,
        values={"order": Values(order, {("order", name): [value] for name, value in SETS[0].items()})},
    )
    minimiser.minimise()
    (step,) = minimiser.best.executed
    assert step.arguments == {**SETS[0], "phrasing": "Put a hat into it"}

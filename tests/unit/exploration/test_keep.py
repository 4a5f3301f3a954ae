"""Failing plans in the example database, and as code."""

import enum
import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis.database import InMemoryExampleDatabase

from pytest_aitest.exploration.keep import RUNS_TO_FORGET, KeptFailures, method_text, without_literal
from pytest_aitest.search.plan import Given, LeftOut, Plan, Step


class Size(enum.Enum):
    SMALL = 1


@dataclass
class Item:
    name: str


RULES = {"add": ["item", "count"], "pay": []}
LITERALS = [
    1,
    -1.5,
    'it\'s "so"\n',
    None,
    True,
    b"\x00",
    (1, "a"),
    [1, [2]],
    {"a": {"b": 1}},
    {1, 2},
    set(),
    "\ud800",
    10**40,
]
NOT_LITERALS = [float("nan"), float("inf"), Size.SMALL, Item("shoes"), frozenset({1}), object(), [Item("x")]]


def step(item: Any, count: Any = 1, **more: Any) -> Step:
    return Step(rule="add", arguments={"item": item, "count": count}, **more)


def kept(database: InMemoryExampleDatabase | None, rules: dict[str, list[str]] = RULES) -> list[Plan]:
    return list(KeptFailures(database, test="t").plans(rules))


@pytest.mark.parametrize("value", LITERALS, ids=repr)
def test_literals_come_back_as_they_were(value: Any) -> None:
    database = InMemoryExampleDatabase()
    plan = (step(value), Step(rule="pay"))
    KeptFailures(database, test="t").save(plan)
    assert kept(database) == [plan]
    assert kept(database)[0][0].arguments == {"item": value, "count": 1}
    assert type(kept(database)[0][0].arguments["item"]) is type(value)


def test_results_and_what_is_left_out_come_back() -> None:
    database = InMemoryExampleDatabase()
    plan = (step("shoes", gives="add_1"), step(Given("add_1"), LeftOut()))
    KeptFailures(database, test="t").save(plan)
    (read,) = kept(database)
    assert read == plan
    assert read[1].arguments == {"item": Given("add_1"), "count": LeftOut()}
    assert [str(each) for each in read] == ["add_1 = add(item='shoes', count=1)", "add(item=add_1)"]


@pytest.mark.parametrize("value", NOT_LITERALS, ids=lambda value: type(value).__name__)
def test_what_is_no_literal_is_not_kept_and_named(value: Any) -> None:
    database = InMemoryExampleDatabase()
    plan = (Step(rule="pay"), step(value))
    assert without_literal(plan) == plan[1].code
    KeptFailures(database, test="t").save(plan)
    assert kept(database) == []


def test_a_plan_of_literals_is_named_nowhere() -> None:
    assert without_literal((step(1), step(Given("x"), LeftOut()), Step(rule="pay"))) == ""


WRITTEN = {"rule": "pay", "gives": None, "arguments": {}}
CORRUPT = [
    b"",
    b"\xff\xfe",
    b"{",
    b"5",
    b"null",
    b"{}",
    b"[]",
    b'"pay"',
    b"[1]",
    b"[null]",
    json.dumps({"passed": 0, "steps": [{"rule": "pay"}]}).encode(),
    json.dumps({"passed": 0, "steps": [{**WRITTEN, "rule": []}]}).encode(),
    json.dumps({"passed": 0, "steps": [{**WRITTEN, "rule": 3}]}).encode(),
    json.dumps({"passed": 0, "steps": [{**WRITTEN, "arguments": []}]}).encode(),
    json.dumps({"passed": 0, "steps": [{**WRITTEN, "arguments": None}]}).encode(),
    json.dumps({"passed": 0, "steps": [{**WRITTEN, "arguments": {"x": 1}}]}).encode(),
    json.dumps({"passed": 0, "steps": [{**WRITTEN, "arguments": {"x": {"literal": 1}}}]}).encode(),
    json.dumps({"passed": 0, "steps": [{**WRITTEN, "arguments": {"x": {"literal": "import os"}}}]}).encode(),
    json.dumps({"passed": 0, "steps": [{**WRITTEN, "arguments": {"x": {"literal": "(" * 10_000}}}]}).encode(),
    json.dumps({"passed": 0, "steps": [{**WRITTEN, "arguments": {"x": {"literal": "-" * 100_000 + "1"}}}]}).encode(),
]


@pytest.mark.parametrize("value", CORRUPT, ids=lambda value: value[:70].decode(errors="replace"))
def test_what_can_not_be_read_is_forgotten(value: bytes) -> None:
    database = InMemoryExampleDatabase()
    failures = KeptFailures(database, test="t")
    failures.save((Step(rule="pay"),))
    (key,) = database.data
    database.save(key, value)
    assert list(failures.plans({"pay": []})) == [(Step(rule="pay"),)]
    assert value not in set(database.fetch(key))


@pytest.mark.parametrize(
    "rules",
    [{"pay": []}, {"add": ["item"]}, {"add": ["item", "number"]}, {"add": ["count", "item"]}],
    ids=["no rule", "fewer arguments", "other arguments", "another order"],
)
def test_what_no_longer_fits_the_rules_is_told_of_and_forgotten_at_last(rules: dict[str, list[str]]) -> None:
    database = InMemoryExampleDatabase()
    KeptFailures(database, test="t").save((step("shoes"),))
    failures = KeptFailures(database, test="t")
    assert failures.plans(rules) == []
    assert failures.unfit == [(step("shoes"),)]
    assert kept(database) == [(step("shoes"),)]  # the rule may come back
    for _ in range(RUNS_TO_FORGET):
        assert kept(database, rules) == []
    assert kept(database) == []


def test_what_passes_in_several_runs_is_forgotten() -> None:
    """Once may be luck."""
    database = InMemoryExampleDatabase()
    failures = KeptFailures(database, test="t")
    failures.save((step("shoes"),))
    failures.save((Step(rule="pay"),))
    for _ in range(RUNS_TO_FORGET - 1):
        failures.passed((step("shoes"),))
        assert (step("shoes"),) in kept(database)
    failures.passed((step("shoes"),))
    assert kept(database) == [(Step(rule="pay"),)]


def test_what_fails_again_is_kept_as_at_first() -> None:
    database = InMemoryExampleDatabase()
    failures = KeptFailures(database, test="t")
    for _ in range(3):
        failures.save((Step(rule="pay"),))
        for _ in range(RUNS_TO_FORGET - 1):
            failures.passed((Step(rule="pay"),))
        assert kept(database) == [(Step(rule="pay"),)]


def test_models_keep_their_own() -> None:
    database = InMemoryExampleDatabase()
    KeptFailures(database, test="t", model="builtin").save((Step(rule="pay"),))
    assert kept(database) == []


def test_tests_keep_their_own() -> None:
    database = InMemoryExampleDatabase()
    KeptFailures(database, test="other").save((Step(rule="pay"),))
    assert kept(database) == []


def test_without_a_database_nothing_is_kept() -> None:
    failures = KeptFailures(None, test="t")
    failures.save((Step(rule="pay"),))
    failures.passed((Step(rule="pay"),))
    assert list(failures.plans(RULES)) == []


def test_the_code_to_keep_is_python() -> None:
    plan = (step("shoes", gives="add_1"), step(Given("add_1"), LeftOut()), Step(rule="pay"), Step(rule="pay"))
    text = method_text(plan, check="money")
    assert text == (
        "    @pinned\n"
        "    def money_after_add_twice_and_pay_twice(self):\n"
        "        add_1 = self.add(item='shoes', count=1)\n"
        "        self.add(item=add_1)\n"
        "        self.pay()\n"
        "        self.pay()"
    )


def test_the_method_to_keep_is_never_collected_as_a_test() -> None:
    """A session class takes methods named like tests for turns."""
    plan = (Step(rule="test_first"), Step(rule="test_second"))
    assert "def test" not in method_text(plan, check="test_second")


def test_a_long_name_is_cut_short() -> None:
    plan = tuple(Step(rule=f"a_rather_long_name_{number}") for number in range(9))
    assert "def money_after_9_steps(self):" in method_text(plan, check="money")


def test_many_repeats_are_counted() -> None:
    assert "money_after_pay_3_times" in method_text((Step(rule="pay"),) * 3, check="money")

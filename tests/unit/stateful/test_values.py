import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from pytest_aitest.stateful.values import StrategyRule
from pytest_aitest.values.errors import DeclarationError


def rule(**strategies: SearchStrategy[Any]) -> StrategyRule:
    return StrategyRule(name="transfer", strategies=strategies, seed=1)


def shrunk(strategy: SearchStrategy[Any], value: Any, fails: Callable[[Any], bool]) -> tuple[Any, list[Any]]:
    """What it came to, and what was asked for it."""
    asked: list[Any] = []

    def ask(other: Any) -> bool:
        asked.append(other)
        return fails(other)

    return rule(argument=strategy).shrunk("argument", value, ask), asked


def test_a_rule_without_arguments_has_one_way_to_run() -> None:
    assert rule().simplest == {}
    assert list(rule().pool) == [{}]


def test_the_simplest_arguments_are_what_hypothesis_shrinks_to() -> None:
    strategies = {"amount": st.integers(5, 90), "note": st.text(), "account": st.sampled_from(["main", "spare"])}
    assert rule(**strategies).simplest == {"amount": 5, "note": "", "account": "main"}


def test_the_pool_holds_many_different_arguments_and_their_extremes() -> None:
    pool = rule(amount=st.integers(1, 2_000), note=st.text(max_size=60)).pool
    assert 40 <= len(pool) <= 60
    assert max(arguments["amount"] for arguments in pool) > 1_900
    assert max(len(arguments["note"]) for arguments in pool) > 25


def test_the_pool_of_few_values_holds_them_all() -> None:
    pool = rule(express=st.booleans(), code=st.sampled_from("abc")).pool
    assert {(arguments["express"], arguments["code"]) for arguments in pool} == {
        (express, code) for express in (False, True) for code in "abc"
    }


def test_the_same_seed_gives_the_same_pool_in_every_process() -> None:
    script = (
        "from hypothesis import strategies as st\n"
        "from pytest_aitest.stateful.values import StrategyRule\n"
        "print(StrategyRule(name='r', strategies={'a': st.integers(), 'b': st.text()}, seed=1).pool)"
    )
    outputs = {subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(outputs) == 1


@pytest.mark.parametrize("seeds", [(1, 2)])
def test_another_seed_gives_another_pool(seeds: tuple[int, int]) -> None:
    pools = [StrategyRule(name="r", strategies={"a": st.integers()}, seed=seed).pool for seed in seeds]
    assert pools[0] != pools[1]


def raises(_: int) -> int:
    raise KeyError("no such account")


@pytest.mark.parametrize(
    "strategies",
    [
        {"amount": st.nothing()},
        {"amount": st.integers().map(raises)},
        {"amount": st.integers().filter(lambda value: False)},
        {"amount": st.integers(9, 3)},
    ],
    ids=["empty", "raises", "filtered out", "invalid"],
)
@pytest.mark.parametrize("wanted", ["simplest", "pool"])
def test_an_argument_that_cannot_be_drawn_is_named(strategies: Mapping[str, Any], wanted: str) -> None:
    with pytest.raises(DeclarationError, match=r"Rule 'transfer' can't be tried: .*'amount' .*\. Give it a strategy"):
        getattr(rule(account=st.just("main"), **strategies), wanted)


def test_a_filter_that_often_refuses_is_no_error() -> None:
    even = rule(amount=st.integers(0, 10_000).filter(lambda value: value % 20 == 0))
    assert len(even.pool) > 5
    assert all(arguments["amount"] % 20 == 0 for arguments in even.pool)


class Opaque:
    """Neither comparable nor hashable, and without a literal repr."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, size: int) -> None:
        self.size = size

    def __eq__(self, other: object) -> bool:
        raise TypeError("not comparable")


def test_values_that_can_be_neither_compared_nor_hashed_are_drawn_and_left_as_they_are() -> None:
    opaque = st.builds(Opaque, st.integers(0, 5))
    assert isinstance(rule(thing=opaque).simplest["thing"], Opaque)
    assert len(rule(thing=opaque).pool) > 5
    value = Opaque(3)
    found, asked = shrunk(opaque, value, lambda other: False)
    assert found is value
    assert len(asked) <= 16


def test_a_limit_at_a_round_number_is_found_at_once() -> None:
    assert shrunk(st.integers(1, 2_000), 1_988, lambda value: value > 1_000) == (1_001, [1_000, 1_001])


@pytest.mark.parametrize("limit", [0, 13, 437, 1_986])
def test_any_limit_is_found_within_a_bounded_number_of_calls(limit: int) -> None:
    found, asked = shrunk(st.integers(0, 2_000), 1_988, lambda value: value > limit)
    assert found == limit + 1
    assert len(asked) <= 16


def test_a_value_below_the_simplest_one_is_brought_up_to_it() -> None:
    assert shrunk(st.integers(), -900, lambda value: value < -20)[0] == -21


def test_only_values_of_the_strategy_are_asked_for() -> None:
    found, asked = shrunk(st.integers(0, 999).map(lambda value: value * 3), 2_400, lambda value: value > 100)
    assert found == 102
    assert all(value % 3 == 0 for value in asked)


@pytest.mark.parametrize(
    ("strategy", "value", "fails", "simplest"),
    [
        (st.text(), "where is my order, please?", lambda value: len(value) > 10, "0" * 11),
        (st.lists(st.integers(0, 9)), [4, 7, 1, 9], lambda value: len(value) > 2, [0, 0, 0]),
        (st.floats(0, 1_000), 700.5, lambda value: value > 50.5, 51.0),
        (st.none() | st.integers(0, 100), 77, lambda value: value is not None and value > 20, 21),
        (st.sampled_from("abcdef"), "e", lambda value: value in "cef", "c"),
    ],
)
def test_each_kind_of_value_becomes_simpler(strategy: Any, value: Any, fails: Any, simplest: Any) -> None:
    found, asked = shrunk(strategy, value, fails)
    assert found == simplest
    assert len(asked) <= 16


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, None])
def test_a_value_that_nothing_simpler_can_replace_stays(value: Any) -> None:
    assert shrunk(st.sampled_from([0.0, value]), value, lambda other: False)[0] is value


def test_nothing_is_asked_twice_and_not_the_value_itself() -> None:
    _, asked = shrunk(st.text(), "was für ein Tag", lambda value: not value.isascii())
    assert len(asked) == len(set(asked))
    assert "was für ein Tag" not in asked


@pytest.mark.parametrize("value", [700, "some words"])
def test_what_stops_the_search_comes_out_unchanged_and_at_once(value: Any) -> None:
    asked = []

    def stops(other: Any) -> bool:
        asked.append(other)
        raise KeyboardInterrupt

    strategy: SearchStrategy[Any] = st.integers(0, 999) if isinstance(value, int) else st.text()
    with pytest.raises(KeyboardInterrupt):
        rule(argument=strategy).shrunk("argument", value, stops)
    assert len(asked) == 1

"""What a run may spend on explorations."""

from types import SimpleNamespace

import pytest

from pytest_aitest.exploration import budget as module
from pytest_aitest.exploration.budget import Budget, BudgetSpentError
from pytest_aitest.values.transcript import Turn


def turn(*, model_calls: int = 1, cost_usd: float | None = 0.01) -> Turn:
    return Turn(agent="bank", model="m", user="hi", model_calls=model_calls, cost_usd=cost_usd)


def test_nothing_is_spent_at_first() -> None:
    Budget().check()


def test_calls_are_counted() -> None:
    budget = Budget(calls=3, usd=100)
    budget.charge(turn(model_calls=2))
    budget.check()
    budget.charge(turn())
    with pytest.raises(BudgetSpentError, match=r"^budget of 3 model calls spent$"):
        budget.check()


def test_dollars_are_counted() -> None:
    budget = Budget(usd=0.5)
    budget.charge(turn(cost_usd=0.49))
    budget.check()
    budget.charge(turn(cost_usd=0.01))
    with pytest.raises(BudgetSpentError, match=r"^budget of \$0\.50 spent$"):
        budget.check()


def test_what_costs_nothing_counts_towards_neither() -> None:
    budget = Budget(calls=1)
    budget.charge(turn(model_calls=1_000, cost_usd=0.0))
    budget.check()


def test_calls_of_unknown_price_count_as_calls() -> None:
    budget = Budget(calls=1)
    budget.charge(turn(cost_usd=None))
    assert budget.spent_usd == 0
    with pytest.raises(BudgetSpentError):
        budget.check()


def test_no_limit_in_dollars_is_none() -> None:
    budget = Budget(calls=1_000, usd=float("inf"))
    budget.charge(turn(cost_usd=1e9))
    budget.check()


def test_seconds_count_while_an_exploration_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    budget = Budget(seconds=2.5)
    with budget.running():
        now = 1.0
        budget.check()
    now = 100.0  # between explorations time costs nothing
    budget.check()
    with budget.running():
        now = 101.0
        budget.check()
        now = 101.5
        with pytest.raises(BudgetSpentError, match=r"^budget of 2\.5 s spent$"):
            budget.check()
    assert budget.spent_seconds == 2.5


def test_time_is_counted_where_the_exploration_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    budget = Budget()

    def interrupted() -> None:
        nonlocal now
        with budget.running():
            now = 3.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert budget.spent_seconds == 3.0

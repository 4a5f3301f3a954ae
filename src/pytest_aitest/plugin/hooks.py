"""What other plugins can hear of; standard library and pytest only, as every run loads it."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_aitest.values.record import ExplorationRecord
    from pytest_aitest.values.transcript import TurnRecord


@pytest.hookspec
def pytest_aitest_turn(turn: "TurnRecord", nodeid: str, config: pytest.Config) -> None:
    """Called for each turn of each attempt at a test, in order, when its report has come, without secrets.

    Under pytest-xdist it is called in the controller only. Turns that an exploration asked are told of with
    `pytest_aitest_exploration`.
    """


@pytest.hookspec
def pytest_aitest_exploration(exploration: "ExplorationRecord", nodeid: str, config: pytest.Config) -> None:
    """Called for each exploration that ran, when its report has come; under pytest-xdist in the controller only."""

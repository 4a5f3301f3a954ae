"""What a turn of a model comes to, by those that were asked in this run or stand in its store; for forecasts.

Loaded with what has conversations.
"""

from collections import deque
from typing import Any

import pytest

from pytest_aitest.values.record import MeanTurn
from pytest_aitest.values.transcript import Turn

from .storing import store_of

_MOST = 500  # turns of a model that are remembered
_TURNS = pytest.StashKey[dict[str, deque[Turn]]]()


def note(config: pytest.Config, turn: Turn) -> None:
    """Remember a turn that was asked live."""
    turns: dict[str, deque[Turn]] = config.stash.setdefault(_TURNS, {})
    turns.setdefault(turn.model, deque(maxlen=_MOST)).append(turn)


def mean_turn(config: pytest.Config, model: str) -> MeanTurn | None:
    """Of this run, which asks as it asks today; else of the store."""
    turns: Any = config.stash.get(_TURNS, {}).get(model)
    if turns:
        return MeanTurn.of(turns)
    store = store_of(config)
    return None if store is None else store.mean_turn(model)

"""What a store holds in numbers, and what is removed from it."""

import sqlite3
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from pytest_aitest.conversation.servers import ToolOutcome
from pytest_aitest.conversation.tree import Called, Said
from pytest_aitest.store.exported import exported
from pytest_aitest.store.upkeep import ModelStats, prune, stats
from pytest_aitest.values.errors import StoreError
from pytest_aitest.values.transcript import Turn

from .conversations import agent, asked, opened, said


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def today() -> date:
    return datetime.now(UTC).date()


def on(path: Path, day: str, *prompts: str, test: str = "a") -> None:
    """A conversation that was had on a `day`."""
    with opened(path) as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr("pytest_aitest.store.shelf.today", lambda: day)
        said(store, *prompts, test=test)
        store.close()


def test_an_empty_store_holds_nothing(path: Path) -> None:
    with opened(path):
        pass
    found = stats(path)
    assert (found.entries, found.turns, found.looks, found.histories, found.tests) == (0, 0, 0, 0, 0)
    assert (found.first_day, found.last_day, found.models, found.size) == ("", "", {}, path.stat().st_size)


def test_a_store_says_what_it_holds(path: Path) -> None:
    on(path, "2026-01-02", "hello", "and?")
    on(path, "2026-03-04", "hello", "or?", test="b")
    with opened(path) as store:
        root = store.root("c", shares=True)
        root.add(Called(tool="a", arguments={}), ToolOutcome(text="1"))
        root.add_look(Called(tool="a", arguments={}), ToolOutcome(text="1"))
        for prompt, cost in (("x", 0.5), ("y", None)):
            event = Said(prompt=prompt, agent=agent(), max_model_calls=1, timeout_seconds=1)
            turn = Turn(agent="a", model="dear", user=prompt, prompt_tokens=2, completion_tokens=1, cost_usd=cost)
            root.add(event, turn)
    found = stats(path)
    assert (found.entries, found.turns, found.looks, found.histories, found.tests) == (7, 5, 1, 2, 3)
    assert (found.first_day, found.last_day) == ("2026-01-02", today().isoformat())
    assert found.models == {
        "dear": ModelStats(turns=2, tokens=6, cost_usd=None),
        "echo": ModelStats(turns=3, tokens=0, cost_usd=0.0),
    }


def test_what_no_test_has_met_for_so_long_is_removed(path: Path) -> None:
    on(path, "2026-01-01", "old", "older")
    on(path, "2026-01-01", "kept")
    on(path, "2026-01-30", "kept", test="b")
    pruned = prune(path, days=10, today=date(2026, 2, 1))
    assert (pruned.removed, pruned.kept) == (2, 1)
    with opened(path, "replay") as store:
        assert asked(lambda: said(store, "kept")) == 0
        assert asked(lambda: said(store, "old")) == 1
    assert stats(path).tests == 2
    assert prune(path, days=2, today=date(2026, 2, 1)).removed == 0
    assert prune(path, days=10**9, today=date(2026, 2, 1)).removed == 0
    assert prune(path, days=1, today=date(2026, 2, 1)).removed == 1
    assert '"events": {}' in exported(path)


def test_what_was_met_again_today_is_not_old(path: Path) -> None:
    on(path, "2026-01-01", "hello", "and?")
    with opened(path) as store:
        said(store, "hello", "and?")
    assert prune(path, days=1, today=today() + timedelta(days=1)).removed == 0


def test_what_nothing_leads_to_is_removed(path: Path) -> None:
    with opened(path) as store:
        said(store, "hello", "and?", messages=[{"role": "user", "content": "before"}])
        said(store, "hello", "and?", "or?")
        store.root("a", shares=True).apart("x").apart("y").add_look(
            Called(tool="a", arguments={}), ToolOutcome(text="1")
        )
    assert prune(path, days=None).removed == 0
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DELETE FROM samples WHERE history = ''")
    connection.close()
    before = path.stat().st_size
    pruned = prune(path, days=None)
    assert (pruned.removed, pruned.kept, pruned.size_before, pruned.size) == (2, 3, before, path.stat().st_size)
    with opened(path, "replay") as store:
        assert asked(lambda: said(store, "hello", "and?", messages=[{"role": "user", "content": "before"}])) == 0
        assert store.root("a", shares=True).apart("x").apart("y").look(Called(tool="a", arguments={})) is not None


def test_room_is_given_back(path: Path) -> None:
    on(path, "2026-01-01", "x" * 200_000)
    pruned = prune(path, days=1)
    assert pruned.size < pruned.size_before / 5


def test_what_is_not_there_is_not_made(path: Path) -> None:
    for upkeep in (stats, lambda path: prune(path, days=1)):
        with pytest.raises(StoreError, match="There is no store"):
            upkeep(path)
    assert not path.exists()


def test_what_another_holds_is_left_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on(path, "2026-01-01", "hello")
    monkeypatch.setattr("pytest_aitest.store.database._BUSY_SECONDS", 0.01)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"could not be pruned: database is locked\. See what else uses it"):
        prune(path, days=1)
    holder.close()
    assert stats(path).entries == 1

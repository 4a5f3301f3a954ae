"""A store as text: readable, always the same for the same content, and back without a loss."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_aitest.conversation.servers import ToolOutcome
from pytest_aitest.conversation.tree import Called, Node, Said
from pytest_aitest.store.exported import exported, imported
from pytest_aitest.store.memory import Store
from pytest_aitest.values.errors import StoreError
from pytest_aitest.values.transcript import Turn

from .conversations import accountant, agent, opened, said

TEXT = st.text(st.characters(), max_size=4)  # lone surrogates too
STEPS = st.tuples(
    st.integers(0, 20),  # after which of the histories so far
    st.sampled_from(["said", "called", "looked", "began", "apart", "seed"]),
    TEXT,
    st.sampled_from(["a", "b", "\udcff"]),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def grow(store: Store, steps: list[tuple[int, str, str, str]]) -> None:
    """Add what `steps` say."""
    nodes: list[Node] = [store.root(test, shares=True) for test in "ab"]
    for number, kind, word, test in steps:
        node = nodes[number % len(nodes)]
        called = Called(tool="tool", arguments={"word": word})
        match kind:
            case "said":
                event = Said(prompt=word, agent=agent("builtin"), max_model_calls=1, timeout_seconds=1)
                turn = Turn(agent="agent", model=word, user=word, model_calls=1, cost_usd=None)
                nodes.append(node.add(event, turn).node)
            case "called":
                nodes.append(node.add(called, ToolOutcome(text=word, structured={word: 1.5})).node)
            case "looked":
                node.add_look(called, ToolOutcome(text=word))
            case "began":
                nodes.append(node.beginning([{"role": "user", "content": word}]))
            case "apart":
                nodes.append(node.apart(word))
            case "seed":
                store.note_exploration(test, number, shards=number)


@settings(max_examples=15, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_what_is_imported_into_a_new_store_is_exported_as_the_same_text(steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        one, other = Path(name, "one.db"), Path(name, "other.db")
        with opened(one) as store:
            grow(store, steps)
            added = store.added
            assert store.problems == []
        text = exported(one)
        text.encode()
        assert imported(text, other, source="text") == added
        assert exported(other) == text
        assert imported(text, other, source="text") == 0
        assert exported(other) == text


def test_the_order_in_which_it_was_recorded_makes_no_difference(tmp_path: Path) -> None:
    texts = set()
    steps = [(0, "said", word, "a") for word in "abc"]
    for number, ordered in enumerate((steps, steps[::-1])):
        path = tmp_path / f"{number}.db"
        with opened(path) as store:
            grow(store, ordered)
        texts.add(exported(path))
    assert len(texts) == 1


def test_conversations_stand_one_after_another(path: Path) -> None:
    with opened(path) as store:
        for prompts in (["b", "b1"], ["a", "a1", "a2"], ["a", "a0"]):
            said(store, *prompts)
    data = json.loads(exported(path))
    assert (data["format"], data["version"]) == ("pytest-aitest store", 1)
    entries = data["entries"]
    assert [entry["outcome"]["turn"]["user"] for entry in entries] == ["a", "a0", "a1", "a2", "b", "b1"]
    assert [data["events"][entry["event"]]["prompt"] for entry in entries] == ["a", "a0", "a1", "a2", "b", "b1"]
    assert all(len(digest) == 12 for digest in data["events"])
    assert [[met["test"] for met in entry["met"]] for entry in entries] == [["a"]] * 6
    assert "id" not in entries[0]


def test_what_was_imported_replays(path: Path, tmp_path: Path) -> None:
    with opened(path) as store:
        live = said(store, "count", "on", by=accountant())
    imported(exported(path), tmp_path / "new" / "store.db", source="text")
    with opened(tmp_path / "new" / "store.db", "replay") as store:
        assert said(store, "count", "on", by=accountant()) == live


def test_a_store_gets_what_it_lacks(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    for target, test in ((path, "a"), (other, "b")):
        with opened(target) as store:
            said(store, "both", test=test)
            said(store, test, test=test)
    assert imported(exported(other), path, source="text") == 1
    with opened(path, "replay") as store:
        for test in "ab":
            assert said(store, test, test=test, replays=False) == [f"1: {test}"]
            assert said(store, "both", test=test, replays=False) == ["1: both"]


def changed(text: str, **fields: Any) -> str:
    return json.dumps(json.loads(text) | fields)


def test_other_text_is_refused_and_nothing_is_written(path: Path, tmp_path: Path) -> None:
    with opened(path) as store:
        said(store, "hello", "and?")
    text, target = exported(path), tmp_path / "target.db"
    entry = json.loads(text)["entries"][0]
    refused = {
        "no json": "FILE is no JSON: ",
        "[" * 100_000: "FILE is no JSON: ",
        "[]": "FILE is JSON, but no store. Give a file that `pytest-aitest store export` wrote.",
        "{}": "FILE is JSON, but no store. ",
        changed(text, version=2): "FILE is of version 2, and this pytest-aitest reads version 1. ",
        changed(text, entries=1): "FILE is a damaged store: entries: ",
        changed(text, entries=[{**entry, "event": "0" * 12}]): "FILE is a damaged store: an entry is of event '000",
        changed(text, entries=[{**entry, "outcome": {}}]): "FILE is a damaged store: it is neither ",
        changed(text, entries=[{**entry, "outcome": {"turn": {}}}]): "FILE is a damaged store: ",
        changed(text, events={"0" * 12: {"kind": "said"}}, entries=[]): "FILE is a damaged store: an event is not ",
        text[: len(text) // 2]: "FILE is no JSON: ",
    }
    for other, why in refused.items():
        with pytest.raises(StoreError) as caught:
            imported(other, target, source="FILE")
        assert str(caught.value).startswith(why)
        assert not target.exists()


@pytest.mark.parametrize(
    ("place", "value", "why"),
    [
        (("entries", 0, "recorded"), "\x1b[2J", "entries.0.recorded: String should match"),
        (("entries", 0, "after"), "\ud800", "entries.0.after: Value error, 'utf-8' codec can't encode"),
        (("entries", 0, "met", 0, "number"), 2**63, "entries.0.met.0.number: Input should be less than"),
        (("entries", 0, "outcome", "turn", "prompt_tokens"), 2**63, "a number is too large. "),
        (("entries", 0, "outcome", "turn", "model"), "\ud800", "'utf-8' codec can't encode"),
        (("entries", 0, "outcome", "turn", "cost_usd"), float("inf"), "a cost is no number. "),
        (("explorations", "a"), {"seed": 2**63, "shards": 1}, "explorations.a.seed: Input should be less than"),
        (("explorations", "a"), {"seed": 1, "shards": -1}, "explorations.a.shards: Input should be greater than"),
    ],
    ids=lambda part: part[-1] if isinstance(part, tuple) else "",
)
def test_what_no_store_can_hold_is_refused(place: Any, value: Any, why: str, path: Path, tmp_path: Path) -> None:
    with opened(path) as store:
        said(store, "hello")
    part = data = json.loads(exported(path))
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    target = tmp_path / "target.db"
    with pytest.raises(StoreError) as caught:
        imported(json.dumps(data), target, source="FILE")
    assert str(caught.value).startswith(f"FILE is a damaged store: {why}")
    assert not target.exists()


def test_what_would_act_on_a_terminal_or_break_a_line_is_escaped(path: Path) -> None:
    with opened(path) as store:
        said(store, "\x1b[2J\x9b2J\u2028\u202e")
    assert r'"prompt": "\u001b[2J\u009b2J\u2028\u202e"' in exported(path)


def test_of_what_can_not_be_written_nothing_is(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sqlite3

    for target in (path, tmp_path / "target.db"):
        with opened(target) as store:
            said(store, f"{target.name}")
    monkeypatch.setattr("pytest_aitest.store.database._BUSY_SECONDS", 0.01)
    holder = sqlite3.connect(tmp_path / "target.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    before = exported(tmp_path / "target.db")
    with pytest.raises(StoreError, match=r"could not be written: database is locked\. It holds what it held"):
        imported(exported(path), tmp_path / "target.db", source="text")
    holder.close()
    assert exported(tmp_path / "target.db") == before

"""What came of an event as text: it reads back as it was, without secrets, and whatever it held."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_aitest.conversation.servers import ToolOutcome
from pytest_aitest.store.outcomes import outcome_digest, read, written
from pytest_aitest.values.model import ToolSpec
from pytest_aitest.values.transcript import ToolCall, Turn
from tests.support.any_record import JSON, records

TEXT = st.text(max_size=8)
COUNT = st.integers(0, 10**9)
TURNS = st.builds(
    Turn,
    agent=TEXT,
    model=TEXT,
    user=TEXT,
    messages=st.lists(st.dictionaries(TEXT, JSON, max_size=2), max_size=2).map(tuple),
    tool_calls=st.lists(records(ToolCall, text=TEXT), max_size=2).map(tuple),
    error=st.none() | TEXT,
    error_kind=st.sampled_from([None, "provider", "max_model_calls"]),
    tools=st.lists(records(ToolSpec, text=TEXT), max_size=2).map(tuple),
    notes=st.lists(TEXT, max_size=2).map(tuple),
    duration_ms=st.floats(0, 1e6),
    model_calls=COUNT,
    prompt_tokens=COUNT,
    cost_usd=st.none() | st.floats(0, 1e6),
)


@settings(max_examples=50)
@given(TURNS | st.builds(ToolOutcome, text=TEXT, structured=JSON, is_error=st.booleans()))
def test_what_json_can_hold_reads_back_as_it_was(outcome: Any) -> None:
    assert read(written(outcome)) == outcome
    assert written(read(written(outcome))) == written(outcome)


def turn(*, duration_ms: float = 1.0, **fields: Any) -> Turn:
    call = ToolCall(name="count", arguments={"by": 1}, result="1", duration_ms=duration_ms)
    return Turn(agent="agent", model="builtin", user="hello", duration_ms=duration_ms, tool_calls=(call,), **fields)


def test_how_long_it_took_makes_no_other_outcome() -> None:
    assert outcome_digest(written(turn())) == outcome_digest(written(turn(duration_ms=2.0)))
    assert outcome_digest(written(turn())) != outcome_digest(written(turn(model_calls=2)))
    assert outcome_digest(written(ToolOutcome(text="1"))) != outcome_digest(written(ToolOutcome(text="2")))
    in_result = [ToolOutcome(text="", structured={"duration_ms": number}) for number in (1, 2)]
    assert len({outcome_digest(written(outcome)) for outcome in in_result}) == 2


@pytest.mark.parametrize("odd", ["\ud83d", float("nan"), 10**700, b"\xff", {"a": {1: 2}}])
def test_what_json_can_not_hold_is_a_text_that_says_what_it_was(odd: Any) -> None:
    text = written(ToolOutcome(text="odd", structured=[odd]))
    assert written(read(text)) == text


def test_what_is_nested_without_end_is_cut() -> None:
    knot: list[Any] = []
    knot.append(knot)
    deep: Any = "bottom"
    for _ in range(3000):
        deep = [deep]
    for held in (knot, deep):
        text = written(ToolOutcome(text="odd", structured=held))
        assert written(read(text)) == text


def test_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANK_TOKEN", "s3cr3t-outc-1")
    text = written(ToolOutcome(text="s3cr3t-outc-1", structured={"s3cr3t-outc-1": ["s3cr3t-outc-1"]}))
    assert "s3cr3t" not in text
    assert text.count("[hidden BANK_TOKEN]") == 3


@pytest.mark.parametrize("text", ["", "1", "{}", '{"turn": {}}', '{"tool": 1}', '{"turn": {}, "tool": {}}'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's or pydantic's
        read(text)

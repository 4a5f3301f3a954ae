"""A run survives its JSON as it was, whatever models and tools put into it, and what is no run is refused in words."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_aitest import AitestError, ToolCall
from pytest_aitest.values.record import StepRecord, TestRecord
from pytest_aitest.values.run_record import RecordError, RunRecord, packed, read_run, run_json, unpacked
from pytest_aitest.values.transcript import TurnRecord
from tests.support.any_record import records
from tests.support.sample_run import sample_run, turn

LARGE = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError


def knotted() -> list[Any]:
    knot: list[Any] = []
    knot += [knot, knot]
    return knot


def nested(depth: int) -> Any:
    value: Any = "end"
    for _ in range(depth):
        value = [value]
    return value


WILD_TEXT = st.text(st.characters(exclude_categories=()), max_size=8) | st.just("\ud83d\ude00\ud83d")
WILD_VALUES = st.recursive(
    st.none()
    | st.integers()
    | st.floats()
    | WILD_TEXT
    | st.binary(max_size=5)
    | st.sampled_from([10**1_000, 1j, object(), {1, 2}, StepRecord(code="a()"), StepRecord]),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.integers() | st.binary() | WILD_TEXT, inner),
    max_leaves=5,
)


def with_arguments(arguments: Any) -> RunRecord:
    told = turn("Go", ToolCall(name="go", arguments=arguments, result="gone"))
    step = StepRecord(code="go()", happened=(told,))
    return RunRecord(tests=(TestRecord(nodeid="t.py::test", kind="test", steps=(step,)),))


def read_arguments(run: RunRecord) -> Any:
    written = read_run(run_json(run), source="run.json")
    (told,) = written.tests[0].turns
    (called,) = (part for part in told.said if isinstance(part, ToolCall))
    return called.arguments


# There and back


def test_a_run_with_one_of_everything_is_read_as_it_was() -> None:
    run = sample_run()
    assert read_run(run_json(run), source="run.json") == run
    assert [unpacked(packed(test)) for test in run.tests] == list(run.tests)


@given(records(RunRecord, text=st.text(max_size=8)))
@LARGE
def test_any_run_is_read_as_it_was(run: RunRecord) -> None:
    assert read_run(run_json(run), source="run.json") == run


@given(records(TestRecord, text=st.text(max_size=8)))
@LARGE
def test_any_test_travels_as_it_was(test: TestRecord) -> None:
    data = packed(test)
    assert json.loads(json.dumps(data)) == data
    assert unpacked(data) == test


@given(records(RunRecord, text=WILD_TEXT, values=WILD_VALUES))
@LARGE
def test_writing_never_fails_and_changes_nothing_twice(run: RunRecord) -> None:
    text = run_json(run)
    text.encode()
    assert run_json(read_run(text, source="run.json")) == text


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("\ud800 and \U0001f600", r"\ud800 and 😀"),
        (b"\xffa", r"\xffa"),
        ((1, (2,)), [1, [2]]),
        (10**599, 10**599),
        (-(10**600), hex(-(10**600))),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ({1: {None: True}}, {"1": {"None": True}}),
        (1j, "1j"),
        (Unspeakable(), "<Unspeakable>"),
        (ToolCall, "<class 'pytest_aitest.values.transcript.ToolCall'>"),
        (knotted(), ["...", "..."]),
    ],
)
def test_what_json_has_no_word_for_is_written_as_a_text_that_says_what_it_was(value: Any, written: Any) -> None:
    assert read_arguments(with_arguments({"value": value})) == {"value": written}


def test_values_nested_deeper_than_python_can_follow_are_cut() -> None:
    assert read_arguments(with_arguments({"value": nested(50)})) == {"value": nested(50)}
    assert '"..."' in run_json(with_arguments({"value": nested(100_000)}))


def test_text_stays_readable_in_the_file() -> None:
    assert '"Grüße 漢字"' in run_json(RunRecord(model="Grüße 漢字"))


# What is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.json is no JSON: Expecting value: line 1 column 1 (char 0). Give a file that --aitest-json wrote."),
        ("[" * 100_000, "x.json is no JSON: it is nested too deeply. Give a file that --aitest-json wrote."),
        ("[]", "x.json is JSON, but no record of a run. Give a file that --aitest-json wrote."),
        ("null", "x.json is JSON, but no record of a run. Give a file that --aitest-json wrote."),
        ('{"tests": []}', "x.json is JSON, but no record of a run. Give a file that --aitest-json wrote."),
        (
            '{"version": true, "tests": []}',
            "x.json is JSON, but no record of a run. Give a file that --aitest-json wrote.",
        ),
        (
            '{"version": 1, "summary": {}}',
            "x.json is JSON, but no record of a run. Give a file that --aitest-json wrote.",
        ),
        (
            '{"version": 2, "tests": [], "written_by": "pytest-aitest 9.1"}',
            "x.json is of version 2, written by pytest-aitest 9.1, and this pytest-aitest reads version 1. "
            "Read it with the one that wrote it, or write it anew.",
        ),
        (
            '{"version": 0, "tests": null}',
            "x.json is of version 0, written by something else, and this pytest-aitest reads version 1. "
            "Read it with the one that wrote it, or write it anew.",
        ),
        (
            '{"version": 1, "tests": [{"nodeid": "t.py::test", "kind": "test"}, {"kind": "test"}]}',
            "x.json is a damaged record: tests.1.nodeid: Field required. Write it anew.",
        ),
        (
            '{"version": 1, "tests": [{"nodeid": "t.py::test", "kind": "test", "outcome": "lost"}]}',
            "x.json is a damaged record: tests.0.outcome: Input should be 'passed', ",
        ),
    ],
)
def test_what_is_no_run_of_this_version_is_refused(text: str, message: str) -> None:
    with pytest.raises(RecordError) as caught:
        read_run(text, source="x.json")
    assert isinstance(caught.value, AitestError)
    assert str(caught.value).startswith(message)


OTHER_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
).filter(lambda data: data not in ([], 1))


@given(OTHER_JSON)
def test_other_json_is_refused_without_a_traceback(data: Any) -> None:
    for other in (data, {"version": 1, "tests": data}, {"version": data, "tests": []}):
        with pytest.raises(RecordError, match=r"^x\.json is "):
            read_run(json.dumps(other), source="x.json")


@given(st.data())
@LARGE
def test_a_file_cut_anywhere_is_refused(data: st.DataObject) -> None:
    text = run_json(replace(sample_run(), tests=sample_run().tests[:1])).rstrip()
    with pytest.raises(RecordError):
        read_run(text[: data.draw(st.integers(0, len(text) - 1))], source="x.json")


def test_the_numbers_of_a_turn_are_kept_exactly() -> None:
    told = TurnRecord(agent="a", model="m", user="u", cost_usd=0.1 + 0.2, duration_ms=1 / 3)
    run = RunRecord(tests=(TestRecord(nodeid="t", kind="test", steps=(StepRecord(code="c()", happened=(told,)),)),))
    assert read_run(run_json(run), source="x.json").tests[0].turns == [told]

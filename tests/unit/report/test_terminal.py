"""What a run says of itself at its end, whole, at every width, and whatever the names in it try to do."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_aitest.report.terminal import conversations, cost_line
from pytest_aitest.values.plain import columns
from pytest_aitest.values.record import TestRecord
from tests.support.sample_run import sample_run, turn
from tests.support.sample_run import test as a_test

EXPECTED = Path(__file__).parent / "expected"
HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold red]x[/] \u202egnp.exe {0} %s\r\n"


def shown(tests: Sequence[TestRecord], *, width: int = 80, in_colour: bool = False, all_flows: bool = False) -> str:
    return conversations(tests, width=width, in_colour=in_colour, all_flows=all_flows)


def flow(name: str, *outcomes: str) -> list[TestRecord]:
    return [
        a_test(f"t.py::test_{number}", turn("Hi"), session=f"t.py::{name}", outcome=outcome)
        for number, outcome in enumerate(outcomes, 1)
    ]


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("in_colour", [False, True], ids=["plain", "colour"])
def test_a_run_with_one_of_everything(width: int, in_colour: bool) -> None:
    text = shown(sample_run().tests, width=width, in_colour=in_colour) + "\n"
    expected = EXPECTED / f"terminal_{width}{'_in_colour' if in_colour else ''}.txt"
    if os.environ.get("AITEST_WRITE_EXPECTED"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


def test_colour_adds_no_words() -> None:
    tests = sample_run().tests
    assert re.sub(r" *\x1b\[[\d;]*m *$|\x1b\[[\d;]*m", "", shown(tests, in_colour=True), flags=re.MULTILINE) == shown(
        tests
    )


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(columns, shown(sample_run().tests, width=width).splitlines())) <= width


def test_many_flows_that_passed_are_one_line_and_what_did_not_is_always_shown() -> None:
    tests = [test for number in range(30) for test in flow(f"flow-{number}", "passed", "passed")]
    tests += flow("last", "passed", "failed")
    lines = shown(tests).splitlines()
    assert lines[:20] == [f"{f'flow-{number}':<13}  1 passed, 2 passed" for number in range(20)]
    assert lines[20:] == ["last           1 passed, 2 failed", "10 more flows  passed"]
    assert len(shown(tests, all_flows=True).splitlines()) == 31


def test_a_run_of_single_tests_needs_no_lines() -> None:
    assert shown([a_test("t.py::test_a", turn("Hi"), kind="test", session="t.py::test_a")]) == ""
    assert shown([]) == ""


def test_the_same_flow_on_two_workers_is_two() -> None:
    tests = [replace(test, worker=worker) for test in flow("chat", "passed", "failed") for worker in ("gw0", "gw1")]
    assert shown(tests) == "chat on gw0  1 passed, 2 failed\nchat on gw1  1 passed, 2 failed"


def test_what_names_try_to_do_is_only_shown() -> None:
    explored = sample_run().tests[7]
    assert explored.exploration
    (finding,) = explored.exploration.findings
    exploration = replace(
        explored.exploration,
        findings=(replace(finding, check=HOSTILE),),
        order_notes=(HOSTILE,),
        remarks=(HOSTILE,),
        events=((HOSTILE, 1),),
        why_ended=HOSTILE,
    )
    tests = [
        replace(flow(HOSTILE, "passed")[0], nodeid=f"t.py::test_{HOSTILE}"),
        replace(explored, nodeid=f"t.py::{HOSTILE}", exploration=exploration),
        TestRecord(nodeid="t.py::priced", kind="exploration", outcome="priced", reason=HOSTILE),
        TestRecord(nodeid="t.py::died", kind="exploration", outcome="error", failure=HOSTILE, exploration=NOTHING),
    ]
    text = shown(tests, width=120)
    assert not set(text) & {"\x1b", "\x07", "\r", "\u202e"}
    assert text.replace("\n", "").count("[bold red]") >= 6


NOTHING = replace(sample_run().tests[9].exploration, order_notes=(), findings=())  # type: ignore[type-var]


def test_wide_characters_keep_the_columns() -> None:
    tests = [*flow("漢字の会話", "passed"), *flow("plain", "passed")]
    assert shown(tests) == "漢字の会話  1 passed\nplain       1 passed"


def test_a_dear_exploration_is_skipped_whether_or_not_it_had_begun() -> None:
    begun = TestRecord(
        nodeid="t.py::T::explore", kind="exploration", outcome="priced", reason="would cost", exploration=NOTHING
    )
    assert shown([begun]) == shown([replace(begun, exploration=None)]) == "T::explore  skipped: would cost"


def test_what_all_took() -> None:
    assert cost_line(sample_run().tests) == "57 turns, 108 model calls, 49,740 tokens, $0.0348, 94 turns replayed"
    assert cost_line([]) == "0 turns, 0 model calls, 0 tokens, $0.00"
    free = a_test("t.py::a", turn("Hi", cost_usd=0.0))
    unknown = a_test("t.py::b", turn("Hi", cost_usd=None))
    paid = a_test("t.py::c", turn("Hi", cost_usd=0.25))
    assert cost_line([free]).endswith("$0.00")
    assert cost_line([unknown]).endswith("price unknown")
    assert cost_line([paid, unknown]).endswith("$0.2500 and 1 turn of unknown price")

"""A CI summary answers in the order in which its reader asks, fits in its place, and nothing in it is their markup."""

import os
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from pytest_aitest.report.inert_markdown import cell, code, fence, folded, summary
from pytest_aitest.report.markdown import render
from pytest_aitest.values.plain import inert
from pytest_aitest.values.record import (
    ExplorationRecord,
    Finding,
    Kind,
    Necessity,
    Outcome,
    StepRecord,
    TestRecord,
)
from pytest_aitest.values.run_record import RunRecord
from tests.support.any_record import records
from tests.support.sample_run import BANKING, NOTED, sample_run, turn
from tests.support.sample_run import test as a_test

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])

HOSTILE = [
    "```",
    "````python\n# x\n`````",
    "~~~\n",
    "</code></details><script>alert(1)</script>",
    "<!--",
    "<details><summary>\n\n# open",
    "@octocat and @octo/team",
    "#123 GH-1 octo/repo#2 a5c3785ed8d6a35868bc169f07e40e889087fd2e",
    "[a](javascript:alert(1)) ![x](http://e.example/x.png)",
    "http://e.example www.e.example a@e.example",
    "a | b\n| --- | --- |\n| c | d |",
    "|",
    "\\|",
    "\\\\|\\",
    "`|`",
    "`",
    "``",
    " ` ",
    "\\`",
    "`" * 70,
    "\n\n# heading\n\n***\n- [ ] item\n> quote\n    code",
    "&lt;b&gt; &amp; &#64;",
    "$x^2$ and $$y$$",
    "**bold** _it_ ~~no~~ :smile:",
    "\r\n\r# x",
    "\x1b[0m\u202e\u2028\x00\x0b\x0c\x85",
    "\ud800",
    " ",
    "\n",
    "\t\n \t",
    "x" * 400,
    "漢字 🙂",
    "[ref]: http://e.example",
    "builtin",
]
TEXT = st.sampled_from(HOSTILE) | st.lists(st.sampled_from(HOSTILE), max_size=3).map("".join) | st.text(max_size=20)
SLOW = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)


def expected(name: str, output: str) -> str:
    """What a test's file in `expected/` holds; AITEST_WRITE_EXPECTED=1 writes it. Read it then."""
    path = Path(__file__).parent / "expected" / f"{name}.md"
    if os.environ.get("AITEST_WRITE_EXPECTED"):
        path.write_text(output, encoding="utf-8")
    return path.read_text(encoding="utf-8")


def structure(markdown: str) -> list[tuple[str, ...]]:
    """All that a parser sees, but for what is in code."""
    return list(_structure(PARSER.parse(markdown)))


def _structure(tokens: list[Token]) -> Iterator[tuple[str, ...]]:
    for token in tokens:
        if token.type == "inline":
            yield from _structure(token.children or [])
        elif token.type in ("fence", "code_inline"):
            yield token.type, token.info
        elif token.type in ("html_block", "html_inline"):
            yield token.type, re.sub("<code>[^<>]*</code>", "<code></code>", token.content)
        else:
            told = token.content.replace("(fails too)", "(passes)")  # which order is nearest is for its words to say
            yield token.type, token.tag, told, str(token.attrs)


def codes(markdown: str) -> list[str]:
    """What is in code of any kind."""
    found = [token.content for token in PARSER.parse(markdown) if token.type == "fence"]
    inline = [child for token in PARSER.parse(markdown) for child in token.children or []]
    return found + [child.content for child in inline if child.type == "code_inline"]


def of_tests(*tests: TestRecord, **run: Any) -> RunRecord:
    return RunRecord(tests=tests, **run)


# Whole texts


def test_a_run_with_one_of_everything(request: pytest.FixtureRequest) -> None:
    output = render(sample_run())
    assert output == expected(request.node.name, output)


def test_a_run_in_which_all_is_well(request: pytest.FixtureRequest) -> None:
    output = render(of_tests(*sample_run().tests[:3], seconds=2.0, model="azure/gpt-5-mini"))
    assert output == expected(request.node.name, output)


def test_what_models_and_tools_and_tests_are_called_stays_code(request: pytest.FixtureRequest) -> None:
    named = "a|b`c`<b>@octocat #1 [x](y) \x1b[0m"
    told = turn(f"{named}\n```\n# out", answer="</details>\n````\n| a | b |\n| - | - |", model=named)
    run = of_tests(
        a_test(f"t.py::{named}", told, session=named, worker=named, outcome="failed", failure=named, details=named),
        replace(sample_run().tests[7], nodeid=named, exploration=hostile_exploration(named)),
        model=named,
        written_by=named,
    )
    output = render(run)
    assert output == expected(request.node.name, output)


def hostile_exploration(named: str) -> ExplorationRecord:
    step = StepRecord(code=f"a(x='{named}')", happened=(turn(named),))
    finding = replace(
        BANKING.findings[0],
        check=named,
        error=f"{named}\n```\n{named}",
        steps=(step,),
        necessity=(Necessity(step=1, result="can't run", by=named),),
        keep=f"    def a(self):\n        '''{named}```'''",
        keep_where=named,
        keep_remark=named,
    )
    pinned = (replace(BANKING.pinned[0], name=named, steps=(named,)),)
    return replace(
        BANKING,
        name=named,
        findings=(finding,),
        pinned=pinned,
        order_notes=(named,),
        why_ended=named,
        events=((named, 1),),
    )


# Nothing of theirs is markup


@pytest.mark.parametrize("text", HOSTILE)
def test_text_becomes_code_and_nothing_else(text: str) -> None:
    shown = " ".join(inert(" ".join(text.split())).split())[:297] or " "
    row = f"| {cell(text)} | b |"
    assert structure(f"a {code(text)} b") == structure("a `x` b")
    assert structure(f"### {code(text)}") == structure("### `x`")
    assert structure(f"| a | b |\n| - | - |\n{row}\n") == structure("| a | b |\n| - | - |\n| `x` | b |\n")
    assert structure(f"{folded(summary(text), fence(text))}\n\nb") == structure(
        f"{folded(summary('x'), fence('x'))}\n\nb"
    )
    for markdown in (code(text), f"| a | b |\n| - | - |\n{row}\n"):
        assert codes(markdown)[0].strip().startswith(shown.strip())
    assert codes(fence(text)) == [inert(text) + "\n"]


LITERALS = {
    *get_args(Outcome),
    *get_args(Kind),
    *(
        word
        for kind, name in ((Finding, "verdict"), (Necessity, "result"))
        for word in get_args(get_type_hints(kind)[name])
    ),
}


def tamed(value: Any, words: dict[str, str]) -> Any:
    """`value` with each text that is not empty replaced by a word, the same by the same."""
    if isinstance(value, str):
        keeps = not value or value in LITERALS or value == "builtin"
        return value if keeps else words.setdefault(value, f"word{len(words)}")
    if isinstance(value, tuple):
        return tuple(tamed(item, words) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: tamed(getattr(value, field.name), words) for field in fields(value)})
    return value


@given(records(RunRecord, text=TEXT, values=TEXT))
@SLOW
def test_no_text_of_a_run_changes_the_structure_of_its_report(run: RunRecord) -> None:
    run = with_one_order(run)
    assert structure(render(run)) == structure(render(tamed(run, {})))


def with_one_order(run: RunRecord) -> RunRecord:
    """Without a choice of the pinned order that is nearest, which is one by the text of steps."""
    return replace(
        run,
        tests=tuple(
            replace(
                test, exploration=test.exploration and replace(test.exploration, pinned=test.exploration.pinned[:1])
            )
            for test in run.tests
        ),
    )


@given(records(RunRecord, text=TEXT, values=TEXT), st.integers(6_000, 20_000))
@SLOW
def test_a_report_stays_below_its_limit(run: RunRecord, most: int) -> None:
    output = render(run, most_bytes=most)
    assert len(output.encode()) <= most
    assert all(char.isprintable() or char in "\n\t" or char.isspace() for char in output)


# What goes first


def sessions(count: int, **fields: Any) -> list[TestRecord]:
    made = fields.get("outcome", "passed").replace(" ", "_")
    return [
        a_test(f"t.py::test_{made}_{n}", turn("x " * 400), session=f"t.py::{made}-{n}", **fields) for n in range(count)
    ]


def shown_sessions(output: str) -> list[str]:
    return re.findall(r"<summary><code>t.py::(\w+-\d+)</code>", output)


def test_conversations_that_passed_are_left_out_first_and_from_the_end() -> None:
    run = of_tests(*sessions(20), *sessions(2, outcome="xfailed"), *sessions(2, outcome="failed", failure="Why"))
    whole = render(run)
    assert len(shown_sessions(whole)) == 24
    assert "left out" not in whole
    output = render(run, most_bytes=12_000)
    shown = shown_sessions(output)
    assert shown == [f"passed-{n}" for n in range(len(shown) - 4)] + ["xfailed-0", "xfailed-1", "failed-0", "failed-1"]
    assert 5 <= len(shown) <= 8
    assert (
        f"*Of 24 sessions, {24 - len(shown)} left out, to stay below 12,000 bytes. "
        "The whole is in what `--aitest-json` and `--aitest-html` write.*"
    ) in output
    assert output.count("\n### ") == 2


def test_what_broke_is_shortened_before_any_of_it_is_left_out() -> None:
    run = of_tests(*sessions(40, outcome="failed", failure="Why"))
    output = render(run, most_bytes=12_000)
    assert output.count("\n### ") == 40
    assert not shown_sessions(output)
    shortened = re.search(r"\*Of 40 failures, (\d+) shortened, to stay below", output)
    assert shortened
    assert output.count("  user    x x") == 40 - int(shortened[1])
    output = render(run, most_bytes=6_000)
    assert re.search(r"\*Of 40 failures, \d+ left out, \d+ shortened, to stay below 6,000 bytes", output)


def test_one_conversation_without_end_takes_no_room_from_others() -> None:
    endless = a_test("t.py::test_endless", turn("x" * 100_000), session="t.py::endless-1", outcome="failed")
    output = render(of_tests(endless, *sessions(5)), most_bytes=50_000)
    assert shown_sessions(output) == [f"passed-{n}" for n in range(5)]
    assert "*Of 1 failure, 1 shortened, " in output
    assert "*Of 6 sessions, 1 left out, " in output


# Single lines


def test_green_means_little_where_no_language_model_was_asked() -> None:
    output = render(of_tests(a_test("t.py::test_a", turn("Hello", model="builtin", cost_usd=0.0))))
    assert "**Nothing failed.**" in output
    assert "`builtin: not a language model`" in output
    assert "`builtin: not a language model`" in render(of_tests(model="builtin"))


def test_a_run_without_tests_says_so() -> None:
    assert "**No test had a conversation.**" in render(RunRecord())


def test_models_beyond_ten_are_counted() -> None:
    run = of_tests(*(a_test(f"t.py::test_{n}", turn("Hi", model=f"m{n:02}")) for n in range(13)))
    assert "`m09`<br>3 more |" in render(run)


def test_prices_that_are_not_known_are_no_zero() -> None:
    paid, unknown = (a_test(f"t.py::test_{cost}", turn("Hi", cost_usd=cost)) for cost in (0.5, None))
    assert "| $0.50 |" in render(of_tests(paid))
    assert "| price unknown |" in render(of_tests(unknown))
    assert "| $0.50 and 1 turn of unknown price |" in render(of_tests(paid, unknown))


def test_a_failed_test_is_repeated_with_the_model_that_replaced_all_others() -> None:
    run = of_tests(a_test("t.py::test_a", turn("Hi"), outcome="failed"), model="azure/gpt-5-nano")
    assert "```sh\npytest t.py::test_a --aitest-model=azure/gpt-5-nano\n```" in render(run)


def test_what_a_test_is_called_is_no_command() -> None:
    run = of_tests(a_test('t.py::test_a[$(rm -r "~")]', turn("Hi"), outcome="failed"))
    assert """```sh\npytest 't.py::test_a[$(rm -r "~")]'\n```""" in render(run)


def explored(record: ExplorationRecord, outcome: Outcome) -> RunRecord:
    return of_tests(TestRecord(nodeid="t.py::T::explore", kind="exploration", outcome=outcome, exploration=record))


def test_a_failure_that_is_accepted_is_no_breakage() -> None:
    tolerated = replace(BANKING, findings=(replace(BANKING.findings[0], verdict="tolerated"),))
    output = render(explored(tolerated, "noted"))
    assert "## What broke?" not in output
    broken, noted = output.split("## What is to be noted?")
    assert "money_is_conserved" not in broken
    assert "### `t.py::T::explore`: `money_is_conserved` failed, no more often than is accepted" in noted


def test_an_error_beside_a_finding_is_told_too() -> None:
    run = explored(BANKING, "error")
    output = render(replace(run, tests=(replace(run.tests[0], failure="ValueError: no token"),)))
    assert "### `t.py::T::explore`: `money_is_conserved` failed" in output
    assert "### `t.py::T::explore` had an error\n\n```text\nValueError: no token\n```" in output


def test_what_an_exploration_has_not_tried_is_a_note() -> None:
    output = render(explored(replace(NOTED, remarks=("budget spent: 14 of 25 plans not tried",)), "noted"))
    assert "- `t.py::T::explore`: `budget spent: 14 of 25 plans not tried`" in output


def test_the_worker_is_named_where_each_has_run_all() -> None:
    tests = [a_test("t.py::test_a", turn("Hi"), session="t.py::chat", worker=f"gw{n}") for n in range(2)]
    output = render(of_tests(*tests))
    assert "<summary><code>t.py::chat</code> on <code>gw0</code>: passed</summary>" in output
    assert "<summary><code>t.py::chat</code> on <code>gw1</code>: passed</summary>" in output


def test_why_each_turn_is_needed_is_said_without_a_pinned_order_too() -> None:
    output = render(explored(replace(BANKING, pinned=()), "failed"))
    assert "**Why each turn is needed**\n\n```text\nWithout turn 1: passes (2 samples).\n" in output


def test_why_there_is_no_code_to_keep() -> None:
    finding = replace(BANKING.findings[0], keep="", keep_remark="<Card 12> has no literal form.")
    output = render(explored(replace(BANKING, findings=(finding,)), "failed"))
    assert "**Keep it**\n\n```text\n<Card 12> has no literal form.\n```" in output

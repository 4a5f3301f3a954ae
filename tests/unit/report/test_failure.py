"""A finding reads well at 80 columns, whatever models and tools wrote, and says what to do with it."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aitest import ToolCall
from pytest_aitest.report.failure import passed_line, rate_line, sections, warning_text
from pytest_aitest.values.plain import columns
from pytest_aitest.values.record import (
    Confirmation,
    ExplorationRecord,
    Finding,
    Necessity,
    PinnedOrder,
    Spent,
    StepRecord,
    ToolLook,
)
from pytest_aitest.values.transcript import AgentText, TurnRecord

from ...support.sample_run import BANKING as SAMPLE
from ...support.sample_run import SAVE, SAVE_HALF

Shows = Callable[[ExplorationRecord], None]

ALL_FAILED = Confirmation(failed=5, runs=5, low=0.5655, high=1.0)


@pytest.fixture
def shows_what_is_expected(request: pytest.FixtureRequest) -> Shows:
    """Compare all that is said of a record's last finding with the file in `expected/` that is named after the test.

    AITEST_WRITE_EXPECTED=1 writes the file instead; read it then, it is what a user will see.
    """
    expected = Path(__file__).parent / "expected" / f"{request.node.name}.txt"

    def compare(record: ExplorationRecord) -> None:
        finding = record.findings[-1]
        shown = [f" {title} ".center(80, "-") + f"\n{text}" for title, text in sections(record, finding)]
        output = "\n\n".join([rate_line(finding), *shown]) + "\n"
        if os.environ.get("AITEST_WRITE_EXPECTED"):
            expected.write_text(output, encoding="utf-8")
        assert output == expected.read_text(encoding="utf-8")
        assert all(columns(line) <= 80 for line in output.splitlines())

    return compare


def turn(user: str, *calls: ToolCall, answer: str = "Done!", **fields: Any) -> TurnRecord:
    answers = (AgentText(text=answer),) if answer else ()
    return TurnRecord(agent="bank", model="m", user=user, said=(*calls, *answers), **fields)


def call(name: str, result: str, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments, result=result, server="bank")


def said(*texts: str) -> tuple[TurnRecord, ...]:
    return tuple(turn(text) for text in texts)


def step(code: str, *happened: TurnRecord | ToolLook) -> StepRecord:
    return StepRecord(code=code, happened=happened or said("Go on"))


BALANCES = ToolLook(
    call="get_all_balances()", said=json.dumps({"checking": 1498, "savings": 3001, "total": 4499}, indent=2)
)
TRANSFERS = Finding(
    check="money_is_conserved",
    error="AssertionError: assert 4499 == 4500",
    steps=(
        step("transfer(amount=1)", SAVE),
        StepRecord(code="transfer(amount=1)", happened=(SAVE_HALF,), looks=(BALANCES,)),
    ),
    is_minimal=True,
    necessity=(Necessity(step=1, passed=2), Necessity(step=2, passed=2)),
    confirmation=ALL_FAILED,
    keep=(
        "@pinned\n"
        "def money_is_conserved_after_two_transfers(self):\n"
        "    self.transfer(amount=1)\n"
        "    self.transfer(amount=1)\n"
    ),
    keep_where="TestBanking, test_banking.py",
)
(DOCUMENTED,), SPENT = SAMPLE.pinned, SAMPLE.spent
BANKING = ExplorationRecord(
    name="TestBanking::explore[azure/gpt-5-mini]",
    again='pytest "test_banking.py::TestBanking::explore[azure/gpt-5-mini]"',
    seed=8123,
    plans_tried=3,
    plans=25,
    rules=("ask_balance", "transfer"),
    covered=(
        ("ask_balance", "ask_balance"),
        ("ask_balance", "transfer"),
        ("transfer", "ask_balance"),
        ("transfer", "transfer"),
    ),
    spent=SPENT,
    findings=(TRANSFERS,),
    pinned=(DOCUMENTED,),
)
SHOP = ExplorationRecord(
    name="TestShop::explore",
    again='pytest "test_shop.py::TestShop::explore"',
    seed=1,
    plans_tried=0,
    plans=25,
    rules=("add", "pay", "ship"),
    spent=Spent(find=4, model_calls=9),
)


def finding(*steps: StepRecord, **fields: Any) -> Finding:
    return Finding(check="stock_is_right", steps=steps, **{"is_minimal": True, **fields})


def found(*steps: StepRecord, record: ExplorationRecord = SHOP, **fields: Any) -> ExplorationRecord:
    return replace(record, findings=(finding(*steps, **fields),))


def section(record: ExplorationRecord, beginning: str) -> list[str]:
    shown = sections(record, record.findings[-1])
    return next(text.split("\n") for title, text in shown if title.startswith(beginning))


def titles(record: ExplorationRecord) -> list[str]:
    return [title for title, _ in sections(record, record.findings[-1])]


# Whole texts


def test_the_failure_as_a_person_should_see_it(shows_what_is_expected: Shows) -> None:
    shows_what_is_expected(BANKING)


def test_what_models_and_tools_write_stays_in_its_lines(shows_what_is_expected: Shows) -> None:
    hostile = turn(
        "Show \x1b[31mred\x1b[0m and \u202ereversed",
        call("find", "x" * 5_000_000, query="\x1b]0;title\x07" + "y" * 300),
        call("laid_out", json.dumps({"items": [1, {"name": "a\nb"}], "none": {}}, indent=4)),
        ToolCall(name="broken", arguments='{"a": ', error="no \r\n JSON", server=None),
        answer="w" * 300 + " 🙂🙂 " + "漢字" * 60 + "\n\n\ttabs and [bold]markup[/bold]\x9b31m",
        notes=("server 'bank' asked\x07",),
        error="The model \x1b[2Jcleared",
        error_kind="empty_answer",
    )
    looks = (
        ToolLook(call="get()", said='{\n "pi": 3.10, "big": 1e400,\n "text": "a\\nb", "list": [\n1,\n2\n]\n}'),
        ToolLook(call="get()", said="{\n not JSON\n}"),
        ToolLook(call="get()", said=json.dumps(["🙂" * 50] * 40_000, ensure_ascii=False, indent=1)),
    )
    code = f"ask(text={'z' * 300!r})"
    shows_what_is_expected(
        found(
            StepRecord(code=code, happened=(hostile, ToolLook(call="reset()", said="\x1b[0m")), looks=looks),
            step("é(name='\u202eñ 漢字')"),
            record=replace(SHOP, remarks=("a server said \x1b[0m " + "r" * 100,), again='pytest "\x1b.py"'),
            notes=("noted \x1b[31m " + "n" * 5_000,),
            keep="@pinned\ndef kept(self):\n    self.é(name='\u202ené')",
            keep_where="TestShop, " + "long_" * 20 + ".py",
        )
    )


def test_a_conversation_in_steps_of_several_turns_and_none(shows_what_is_expected: Shows) -> None:
    shows_what_is_expected(
        found(
            step("cart_1 = open_cart(of='Ann')", ToolLook(call='new_cart(of="Ann")', said='{\n  "id": 7\n}')),
            step("add(cart=cart_1, item='shoes')", *said("Add shoes", "The red ones")),
            step("checkout(cart=cart_1)", *said("Buy them")),
            record=replace(
                SHOP,
                pinned=(
                    PinnedOrder(
                        name="documented",
                        steps=("open_cart_1 = open_cart(of='Ann')", "checkout(cart=open_cart_1)"),
                        passes=False,
                    ),
                ),
            ),
            necessity=(Necessity(step=1, passed=1), Necessity(step=2, passed=0), Necessity(step=3, passed=2)),
            confirmation=Confirmation(failed=4, runs=5, low=0.3755, high=0.9638),
            notes=("cart 7 was empty", "twice"),
        )
    )


def test_a_search_that_was_cut_short_and_code_that_cannot_be_kept(shows_what_is_expected: Shows) -> None:
    shows_what_is_expected(
        found(
            step("pay(card=<Card 12>)"),
            record=replace(
                SHOP,
                plans_tried=14,
                spent=Spent(find=1, model_calls=1, cost_usd=None, seconds=0.02),
                why_ended="the budget of 400 model calls was spent",
                remarks=("server 'shop' can't be replayed: its results differ from run to run, so all of it was live",),
            ),
            is_minimal=False,
            why_not_minimal="the budget of 400 model calls was spent before each turn was tried without.",
            keep_remark="<Card 12> has no literal form, so there is no code to paste: build it in a rule.",
        )
    )


def test_necessity_without_a_pinned_order(shows_what_is_expected: Shows) -> None:
    codes = [f"say_{number}()" for number in range(1, 6)]
    shows_what_is_expected(found(*map(step, codes), necessity=tuple(Necessity(step=n, passed=n) for n in range(1, 6))))


def test_what_was_not_judged_without_a_step_is_no_pass() -> None:
    found_needed = found(
        *map(step, ["log_in()", "add(item='shoes')", "checkout()", "pay()", "pay()"]),
        necessity=(
            Necessity(step=1, result="can't run", by="add"),
            Necessity(step=2, result="fails otherwise", by="stock_is_right"),
            Necessity(step=3, result="does not count", by="test_payment"),
            Necessity(step=4, result="does not count", by="test_" + "payment_" * 4),
            Necessity(step=5, passed=1),
        ),
    )
    assert section(found_needed, "why each turn is needed") == [
        "Without turn 1: not judged, add() can't run there.",
        "Without turn 2: fails otherwise, in stock_is_right.",
        "Without turn 3: not judged, what test_payment asserts does not count there.",
        "Without turn 4: not judged, what test_payment_payment_payment_payment_ asserts",
        "does not count there. Without turn 5: passes (1 sample).",
    ]


def test_a_warning_stands_alone() -> None:
    text = warning_text(BANKING, TRANSFERS)
    assert text.startswith(
        "TestBanking::explore[azure/gpt-5-mini]: money_is_conserved failed:\n"
        "AssertionError: assert 4499 == 4500\n"
        "After turn 2. Fails 5 of 5 fresh runs (95 % interval 57 to 100 %).\n"
        "\n"
        "--- shortest conversation that fails: 2 turns ---\n"
        "1 transfer(amount=1)\n"
        "  user    Transfer $1 from checking to savings\n"
    )
    assert "\n\n--- cost ---\nfind 11, shrink 9, confirm 10 fresh turns; 34 turns replayed\n" in text


# Against the documentation


def compared(*codes: str, **orders: tuple[str, ...]) -> list[str]:
    pinned = tuple(PinnedOrder(name=name, steps=steps, passes="fails" not in name) for name, steps in orders.items())
    return section(found(*map(step, codes), record=replace(SHOP, pinned=pinned)), "against")


@pytest.mark.parametrize(
    ("pinned", "failing", "remark"),
    [
        ("pay(amount=200)", "pay(amount=1)", "pinned with 200"),
        ("pay(to='Bo', amount=200)", "pay(to='Bo', amount=1)", "pinned with amount=200"),
        ("pay(to='Bo', amount=200)", "pay(to='Al', amount=1)", "pinned with to='Bo', amount=200"),
        ("pay(200)", "pay(amount=1)", "pinned as pay(200)"),
        ("pay(amount=<Big>)", "pay(amount=<Small>)", "pinned as pay(amount=<Big>)"),
        ("pay(amount=200)", "x = pay(amount=1)", "pinned with 200"),
        ("pay(text='a, b=(c')", "pay(text='')", "pinned with 'a, b=(c'"),
        ("self.pay(amount=2)", "self.pay(amount=2)", ""),
        ("pay(value=N(\n1))", "pay(value=1)", "pinned with N(1)"),
        ("pay(to=\ud800)", "pay(to=1)", "pinned as pay(to=\\ud800)"),
        ("pay(how=<a\nb>)", "pay(how=<a>)", "pinned as pay(how=<a\nb>)"),
    ],
)
def test_only_differing_arguments_are_remarked(pinned: str, failing: str, remark: str) -> None:
    beside = [f"  {failing:<25}  {remark}".rstrip()]
    below = [f"  {failing}", *(f"      {line}" for line in remark.split("\n"))]
    assert compared(failing, documented=(pinned,)) == (below if "\n" in remark else beside)


def test_a_long_remark_stands_below_its_step() -> None:
    assert compared("ask(text='')", documented=(f"ask(text={'a' * 500!r})",)) == [
        "  ask(text='')",
        f"      pinned with '{'a' * 61}",
        f"      {'a' * 74}",
        "      ... 514 bytes in all",
    ]


def test_equal_steps_are_held_against_each_other_first() -> None:
    assert compared("pay(n=1)", "pay(n=2)", "ask()", documented=("pay(n=2)", "ask()", "end()")) == [
        "+ pay(n=1)",
        "  pay(n=2)",
        "  ask()",
        "- end()",
    ]


def test_the_name_of_a_result_that_is_handed_on_is_no_difference() -> None:
    assert compared("a = add()", "b = add()", "buy(cart=b)", documented=("add_1 = add()", "buy(cart=add_1)")) == [
        "  a = add()",
        "+ b = add()",
        "  buy(cart=b)                pinned with result 1 of add",
    ]
    assert compared("b = add()", "buy(cart=b)", documented=("add_1 = add()", "buy(cart=add_1)"))[1] == "  buy(cart=b)"


def test_the_nearest_pinned_order_is_chosen_and_of_equals_one_that_passes() -> None:
    orders = {"far": ("a()", "b()", "c()"), "fails": ("a(n=1)",), "near": ("a(n=1)",), "other": ("a(n=2)",)}
    pinned = tuple(PinnedOrder(name=name, steps=steps, passes=name != "fails") for name, steps in orders.items())
    assert titles(found(step("a(n=1)"), record=replace(SHOP, pinned=pinned)))[1] == (
        "against the pinned order `near` (passes)"
    )
    assert titles(found(step("a(n=1)"), record=replace(SHOP, pinned=pinned[:2])))[1] == (
        "against the pinned order `fails` (fails too)"
    )


@pytest.mark.parametrize("text", ["[" * 3_000, "1" * 10_000, "1+" * 50_000 + "1", f"'{'x' * 5_000_000}'"], ids=len)
def test_an_argument_of_any_size_is_compared(text: str) -> None:
    line, *remark = compared("pay(amount=1)", documented=(f"pay(amount={text})",))
    assert line == "  pay(amount=1)"
    assert len(remark) == 3


# Single lines


@pytest.mark.parametrize(
    ("steps", "title", "when"),
    [
        ([1], "1 turn", "After turn 1."),
        ([1, 1], "2 turns", "After turn 2."),
        ([1, 0, 2], "3 steps, 3 turns", "After step 3 (turn 3)."),
        ([2, 0], "2 steps, 2 turns", "After step 2."),
        ([0], "1 step, no turns", "After step 1."),
        ([], "no turns", "Before the first turn."),
    ],
)
def test_length_is_told_in_turns_and_in_steps_where_these_differ(steps: list[int], title: str, when: str) -> None:
    record = found(*(StepRecord(code="a()", happened=said(*"x" * turns)) for turns in steps))
    assert titles(record)[0] == f"shortest conversation that fails: {title}"
    assert rate_line(record.findings[0]) == f"{when} Not confirmed by fresh runs."


@pytest.mark.parametrize(
    ("confirmation", "line"),
    [
        (ALL_FAILED, "After turn 1. Fails 5 of 5 fresh runs (95 % interval 57 to 100 %)."),
        (
            Confirmation(failed=1, runs=1, low=0.2065, high=1.0),
            "After turn 1. Fails 1 of 1 fresh run (95 % interval 21 to 100 %).",
        ),
        (
            Confirmation(failed=0, runs=5, low=0.0, high=0.4345),
            "Seen once; 0 of 5 fresh runs failed (95 % interval 0 to 43 %).",
        ),
        (Confirmation(failed=0, runs=0, low=0.0, high=1.0), "After turn 1. Not confirmed by fresh runs."),
        (None, "After turn 1. Not confirmed by fresh runs."),
    ],
)
def test_the_rate_is_told_with_its_interval(confirmation: Confirmation | None, line: str) -> None:
    assert rate_line(finding(step("a()"), confirmation=confirmation)) == line


@pytest.mark.parametrize(
    ("spent", "lines"),
    [
        (Spent(), ["no fresh turns"]),
        (Spent(find=1, replayed=1, seconds=4.23), ["find 1 fresh turn; 1 turn replayed", "4.2 s"]),
        (Spent(find=2, confirm=1, model_calls=1), ["find 2, confirm 1 fresh turn", "1 model call, free"]),
        (Spent(find=9, model_calls=1_234, cost_usd=None), ["find 9 fresh turns", "1,234 model calls, price unknown"]),
        (Spent(find=9, tokens=1, cost_usd=1_234.5), ["find 9 fresh turns", "1 token, $1,234.50"]),
        (Spent(find=9, cost_usd=0.5, seconds=1_500), ["find 9 fresh turns", "$0.50, 1,500 s"]),
        (Spent(find=9, cost_usd=0.00042, server_starts=1), ["find 9 fresh turns", "$0.00042, 1 server start"]),
    ],
)
def test_the_cost_leaves_out_what_was_not_spent(spent: Spent, lines: list[str]) -> None:
    cost = section(found(step("a()"), record=replace(SHOP, spent=spent)), "cost")
    assert cost == [
        *lines,
        "Stopped at this failure before the first of 25 plans; seed 1",
        'Again: pytest "test_shop.py::TestShop::explore"',
    ]


def test_an_exploration_stopped_only_at_its_last_finding() -> None:
    first, last = finding(step("a()")), finding(step("b()"))
    record = replace(SHOP, plans_tried=3, findings=(first, last))
    assert "Tried 3 of 25 plans; seed 1" in dict(sections(record, first))["cost"]
    assert "Tried 3 of 25 plans, then stopped at this failure; seed 1" in dict(sections(record, last))["cost"]
    record = replace(record, plans_tried=25)
    assert "Tried 25 of 25 plans; seed 1" in dict(sections(record, last))["cost"]


@pytest.mark.parametrize(
    ("tried", "why", "spent", "line"),
    [
        (25, "", SPENT, "T: 25 plans, 30 fresh turns, 4 of 4 ordered pairs, $0.031; 34 turns replayed"),
        (3, "", Spent(), "T: 3 of 25 plans, 0 fresh turns, 4 of 4 ordered pairs, free"),
        (3, "no other order is left", Spent(find=1), "T: 3 of 25 plans (no other order is left), 1 fresh turn, "),
    ],
)
def test_a_passing_exploration_says_in_one_line_what_it_tried(tried: int, why: str, spent: Spent, line: str) -> None:
    record = replace(BANKING, name="T", findings=(), plans_tried=tried, why_ended=why, spent=spent)
    assert passed_line(record).startswith(line)


TEXT = st.text() | st.sampled_from(["{\n}", "a()", "漢" * 90, "x" * 300, "\x1b[0m\u202e", "a = b(c=1, d='')", "  \n"])
STEPS = st.lists(
    st.builds(
        StepRecord,
        code=TEXT,
        happened=st.lists(st.builds(ToolLook, call=TEXT, said=TEXT) | TEXT.map(turn), max_size=2).map(tuple),
        looks=st.lists(st.builds(ToolLook, call=TEXT, said=TEXT), max_size=1).map(tuple),
    ),
    max_size=3,
).map(tuple)


@given(STEPS, TEXT, st.lists(TEXT, max_size=3).map(tuple))
def test_no_text_breaks_out_of_80_columns(steps: tuple[StepRecord, ...], text: str, codes: tuple[str, ...]) -> None:
    record = found(
        *steps,
        record=replace(SHOP, pinned=(PinnedOrder(name="documented", steps=codes, passes=True),), remarks=(text,)),
        is_minimal=False,
        why_not_minimal=text,
        keep_remark=text,
        notes=(text,),
        error=text,
    )
    lines = warning_text(record, record.findings[0]).split("\n")
    assert [line for line in lines if columns(line) > 80] == []
    assert all(char.isprintable() or char.isspace() for line in lines for char in line)
    assert not any(char in "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029" for line in lines for char in line)

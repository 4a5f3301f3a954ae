"""A run with one of everything that a report has to show, made by hand, so that every report of it is the same."""

from typing import Any

from pytest_aitest import ToolCall
from pytest_aitest.values.record import (
    Confirmation,
    ExplorationRecord,
    Finding,
    Necessity,
    PinnedOrder,
    Spent,
    StepRecord,
    TestRecord,
    ToolLook,
)
from pytest_aitest.values.run_record import RunRecord
from pytest_aitest.values.transcript import AgentText, TurnRecord

BANK = "tests/test_bank.py"
SHOP = "tests/test_shop.py"


def call(name: str, result: str | None = None, *, server: str = "bank", **fields: Any) -> ToolCall:
    return ToolCall(name=name, result=result, server=server, duration_ms=12.0, **{"arguments": {}, **fields})


def turn(user: str, *calls: ToolCall, answer: str = "Done!", **fields: Any) -> TurnRecord:
    made: dict[str, Any] = {
        "agent": "bank",
        "model": "azure/gpt-5-mini",
        "duration_ms": 1240.0,
        "model_calls": 1 + bool(calls),
        "prompt_tokens": 812,
        "completion_tokens": 41,
        "cost_usd": 0.00042,
        **fields,
    }
    return TurnRecord(user=user, said=(*calls, *([AgentText(text=answer)] if answer else [])), **made)


def test(nodeid: str, *turns: TurnRecord, **fields: Any) -> TestRecord:
    step = StepRecord(code=nodeid.rpartition("::")[2], happened=turns)
    made: dict[str, Any] = {
        "kind": "turn",
        "seconds": 1.3 * len(turns),
        "asked": Spent.on(turns, find=len(turns)),
        **fields,
    }
    return TestRecord(nodeid=nodeid, steps=(step,) if turns else (), **made)


def shopping(model: str, *, finds_shoes: bool) -> list[TestRecord]:
    """A flow of three turns, by one of two models; the second turn differs."""
    flow = {"session": f"{SHOP}::shopping-flow[{model}]"}
    told: dict[str, Any] = {"agent": "shop", "model": model}
    browse = turn(
        "Show me running shoes under $100",
        call("search", '[{"id": 7, "name": "Trail 3", "price": 89.0}]', server="catalogue", arguments={"below": 100}),
        answer="I found **Trail 3** for $89.",
        **told,
    )
    put = turn(
        "Put them into my cart, size 42",
        call("add_to_cart", '{"cart": 1}', server="cart", arguments={"id": 7, "size": 42}),
        answer="Trail 3 in size 42 is in your cart.",
        **told,
    )
    lost = turn("Put them into my cart, size 42", answer="Which shoes do you mean?", **told)
    pay = turn("Pay with my card", call("pay", '{"paid": 89.0}', server="cart"), answer="Paid $89.00.", **told)
    return [
        test(f"{SHOP}::TestShop::test_browse[{model}]", browse, **flow),
        test(
            f"{SHOP}::TestShop::test_cart[{model}]",
            put if finds_shoes else lost,
            first_turn=2,
            **flow,
            **({} if finds_shoes else LOST),
        ),
        test(f"{SHOP}::TestShop::test_pay[{model}]", pay, first_turn=3, **flow)
        if finds_shoes
        else test(
            f"{SHOP}::TestShop::test_pay[{model}]",
            first_turn=3,
            outcome="not run",
            reason=f"turn test_cart[{model}] failed",
            **flow,
        ),
    ]


LOST: dict[str, Any] = {
    "outcome": "failed",
    "failure": "AssertionError: assert False\n +  where False = tool_was_called('add_to_cart')",
    "place": "test_shop.py:31",
    "details": ">       assert result.tool_was_called('add_to_cart')\nE       AssertionError: assert False\n\n"
    "test_shop.py:31: AssertionError",
}
SAVE = turn(
    "Transfer $1 from checking to savings",
    call("withdraw", "1499", arguments={"account": "checking", "amount": 1}),
    call("deposit", "3001", arguments={"account": "savings", "amount": 1}),
    answer="Done! I moved $1 to savings.",
)
SAVE_HALF = turn(
    "Transfer $1 from checking to savings",
    call("withdraw", "1498", arguments={"account": "checking", "amount": 1}),
    answer="Done! I moved $1 to savings.",
)
BALANCES = ToolLook(call="get_all_balances()", said='{"checking": 1498, "savings": 3001, "total": 4499}')
ASK = turn(
    "What's my checking account balance?",
    call("get_balance", '{"balance": 1500.0}', arguments={"account": "checking"}),
    answer="Checking balance: $1,500.00.",
)
BANKING = ExplorationRecord(
    name="TestBanking::explore[azure/gpt-5-mini]",
    again='pytest "tests/test_bank.py::TestBanking::explore[azure/gpt-5-mini]" --hypothesis-seed=8123',
    seed=8123,
    plans_tried=3,
    plans=25,
    rules=("ask_balance", "transfer", "close_account"),
    covered=(("ask_balance", "transfer"), ("transfer", "transfer"), ("transfer", "ask_balance")),
    spent=Spent(
        find=11,
        shrink=9,
        confirm=10,
        replayed=34,
        model_calls=74,
        tokens=41_210,
        cost_usd=0.031,
        server_starts=8,
        seconds=96,
    ),
    findings=(
        Finding(
            check="money_is_conserved",
            error="AssertionError: assert 4499 == 4500",
            place="test_bank.py:31",
            steps=(
                StepRecord(code="transfer(amount=1)", happened=(SAVE,)),
                StepRecord(code="transfer(amount=1)", happened=(SAVE_HALF,), looks=(BALANCES,)),
            ),
            is_minimal=True,
            necessity=(
                Necessity(step=1, passed=2),
                Necessity(step=2, result="can't run", by="transfer"),
            ),
            confirmation=Confirmation(failed=5, runs=5, low=0.5655, high=1.0),
            keep=(
                "    @pinned\n    def money_is_conserved_after_transfer_twice(self):\n"
                "        self.transfer(amount=1)\n        self.transfer(amount=1)"
            ),
            keep_where="TestBanking, test_bank.py",
        ),
    ),
    pinned=(PinnedOrder(name="documented", steps=("ask_balance()", "transfer(amount=200)"), passes=True),),
    events=(("asked for a balance", 7),),
)
NOTED = ExplorationRecord(
    name="TestChat::explore",
    again='pytest "tests/test_bank.py::TestChat::explore" --hypothesis-seed=8123',
    seed=8123,
    plans_tried=14,
    plans=25,
    rules=("test_hello", "test_name"),
    covered=(("test_hello", "test_hello"), ("test_hello", "test_name"), ("test_name", "test_name")),
    spent=Spent(find=17, replayed=60, model_calls=17, tokens=0, cost_usd=0.0, seconds=0.6),
    pinned=(PinnedOrder(name="documented", steps=("test_hello()", "test_name()"), passes=True),),
    order_notes=(
        "test_name fails unless test_hello has run (3 of 3 orders). "
        "If it should hold anywhere, mark it turn(needs=()).",
    ),
    why_ended="no other order is left",
)


def sample_run() -> RunRecord:
    """Flows of two models, a machine with a finding, an order note, and a test of every other outcome."""
    explored = f"{BANK}::TestBanking"
    alone = f"{BANK}::test_alone"
    tests = [
        *shopping("azure/gpt-5-mini", finds_shoes=True),
        *shopping("azure/gpt-5-nano", finds_shoes=False),
        TestRecord(
            nodeid=f"{explored}::documented[azure/gpt-5-mini]",
            kind="pinned",
            session=f"{BANK}::TestBanking::documented[azure/gpt-5-mini]",
            steps=(
                StepRecord(code="ask_balance()", happened=(ASK,)),
                StepRecord(code="transfer(amount=200)", happened=(SAVE,), looks=(BALANCES,)),
            ),
            asked=Spent.on([ASK, SAVE], find=2),
            seconds=2.5,
        ),
        TestRecord(
            nodeid=f"{explored}::explore[azure/gpt-5-mini]",
            kind="exploration",
            outcome="failed",
            failure="AssertionError: assert 4499 == 4500",
            place="test_bank.py:31",
            details=">       assert balances['total'] == 4_500\nE       AssertionError: assert 4499 == 4500",
            exploration=BANKING,
            asked=BANKING.spent,
            seconds=96,
        ),
        TestRecord(
            nodeid=f"{BANK}::TestDear::explore",
            kind="exploration",
            outcome="priced",
            reason="would ask azure/gpt-5-mini up to 400 times, about $0.40; add --aitest-explore",
        ),
        TestRecord(
            nodeid=f"{BANK}::TestChat::explore",
            kind="exploration",
            outcome="noted",
            exploration=NOTED,
            asked=NOTED.spent,
            seconds=0.6,
        ),
        test(alone, turn("Hello", model="builtin", cost_usd=0.0, answer="Hello!"), kind="test", session=alone),
        test(
            f"{BANK}::test_followup",
            turn("What's my balance?", answer="", error="429: too many requests", error_kind="rate_limit"),
            kind="context",
            session=f"{BANK}::banking-chat",
        ),
        test(f"{BANK}::test_later", kind="test", outcome="skipped", reason="not today", session=f"{BANK}::test_later"),
        test(
            f"{BANK}::test_broken",
            turn("Count", call("count", error="the server died"), answer="", error="it died", error_kind="server_died"),
            kind="test",
            outcome="xfailed",
            reason="known",
            session=f"{BANK}::test_broken",
        ),
        test(f"{BANK}::test_fixture", kind="test", outcome="error", failure="ValueError: no token", place="conf.py:3"),
    ]
    return RunRecord(
        tests=tuple(tests), began="2026-11-22T10:00:00+00:00", seconds=112.5, written_by="pytest-aitest 0.1.0"
    )

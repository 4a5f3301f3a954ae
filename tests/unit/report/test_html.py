"""The page says all that a run left behind, in the order of a reader's questions; nothing in it is alive but ours."""

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pytest_aitest.report.html
from pytest_aitest import ToolCall
from pytest_aitest.report.html import render
from pytest_aitest.values.record import Confirmation, Finding, PinnedOrder, Spent, StepRecord, TestRecord
from pytest_aitest.values.run_record import RunRecord
from pytest_aitest.values.secrets import SECRETS
from pytest_aitest.values.transcript import AgentText, TurnRecord

from ...support.hostile_run import ATTACKS, hostile_run
from ...support.markup import Element, parsed
from ...support.sample_run import BANKING, call, sample_run, shopping, turn
from ...support.sample_run import test as a_test


@pytest.fixture(scope="module")
def sample() -> Element:
    return parsed(render(sample_run()))


def page(*tests: TestRecord, **fields: Any) -> Element:
    return parsed(render(RunRecord(tests=tests, **fields)))


def told(*turns: TurnRecord, **fields: Any) -> Element:
    """The page of one session, a test for each turn."""
    tests = [
        a_test(f"t.py::test_{number}", each, session="t.py::flow", first_turn=number, **fields)
        for number, each in enumerate(turns, 1)
    ]
    return page(*tests)


def found(finding: Finding, **fields: Any) -> Element:
    """The card of a finding."""
    record = replace(BANKING, findings=(finding,), **fields)
    made = page(TestRecord(nodeid="t.py::T::explore", kind="exploration", outcome="noted", exploration=record))
    (card,) = made.all("article", _class="card")
    return card


def texts(elements: list[Element]) -> list[str]:
    return [" ".join(each.text.split()) for each in elements]


def test_questions_are_answered_in_their_order(sample: Element) -> None:
    assert texts(sample.all("h1")) == ["Is it all right? No. 2 failed and 1 error of 14 tests."]
    assert texts(sample.all("h2")) == [
        "What broke?",
        "What was said?",
        "How do the variants differ?",
        "What was tried?",
    ]


def test_the_strip_counts_outcomes_and_names_cost_time_and_models(sample: Element) -> None:
    (counts,) = sample.all("ul", _class="counts")
    assert texts(counts.all("li")) == [
        "2 failed",
        "1 error",
        "1 noted",
        "1 skipped for its price",
        "1 not run",
        "1 skipped",
        "1 xfailed",
        "6 passed",
    ]
    (facts,) = sample.all("dl")
    said = texts(facts.all("div"))
    assert said[1:3] == ["time112 s", "model calls108"]
    assert said[0].startswith("cost$0.03")
    assert said[-1] == "modelsazure/gpt-5-mini, azure/gpt-5-nano, builtin builtin: not a language model"


@pytest.mark.parametrize(
    ("outcomes", "answer"),
    [
        ([], "Nothing was tested."),
        (["passed"], "Yes."),
        (["passed", "noted"], "Yes, with 1 note."),
        (["passed", "priced", "skipped"], "Yes. 2 tests did not run."),
        (["priced"], "Nothing was judged."),
        (["failed", "passed"], "No. 1 failed of 2 tests."),
        (["error", "error"], "No. 2 errors of 2 tests."),
        (["xpassed", "failed", "error"], "No. 1 failed and 1 error of 3 tests."),
        (["xpassed"], "Yes."),
    ],
)
def test_the_answer_is_one_sentence(outcomes: list[Any], answer: str) -> None:
    made = page(*(TestRecord(nodeid=f"t.py::t{i}", kind="test", outcome=each) for i, each in enumerate(outcomes)))
    assert texts(made.all("h1")) == [f"Is it all right? {answer}"]


def test_turns_of_unknown_price_are_not_counted_as_free() -> None:
    unpriced = TestRecord(nodeid="t.py::t", kind="test", asked=Spent.on([turn("Hi", cost_usd=None)]))
    assert "price unknown" in texts(page(unpriced).all("dd"))
    priced = TestRecord(nodeid="t.py::u", kind="test", asked=Spent.on([turn("Hi", cost_usd=0.5)]))
    assert "$0.50 and 1 turn of unknown price" in texts(page(unpriced, priced).all("dd"))


def test_a_model_that_stood_in_for_all_others_is_named() -> None:
    (models,) = page(a_test("t.py::t", turn("Hi", model="builtin")), model="builtin").all("div", _class="models")
    assert " ".join(models.text.split()) == "modelbuiltin every agent asked builtin builtin: not a language model"


def test_a_finding_stands_with_all_that_is_known_of_it(sample: Element) -> None:
    card = sample.all("article", _class="card")[0]
    said = " ".join(card.text.split())
    for expected in (
        "money_is_conserved",
        "AssertionError: assert 4499 == 4500",
        "test_bank.py:31",
        "shortest conversation that fails: 2 turns",
        "After turn 2. Fails 5 of 5 fresh runs (95 % interval 57 to 100 %).",
        "against the pinned order documented passes",
        "why each turn is neededWithout turn 1: passes (2 samples).Without turn 2: not judged, transfer() can't run",
        "keep it: paste into TestBanking, test_bank.py",
        "find 11, shrink 9, confirm 10 fresh turns; 34 turns replayed",
        "Tried 3 of 25 plans, then stopped at this failure; seed 8123",
        "check, past the model get_all_balances() returns",
    ):
        assert expected in said
    assert texts(card.all("li", _class="minus")) == ["\u2212only in the pinned order:ask_balance()"]
    assert texts(card.all("li", _class="plus")) == ["+only here:transfer(amount=1)"]
    assert texts(card.all("li", _class="same")) == ["in both:transfer(amount=1)pinned with 200"]
    keep, again = (each.one("pre").text for each in card.all("div", _class="code"))
    assert keep == BANKING.findings[0].keep
    assert again == BANKING.again
    (band,) = card.all("rect", _class="band")
    assert float(band.attributes["x"]) == pytest.approx(56.55)
    assert float(band.attributes["width"]) == pytest.approx(43.45)


def test_a_failed_turn_stands_with_its_assertion_the_command_and_a_link_to_where_it_was_said(sample: Element) -> None:
    card = sample.all("article", _class="card")[1]
    assert "where False = tool_was_called('add_to_cart')" in card.text
    assert [each.one("pre").text for each in card.all("div", _class="code")] == [
        'pytest "tests/test_shop.py::TestShop::test_cart[azure/gpt-5-nano]"'
    ]
    (link,) = [each for each in card.all("a") if each.text == "shopping-flow[azure/gpt-5-nano]"]
    (part,) = sample.all("div", id=link.attributes["href"][1:])
    assert "failed" in part.classes
    assert "Which shoes do you mean?" in part.text
    assert "AssertionError" in part.text


@pytest.mark.parametrize(
    ("verdict", "meaning"),
    [
        ("tolerated", "It fails no more often than its author accepts."),
        ("seen once", "It failed once, and never again when everything was asked anew."),
        ("unstable", "Asked anew, it failed in another way, or only now and then"),
    ],
)
def test_what_a_verdict_means_is_said(verdict: Any, meaning: str) -> None:
    card = found(replace(BANKING.findings[0], verdict=verdict))
    assert texts(card.all("header")[0].all("b")) == [verdict]
    assert meaning in card.text


def test_a_finding_of_which_little_is_known() -> None:
    card = found(Finding(check="no_crash", steps=(), is_minimal=False, why_not_minimal="it was interrupted"), pinned=())
    said = " ".join(card.text.split())
    assert "it fails before anything is said" in said
    assert "May not be the shortest: it was interrupted" in said
    assert card.all("svg") == []
    unconfirmed = replace(BANKING.findings[0], confirmation=Confirmation(failed=0, runs=0, low=0, high=1))
    assert found(unconfirmed, pinned=(PinnedOrder(name="p", steps=(), passes=False),)).all("svg") == []


def test_an_exploration_that_failed_without_a_finding_is_a_card_too() -> None:
    record = replace(BANKING, findings=())
    made = page(TestRecord(nodeid="t.py::T::explore", kind="exploration", outcome="error", exploration=record))
    (card,) = made.all("article", _class="card")
    assert card.one("pre").text == BANKING.again


def test_the_command_names_the_model_and_the_test_as_pytest_knows_it() -> None:
    run = RunRecord(
        tests=(TestRecord(nodeid="t.py::test_a (nightly)", kind="test", outcome="failed"),), model="builtin"
    )
    assert texts(parsed(render(run)).all("div", _class="code")) == ["pytest t.py::test_a --aitest-model=builtinCopy"]


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({"other_failures": 1}, "No conversation failed, but: 1 failure elsewhere."),
        ({"was_stopped": True}, "No conversation failed, but: the run was stopped before its end."),
        ({"tests": (), "other_failures": 2}, "Nothing was tested: 2 failures elsewhere."),
    ],
)
def test_a_run_is_not_all_right_because_no_conversation_failed(changed: dict[str, Any], answer: str) -> None:
    run = RunRecord(tests=(TestRecord(nodeid="t.py::test_a", kind="test"),))
    (said,) = parsed(render(replace(run, **changed))).all("span", _class="no")
    assert said.text == answer


@pytest.mark.parametrize(
    ("nodeid", "command"),
    [
        ("t.py::test_a", "pytest t.py::test_a"),
        ("t.py::test_a[x y]", 'pytest "t.py::test_a[x y]"'),
        ("t.py::test_a[$(x)]", "pytest 't.py::test_a[$(x)]'"),
        ("t.py::test_a[it's `x`]", """pytest 't.py::test_a[it'"'"'s `x`]'"""),
    ],
)
def test_the_command_is_safe_to_paste(nodeid: str, command: str) -> None:
    made = page(TestRecord(nodeid=nodeid, kind="test", outcome="failed"))
    assert texts(made.all("div", _class="code")) == [f"{command}Copy"]


def test_each_session_is_a_flow_under_its_key_in_lanes(sample: Element) -> None:
    (session,) = sample.all("article", id="session-shopping-flow-azure-gpt-5-mini")
    assert session.one("h3").text == "shopping-flow[azure/gpt-5-mini]"
    assert texts(session.one("div", _class="names").all("span")) == [
        "user",
        "agent shop",
        "server catalogue",
        "server cart",
    ]
    assert texts(session.all("h4")) == ["1test_browse", "2test_cart", "3test_pay"]
    assert [(each.classes[1:], " ".join(each.text.split())) for each in session.all("li", _class="r")] == [
        (["user"], "Show me running shoes under $100"),
        (["call", "s1"], 'search(below=100)[{"id": 7, "name": "Trail 3", "price": 89.0}]12 ms'),
        (["answer"], "I found **Trail 3** for $89."),
        (["user"], "Put them into my cart, size 42"),
        (["call", "s2"], 'add_to_cart(id=7, size=42){"cart": 1}12 ms'),
        (["answer"], "Trail 3 in size 42 is in your cart."),
        (["user"], "Pay with my card"),
        (["call", "s2"], 'pay(){"paid": 89.0}12 ms'),
        (["answer"], "Paid $89.00."),
    ]
    assert texts(session.all("span", _class="meta")) == [
        "tests/test_shop.py · 3 turns · azure/gpt-5-mini · 2,559 tokens, $0.0013",
        *["853 tokens, $0.00042 · 1.2 s"] * 3,
    ]


def test_a_turn_that_builds_on_another_links_to_it(sample: Element) -> None:
    (session,) = sample.all("article", id="session-shopping-flow-azure-gpt-5-mini")
    (built,) = session.all("span", _class="built")
    assert " ".join(built.text.split()) == "builds on turn 1: 7"
    (first,) = sample.all("div", id=built.one("a").attributes["href"][1:])
    assert "test_browse" in first.text


def test_context_and_what_did_not_run_are_marked(sample: Element) -> None:
    (context,) = sample.all("div", _class="context")
    assert "context" in texts(context.all("span", _class="badge"))
    (after,) = sample.all("div", _class="not-run")
    assert " ".join(after.text.split()) == "3test_pay not run turn test_cart[azure/gpt-5-nano] failed".replace(
        "y not", "ynot"
    ).replace("run turn", "runturn")


def test_errors_of_tools_and_turns_stand_where_they_happened(sample: Element) -> None:
    (session,) = sample.all("article", id="session-test_broken")
    assert texts(session.all("li", _class="bad")) == ["count()error the server died12 ms"]
    assert texts(session.all("li", _class="error")) == ["server_died it died"]


def test_two_agents_and_two_models_are_named_at_each_turn() -> None:
    made = told(turn("Hi"), turn("Ho", agent="cashier", model="builtin"))
    (session,) = made.all("article", _class="session")
    assert texts(session.all("span", _class="meta"))[1:] == [
        "bank · azure/gpt-5-mini · 853 tokens, $0.00042 · 1.2 s",
        "cashier · builtin · 853 tokens, $0.00042 · 1.2 s",
    ]


def test_more_servers_than_there_is_room_for_share_a_lane() -> None:
    made = told(turn("Hi", *(call("do", "ok", server=f"server-{number}") for number in range(9))))
    (flow,) = made.all("div", _class="flow")
    assert "n6" in flow.classes
    assert texts(flow.one("div", _class="names").all("span"))[-1] == "server 4 more servers"
    assert [each.classes[2] for each in flow.all("li", _class="call")] == [f"s{n}" for n in (1, 2, 3, 4, 5, 6, 6, 6, 6)]


def test_a_long_result_is_folded_and_whole_and_json_laid_out() -> None:
    rows = ",".join(f'{{"id": {number}, "price": 1.50e3, "name": "Schuhe für {number}"}}' for number in range(100))
    (back,) = told(turn("Hi", call("find", f"[{rows}]"))).all("div", _class="back")
    (fold,) = back.all("details")
    assert "open" not in fold.attributes
    assert fold.one("summary").text == "94 more lines"
    head, rest = (each.text for each in back.all("span"))
    assert (
        f"{head}\n{rest}" == "[\n" + ",\n".join(f"  {row}" for row in rows.replace("},{", "}\n{").split("\n")) + "\n]"
    )


def test_a_huge_result_is_cut_and_that_is_said() -> None:
    made = render(RunRecord(tests=(a_test("t.py::t", turn("Hi", call("dump", "x" * 4_900_000))),)))
    assert len(made) < 300_000
    assert "... 4.9 MB in all, whole in the JSON report" in parsed(made).text


def test_of_many_large_results_so_much_is_kept_as_there_is_room_for() -> None:
    results = [f"{number} {'x' * 150_000}" for number in range(120)]
    tests = [a_test(f"t.py::t{number}", turn("Hi", call("dump", text))) for number, text in enumerate(results)]
    made = render(RunRecord(tests=tuple(tests)))
    assert 4_000_000 < len(made) < 20_000_000
    assert made.count("... 0.2 MB in all, whole in the JSON report") == 120


def test_arguments_that_are_long_stand_one_a_line() -> None:
    made = told(turn("Hi", call("send", "ok", arguments={"to": "x" * 50, "text": "y" * 50, "ids": [1, 2]})))
    (ask,) = made.all("div", _class="ask")
    assert ask.text == f'send(\n  to="{"x" * 50}",\n  text="{"y" * 50}",\n  ids=[1, 2],\n)'


def test_odd_arguments_are_shown() -> None:
    deep: Any = []
    for _ in range(3000):
        deep = [deep]
    broken = ToolCall(name="do", arguments='{"a": ', error="no JSON", server="s")
    unknown = ToolCall(name="nope", arguments={"a": deep, "b": object}, error="no such tool")
    (flow, _) = page(
        a_test("t.py::t[1]", turn("Hi", broken, unknown), session="t.py::s[1]"),
        a_test("t.py::t[2]", turn("Hi", broken, unknown), session="t.py::s[2]"),
    ).all("div", _class="flow")
    assert [each.classes for each in flow.all("li", _class="call")] == [
        ["r", "call", "s1", "bad"],
        ["r", "call", "s0", "bad"],
    ]
    assert 'do({"a": )' in flow.text


def test_variants_stand_turn_against_turn_and_those_that_differ_are_open(sample: Element) -> None:
    (grid,) = sample.all("article", _class="grid")
    assert [
        (each.one("summary").all("span", _class="differs")[0].text, "open" in each.attributes)
        for each in grid.all("details")
    ] == [
        ("the same, words aside", False),
        ("differs in outcome, tools", True),
        ("differs in outcome", True),
    ]
    cells = texts(grid.all("details")[1].all("li"))
    assert cells == [
        "azure/gpt-5-mini passed add_to_cart(id=7, size=42)agent Trail 3 in size 42 is in your cart.",
        "azure/gpt-5-nano failed no tool calledagent Which shoes do you mean?"
        "AssertionError: assert False + where False = tool_was_called('add_to_cart')",
    ]


def test_variants_whose_tools_answer_otherwise_differ() -> None:
    def browsing(model: str, found: str) -> TestRecord:
        said = turn("Show me shoes", call("search", found), model=model)
        return a_test(f"t.py::test_browse[{model}]", said, session=f"t.py::shop[{model}]")

    (grid,) = page(browsing("a", "1 item"), browsing("b", "no item")).all("article", _class="grid")
    assert grid.all("span", _class="differs")[0].text == "differs in results"


def test_a_flow_with_one_set_of_parameters_has_no_variants() -> None:
    assert "How do the variants differ?" not in page(*shopping("m", finds_shoes=True)).text


def test_explorations_say_what_they_tried(sample: Element) -> None:
    banking, dear, chat = sample.all("article", _class="explored")
    assert [[cell.text for cell in row.all("td")] for row in banking.all("tr")[1:]] == [
        ["not tried", "covered", "not tried"],
        ["covered", "failing", "not tried"],
        ["not tried", "not tried", "not tried"],
    ]
    assert "22 plans not tried" in banking.text
    assert "34 turns of 64 replayed (53 %)" in banking.text
    assert "asked for a balance: 7" in banking.text
    assert "would ask azure/gpt-5-mini up to 400 times, about $0.40; add --aitest-explore" in dear.text
    assert "test_name fails unless test_hello has run (3 of 3 orders)." in chat.text
    assert "Tried 14 of 25 plans: no other order is left" in chat.text


def test_a_rule_that_comes_first_can_follow_nothing() -> None:
    record = replace(BANKING, rules=("log_in", "ask"), initial_rules=("log_in",), covered=(), findings=())
    made = page(TestRecord(nodeid="t.py::T::explore", kind="exploration", exploration=record))
    assert [cell.text for cell in made.all("td")] == ["impossible", "not tried"] * 2


def test_every_anchor_is_given_once_and_every_link_leads_somewhere(sample: Element) -> None:
    for made in (sample, parsed(render(hostile_run())), page(*sample_run().tests, *sample_run().tests)):
        ids = [each.attributes["id"] for each in made if "id" in each.attributes]
        assert len(ids) == len(set(ids))
        assert {each.attributes["href"] for each in made.all("a")} <= {f"#{name}" for name in ids}


def test_a_run_of_nothing_and_sessions_without_turns_are_fine() -> None:
    nothing = page()
    assert texts(nothing.all("p", _class="none")) == ["Nothing broke.", "No conversations."]
    silent = page(TestRecord(nodeid="t.py::t", kind="turn", outcome="not run", session="t.py::flow"))
    assert silent.one("h3").text == "flow"


def test_several_workers_that_ran_the_same_session_are_kept_apart() -> None:
    one = a_test("t.py::test_a", turn("Hi"), session="t.py::flow", worker="gw0")
    made = page(one, replace(one, worker="gw1"), a_test("t.py::test_b", session="t.py::other", worker="gw1"))
    assert texts(made.all("h3")) == ["flow on gw0", "flow on gw1", "other"]


def test_a_turn_that_was_run_again_builds_on_no_later_one() -> None:
    flow: Any = {"session": "t.py::flow"}
    who = call("who", "x", arguments={"name": "Anna-Lena"})
    first = a_test("t.py::test_a", turn("I am Anna-Lena"), **flow)
    second = a_test("t.py::test_b", turn("Who?", who), first_turn=2, **flow)
    made = page(first, replace(second, outcome="rerun"), second)
    assert texts(made.all("span", _class="built")) == ["builds on turn 1: Anna-Lena"] * 2


def test_secrets_are_hidden_even_where_a_text_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_API_KEY", "hunter2-hunter2-hunter2")
    SECRETS.hiding()
    made = render(RunRecord(tests=(a_test("t.py::t", turn("hunter2-hunter2-hunter2 " * 30_000)),)))
    assert "hunter2-" not in made
    assert "[hidden SHOP_API_KEY]" in made


def test_texts_of_others_are_inert() -> None:
    raw = render(hostile_run())
    made = parsed(raw)  # every element that was opened is closed: nothing broke out of its place
    clean = parsed(render(sample_run()))
    assert {each.tag for each in made} <= {each.tag for each in clean}
    assert {name for each in made for name in each.attributes} <= {name for each in clean for name in each.attributes}
    assert len(made.all("script")) == len(made.all("style")) == 1
    assert not any(
        name.startswith("on") or name in ("style", "src", "srcdoc") for each in made for name in each.attributes
    )
    assert ATTACKS[0] in made.text
    assert "{{ 7 * 191 }}" in made.text
    assert not any(character in raw for character in "\u202e\u2066\u200b\x00\x1b\ud800\ufeff")
    assert "\\u202eevil\\u2066\\u200b\\x00\\x1b[31m\\r\\ud800\\ufeff" in made.text
    raw.encode()


def test_the_policy_lets_nothing_run_but_the_one_style_and_the_one_script(sample: Element) -> None:
    (policy,) = (each.attributes["content"] for each in sample.all("meta") if "http-equiv" in each.attributes)
    digests = [
        base64.b64encode(hashlib.sha256(sample.one(tag).text.encode()).digest()).decode() for tag in ("style", "script")
    ]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = [each for each in sample.one("head").children if isinstance(each, Element)]
    assert [each.tag for each in head[:2]] == ["meta", "meta"]  # the policy stands before what it governs


def test_the_page_asks_the_network_for_nothing(sample: Element) -> None:
    raw = render(sample_run())
    assert re.findall(r"(?:https?:)?//[a-z]", raw) == []
    assert [each.attributes["href"] for each in sample.all("link")] == ["data:,"]


def test_the_same_run_makes_the_same_page() -> None:
    assert render(sample_run()) == render(sample_run())


def test_templates_style_and_script_come_with_the_package() -> None:
    folder = Path(pytest_aitest.report.html.__file__).parent
    assert {file.suffix for file in folder.iterdir() if file.is_file()} == {".py", ".html", ".css", ".js"}


def test_a_step_of_several_turns_and_one_of_none() -> None:
    steps = (
        StepRecord(code="buy_two()", happened=(turn("One"), turn("Another"))),
        StepRecord(code="nothing()"),
        StepRecord(code="pay()", happened=(turn("Pay"),)),
    )
    made = page(
        TestRecord(
            nodeid="t.py::T::documented", kind="pinned", outcome="failed", session="s", steps=steps, failure="no"
        )
    )
    (session,) = made.all("article", _class="session")
    assert texts(session.all("h4")) == ["buy_two()", "nothing()", "3pay()"]
    assert [each.text for each in session.all("a", _class="n")] == ["1", "2", "3"]


def test_what_was_said_before_a_call_is_not_the_answer() -> None:
    both = replace(turn("Hi", call("do", "ok"), answer="Done"), notes=("a request was declined",))
    both = replace(both, said=(AgentText(text="Let me see."), *both.said))
    (flow,) = told(both).all("div", _class="flow")
    assert [each.classes[1] for each in flow.all("li", _class="r")] == ["user", "said", "call", "answer", "note"]

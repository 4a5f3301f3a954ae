"""A session class with explore=... is tried in other orders: what decides, what is only noted, and what is shown."""

import re
import shutil

import pytest

from .conftest import Project

ECHO = """
    import pytest
    from pytest_aitest import Agent, Provider
    from pytest_aitest.checks import called_only_after
    from pytest_aitest.stateful import invariant, pinned, precondition


    def echo(messages, tools):
        return " | ".join(message["content"] for message in messages if message["role"] == "user")


    agent = Agent(name="echo", provider=Provider(model=echo))
"""

# The second transfer of a conversation loses a dollar.
BANK = """
    import pytest
    from mcp.types import ToolAnnotations
    from pytest_aitest import Agent, MCPServer, Provider
    from pytest_aitest.checks import called_only_after
    from pytest_aitest.stateful import invariant, pinned


    def bank():
        try:
            from mcp.server import MCPServer as Server
        except ImportError:
            from mcp.server.fastmcp import FastMCP as Server
        server, balances = Server("bank"), {"checking": 1500, "savings": 3000}

        @server.tool(annotations=ToolAnnotations(readOnlyHint=True))
        def look() -> dict[str, int]:
            return {**balances, "total": sum(balances.values())}

        @server.tool()
        def transfer(amount: int, arriving: int) -> str:
            balances["checking"] -= amount
            balances["savings"] += arriving
            return f"moved {amount}"

        return server


    def model(messages, tools):
        if messages[-1]["role"] == "tool":
            return f"done: {messages[-1]['content']}"
        heard = [message["content"] for message in messages if message["role"] == "user"]
        if heard[-1] == "balance":
            return {"tool_calls": [{"name": "look", "arguments": {}}]}
        if heard[-1] == "transfer":
            arriving = 200 if heard.count("transfer") == 1 else 199
            return {"tool_calls": [{"name": "transfer", "arguments": {"amount": 200, "arriving": arriving}}]}
        return "hello"


    agent = Agent(name="bank", provider=Provider(model=model), mcp_servers=[MCPServer(factory=bank)])
"""

BANK_FLOW = (
    BANK
    + """

    @pytest.mark.session("banking", explore=True)
    class TestBanking:
        async def test_hello(self, aitest_run):
            assert await aitest_run(agent, "hi")

        async def test_transfer(self, aitest_run):
            assert (await aitest_run(agent, "transfer")).tool_was_called("transfer")

        async def test_balance(self, aitest_run):
            assert "1300" in (await aitest_run(agent, "balance")).final_response
"""
)

CONSERVED = """
        @invariant()
        def no_money_is_lost(self, aitest_session):
            assert aitest_session.call_tool("look")["total"] == 4500
"""

PROMISED = (
    ECHO
    + """

    @pytest.mark.session("chat", explore=True)
    class TestChat:
        async def test_first(self, aitest_run):
            await aitest_run(agent, "one")

        MARK
        async def test_second(self, aitest_run):
            assert "one" in (await aitest_run(agent, "two")).final_response

        async def test_third(self, aitest_run):
            await aitest_run(agent, "three")
"""
)

SEED = "--hypothesis-seed=1"
HYPOTHESIS = "_hypothesis_pytestplugin"


def explored(project: Project, *arguments: str, plugins: tuple[str, ...] = ()) -> str:
    """The normalised output of a run with a fixed seed, without what depends on the machine's speed."""
    output = project.output(SEED, *arguments, plugins=(HYPOTHESIS, *plugins))
    output = re.sub(r"(, \d+ server starts?)?(, \d+(\.\d)? s)?$", "", output, flags=re.MULTILINE)
    return re.sub(r" at 0x0>", ">", output)


def shows_what_is_expected(project: Project, *arguments: str) -> None:
    output = explored(project, *arguments) + "\n"
    if project._rewrite:
        project._expected.write_text(output)
    assert output == project._expected.read_text()


def findings(project: Project, *arguments: str) -> str:
    """The sections of a failed exploration, which has to be the only failure."""
    output = explored(project, *arguments)
    assert re.search(r"1 failed, \d+ passed", output), output
    return output


def order_notes(output: str) -> list[str]:
    told = " ".join(output.partition("- conversations -")[2].split())
    return re.findall(r"test_\w+ fails [^(.]*(?:\(.*?\)|orders)\. If it should .*?\)\.", told)


def flow(body: str, *, marker: str = "explore=True") -> str:
    """A class of one first turn and what `body` adds."""
    return (
        ECHO
        + f"""

    @pytest.mark.session("chat", {marker})
    class TestChat:
        async def test_first(self, aitest_run):
            await aitest_run(agent, "one")
"""
        + body
    )


# What is collected


def test_the_exploration_stands_after_the_turns(project: Project) -> None:
    project.write(test_bank=BANK_FLOW)
    shows_what_is_expected(project, "-v", "--aitest-plans=3")


def test_collection_forecasts_the_exploration(project: Project) -> None:
    project.write(test_bank=BANK_FLOW)
    project.shows_what_is_expected("--collect-only", "-q")


def test_explore_false_adds_nothing(project: Project) -> None:
    project.write(test_chat=flow("", marker="explore=False"))
    project.run().assert_outcomes(passed=1)


@pytest.mark.parametrize("selection", [["-k", "explore"], ["test_bank.py::TestBanking::explore"]], ids=["-k", "node"])
def test_an_exploration_can_be_selected_alone_and_needs_no_context(project: Project, selection: list[str]) -> None:
    project.write(test_bank=BANK_FLOW)
    output = explored(project, "-v", "--aitest-plans=2", *selection)
    assert re.findall(r"::(\w+) (\w+)", output) == [("explore", "PASSED")]


def test_each_set_of_parameters_has_its_exploration_after_its_turns(project: Project) -> None:
    project.write(
        test_chat=ECHO
        + """

    @pytest.mark.session("chat", explore=True)
    @pytest.mark.parametrize("word", ["a", "b"])
    class TestChat:
        async def test_first(self, aitest_run, word):
            await aitest_run(agent, word)

        @pytest.mark.turn(needs=())
        async def test_second(self, aitest_run, word, aitest_session):
            assert {turn.user for turn in aitest_session.turns} <= {word, "two"}
            await aitest_run(agent, "two")
"""
    )
    output = explored(project, "-v")
    assert sorted(re.findall(r"::(\w+\[\w\]) PASSED", output)) == sorted(
        ["test_first[a]", "test_second[a]", "explore[a]", "test_first[b]", "test_second[b]", "explore[b]"]
    )
    assert "\nTestChat::explore[a]  16 of 25 plans" in output
    alone = explored(project, "-v", "test_chat.py::TestChat::explore[b]")
    assert re.findall(r"::(\S+) PASSED", alone) == ["TestChat::explore[b]"]


def test_an_exploration_stands_right_after_its_own_turns_whatever_shuffles_the_tests(project: Project) -> None:
    """So that it finds what they have asked in the conversation tree, and xdist can keep them together."""
    project.write(
        test_chat=flow("")
        .replace("class TestChat", "@pytest.mark.parametrize('word', 'abc')\n    class TestChat")
        .replace("aitest_run):", "aitest_run, word):")
    )
    for seed in ("1", "2", "3"):
        output = explored(project, "-v", f"--randomly-seed={seed}", plugins=("randomly",))
        ran = re.findall(r"::(\w+)\[(\w)\] PASSED", output)
        assert [name for name, _ in ran] == ["test_first", "explore"] * 3, ran
        assert [word for _, word in ran[::2]] == [word for _, word in ran[1::2]]


def test_a_class_that_names_its_own_session_decides_on_its_own_exploration(project: Project) -> None:
    project.write(
        test_chat=flow("")
        + """

    @pytest.mark.session("other", explore=False)
    class TestOther(TestChat):
        def test_name(self, aitest_session):
            assert aitest_session.name == "other"
"""
    )
    output = explored(project, "-v")
    assert "TestChat::explore PASSED" in output
    assert "TestOther::explore" not in output
    assert "TestOther::test_name PASSED" in output


REFUSED = {
    "a word": (flow("", marker='explore="yes"'), 'explore="strict"'),
    "taken": (flow("\n        def explore(self): ...\n"), "TestChat.explore has the name of the test that explore="),
    "empty": (
        ECHO + "\n    @pytest.mark.session('chat', explore=True)\n    class TestChat:\n        x = 1\n",
        "has no turns to explore",
    ),
    "needs nobody": (
        PROMISED.replace("MARK", '@pytest.mark.turn(needs="test_frist")'),
        "test_second needs 'test_frist', which is no test of its session. Its tests are "
        "'test_first', 'test_second' and 'test_third'. Did you mean 'test_first'?",
    ),
    "positional": (PROMISED.replace("MARK", "@pytest.mark.turn('test_first')"), "turn marker with other arguments"),
    "unknown": (PROMISED.replace("MARK", "@pytest.mark.turn(need=())"), "turn marker with other arguments"),
    "needs a number": (PROMISED.replace("MARK", "@pytest.mark.turn(needs=3)"), "test_second"),
    "phrasing": (PROMISED.replace("MARK", "@pytest.mark.turn(phrasings='two')"), "has phrasings='two'"),
    "phrasings are a number": (PROMISED.replace("MARK", "@pytest.mark.turn(phrasings=2)"), "has phrasings=2"),
    "a function": (
        ECHO + "\n    @pytest.mark.session('chat', explore=True)\n    def test_first(aitest_session): ...\n",
        "is no class: a step needs",
    ),
    "a method": (
        ECHO
        + """
    class TestChat:
        @pytest.mark.session("chat", explore=True)
        async def test_first(self, aitest_run):
            await aitest_run(agent, "one")
""",
        "is no class: a step needs",
    ),
    "async fixture": (
        flow(
            """
        @pytest.fixture
        async def shop(self):
            return 1

        async def test_second(self, aitest_run, shop):
            await aitest_run(agent, "two")
"""
        ),
        "can't use the fixture 'shop', which is async",
    ),
    "a fixture that speaks": (
        ECHO
        + """
    @pytest.fixture
    def greeted(aitest_session):
        aitest_session.say("hello", agent=agent)

    @pytest.mark.session("chat", explore=True)
    class TestChat:
        async def test_first(self, aitest_run, greeted):
            await aitest_run(agent, "one")
""",
        "'greeted'",
    ),
}


def test_what_cannot_be_explored_is_said_at_collection(project: Project) -> None:
    """Before a turn is paid for, once, and without frames of ours."""
    names = {case: f"test_{case.replace(' ', '_')}" for case in REFUSED}
    project.write(**{names[case]: test for case, (test, _) in REFUSED.items()})
    output = project.output("--continue-on-collection-errors")
    parts = re.split(r"^___ (?:ERROR collecting )?(\S+).* ___$", output, flags=re.MULTILINE)
    told = {
        heading.removesuffix(".py"): " ".join(text.split())
        for heading, text in zip(parts[1::2], parts[2::2], strict=True)
    }
    silent = [case for case, (_, what) in REFUSED.items() if what not in told.get(names[case], "")]
    assert silent == [], [(case, told.get(names[case])) for case in silent]
    assert "src/pytest_aitest" not in output
    assert "During handling" not in output


# What decides


def test_a_failing_invariant_shows_the_shortest_conversation_and_how_to_keep_it(project: Project) -> None:
    project.write(test_bank=BANK_FLOW + CONSERVED)
    shows_what_is_expected(project, "-v")


@pytest.mark.parametrize(
    "checked",
    [
        CONSERVED,
        CONSERVED.replace("def no_", "async def no_").replace(
            'aitest_session.call_tool("look")', '(await aitest_session.call_tool_async("look"))'
        ),
    ],
    ids=["sync", "async"],
)
def test_an_invariant_decides_everywhere(project: Project, checked: str) -> None:
    project.write(test_bank=BANK_FLOW + checked)
    output = findings(project)
    assert "shortest conversation that fails: 2 turns" in output
    assert "\n1 test_transfer()\n" in output
    assert "\n2 test_transfer()\n" in output
    assert 'check   look() -> {"checking": 1100, "savings": 3399, "total": 4499}' in output


def test_a_ready_made_invariant_decides_everywhere(project: Project) -> None:
    project.write(test_bank=BANK_FLOW + '\n        looks = called_only_after("transfer", "look")\n')
    output = explored(project, "-k", "explore")
    assert "shortest conversation that fails: 1 turn -" in output
    assert "def looks_after_transfer(self):" in output


def test_an_invariant_is_not_asked_where_its_precondition_is_false(project: Project) -> None:
    project.write(
        test_chat=flow(
            """
        @precondition(lambda self: False)
        @invariant()
        def never(self):
            assert False
"""
        )
    )
    assert "2 passed" in explored(project)


def test_an_invariant_may_ask_for_fixtures_of_its_own(project: Project) -> None:
    project.write(
        test_chat=flow(
            """
        @pytest.fixture
        def most(self):
            return 10

        @invariant()
        def short(self, aitest_session, most):
            assert len(aitest_session.turns) < most
"""
        )
    )
    assert "2 passed" in explored(project)


def test_built_in_checks_decide_everywhere(project: Project) -> None:
    project.write(
        test_bank=(BANK_FLOW + "\n        checks = {'no_repeated_call': 1}\n").replace(
            '{"tool_calls": [{"name": "look", "arguments": {}}]}',
            '{"tool_calls": [{"name": "look", "arguments": {}}] * (2 if len(heard) == 2 else 1)}',
        )
    )
    output = findings(project)
    assert "look was called 2 times with the same arguments" in output
    assert "shortest conversation that fails: 2 turns" in output


def marked(*marks: str) -> str:
    """A class for each mark of its second turn, `TestChat0`, `TestChat1`, ..."""
    head, one = PROMISED.split("\n\n    @pytest.mark.session", 1)
    classes = [one.replace("MARK", mark).replace("TestChat", f"TestChat{number}") for number, mark in enumerate(marks)]
    return "\n\n    @pytest.mark.session".join([head, *classes])


def test_what_a_turn_asserts_is_only_noted_where_nobody_promised_it(project: Project) -> None:
    project.write(test_chat=marked("", "@pytest.mark.turn()"))
    output = explored(project)
    assert "8 passed" in output
    notes = order_notes(output)
    assert len(notes) == 2
    for note in notes:
        counted = re.fullmatch(
            r"test_second fails unless test_first has run \((\d+) of (\d+) orders\)\. "
            r"If it should hold anywhere, mark it turn\(needs=\(\)\)\.",
            note,
        )
        assert counted is not None, note
        assert counted[1] == counted[2]


def test_what_a_turn_asserts_decides_where_it_was_promised(project: Project) -> None:
    needs = ["()", "[]", "'test_third'", "['test_third']"]
    project.write(test_chat=marked(*(f"@pytest.mark.turn(needs={each})" for each in needs)))
    output = explored(project)
    assert "4 failed, 12 passed" in output
    steps = re.findall(r"^\d (test_\w+)\(\)$", output, flags=re.MULTILINE)
    assert steps == ["test_second"] * 2 + ["test_third", "test_second"] * 2
    assert order_notes(output) == []


def test_a_promise_that_is_kept_passes_without_a_note(project: Project) -> None:
    needs = ["'test_first'", "['test_first']", "('test_first', 'test_third')"]
    project.write(test_chat=marked(*(f"@pytest.mark.turn(needs={each})" for each in needs)))
    output = explored(project)
    assert "12 passed" in output
    assert order_notes(output) == []


def test_strict_makes_failures_of_notes(project: Project) -> None:
    project.write(test_chat=PROMISED.replace("MARK", "").replace("explore=True", 'explore="strict"'))
    output = findings(project)
    assert "shortest conversation that fails: 1 turn -" in output
    assert order_notes(output) == []


def test_notes_are_one_line_each_and_count_orders(project: Project) -> None:
    project.write(
        test_chat=flow(
            """
        async def test_second(self, aitest_run):
            assert "one" in (await aitest_run(agent, "two")).final_response

        async def test_third(self, aitest_run):
            heard = (await aitest_run(agent, "three")).final_response
            assert "one" in heard and "two" in heard

        async def test_fourth(self, aitest_run):
            assert (await aitest_run(agent, "four")).final_response.count("four") == 1
"""
        )
    )
    shows_what_is_expected(project)


def test_a_note_does_not_blame_the_order_for_other_words(project: Project) -> None:
    project.write(
        test_chat=flow(
            """
        @pytest.mark.turn(phrasings=["twain"])
        async def test_second(self, aitest_run):
            assert (await aitest_run(agent, "two")).final_response.endswith("two")
"""
        )
    )
    output = explored(project)
    assert "3 passed" in output
    for note in order_notes(output):
        assert "phrasing" in note or "words" in note or "twain" in note, note


@pytest.mark.parametrize(
    "second",
    ['assert aitest_session.say("two")', 'assert aitest_session.call_tool("look")'],
    ids=["says", "calls a tool"],
)
def test_a_turn_that_needs_an_agent_from_before_does_not_end_an_exploration(project: Project, second: str) -> None:
    """In other orders nobody has answered before it: that says something of the order, or nothing at all."""
    project.write(test_bank=BANK_FLOW + f"\n        def test_last(self, aitest_session):\n            {second}\n")
    assert " agent yet" not in explored(project, "--aitest-plans=4")


def test_an_invariant_that_calls_a_tool_waits_for_the_first_turn(project: Project) -> None:
    project.write(
        test_bank=BANK_FLOW.replace("async def test_hello", "def test_plain(self): ...\n\n        async def test_hello")
        + CONSERVED
    )
    output = explored(project)
    assert " agent yet" not in output
    assert "assert 4499 == 4500" in output


def test_a_documented_order_that_fails_is_found_by_its_turn_and_by_the_exploration(project: Project) -> None:
    project.write(test_chat=PROMISED.replace("MARK", "").replace('"one" in', '"nothing" in'))
    shows_what_is_expected(project, "-v")


def test_a_failure_that_was_seen_once_of_an_agent_that_cannot_be_replayed_is_a_warning(project: Project) -> None:
    """Nothing of it was recorded, so nothing can be said of what a repetition of the record would show."""
    project.write(
        test_chat=flow(
            """
        @invariant()
        def never_bad(self, aitest_session):
            assert all(turn.final_response != "bad" for turn in aitest_session.turns)
"""
        ).replace(
            "    def echo(messages, tools):",
            "    import threading\n    lock, calls = threading.Lock(), []\n\n"
            "    def echo(messages, tools, lock=lock):\n        calls.append(1)\n"
            "        if len(calls) == 5:\n            return 'bad'",
        )
    )
    output = explored(project, "--aitest-plan-turns=6")
    assert "2 passed, 1 warning" in output
    assert "word for word" not in output
    assert "Seen once; 0 of 5 fresh runs failed" in output


# Words and kept orders


PHRASED = flow(
    """
        @pytest.mark.turn(needs="test_first", phrasings=["two, please", "twain"])
        async def test_second(self, aitest_run):
            assert (await aitest_run(agent, "two")).final_response[-1] != "e"
"""
)
KEPT = """
        @pinned
        def {name}(self):
            self.test_first()
            self.test_second(phrasing='two, please')
"""


def test_other_words_are_tried_and_shown_in_the_conversation_and_in_the_code_to_keep(project: Project) -> None:
    project.write(test_chat=PHRASED)
    shows_what_is_expected(project)


def test_only_the_first_message_of_a_turn_is_put_in_other_words(project: Project) -> None:
    project.write(
        test_chat=flow(
            """
        @pytest.mark.turn(phrasings=["twain"])
        async def test_second(self, aitest_run):
            await aitest_run(agent, "two")
            await aitest_run(agent, "more")

        @invariant()
        def words(self, aitest_session):
            said = [turn.user for turn in aitest_session.turns]
            assert {*said} <= {"one", "two", "twain", "more"}
            assert all(before in ("two", "twain") for before, word in zip(said, said[1:]) if word == "more")
"""
        )
    )
    assert "3 passed" in explored(project)


def test_blocking_turns_are_put_in_other_words_too(project: Project) -> None:
    project.write(
        test_chat=flow(
            """
        @pytest.mark.turn(phrasings=["twain"])
        def test_second(self, aitest_session):
            aitest_session.say("two", agent=agent)

        @invariant()
        def words(self, aitest_session):
            assert aitest_session.turns[-1].user != "twain"
"""
        )
    )
    assert "test_second(phrasing='twain')\n  user    twain\n" in findings(project)


def test_turns_that_are_expected_to_fail_say_the_words_that_their_step_tells(project: Project) -> None:
    project.write(
        test_chat=flow(
            """
        @pytest.mark.xfail
        @pytest.mark.turn(phrasings=["twain"])
        async def test_second(self, aitest_run):
            await aitest_run(agent, "two")
            assert False

        @invariant()
        def words(self, aitest_session):
            assert aitest_session.turns[-1].user != "twain"
"""
        )
    )
    assert "test_second(phrasing='twain')\n  user    twain\n" in explored(project)


def test_what_is_pasted_is_tried_first_and_is_no_turn(project: Project) -> None:
    project.write(test_chat=PHRASED)
    pasted = re.search(r"^    @pinned\n    def (\w+)\(self\):\n(        self\..*\n)+", explored(project), re.MULTILINE)
    assert pasted is not None
    body = "".join(f"    {line}\n" for line in ["", *pasted[0].splitlines()])
    project.write(test_chat=PHRASED + body)
    output = explored(project, "-v")
    assert re.findall(r"::(test_\w+) [A-Z]+ ", output) == ["test_first", "test_second"]
    assert "against the pinned order" in output
    assert "Stopped at this failure before the first of 25 plans" in output


def test_a_pinned_method_is_a_test_of_its_own(project: Project) -> None:
    """A regression that is kept by pasting it has to run where explorations are switched off."""
    project.write(test_chat=PHRASED + KEPT.format(name="asked_politely"))
    output = explored(project, "-v", "--aitest-no-explore")
    assert "TestChat::asked_politely FAILED" in output


def test_a_failure_is_tried_first_in_the_next_run(project: Project) -> None:
    project.write(test_bank=BANK_FLOW + CONSERVED)
    first = explored(project, "-k", "explore")
    assert "Tried 1 of 25 plans" in first
    again = project.output("--hypothesis-seed=2", "-k", "explore", plugins=(HYPOTHESIS,))
    assert "Tried 1 of 25 plans, then stopped at this failure; seed 2" in again
    assert "find 5," in again or "find 4," in again  # the documented order, and two transfers


def test_what_was_found_is_not_forgotten_by_a_run_that_does_not_try_it(project: Project) -> None:
    project.write(test_chat=PHRASED)
    assert "1 failed" in explored(project)
    assert "3 passed" in explored(project, "--aitest-plans=0")
    assert "Tried 1 of 25 plans, then stopped at this failure" in explored(project)


# What turns ask for


def test_a_skipped_turn_is_not_tried_and_an_expected_failure_never_decides(project: Project) -> None:
    project.write(
        test_chat=flow(
            """
        @pytest.mark.skip(reason="not today")
        async def test_skipped(self, aitest_run):
            await aitest_run(agent, "skipped")

        @pytest.mark.xfail(reason="known")
        @pytest.mark.turn(needs=())
        async def test_known(self, aitest_run):
            await aitest_run(agent, "known")
            assert False

        @pytest.mark.turn(needs=())
        async def test_last(self, aitest_run):
            assert "skipped" not in (await aitest_run(agent, "last")).final_response
"""
        )
    )
    output = explored(project)
    assert "3 passed, 1 skipped, 1 xfailed" in output
    assert order_notes(output) == []


def test_a_turn_that_would_be_expected_to_fail_elsewhere_decides(project: Project) -> None:
    project.write(
        test_chat=flow(
            """
        @pytest.mark.xfail(False, reason="only on Tuesdays")
        @pytest.mark.turn(needs=())
        async def test_second(self, aitest_run):
            assert "one" in (await aitest_run(agent, "two")).final_response
"""
        )
    )
    assert "shortest conversation that fails: 1 turn -" in findings(project)


def test_where_all_turns_are_skipped_so_is_the_exploration(project: Project) -> None:
    project.write(test_chat=flow("").replace("@pytest.mark.session", "@pytest.mark.skip\n    @pytest.mark.session"))
    assert "2 skipped" in explored(project)
    project.write(test_chat=flow("").replace("async def", "@pytest.mark.skip\n        async def"))
    assert "2 skipped" in explored(project)


def test_a_plan_in_which_a_turn_skips_itself_is_not_judged(project: Project) -> None:
    project.write(
        test_chat=flow("").replace('await aitest_run(agent, "one")', 'pytest.skip("no shop here")'),
    )
    output = explored(project, "-rs")
    assert "2 skipped" in output
    assert "no plan could be judged: test_first: no shop here" in output


def test_blocking_tests_are_explored_like_others(project: Project) -> None:
    project.write(
        test_chat=ECHO
        + """

    @pytest.mark.session("chat", explore=True)
    class TestChat:
        def test_first(self, aitest_session):
            assert aitest_session.say("one", agent=agent)

        def test_second(self, aitest_session):
            assert aitest_session.say("two", agent=agent).final_response == "one | two"

        @invariant()
        def short(self, aitest_session):
            assert len(aitest_session.turns) < 3
"""
    )
    output = findings(project)
    assert "shortest conversation that fails: 3 turns" in output


def test_fixtures_are_set_up_once_for_an_exploration(project: Project) -> None:
    project.write(
        test_chat=ECHO
        + """

    set_up = []

    @pytest.fixture
    def each():
        set_up.append("each")
        yield "each"

    @pytest.fixture(scope="class")
    def whole():
        set_up.append("whole")
        return "whole"

    @pytest.mark.session("chat", explore=True)
    class TestChat:
        @pytest.fixture
        def own(self):
            return "own"

        async def test_first(self, aitest_run, each, own):
            await aitest_run(agent, each + own)

        async def test_second(self, aitest_run, whole, tmp_path):
            assert tmp_path.is_dir()
            await aitest_run(agent, whole)

        @invariant()
        def words(self, aitest_session):
            assert {turn.user for turn in aitest_session.turns} <= {"eachown", "whole"}

    def test_how_often():
        assert set_up == ["each", "whole", "each"]
"""
    )
    assert "4 passed" in explored(project)


PREPARED = """

    @pytest.mark.session("chat", explore=True)
    class TestChat:
        {prepare}
            self.agent = agent

        async def test_first(self, aitest_run):
            await aitest_run(self.agent, "one")
"""


@pytest.mark.parametrize(
    "prepare",
    ["@pytest.fixture(autouse=True)\n        def prepare(self):", "def setup_method(self):"],
    ids=["autouse fixture", "setup_method"],
)
def test_what_is_prepared_on_the_instance_is_there(project: Project, prepare: str) -> None:
    project.write(test_chat=ECHO + PREPARED.format(prepare=prepare))
    assert "2 passed" in explored(project)


def test_each_step_has_an_instance_of_its_own(project: Project) -> None:
    project.write(
        test_chat=flow("").replace(
            'await aitest_run(agent, "one")',
            'assert not hasattr(self, "used")\n            self.used = await aitest_run(agent, "one")',
        )
    )
    assert "2 passed" in explored(project)


def test_a_turn_may_ask_for_its_request(project: Project) -> None:
    project.write(
        test_chat=flow("").replace("aitest_run):", "aitest_run, request):\n            assert request.config")
    )
    assert "2 passed" in explored(project)


def test_a_parameter_with_a_default_is_no_fixture(project: Project) -> None:
    project.write(test_chat=flow("").replace("aitest_run):", "aitest_run, word='one'):"))
    assert "2 passed" in explored(project)


def test_tests_are_what_the_project_calls_tests(project: Project) -> None:
    project.write(
        test_chat=ECHO
        + """

    @pytest.fixture
    def word():
        return "one"

    @pytest.mark.session("chat", explore=True)
    class TestChat:
        async def check_first(self, aitest_run, word):
            await aitest_run(agent, word)
"""
    )
    assert "2 passed" in explored(project, "-o", "python_functions=check_*")


# Beside other plugins


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_tests_of_pytest_asyncio_are_explored(project: Project, mode: str) -> None:
    mark = "@pytest.mark.asyncio\n    " if mode == "strict" else ""
    project.write(
        test_chat=flow("")
        .replace("@pytest.mark.session", f"{mark}@pytest.mark.session")
        .replace(
            'await aitest_run(agent, "one")',
            'import asyncio\n            await asyncio.sleep(0)\n            await aitest_run(agent, "one")',
        )
    )
    output = explored(
        project,
        "-Werror::pytest.PytestWarning",
        f"--asyncio-mode={mode}",
        "-oasyncio_default_fixture_loop_scope=function",
        plugins=("asyncio",),
    )
    assert "2 passed" in output
    assert "warning" not in output


@pytest.mark.parametrize("backends", [["asyncio"], ["asyncio", "trio"]], ids=["asyncio", "trio too"])
def test_tests_of_anyio_are_explored(project: Project, backends: list[str]) -> None:
    project.write(
        test_chat=flow("")
        .replace(
            "@pytest.mark.session",
            f"@pytest.fixture(params={backends})\n    def anyio_backend(request):\n        return request.param\n\n"
            "    @pytest.mark.anyio\n    @pytest.mark.session",
        )
        .replace(
            'await aitest_run(agent, "one")',
            'import anyio\n            await anyio.sleep(0)\n            await aitest_run(agent, "one")',
        )
    )
    output = explored(project, plugins=("anyio",))
    assert f"{len(backends) + 1} passed" in output  # one exploration, on asyncio


TWO_FLOWS = (
    flow("")
    .replace("class TestChat", "@pytest.mark.parametrize('number', [1, 2])\n    class TestChat")
    .replace("aitest_run):", "aitest_run, number):")
)


@pytest.mark.parametrize("mode", ["load", "loadscope"])  # one that deals out tests, one that deals out scopes
def test_a_flow_and_its_exploration_go_to_one_worker(project: Project, mode: str) -> None:
    project.write(test_a=TWO_FLOWS, test_b=TWO_FLOWS)
    output = project.output("-n2", f"--dist={mode}", "-v", "--aitest-plans=2", SEED, plugins=("xdist", HYPOTHESIS))
    workers: dict[tuple[str, str], set[str]] = {}
    for worker, file, number in re.findall(r"\[(gw\d)\].* (test_\w)\.py::TestChat::\w+\[(\d)\]", output):
        workers.setdefault((file, number), set()).add(worker)
    assert len(workers) == 4
    assert all(len(of_one) == 1 for of_one in workers.values()), workers


def test_a_failing_exploration_shows_the_same_on_a_worker(project: Project) -> None:
    project.write(test_bank=BANK_FLOW + CONSERVED)
    here = explored(project)
    shutil.rmtree(project.path / ".hypothesis")  # what it found would be tried first
    there = explored(project, "-n1", plugins=("xdist",))
    begin, end = "shortest conversation that fails", "Again: "
    assert there[there.index(begin) : there.index(end)] == here[here.index(begin) : here.index(end)]
    assert [line for line in there.splitlines() if line.startswith("aitest:")] == [
        line for line in here.splitlines() if line.startswith("aitest:")
    ]


def test_the_turns_of_each_attempt_are_counted_once(project: Project) -> None:
    project.write(
        test_chat=flow(
            """
        @invariant()
        def short(self, aitest_session):
            assert len(aitest_session.turns) < 3
"""
        )
    )
    once = explored(project, "--aitest-plan-turns=4")
    shutil.rmtree(project.path / ".hypothesis")
    twice = explored(project, "--aitest-plan-turns=4", "--reruns=1", plugins=("rerunfailures",))
    assert "1 failed, 1 passed, 1 rerun" in twice
    turns_once, turns_twice = (
        int(re.findall(r"^aitest: (\d+) turns", each, re.MULTILINE)[0]) for each in (once, twice)
    )
    again = int(re.findall(r"confirm (\d+) fresh turns", twice)[0])  # all the rest is known by then
    assert turns_twice == turns_once + again


# What it costs


def test_the_turns_of_an_exploration_are_counted_once(project: Project) -> None:
    project.write(test_bank=BANK_FLOW)
    output = explored(project, "--aitest-plans=2")
    fresh = int(re.search(r"explore  2 plans, (\d+) fresh turns", output)[1])
    assert f"aitest: {3 + fresh} turns, " in output


def test_the_documented_order_is_known_from_its_turns(project: Project) -> None:
    project.write(test_bank=BANK_FLOW)
    output = explored(project, "--aitest-plans=0")
    assert re.search(r"^aitest: 3 turns, ", output, re.MULTILINE), output


def test_a_context_turn_that_is_known_is_not_asked_and_not_counted(project: Project) -> None:
    project.write(
        test_chat=ECHO.replace('        return " | "', '        asked.append(1)\n        return " | "')
        + """

    asked = []

    @pytest.mark.session("first")
    class TestFirst:
        async def test_one(self, aitest_run):
            await aitest_run(agent, "one")

    @pytest.mark.session("second")
    class TestSecond:
        async def test_one(self, aitest_run):
            await aitest_run(agent, "one")

        async def test_two(self, aitest_run):
            assert (await aitest_run(agent, "two")).final_response == "one | two"
            assert len(asked) == 2
"""
    )
    output = project.output("-v", "test_chat.py::TestFirst", "test_chat.py::TestSecond::test_two")
    assert "TestSecond::test_one CONTEXT" in output
    assert "2 passed, 1 context" in output
    assert ", 2 model calls, " in output


def test_an_exploration_that_would_cost_is_skipped_with_its_price(project: Project) -> None:
    project.write(
        test_chat=flow("").replace(
            "Provider(model=echo)",
            'Provider(model="openai/gpt-5-mini", api_base="https://models.example", api_key="x")',
        )
    )
    output = explored(project, "-k", "explore", "-rs").replace("\n", " ")
    assert "1 skipped" in output
    assert re.search(r"would ask openai/gpt-5-mini up to 100 times(, about \$\d+\.\d\d)?; add --aitest-explore", output)


def test_no_exploration_runs_where_they_are_switched_off(project: Project) -> None:
    project.write(test_bank=BANK_FLOW + CONSERVED)
    output = explored(project, "--aitest-no-explore", "-rs")
    assert "3 passed, 1 skipped" in output
    assert "explorations are switched off" in output


def test_a_provider_that_fails_is_no_finding(project: Project) -> None:
    project.write(
        test_chat=flow(
            """
        @invariant()
        def answered(self, aitest_session):
            assert all(turn.error is None for turn in aitest_session.turns)
"""
        ).replace(
            'return " | "',
            'if len(messages) > 2:\n            raise ConnectionError("no line")\n        return " | "',
        )
    )
    output = explored(project)
    assert "1 failed, 1 passed" in output
    assert "That is not the agent's doing" in output
    assert "no line" in output
    assert "shortest conversation" not in output

"""A session class runs as one conversation: in order, with shared history, stopped by its first failure."""

import pytest

from .conftest import Project

ECHO = """
    import pytest
    from pytest_aitest import Agent, Provider


    def echo(messages, tools):
        heard = [message["content"] for message in messages if message["role"] == "user"]
        return " | ".join(heard)


    agent = Agent(name="echo", provider=Provider(model=echo))
"""

CHAT = (
    ECHO
    + """

    @pytest.mark.session("chat")
    class TestChat:
        async def test_first(self, aitest_run):
            result = await aitest_run(agent, "one")
            assert result.final_response == "one"
            assert not result.is_session_continuation

        async def test_second(self, aitest_run):
            result = await aitest_run(agent, "two")
            assert result.final_response == "one | two"
            assert result.is_session_continuation
            assert result.session_context_count == 2

        async def test_third(self, aitest_run):
            result = await aitest_run(agent, "three")
            assert result.final_response == "one | two | three"
            assert [turn.user for turn in result.session.turns] == ["one", "two", "three"]
"""
)


def test_turns_run_in_order_and_share_history(project: Project) -> None:
    project.write(test_chat=CHAT)
    project.shows_what_is_expected("-v")


def test_a_failed_turn_skips_the_later_ones_and_shows_what_was_said(project: Project) -> None:
    project.write(test_chat=CHAT.replace('"one | two"', '"two"'))
    project.shows_what_is_expected("-ra")


def test_a_skipped_or_xfailed_turn_is_no_failure(project: Project) -> None:
    project.write(
        test_chat=ECHO
        + """

    @pytest.mark.session("chat")
    class TestChat:
        @pytest.mark.skip(reason="not today")
        async def test_skipped(self, aitest_run):
            await aitest_run(agent, "one")

        @pytest.mark.xfail(reason="known")
        async def test_xfailed(self, aitest_run):
            await aitest_run(agent, "two")
            assert False

        async def test_last(self, aitest_run):
            assert (await aitest_run(agent, "three")).final_response == "two | three"
"""
    )
    project.shows_what_is_expected("-v")


@pytest.mark.parametrize(
    "selection",
    [["-k", "third"], ["test_chat.py::TestChat::test_third"], ["--deselect", "test_chat.py::TestChat::test_second"]],
    ids=["keyword", "node id", "deselect"],
)
def test_the_turns_before_a_selected_one_are_run_as_context(project: Project, selection: list[str]) -> None:
    project.write(test_chat=CHAT)
    output = project.output("-v", *selection)
    assert "test_chat.py::TestChat::test_second CONTEXT" in output
    assert "test_chat.py::TestChat::test_third PASSED" in output


def test_context_is_counted_apart(project: Project) -> None:
    project.write(test_chat=CHAT)
    project.shows_what_is_expected("test_chat.py::TestChat::test_third")


def test_last_failed_runs_the_context_of_the_failed_turn(project: Project) -> None:
    project.write(test_chat=CHAT.replace('"one | two | three"', '"three"'))
    project.run()
    project.shows_what_is_expected("--lf", "-v", "--tb=no")


def test_a_turn_whose_context_fails_is_an_error_that_says_so(project: Project) -> None:
    project.write(test_chat=CHAT.replace('"one | two"', '"two"'))
    project.shows_what_is_expected("-k", "third", "-ra")


def test_a_turn_that_goes_on_failing_is_rerun_and_fails(project: Project) -> None:
    project.write(test_chat=CHAT.replace('"one | two"', '"two"'))
    output = project.output("--reruns", "1", plugins=("rerunfailures",))
    assert "AssertionError: assert 'one | two' == 'two'" in output
    assert "1 failed, 1 passed, 1 skipped, 1 rerun" in output


def test_a_rerun_starts_from_the_history_and_the_servers_before_its_turn(project: Project) -> None:
    """The first attempt at the second turn has moved money and been heard; the second must know nothing of it."""
    project.write(
        test_bank="""
    import pytest
    from pytest_aitest import Agent, MCPServer, Provider

    def bank():
        try:
            from mcp.server import MCPServer as Server
        except ImportError:
            from mcp.server.fastmcp import FastMCP as Server
        server, taken = Server("bank"), []

        @server.tool()
        def take(amount: int) -> str:
            taken.append(amount)
            return str(taken)

        return server

    def model(messages, tools):
        if messages[-1]["role"] == "tool":
            said = [message["content"] for message in messages if message["role"] == "user"]
            return f"{said} {messages[-1]['content']}"
        amount = int(messages[-1]["content"])
        return {"tool_calls": [{"name": "take", "arguments": {"amount": amount}}]}

    agent = Agent(provider=Provider(model=model), mcp_servers=[MCPServer(factory=bank)])
    attempts = []

    @pytest.mark.session("chat")
    class TestChat:
        async def test_first(self, aitest_run):
            assert (await aitest_run(agent, "1")).final_response == "['1'] [1]"

        async def test_second(self, aitest_run):
            attempts.append(1)
            result = await aitest_run(agent, "2")
            assert result.final_response == "['1', '2'] [1, 2]"
            assert len(attempts) == 3

        async def test_third(self, aitest_run):
            assert (await aitest_run(agent, "3")).final_response == "['1', '2', '3'] [1, 2, 3]"
    """
    )
    output = project.output("--reruns", "2", plugins=("rerunfailures",))
    assert "3 passed, 2 rerun" in output
    assert "aitest: 5 turns" in output


def test_a_rerun_after_fixtures_failed_to_be_torn_down_is_one_too(project: Project) -> None:
    project.write(
        test_chat=ECHO
        + """

    failing = [True, False]

    @pytest.fixture
    def torn():
        yield
        assert not failing.pop(0)

    @pytest.mark.session("chat")
    class TestChat:
        async def test_first(self, aitest_run, torn):
            assert (await aitest_run(agent, "one")).final_response == "one"

        async def test_second(self, aitest_run):
            assert (await aitest_run(agent, "two")).final_response == "one | two"
"""
    )
    output = project.output("--reruns", "1", plugins=("rerunfailures",))
    assert "3 passed, 1 rerun" in output  # rerunfailures counts the first attempt, whose call had passed


def test_a_skipped_context_turn_is_no_failure(project: Project) -> None:
    project.write(
        test_chat=CHAT.replace(
            "        async def test_first", "        @pytest.mark.skip\n        async def test_first"
        )
        .replace('"one | two | three"', '"two | three"')
        .replace('["one", "two", "three"]', '["two", "three"]')
        .replace('"one | two"', '"two"')
        .replace("assert result.is_session_continuation\n", "\n")
        .replace("assert result.session_context_count == 2", "")
    )
    project.shows_what_is_expected("-k", "third", "-v")


def test_every_turn_that_lacks_its_context_is_an_error(project: Project) -> None:
    project.write(test_chat=CHAT.replace('response == "one"', 'response == "two"'))
    project.run("-k", "second or third").assert_outcomes(errors=2, deselected=1)


def test_turns_taken_by_a_blocking_session_are_shown_and_counted(project: Project) -> None:
    project.write(
        test_chat=ECHO
        + """

    @pytest.mark.session("chat")
    class TestChat:
        def test_first(self, aitest_session):
            aitest_session.say("one", agent=agent)

        def test_second(self, aitest_session):
            aitest_session.say("two")
            assert False

        def test_third(self, aitest_session):
            aitest_session.say("three")
"""
    )
    project.shows_what_is_expected()


def test_a_failed_look_at_the_session_shows_what_was_said_in_it(project: Project) -> None:
    project.write(
        test_chat=ECHO
        + """

    @pytest.mark.session("chat")
    class TestChat:
        async def test_first(self, aitest_run):
            await aitest_run(agent, "one")

        def test_look(self, aitest_session):
            assert not aitest_session.turns
"""
    )
    assert "--- earlier turns of chat ---\n1 one -> one\n" in project.output()


def test_fixtures_may_speak_while_they_are_set_up_and_torn_down(project: Project) -> None:
    project.write(
        test_chat=ECHO
        + """

    @pytest.fixture
    def greeted(aitest_session):
        aitest_session.say("hello", agent=agent)
        yield
        assert aitest_session.say("bye").success


    @pytest.fixture
    def looked_up_late(request):
        return request.getfixturevalue("aitest_session")


    @pytest.mark.session("chat")
    class TestChat:
        def test_first(self, greeted):
            pass

        def test_last(self, greeted, looked_up_late, aitest_run):
            assert [turn.user for turn in looked_up_late.turns] == ["hello", "bye", "hello"]


    def test_alone(looked_up_late):
        assert not looked_up_late.turns
"""
    )
    output = project.output()
    assert "3 passed" in output
    assert "aitest: 4 turns" in output


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="subtests came with pytest 9")
def test_subtests_do_not_multiply_what_a_turn_cost(project: Project) -> None:
    project.write(
        test_chat=ECHO
        + """

    async def test_parts(aitest_run, subtests):
        await aitest_run(agent, "one")
        for part in range(3):
            with subtests.test(part=part):
                pass
"""
    )
    assert "aitest: 1 turn, 1 model call" in project.output()


def test_parametrized_flows_run_one_after_another_under_their_own_keys(project: Project) -> None:
    project.write(
        test_shop=ECHO
        + """

    @pytest.mark.session("shopping-flow")
    @pytest.mark.parametrize("model", ["small", "large"])
    class TestShop:
        async def test_browse(self, aitest_run, aitest_session, model):
            await aitest_run(agent, f"browse with {model}")
            assert aitest_session.name == f"shopping-flow[{model}]"

        async def test_select(self, aitest_run, model):
            result = await aitest_run(agent, "select")
            assert result.final_response == f"browse with {model} | select"
"""
    )
    project.shows_what_is_expected("-v")


def test_order_holds_whatever_shuffles_the_tests(project: Project) -> None:
    flow = CHAT.replace(
        '@pytest.mark.session("chat")', '@pytest.mark.session("chat")\n    @pytest.mark.parametrize("n", range(3))'
    )
    flow = flow.replace("aitest_run):", "aitest_run, n):")
    project.write(test_a=flow, test_b=CHAT)
    for seed in ("1", "2", "3"):
        project.run("-p", "randomly", f"--randomly-seed={seed}").assert_outcomes(passed=12)


def test_one_name_in_two_modules_or_classes_is_two_sessions(project: Project) -> None:
    project.write(test_a=CHAT, test_b=CHAT, test_c=CHAT + CHAT.replace(ECHO, "").replace("TestChat", "TestOther"))
    project.run().assert_outcomes(passed=12)


def test_functions_of_a_module_can_be_a_flow(project: Project) -> None:
    project.write(
        test_chat=ECHO
        + """

    @pytest.mark.session("chat")
    async def test_first(aitest_run):
        assert await aitest_run(agent, "one")


    def test_unrelated():
        pass


    @pytest.mark.session("chat")
    async def test_second(aitest_run):
        assert (await aitest_run(agent, "two")).final_response == "one | two"
"""
    )
    project.shows_what_is_expected("-v")


def test_turns_of_a_parent_class_come_first(project: Project) -> None:
    project.write(
        test_chat=ECHO
        + """

    class Greeting:
        async def test_hello(self, aitest_run):
            await aitest_run(agent, "hello")


    @pytest.mark.session("chat")
    class TestChat(Greeting):
        async def test_ask(self, aitest_run):
            assert (await aitest_run(agent, "ask")).final_response == "hello | ask"
"""
    )
    project.run().assert_outcomes(passed=2)


def test_a_step_without_a_turn_belongs_to_the_flow(project: Project) -> None:
    project.write(
        test_chat=ECHO
        + """

    @pytest.mark.session("chat")
    class TestChat:
        def test_nothing_was_said_yet(self, aitest_session):
            assert aitest_session.turns == ()

        async def test_first(self, aitest_run):
            await aitest_run(agent, "one")

        def test_plain(self):
            pass

        def test_look_back(self, aitest_session):
            assert [turn.final_response for turn in aitest_session.turns] == ["one"]
            assert aitest_session.say("two").final_response == "one | two"
"""
    )
    project.run().assert_outcomes(passed=4)


def test_a_result_speaks_of_its_own_turn_only(project: Project) -> None:
    project.write(
        test_bank="""
    import pytest
    from mcp_server import build
    from pytest_aitest import Agent, MCPServer, ModelAnswer, Provider, ToolRequest


    def model(messages, tools):
        if messages[-1]["role"] == "user" and "look" in messages[-1]["content"]:
            return ModelAnswer(tool_requests=[ToolRequest(name="count", arguments={"by": 2})])
        return "done"


    agent = Agent(provider=Provider(model=model), mcp_servers=[MCPServer(factory=build)])


    @pytest.mark.session("counting")
    class TestCounting:
        async def test_first(self, aitest_run):
            result = await aitest_run(agent, "look")
            assert result.tool_was_called("count")
            assert result.tool_call_arg("count", "by") == 2

        async def test_second(self, aitest_run):
            result = await aitest_run(agent, "thanks")
            assert not result.tool_was_called("count")
            assert result.tool_names_called == set()
            assert [call.name for call in result.session.tool_calls] == ["count"]

        async def test_third(self, aitest_run, aitest_session):
            result = await aitest_run(agent, "look again")
            assert result.tool_calls[0].result == "4"
            assert aitest_session.call_tool("count", {"by": 1}) == {"result": 5}
""",
        mcp_server=COUNTER,
    )
    project.run().assert_outcomes(passed=3)


COUNTER = '''
    try:
        from mcp.server import MCPServer
    except ImportError:
        from mcp.server.fastmcp import FastMCP as MCPServer


    def build():
        server, state = MCPServer("counter"), {"count": 0}

        @server.tool()
        def count(by: int) -> int:
            """Count on by some."""
            state["count"] += by
            return state["count"]

        return server
'''


def test_two_flows_of_one_name_are_two_in_the_summary(project: Project) -> None:
    two = """
    @pytest.mark.session("chat")
    class Test{name}:
        async def test_first(self, aitest_run):
            await aitest_run(agent, "one")
"""
    project.write(
        test_chat=ECHO + two.format(name="One") + two.format(name="Two"), test_other=ECHO + two.format(name="Other")
    )
    told = project.output("-p", "no:randomly").partition("- conversations -")[2]
    assert told.split("\n")[1:4] == [
        "TestOne::chat  first passed",
        "TestTwo::chat  first passed",
        "chat           first passed",
    ]

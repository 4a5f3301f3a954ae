"""What a person sees of a failed turn: short, readable at 80 columns, and inert."""

from .conftest import Project

AGENT = r"""
    import pytest
    from mcp_server import build
    from pytest_aitest import Agent, MCPServer, ModelAnswer, Provider, ToolRequest


    def model(messages, tools):
        if messages[-1]["role"] == "tool":
            return "Done! I moved \x1b[31m$1\x1b[0m to [bold]savings[/bold]. " + "And so on. " * 12
        return ModelAnswer(
            text="One moment.",
            tool_requests=[
                ToolRequest(name="withdraw", arguments={"account": "checking", "amount": 1}),
                ToolRequest(name="statement"),
                ToolRequest(name="deposit", arguments={"account": "savings"}),
            ],
        )


    agent = Agent(name="bank", provider=Provider(model=model), mcp_servers=[MCPServer(factory=build)])


    @pytest.mark.session("banking-chat")
    class TestBanking:
        async def test_transfer(self, aitest_run):
            result = await aitest_run(agent, "Transfer $1 from checking to savings")
            assert result.tool_was_called("transfer")
"""

SERVER = r'''
    try:
        from mcp.server import MCPServer
    except ImportError:
        from mcp.server.fastmcp import FastMCP as MCPServer


    def build():
        server = MCPServer("bank")

        @server.tool(structured_output=False)
        def withdraw(account: str, amount: int) -> str:
            """Take money."""
            return "1499\x07"

        @server.tool(structured_output=False)
        def statement() -> str:
            """List all transactions."""
            return "\n".join(f"2026-11-{day:02} paid {day}" for day in range(1, 30)) * 9000

        @server.tool(structured_output=False)
        def deposit(account: str, amount: int) -> str:
            """Bring money."""
            return "3001"

        return server
'''


def test_a_failed_assert_shows_the_turn(project: Project) -> None:
    project.write(test_bank=AGENT, mcp_server=SERVER)
    project.shows_what_is_expected()


def test_no_line_of_the_turn_is_wider_than_80_columns_on_any_terminal(project: Project, monkeypatch) -> None:
    project.write(test_bank=AGENT, mcp_server=SERVER)
    for columns in ("80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        shown = project.output().partition("turn 1 of banking-chat")[2].partition("aitest:")[0].splitlines()[1:]
        assert len(shown) > 8
        assert max(map(len, shown)) <= 80


def test_the_replacing_model_is_named_before_and_after(project: Project) -> None:
    project.write(test_bank=AGENT.replace('tool_was_called("transfer")', "success"), mcp_server=SERVER)
    project.shows_what_is_expected("--aitest-model", "builtin")


def test_the_summary_is_quiet_when_asked_to_be(project: Project) -> None:
    project.write(test_bank=AGENT.replace('tool_was_called("transfer")', "success"), mcp_server=SERVER)
    project.shows_what_is_expected("-q")


def test_a_quiet_run_still_says_that_no_language_model_was_asked(project: Project) -> None:
    project.write(test_bank=AGENT.replace('tool_was_called("transfer")', "success"), mcp_server=SERVER)
    assert "aitest: model builtin: not a language model" in project.output("-q", "--aitest-model", "builtin")


def test_a_misspelt_builtin_model_is_refused_before_the_run(project: Project) -> None:
    result = project.run("--aitest-model", "builtn")
    assert "ERROR: --aitest-model builtn: there is no such model. Did you mean 'builtin'?" in result.stderr.str()


def test_an_error_of_ours_is_shown_at_the_line_of_the_test(project: Project) -> None:
    project.write(
        test_bank="""
        from pytest_aitest import Agent, Provider, MCPServer


        async def test_it(aitest_run):
            agent = Agent(provider=Provider(model="builtin"), mcp_servers=[MCPServer(command=["no-such-command"])])
            await aitest_run(agent, "hello")
        """
    )
    project.shows_what_is_expected()


def test_the_same_error_from_a_blocking_session(project: Project) -> None:
    project.write(
        test_bank="""
        from pytest_aitest import Agent, Provider, MCPServer, Session


        def test_it():
            agent = Agent(provider=Provider(model="builtin"), mcp_servers=[MCPServer(command=["no-such-command"])])
            with Session(agent) as session:
                session.say("hello")
        """
    )
    project.shows_what_is_expected()

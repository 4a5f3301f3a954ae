"""Checked by mypy, never run: what users write has the types that editors should show."""

from typing import assert_type

from pytest_aitest import Agent, AgentResult, AitestRun, MCPServer, Provider, Session, ToolCall, Turn, Wait

server = MCPServer(command=["python", "bank.py"], wait=Wait.for_tools(["get_balance"]))
agent = Agent(
    name="bank", provider=Provider(model="azure/gpt-5-mini"), mcp_servers=[server], allowed_tools=["transfer"]
)


async def test_turn(aitest_run: AitestRun, aitest_session: Session) -> None:
    result = await aitest_run(agent, "hello", max_model_calls=3, timeout_seconds=5)
    assert_type(result, AgentResult)
    assert_type(result.success, bool)
    assert_type(result.tool_calls, list[ToolCall])
    assert_type(result.cost_usd, float | None)
    assert_type(aitest_session.turns, tuple[Turn, ...])


with Session(agent) as session:
    assert_type(session.say("hello"), AgentResult)

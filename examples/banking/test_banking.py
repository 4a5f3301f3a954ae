"""The conversation that must work: ask, transfer, ask again. Three tests, one session, one live bank."""

import pytest
from pytest_aitest import Agent, Provider, MCPServer

banking_server = MCPServer(command=["python", "banking_mcp.py"])

banking_agent = Agent(
    name="banking",
    provider=Provider(model="azure/gpt-5-mini"),
    mcp_servers=[banking_server],
)


@pytest.mark.session("banking-chat")
class TestBankingConversation:
    """Tests run in order, sharing conversation history."""

    async def test_initial_query(self, aitest_run):
        """First message - establishes context."""
        result = await aitest_run(banking_agent, "What's my checking account balance?")
        assert result.success
        assert result.tool_was_called("get_balance")

    async def test_followup(self, aitest_run):
        """Second message - uses context from first."""
        result = await aitest_run(banking_agent, "Transfer $200 to savings")
        assert result.success
        # Agent remembers we were talking about checking
        assert result.tool_was_called("transfer")

    async def test_verification(self, aitest_run):
        """Third message - builds on full conversation."""
        result = await aitest_run(banking_agent, "What are my new balances?")
        assert result.success

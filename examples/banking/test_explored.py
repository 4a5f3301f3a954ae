"""The documented session, and what becomes of it in other orders: the same tests, explored."""

import banking_mcp
import pytest
from pytest_aitest import Agent, MCPServer, Provider
from pytest_aitest.checks import called_only_after
from pytest_aitest.stateful import invariant

agent = Agent(name="banking", provider=Provider(model="builtin"), mcp_servers=[MCPServer(factory=banking_mcp.build)])


@pytest.mark.session("banking-in-any-order", explore=True)
class TestBankingInAnyOrder:
    @pytest.mark.turn(needs=())
    async def test_balance(self, aitest_run):
        result = await aitest_run(agent, "What's my checking account balance?")
        assert result.tool_was_called("get_balance")

    @pytest.mark.turn(needs="test_balance", phrasings=["Move $200 to savings", "Please send $200 to savings"])
    async def test_transfer(self, aitest_run):
        """It is clear which account is meant, once one has been spoken of."""
        result = await aitest_run(agent, "Transfer $200 to savings")
        assert result.tool_call_arg("transfer", "from_account") == "checking"

    async def test_new_balances(self, aitest_run):
        """Not promised anywhere else: in another order these are not the balances."""
        result = await aitest_run(agent, "What are my new balances?")
        assert "1,300" in result.final_response

    @invariant()
    def no_money_is_lost(self, aitest_session):
        assert aitest_session.call_tool("get_all_balances")["total"] == 4_500

    looks_before_it_moves = called_only_after("transfer", "get_balance")

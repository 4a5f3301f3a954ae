"""What a turn leaves behind is there in the next one: the history, and the money."""

import pytest
from test_banking import banking_agent


@pytest.mark.session("balances-after-transfer")
class TestBalancesAfterTransfer:
    async def test_initial_query(self, aitest_run):
        result = await aitest_run(banking_agent, "What's my checking account balance?")
        assert "1,500" in result.final_response

    async def test_followup(self, aitest_run):
        result = await aitest_run(banking_agent, "Transfer $200 to savings")
        assert result.tool_call_arg("transfer", "from_account") == "checking"

    async def test_verification(self, aitest_run):
        result = await aitest_run(banking_agent, "What are my new balances?")
        assert "1,300" in result.final_response
        assert "3,200" in result.final_response

    def test_no_money_was_lost(self, aitest_session):
        """Ask the live server, past the model."""
        assert aitest_session.call_tool("get_all_balances")["total"] == 4_500


async def test_without_context_the_agent_asks_back(aitest_run):
    """Not a session test: nobody has named an account before, so nobody can know which one is meant."""
    result = await aitest_run(banking_agent, "Transfer $200 to savings")
    assert result.success
    assert not result.tool_was_called("transfer")
    assert "?" in result.final_response

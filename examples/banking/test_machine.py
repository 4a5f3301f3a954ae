"""The conversation as a machine: its turns in any order, with any amount, and what must hold after each."""

import banking_mcp
import hasty_bank
import pytest
from hypothesis import strategies as st
from pytest_aitest import Agent, MCPServer, Provider
from pytest_aitest.stateful import SessionMachine, invariant, pinned, rule


def agent_of(build):
    return Agent(name="banking", provider=Provider(model="builtin"), mcp_servers=[MCPServer(factory=build)])


class BankingMachine(SessionMachine):
    @rule()
    def ask_balance(self):
        result = self.say("What's my checking account balance?")
        assert result.tool_was_called("get_balance")

    @rule(amount=st.integers(1, 2_000))
    def save(self, amount):
        self.say(f"Transfer ${amount} from checking to savings")

    @rule(amount=st.integers(1, 2_000))
    def withdraw(self, amount):
        self.say(f"Transfer ${amount} from savings to checking")

    @invariant()
    def money_is_conserved(self):
        assert self.call_tool("get_all_balances")["total"] == 4_500

    @pinned
    def documented(self):
        self.ask_balance()
        self.save(amount=200)
        self.withdraw(amount=50)


class TestBank(BankingMachine):
    agent = agent_of(banking_mcp.build)


class TestHastyBank(BankingMachine):
    """It has a planted defect; once somebody mends it, the exploration that finds it here says so."""

    agent = agent_of(hasty_bank.build)
    explore_marks = pytest.mark.xfail(strict=True, reason="planted: a balance that was told is not looked up again")

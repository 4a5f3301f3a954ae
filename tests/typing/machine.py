"""A machine as a user types it. Checked by mypy, never run."""

from typing import Any, assert_type

from hypothesis import strategies as st

from pytest_aitest import Agent, AgentResult, Provider, Session
from pytest_aitest.checks import CallInvariant, called_only_after
from pytest_aitest.stateful import SessionMachine, initialize, invariant, pinned, precondition, rule


class TestBank(SessionMachine):
    agent = Agent(provider=Provider(model="builtin"))
    plans = 10
    tolerate = 0.1
    checks = {"no_repeated_call": 5}
    ships_paid = called_only_after("ship", "pay")

    def make_agent(self, model: str) -> Agent:
        return Agent(provider=Provider(model=model))

    @initialize()
    def begin(self) -> None:
        assert_type(self.session, Session)

    @precondition(lambda self: not self.session.turns)
    @rule(amount=st.integers())
    def transfer(self, amount: int) -> None:
        assert_type(self.say(f"Transfer ${amount}"), AgentResult)
        assert_type(self.wait(self.asked()), int)

    async def asked(self) -> int:
        return 1

    @invariant()
    def holds(self) -> None:
        assert_type(self.call_tool("get_balance"), Any)

    @pinned
    def documented(self) -> None:
        self.begin()
        self.transfer(amount=1)


assert_type(TestBank.ships_paid, CallInvariant)

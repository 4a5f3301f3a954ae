"""The bank of the examples, with an agent that makes no mistake and takes 300 ms for a turn."""

import asyncio
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from pytest_aitest import Agent, MCPServer, Provider
from pytest_aitest.checks import chosen_checks
from pytest_aitest.conversation.engine import Engine
from pytest_aitest.conversation.tree import Node
from pytest_aitest.exploration.budget import Budget
from pytest_aitest.exploration.record import Place
from pytest_aitest.exploration.run import Explorable
from pytest_aitest.exploration.runner import TreeRunner
from pytest_aitest.stateful import SessionMachine
from pytest_aitest.stateful.declared import rules_of
from pytest_aitest.stateful.pinning import pinned_plans, signatures_of
from pytest_aitest.stateful.subject import MachineSubject
from pytest_aitest.stateful.values import StrategyRule
from pytest_aitest.values.model import ModelAnswer, ToolRequest

LATENCY = 0.3  # of a turn, in seconds
BANK = Path(__file__).parents[2] / "examples" / "banking"


async def slowed(model: Callable[..., Any], messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> ModelAnswer:
    """What another model answers, once for each turn after a while."""
    if messages[-1]["role"] != "tool":
        await asyncio.sleep(LATENCY)
    answered: ModelAnswer = await model(messages, tools)
    return answered


async def answer(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> ModelAnswer:
    """Do what the user wants, by their words."""
    if messages[-1]["role"] == "tool":
        return ModelAnswer(text=messages[-1]["content"])
    match messages[-1]["content"].split():
        case ["Transfer", amount, "from", source, "to", target]:
            arguments = {"amount": int(amount.removeprefix("$")), "from_account": source, "to_account": target}
            return ModelAnswer(tool_requests=[ToolRequest(name="transfer", arguments=arguments)])
        case _:
            return ModelAnswer(tool_requests=[ToolRequest(name="get_balance", arguments={"account": "checking"})])


@cache
def module(name: str) -> ModuleType:
    """One of the modules of the example."""
    sys.path.insert(0, str(BANK))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(BANK))


def in_process(bank: str) -> MCPServer:
    """The server as a factory."""
    return MCPServer(factory=module(bank).build)


def as_process(bank: str, *, warm: bool = True) -> MCPServer:
    """The same one as a process for each session."""
    return MCPServer(command=[sys.executable, f"{bank}.py"], cwd=str(BANK), warm=warm)


def explorable(server: MCPServer, *, lanes: int) -> Explorable:
    """The machine of the example, as the plugin makes it, pytest aside."""
    agent = Agent(name="bank", provider=Provider(model=partial(slowed, answer)), mcp_servers=[server])
    machine: type[SessionMachine] = type("SlowBank", (module("test_machine").BankingMachine,), {"agent": agent})
    rules = [StrategyRule(name=each.name, strategies=each.strategies) for each in rules_of(machine)]
    for rule in rules:
        _ = rule.pool, rule.simplest  # drawing them takes time that is no matter of lanes
    return Explorable(
        place=Place(name="bank", nodeid="bank", kind="SlowBank", file="bank.py", again=""),
        runner=TreeRunner(
            subject=partial(MachineSubject, machine, name="bank", model=None, fixtures={}),
            rules=rules,
            root=Node(),
            budget=Budget(calls=sys.maxsize),
            builtin_checks=chosen_checks(),
            seed=1,
        ),
        pinned=pinned_plans(machine, signatures_of(machine)),
        server_starts=lambda: Engine.shared().pool.started,
        lanes=lanes,
    )

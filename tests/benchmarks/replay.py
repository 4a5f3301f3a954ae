"""What is known costs little: microseconds for a turn that is replayed, megabytes for a tree of ten thousand nodes."""

import gc
import logging
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter, thread_time
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Annotated, Any

import psutil
from hypothesis import strategies as st
from mcp.types import ToolAnnotations
from pydantic import Field

from pytest_aitest import Agent, MCPServer, Provider
from pytest_aitest.checks import chosen_checks
from pytest_aitest.conversation.engine import Engine
from pytest_aitest.conversation.past import Past
from pytest_aitest.conversation.session import Session
from pytest_aitest.conversation.tree import Node, Said
from pytest_aitest.exploration.budget import Budget
from pytest_aitest.exploration.hosting import hosted
from pytest_aitest.exploration.runner import TreeRunner
from pytest_aitest.search.plan import Plan, Step
from pytest_aitest.stateful import SessionMachine, invariant, rule
from pytest_aitest.stateful.subject import MachineSubject
from pytest_aitest.values.model import ModelAnswer, ToolRequest

try:
    from mcp.server import MCPServer as Server
except ImportError:  # mcp 1.x
    from mcp.server.fastmcp import FastMCP as Server

TURNS = 12
ROUNDS = 200
MOST_MICROSECONDS = 200  # for a replayed turn
NODES = 10_000
MOST_MEGABYTES = 100  # for so many nodes
WORDS = "The balance of the account is as follows, with all that was booked today and what is still to come. "
TEXT = 10 * WORDS  # about 1 KB

Account = Annotated[str, Field(description="'checking' or 'savings'; whoever asks owns both")]


# A bank of ordinary size


def build() -> Any:
    """Five tools; two of them answer half a kilobyte."""
    server = Server("bank")
    booked: list[float] = []

    @server.tool(annotations=ToolAnnotations(readOnlyHint=True))
    def get_balance(account: Account) -> dict[str, str | float]:
        """Get the balance of one account, in US dollars, with what was booked in it today."""
        return {"account": account, "balance": 1_500.0 - sum(booked), "remark": TEXT[:500]}

    @server.tool(annotations=ToolAnnotations(readOnlyHint=True))
    def get_all_balances() -> dict[str, float]:
        """Get the balances of all accounts and their total, in US dollars."""
        return {"checking": 1_500.0 - sum(booked), "savings": 3_000.0 + sum(booked), "total": 4_500.0}

    @server.tool(annotations=ToolAnnotations(readOnlyHint=False))
    def transfer(
        amount: Annotated[float, Field(gt=0, description="in US dollars")],
        from_account: Account,
        to_account: Account,
        purpose: Annotated[str | None, Field(description="what the statement will say")] = None,
    ) -> str:
        """Move an amount of US dollars from one account to another."""
        booked.append(amount)
        return TEXT[:500]

    @server.tool(annotations=ToolAnnotations(readOnlyHint=True))
    def list_transactions(account: Account, most: Annotated[int, Field(ge=1, le=100)] = 10) -> list[dict[str, Any]]:
        """List the newest transactions of an account, newest first."""
        return [{"amount": amount} for amount in booked[-most:]]

    @server.tool(annotations=ToolAnnotations(readOnlyHint=False))
    def set_alert(account: Account, below: float, by: Annotated[str, Field(pattern="^(mail|text)$")] = "mail") -> str:
        """Have the owner told when an account falls below an amount."""
        return "set"

    return server


async def answer(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> ModelAnswer:
    """Look, transfer, answer."""
    if messages[-1]["role"] == "user":
        return ModelAnswer(tool_requests=[ToolRequest(name="get_balance", arguments={"account": "checking"})])
    if messages[-2]["role"] == "assistant" and messages[-2]["tool_calls"][0]["function"]["name"] == "get_balance":
        arguments = {"amount": 1.0, "from_account": "checking", "to_account": "savings"}
        return ModelAnswer(tool_requests=[ToolRequest(name="transfer", arguments=arguments)])
    return ModelAnswer(text=f"{messages[-3]['content']} {TEXT}"[: len(TEXT)])


class Bank(SessionMachine):
    agent = Agent(
        name="bank",
        provider=Provider(model=answer),
        mcp_servers=[MCPServer(factory=build)],
        system_prompt="You help customers of a bank with their accounts. Look before you move anything.",
    )

    @rule(amount=st.integers())
    def transfer(self, amount: int) -> None:
        result = self.say(f"Look what is in checking, and transfer ${amount} of it to savings, please.")
        assert result.tool_was_called("transfer")


class WatchedBank(Bank):
    @invariant()
    def money_is_conserved(self) -> None:
        assert self.call_tool("get_all_balances")["total"] == 4_500


def runner_of(machine: type[SessionMachine], *, is_checked: bool = True) -> TreeRunner:
    return TreeRunner(
        subject=partial(MachineSubject, machine, name="bank", model=None, fixtures={}),
        rules=(),
        root=Node(),
        budget=Budget(),
        allow=lambda _: None,
        offered=lambda _: None,
        heard=lambda _: None,
        builtin_checks=chosen_checks() if is_checked else (),
    )


def plan_of(number: int, turns: int = TURNS) -> Plan:
    return tuple(Step(rule="transfer", arguments={"amount": number + turn}) for turn in range(turns))


def measure() -> None:
    logging.disable(logging.INFO)  # building a server lets records of its SDK through to the terminal
    measure_replay()
    measure_memory()
    Engine.close_shared()


# Time


@dataclass(frozen=True)
class Cost:
    """Microseconds for a plan, and for each turn of it."""

    plan: float
    turn: float


def measure_replay() -> None:
    whole = cost(runner_of(WatchedBank))
    unwatched = cost(runner_of(Bank))
    unchecked = cost(runner_of(Bank, is_checked=False))
    total = whole.turn + whole.plan / TURNS
    print(f"replayed turn: {total:.0f} us, its share of a plan of {TURNS} included (promised: {MOST_MICROSECONDS})")
    print(f"    plan: {whole.plan:.0f} us, of which the host takes {microseconds(lambda: hosted(lambda: None)):.0f}")
    print(f"    turn: {whole.turn:.0f} us = invariant that calls a tool {whole.turn - unwatched.turn:.0f}", end="")
    late = cost(runner_of(WatchedBank), 4 * TURNS)
    said, key = bare_session(), bare_key()
    print(f" + built-in checks {unwatched.turn - unchecked.turn:.0f} + steps {unchecked.turn - said:.0f}", end="")
    print(f" + session {said:.0f} (of which the key {key:.0f})")
    print(f"    {late.turn:.0f} us in a plan of {4 * TURNS}")


def cost(runner: TreeRunner, turns: int = TURNS) -> Cost:
    empty, full = (replay_time(runner, plan_of(0, each)) for each in (0, turns))
    return Cost(plan=empty, turn=(full - empty) / turns)


def replay_time(runner: TreeRunner, plan: Plan) -> float:
    """Microseconds of one plan that is known."""
    runner.run(plan)
    outcome = runner.run(plan)
    assert outcome.failure is None
    assert outcome.replayed_turns == len(plan)
    return microseconds(lambda: runner.run(plan))


def microseconds(work: Callable[[], object]) -> float:
    """What it takes of this thread's time, all there is to a replay, where nothing disturbs it: the fastest tenth."""
    times = []
    for _ in range(ROUNDS):
        started = thread_time()
        work()
        times.append(thread_time() - started)
    return sorted(times)[ROUNDS // 10] * 1e6


def bare_session() -> float:
    """Microseconds of a turn that a session finds in the tree, nothing around it."""
    root, prompts = Node(), [f"Look what is in checking, and transfer ${turn} of it, please." for turn in range(TURNS)]

    def talk() -> None:
        with Session(Bank.agent, past=Past(root, replays=True)) as session:
            for prompt in prompts:
                session.say(prompt)

    talk()
    return microseconds(talk) / TURNS


def bare_key() -> float:
    assert Bank.agent is not None
    return microseconds(partial(Said, prompt="hello", agent=Bank.agent, max_model_calls=10, timeout_seconds=60))


# Memory


def measure_memory() -> None:
    runner, process = runner_of(WatchedBank), psutil.Process()
    runner.run(plan_of(-TURNS))
    gc.collect()
    before, started = process.memory_info().rss, perf_counter()
    for number in range(-(-NODES // TURNS)):
        outcome = runner.run(plan_of(number * TURNS))
        assert outcome.failure is None, outcome.failure
    seconds = perf_counter() - started
    gc.collect()
    grown = (process.memory_info().rss - before) / 1e6
    sizes = sizes_below(runner.root)
    print(f"{NODES} nodes: {sum(sizes.values()) / 1e6:.0f} MB ", end="")
    print(f"(promised: {MOST_MEGABYTES}); the process grew by {grown:.0f} MB in {seconds:.0f} s")
    for kind, size in sizes.most_common(8):
        print(f"    {size / 1e6:6.1f} MB {kind}")


def sizes_below(root: object) -> Counter[str]:
    """Bytes of all that can be reached from `root`, by type; what programs are made of aside."""
    sizes: Counter[str] = Counter()
    seen, below = {id(root)}, [root]
    while below:
        part = below.pop()
        sizes[type(part).__qualname__] += sys.getsizeof(part)
        for each in gc.get_referents(part):
            if id(each) not in seen and not isinstance(each, PROGRAM):
                seen.add(id(each))
                below.append(each)
    return sizes


PROGRAM = (type, ModuleType, FunctionType, BuiltinFunctionType, CodeType)

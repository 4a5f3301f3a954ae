"""An exploration dealt among two processes beside the same one in one: whole runs of pytest, with equal lanes."""

import tempfile
from pathlib import Path

from .slow_bank import BANK
from .table import Row
from .whole_runs import ran

LANES = 2
PLANS, PLAN_TURNS = 25, 12
TEST = f"""
from functools import partial

from pytest_aitest import Agent, MCPServer, Provider
from tests.benchmarks import slow_bank

BankingMachine = slow_bank.module("test_machine").BankingMachine


class TestBank(BankingMachine):
    agent = Agent(
        name="bank",
        provider=Provider(model=partial(slow_bank.slowed, slow_bank.answer)),
        mcp_servers=[slow_bank.in_process("banking_mcp")],
    )
    plans = {PLANS}
    plan_turns = {PLAN_TURNS}
"""


def beside_one_process() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_bank.py").write_text(TEST)
        Path(folder, "pytest.ini").write_text(f"[pytest]\npythonpath = {BANK.parents[1]}\n")
        options = ["-k", "explore", "--aitest-lanes", str(LANES), "--hypothesis-seed", "1"]
        one = ran(folder, *options)
        two = ran(folder, *options, "-n", "2", "--aitest-shards", "2")
    assert (one.tests, two.tests) == (1, 2)
    return [
        sooner("the whole process of pytest", one.seconds, two.seconds),
        sooner("inside the tests, the longer one", one.longest, two.longest),
    ]


def sooner(what: str, one: float, two: float) -> Row:
    return Row(
        what=f"2 xdist workers with a shard each beside 1 process: {what}",
        measured_on=f"example bank, nothing to find, in-process server, {PLANS} plans of {PLAN_TURNS} turns, "
        f"{LANES} lanes in each process, 300 ms a turn",
        figures=f"{one:.1f} s; {two:.1f} s",
        ratio=f"{one / two:.2f} times faster",
        target="1.7 times",
    )

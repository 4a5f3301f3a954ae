"""How long explorations wait for servers, not for the model: until they are open and in the state they should have."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any
from unittest.mock import patch

from pytest_aitest import MCPServer
from pytest_aitest.conversation.connections import Connections
from pytest_aitest.conversation.engine import Engine
from pytest_aitest.conversation.session import Session
from pytest_aitest.exploration.run import Limits

from . import slow_bank
from .table import Row

PLAN_TURNS = 12
STARTS = 12
MOST_SHARE = "< 5 %"
NOTHING = "nothing to find"
CASES = [(1, "banking_mcp", 2), (4, "banking_mcp", 8), (4, "hasty_bank", 25)]  # lanes, bank, plans


@dataclass
class Stopwatch:
    """Seconds inside some coroutines, added up over all that run side by side; one inside another counts once."""

    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._is_inside: ContextVar[bool] = ContextVar("is_inside", default=False)

    def around(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def timed(*arguments: Any) -> Any:
            if self._is_inside.get():
                return await function(*arguments)
            token, started = self._is_inside.set(True), perf_counter()
            try:
                return await function(*arguments)
            finally:
                self._is_inside.reset(token)
                self.seconds += perf_counter() - started

        return timed


@contextmanager
def watched(*places: tuple[type, str]) -> Iterator[Stopwatch]:
    """Time these methods meanwhile."""
    watch = Stopwatch()
    patches = [patch.object(kind, name, watch.around(getattr(kind, name))) for kind, name in places]
    for each in patches:
        each.start()
    try:
        yield watch
    finally:
        for each in patches:
            each.stop()


def for_servers() -> list[Row]:
    """Waiting in sessions, of all the time that they are live, which is that of all lanes together."""
    return [forked()] + [
        waited(kind, server(bank), lanes=lanes, bank=bank, plans=plans)
        for kind, server in {"in-process": slow_bank.in_process, "a process each": slow_bank.as_process}.items()
        for lanes, bank, plans in CASES
    ]


def forked() -> Row:
    """A server by itself, with nothing started ahead."""
    plain, warm = (
        Engine.shared().run(starts, slow_bank.as_process("banking_mcp", warm=warm)) for warm in (False, True)
    )
    # The first is started in any case, and the second with its template.
    seconds = [median(each[2:]) for each in (plain, warm)]
    return Row(
        what="a server that is a process, from its start to its first answer: forked beside started",
        measured_on=f"example bank; median of {STARTS - 2}",
        figures="; ".join(f"{each * 1000:.0f} ms" for each in seconds),
        ratio=f"{seconds[0] / seconds[1]:.0f} times faster",
    )


async def starts(server: MCPServer) -> list[float]:
    """Seconds of so many, one after another."""
    pool, seconds = Engine.shared().pool, []
    for _ in range(STARTS):
        started = perf_counter()
        connection = await pool.open(server)
        await connection.call_tool("get_all_balances")
        seconds.append(perf_counter() - started)
        await connection.close()
    return seconds


def waited(kind: str, server: MCPServer, *, lanes: int, bank: str, plans: int) -> Row:
    made = slow_bank.explorable(server, lanes=lanes)
    pool, started = Engine.shared().pool, perf_counter()
    pool.the_same_to_come = True  # as the plugin does
    with (
        watched((Session, "_catch_up"), (Connections, "serving")) as waiting,
        watched((Session, "_say"), (Session, "_call_tool")) as live,
    ):
        found, record = made.explore(Limits(plans=plans, plan_turns=PLAN_TURNS), database=None)
    pool.the_same_to_come = False
    assert found.stopped is None, found.stopped
    assert bool(found.findings) == (bank == "hasty_bank")
    doing = "find and shrink" if found.findings else NOTHING
    return Row(
        what=f"waiting for servers, {lanes} lane{'s' * (lanes > 1)}, {doing}",
        measured_on=f"example bank, {kind}; up to {plans} plans of {PLAN_TURNS} turns, 300 ms a turn",
        figures=f"{waiting.seconds:.1f} s of {live.seconds:.1f} s in sessions; {len(made.runner.fresh)} turns asked, "
        f"{record.spent.server_starts} servers started in {perf_counter() - started:.0f} s",
        ratio=f"{waiting.seconds / live.seconds:.1%}",
        target=MOST_SHARE,
    )

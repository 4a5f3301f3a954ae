"""Spares, closing in the background, and that nothing outlives a pool."""

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import psutil
import pytest
from mcp.server.lowlevel import Server

from pytest_aitest.conversation.servers import Connection, ServerPool
from pytest_aitest.values.agent import MCPServer, Wait
from pytest_aitest.values.errors import ServerDiedError, ServerStartError
from tests.support.servers import bank, command

TELLER = MCPServer(command=command("odd", "environment"))


def pooled(work: Callable[[ServerPool], Awaitable[None]]) -> None:
    async def main() -> None:
        async with ServerPool() as pool:
            await work(pool)

    anyio.run(main)


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def has_children(number: int) -> bool:
    return len(children()) == number


async def until(condition: Callable[[], Any]) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - processes set no event
            await anyio.sleep(0.01)


async def pid(connection: Connection) -> int:
    told = json.loads((await connection.call_tool("tell")).text)
    return int(told["pid"])


def test_a_spare_serves_the_next_opening_of_an_equal_declaration() -> None:
    async def work(pool: ServerPool) -> None:
        pool.start_ahead(TELLER)
        pool.start_ahead(TELLER)  # there is one
        await until(children)
        (spare,) = children()
        equal = MCPServer(command=list(TELLER.command))
        assert await pid(await pool.open(equal)) == spare.pid
        assert await pid(await pool.open(equal)) != spare.pid

    pooled(work)


def test_a_spare_started_in_another_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(pool: ServerPool) -> None:
        server = MCPServer(command=TELLER.command, env={"WHO": "${BANK_USER}"})
        monkeypatch.setenv("BANK_USER", "anna")
        pool.start_ahead(server)
        monkeypatch.setenv("BANK_USER", "berta")
        told = json.loads((await (await pool.open(server)).call_tool("tell")).text)
        assert told["env"]["WHO"] == "berta"

    pooled(work)


def test_a_spare_that_died_is_replaced() -> None:
    async def work(pool: ServerPool) -> None:
        pool.start_ahead(TELLER)
        await until(children)
        (spare,) = children()
        spare.kill()
        await until(lambda: spare not in children())
        assert await pid(await pool.open(TELLER)) != spare.pid

    pooled(work)


def test_a_spare_that_does_not_become_ready_is_nobodys_error(tmp_path: Path) -> None:
    async def work(pool: ServerPool) -> None:
        first = tmp_path / "first"
        server = MCPServer(command=command("odd", "second_only", str(first)))
        pool.start_ahead(server)
        assert (await pool.open(server)).is_alive
        first.unlink()
        pool.start_ahead(server)
        await until(first.exists)
        first.unlink()
        with pytest.raises(ServerStartError, match="exit code 3"):
            await pool.open(server)

    pooled(work)


@pytest.mark.parametrize(("fields", "spares"), [({}, [0, 0, 1, 1]), ({"start_ahead": False}, [0, 0, 0, 0])])
def test_a_server_met_twice_is_started_ahead_when_more_is_to_come(fields: dict[str, Any], spares: list[int]) -> None:
    async def work(pool: ServerPool) -> None:
        server, seen = MCPServer(command=TELLER.command, **fields), []
        for more_to_come in (False, False, True, True):
            pool.more_to_come = more_to_come
            connection = await pool.open(server)
            used = await pid(connection)
            expected = 1 + (more_to_come and server.start_ahead)
            await until(functools.partial(has_children, expected))
            seen.append(len([process for process in children() if process.pid != used]))
            await connection.close()
        assert seen == spares

    pooled(work)


def test_a_server_met_once_is_started_ahead_when_all_to_come_want_it() -> None:
    async def work(pool: ServerPool) -> None:
        pool.the_same_to_come = True
        used = await pid(await pool.open(TELLER))
        await until(functools.partial(has_children, 2))
        spares = {process.pid for process in children()} - {used}
        assert {await pid(await pool.open(TELLER))} == spares

    pooled(work)


def test_as_many_are_started_ahead_as_are_in_use() -> None:
    async def work(pool: ServerPool) -> None:
        pool.more_to_come = True
        used = [await pid(await pool.open(TELLER)) for _ in range(2)]
        await until(functools.partial(has_children, 4))
        spares = {process.pid for process in children()} - set(used)
        assert await pid(await pool.open(TELLER)) in spares

    pooled(work)


def test_after_a_spare_that_does_not_become_ready_none_is_started(tmp_path: Path) -> None:
    async def work(pool: ServerPool) -> None:
        first = tmp_path / "first"
        server = MCPServer(command=command("odd", "second_only", str(first)))
        first.touch()
        await pool.open(server)
        pool.more_to_come = True
        first.unlink()
        pool.start_ahead(server)
        await until(first.exists)
        await until(functools.partial(has_children, 1))
        await anyio.wait_all_tasks_blocked()
        assert pool.started == 2

    pooled(work)


def test_only_commands_are_started_ahead() -> None:
    async def work(pool: ServerPool) -> None:
        pool.more_to_come = True
        server = MCPServer(factory=counted)
        pool.start_ahead(server)
        for _ in range(3):
            await pool.open(server)
        assert made == [1, 2, 3]

    made: list[int] = []

    def counted() -> Any:
        made.append(len(made) + 1)
        return bank.build()

    pooled(work)


def test_spares_are_few() -> None:
    async def work(pool: ServerPool) -> None:
        for number in range(8):
            pool.start_ahead(MCPServer(command=TELLER.command, env={"NUMBER": str(number)}))
        last = MCPServer(command=TELLER.command, env={"NUMBER": "7"})
        assert await pid(await pool.open(last)) in {process.pid for process in children()}
        await until(functools.partial(has_children, 4))

    pooled(work)


def noting(name: str, seen: list[str]) -> MCPServer:
    @asynccontextmanager
    async def noted(_server: Any) -> AsyncIterator[None]:
        yield
        seen.append(f"{name} ending")
        await anyio.lowlevel.checkpoint()
        seen.append(f"{name} ended")

    return MCPServer(factory=lambda: Server(name, lifespan=noted), name=name)


def test_connections_close_in_the_background_one_after_another_the_last_one_first() -> None:
    async def work(pool: ServerPool) -> None:
        connections = [await pool.open(noting(name, seen)) for name in "abc"]
        pool.close_soon(connections)
        assert seen == []
        assert not any(connection.is_alive for connection in connections)
        with pytest.raises(ServerDiedError, match="was closed"):
            await connections[0].call_tool("any")
        await pool.aclose()
        assert seen == ["c ending", "c ended", "b ending", "b ended", "a ending", "a ended"]

    seen: list[str] = []
    pooled(work)


def test_what_is_still_open_is_closed_with_the_pool() -> None:
    async def work(pool: ServerPool) -> None:
        for name in "ab":
            await pool.open(noting(name, seen))

    seen: list[str] = []
    pooled(work)
    assert seen == ["b ending", "b ended", "a ending", "a ended"]


def test_an_error_in_the_block_passes_as_it_is() -> None:
    async def work(pool: ServerPool) -> None:
        await pool.open(TELLER)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        pooled(work)
    assert children() == []


def test_a_block_that_is_cancelled_leaves_no_process() -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with ServerPool() as pool:
                await pool.open(TELLER)
                pool.start_ahead(TELLER)
                scope.cancel()
                await anyio.sleep_forever()
        assert children() == []

    anyio.run(main)


def test_a_task_that_is_cancelled_leaves_no_process() -> None:
    async def main() -> None:
        async with ServerPool() as pool:
            await pool.open(TELLER)
            pool.start_ahead(TELLER)
            pool.start_ahead(MCPServer(command=command("odd", "silent"), wait=Wait.ready(timeout_seconds=60)))
            ready.set()
            await anyio.sleep_forever()

    async def cancelling() -> None:
        task = asyncio.get_running_loop().create_task(main())
        await ready.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert children() == []

    ready = asyncio.Event()
    anyio.run(cancelling)


def test_calls_in_flight_end_when_their_connection_is_closed() -> None:
    async def work(pool: ServerPool) -> None:
        connection = await pool.open(MCPServer(factory=build))

        async def call() -> None:
            with pytest.raises(ServerDiedError, match="was closed while its tool 'wait' was called"):
                await connection.call_tool("wait")
            ended.append(True)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await called.wait()
            await connection.close()
        assert ended == [True]

    def build() -> Any:
        server = bank.build()

        @server.tool()
        async def wait() -> str:
            called.set()
            await anyio.sleep_forever()
            return "never"

        return server

    called = asyncio.Event()
    ended: list[bool] = []
    pooled(work)

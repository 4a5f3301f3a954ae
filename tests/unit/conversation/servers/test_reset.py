"""Bringing servers to their first state, and having a shared one for oneself meanwhile."""

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from pytest_aitest.conversation.servers import Connection, ServerPool, exclusive
from pytest_aitest.values.agent import MCPServer, Wait
from pytest_aitest.values.errors import ServerStartError
from tests.support.servers import bank, command, web


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with web.running() as url:
        yield f"{url}/mcp"


@pytest.fixture(autouse=True)
def own_locks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # for processes


async def balance(connection: Connection) -> int:
    outcome = await connection.call_tool("get_balance", {"account": "checking"})
    return int(outcome.text)


def start_error(**fields: Any) -> ServerStartError:
    async def main() -> ServerStartError:
        async with ServerPool() as pool:
            with pytest.raises(ServerStartError) as caught:
                await pool.open(MCPServer(factory=bank.build, name="bank", **fields))
            return caught.value

    return anyio.run(main)


def test_a_tool_resets_at_every_opening_and_is_not_offered(url: str) -> None:
    async def main() -> None:
        server = MCPServer(url=url, reset="start_over")
        async with ServerPool() as pool:
            for _ in range(2):
                connection = await pool.open(server)
                assert [tool.name for tool in connection.tools] == ["get_balance", "withdraw"]
                assert await balance(connection) == 1500
                await connection.call_tool("withdraw", {"amount": 200})
                assert await balance(connection) == 1300
                pool.close_soon([connection])  # the next opening waits for the end of this one

    anyio.run(main)


def test_without_a_reset_a_shared_state_stays(url: str) -> None:
    async def main() -> None:
        async with ServerPool() as pool:
            one, other = await pool.open(MCPServer(url=url)), await pool.open(MCPServer(url=url))
            await one.call_tool("start_over")
            await one.call_tool("withdraw", {"amount": 1})
            assert await balance(other) == 1499

    anyio.run(main)


def reset_by_function() -> None:
    done.append("function")


async def reset_by_coroutine() -> None:
    await anyio.lowlevel.checkpoint()
    done.append("coroutine")


class Reset:
    async def __call__(self) -> None:
        await reset_by_coroutine()


done: list[str] = []


@pytest.mark.parametrize(
    "reset",
    [reset_by_function, reset_by_coroutine, functools.partial(reset_by_coroutine), Reset()],
)
@pytest.mark.parametrize("fields", [{"factory": bank.build}, {"command": command("odd", "logs")}])
def test_a_function_or_a_coroutine_function_resets_any_server(reset: Callable[[], Any], fields: dict[str, Any]) -> None:
    async def main() -> None:
        async with ServerPool() as pool:
            for expected in (1, 2):
                await (await pool.open(MCPServer(reset=reset, **fields))).close()
                assert len(done) == expected

    done.clear()
    anyio.run(main)


def test_a_reset_tool_that_is_not_there_is_named_with_one_that_is() -> None:
    assert str(start_error(reset="start_ovr")) == (
        "Server 'bank' has no tool 'start_ovr' to be reset with. "
        "It offers 'get_balance', 'withdraw' and 'start_over'. Did you mean 'start_over'?"
    )


def test_a_reset_tool_that_fails_is_told() -> None:
    assert "its tool 'withdraw' answered with an error, " in str(start_error(reset="withdraw"))


def test_a_server_that_dies_of_its_reset_never_became_ready() -> None:
    async def main() -> None:
        async with ServerPool() as pool:
            with pytest.raises(ServerStartError, match="died while its tool 'crash' was called"):
                await pool.open(MCPServer(command=command("odd", "crasher"), reset="crash"))

    anyio.run(main)


def test_a_reset_that_raises_is_the_cause() -> None:
    def wipe_database() -> None:
        raise ConnectionError("no database")

    error = start_error(reset=wipe_database)
    assert str(error) == (
        "Server 'bank' can't be reset: wipe_database raised ConnectionError: no database. "
        "Until it works, no session would start in a known state."
    )
    assert isinstance(error.__cause__, ConnectionError)


def test_a_reset_that_takes_too_long_is_given_up() -> None:
    error = start_error(reset=anyio.sleep_forever, wait=Wait.ready(timeout_seconds=0.2))
    assert "was not reset within 0.2 s" in str(error)


def test_a_second_session_of_this_process_is_told_instead_of_waiting(url: str) -> None:
    async def main() -> None:
        server = MCPServer(url=url, reset="start_over", name="bank")
        async with ServerPool() as pool:
            first = await pool.open(server)
            with pytest.raises(ServerStartError) as caught:
                await pool.open(server)
            assert str(caught.value) == (
                "Server 'bank' can't be reset: another session of this process is still using it, and a reset would "
                "change the state under it. Let that session end first, or give each a server of its own."
            )
            assert await balance(first) == 1500
            await first.close()
            assert (await pool.open(server)).is_alive

    anyio.run(main)


def test_a_folder_of_somebody_else_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with ServerPool() as pool:
            with pytest.raises(ServerStartError, match="belongs to somebody else"):
                await pool.open(MCPServer(url="http://127.0.0.1:1/mcp", reset="start_over"))

    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    anyio.run(main)


HOLD = """
import sys, anyio
from pytest_aitest.conversation.servers import ServerPool
from pytest_aitest.values.agent import MCPServer

async def main():
    async with ServerPool() as pool:
        connection = await pool.open(MCPServer(url=sys.argv[1], reset="start_over"))
        print("open", flush=True)
        sys.stdin.read()

anyio.run(main)
"""


def test_a_session_of_another_process_is_waited_for_but_not_for_ever(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        server = MCPServer(url=url, reset="start_over", wait=Wait.ready(timeout_seconds=5))
        async with ServerPool() as pool:
            with anyio.move_on_after(0.3) as scope:
                await pool.open(server)
            assert scope.cancelled_caught
            with monkeypatch.context() as impatient:
                impatient.setattr(exclusive, "_LONGEST_WAIT_SECONDS", 0.1)
                with pytest.raises(ServerStartError, match="another process has used it"):
                    await pool.open(server)
            assert other.stdin is not None
            other.stdin.close()
            assert (await pool.open(server)).is_alive

    with subprocess.Popen([sys.executable, "-c", HOLD, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        anyio.run(main)

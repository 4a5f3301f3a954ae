"""Servers that are commands: their start, their calls, their death."""

import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import mcp
import psutil
import pytest

from pytest_aitest.conversation.servers import Connection, ServerPool, process
from pytest_aitest.values.agent import MCPServer, Wait
from pytest_aitest.values.errors import ServerDiedError, ServerStartError
from tests.support.servers import command
from tests.support.servers.megabytes import SIZE

Talk = Callable[[Connection], Awaitable[None]]


def odd(way: str, *arguments: str, **fields: Any) -> MCPServer:
    return MCPServer(command=command("odd", way, *arguments), name=way, **fields)


def connected(server: MCPServer, talk: Talk) -> None:
    async def main() -> None:
        async with ServerPool() as pool:
            await talk(await pool.open(server))

    anyio.run(main)


def start_error(server: MCPServer) -> str:
    async def main() -> None:
        async with ServerPool() as pool:
            with pytest.raises(ServerStartError) as caught:
                await pool.open(server)
            errors.append(str(caught.value))
            assert psutil.Process().children(recursive=True) == []  # already, not only once the pool is closed

    errors: list[str] = []
    anyio.run(main)
    return errors[0]


def death(server: MCPServer, *calls: str) -> str:
    """How the last of `calls` fails."""

    async def talk(connection: Connection) -> None:
        *survived, last = calls
        for tool in survived:
            await connection.call_tool(tool)
        with pytest.raises(ServerDiedError) as caught:
            await connection.call_tool(last, {"code": 5})
        assert not connection.is_alive
        errors.append(str(caught.value))

    errors: list[str] = []
    connected(server, talk)
    return errors[0]


def test_a_server_keeps_its_state_as_long_as_the_connection() -> None:
    async def talk(connection: Connection) -> None:
        assert [tool.name for tool in connection.tools] == ["get_balance", "withdraw", "start_over"]
        assert connection.tools[0].server == connection.label == "bank"
        assert connection.tools[0].description == "The balance of one account."
        assert connection.tools[0].input_schema["required"] == ["account"]
        await connection.call_tool("withdraw", {"amount": 200})
        outcome = await connection.call_tool("get_balance", {"account": "checking"})
        assert (outcome.text, outcome.structured, outcome.is_error) == ("1300", {"result": 1300}, False)
        assert connection.take_notes() == ()

    connected(MCPServer(command=command("bank")), talk)


def test_two_connections_share_nothing() -> None:
    async def main() -> None:
        server = MCPServer(command=command("odd", "environment"))
        async with ServerPool() as pool:
            told = [json.loads((await (await pool.open(server)).call_tool("tell")).text) for _ in range(2)]
        assert told[0]["pid"] != told[1]["pid"]

    anyio.run(main)


def test_a_process_gets_its_own_environment_and_the_few_variables_it_can_not_do_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BANK_TOKEN", "geheim")
    monkeypatch.setenv("UNRELATED", "1")

    async def talk(connection: Connection) -> None:
        told = json.loads((await connection.call_tool("tell")).text)
        assert told["env"]["TOKEN"] == "Bearer geheim"
        assert told["env"]["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        assert "UNRELATED" not in told["env"]
        assert told["cwd"] == str(tmp_path)

    connected(odd("environment", env={"TOKEN": "Bearer ${BANK_TOKEN}"}, cwd=str(tmp_path)), talk)


def test_python_is_the_one_that_runs_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(connection: Connection) -> None:
        assert (await connection.call_tool("hello")).text == "called hello"

    monkeypatch.setenv("PATH", "")
    connected(MCPServer(command=["python", *command("odd", "logs")[1:]]), talk)


def test_five_megabytes_arrive_whole() -> None:
    async def talk(connection: Connection) -> None:
        assert len((await connection.call_tool("dump")).text) == SIZE

    connected(MCPServer(command=command("megabytes")), talk)


def test_all_pages_of_tools_are_read() -> None:
    async def talk(connection: Connection) -> None:
        assert [tool.name for tool in connection.tools] == ["tool_0", "tool_1", "tool_2"]

    connected(odd("pages"), talk)


def test_a_list_of_tools_without_end_is_given_up() -> None:
    assert "its list of tools does not end; 100 pages were read" in start_error(odd("pages", "endless"))


def test_it_can_be_waited_for_tools_that_come_late() -> None:
    async def talk(connection: Connection) -> None:
        assert [tool.name for tool in connection.tools] == ["early", "late"]

    connected(odd("late", wait=Wait.for_tools(["late"])), talk)


def test_tools_that_do_not_come_are_named() -> None:
    error = start_error(odd("late", wait=Wait.for_tools(["early", "later"], timeout_seconds=1)))
    assert error == (
        "Server 'late' did not become ready: it offers 'early' and 'late', but not 'later' within 1 s. "
        "Check the server, or give it more time: timeout_seconds=60 in its Wait."
    )


def test_it_can_be_waited_for_a_line_of_the_log() -> None:
    async def talk(connection: Connection) -> None:
        assert (await connection.call_tool("hello")).text == "called hello"

    connected(odd("logs", wait=Wait.for_log(r"port \d+")), talk)


def test_a_line_of_the_log_that_does_not_come_is_named_beside_those_that_came() -> None:
    error = start_error(odd("logs", wait=Wait.for_log(r"port \d{5}", timeout_seconds=1)))
    assert error == (
        r"Server 'logs' did not become ready: no line on its stderr matched 'port \\d{5}' within 1 s. "
        "Check the server, or give it more time: timeout_seconds=60 in its Wait.\n"
        "The end of its stderr:\n"
        "    loading\n"
        "    ready on port 4711"
    )


def test_a_command_that_is_not_there_is_named_with_one_that_is(tmp_path: Path) -> None:
    program = tmp_path / "mybank"
    program.touch(mode=0o700)
    error = start_error(MCPServer(command=["mybnak"], env={"PATH": str(tmp_path)}))
    assert error == (
        "Server 'mybnak' can't be started: command 'mybnak' was not found on PATH. Did you mean 'mybank'? "
        "Install it, or give its full path."
    )


def test_a_python_that_is_not_there_is_replaced_by_the_one_that_runs() -> None:
    error = start_error(MCPServer(command=["python", "bank.py"], env={"PATH": ""}))
    assert error.startswith("Server 'bank' can't be started: command 'python' was not found on PATH.")
    assert error.endswith("For the Python that runs the tests, write sys.executable.")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"command": ["./no/such/program"]}, "there is no program './no/such/program'"),
        ({"command": [sys.executable], "cwd": "/no/such/folder"}, "its cwd '/no/such/folder' is not a folder"),
        ({"command": [__file__]}, "can't be run: [Errno 13] Permission denied"),
        ({"command": [sys.executable, "a\0b"]}, "can't be run: embedded null byte"),
    ],
)
def test_a_command_that_can_not_be_run_says_why(fields: dict[str, Any], why: str) -> None:
    assert why in start_error(MCPServer(**fields))


def test_a_command_that_ends_at_once_is_shown_with_its_exit_code_and_its_last_words() -> None:
    server = odd("exits")
    assert start_error(server) == (
        "Server 'exits' did not become ready: its process ended with exit code 3. "
        f"Run it in a terminal: {' '.join(server.command)}\n"
        "The end of its stderr:\n"
        "    Traceback (most recent call last):\n"
        "    ModuleNotFoundError: No module named 'bank'"
    )


def test_a_server_that_never_answers_is_given_up_in_its_time() -> None:
    assert start_error(odd("silent", wait=Wait.ready(timeout_seconds=0.5))) == (
        "Server 'silent' did not become ready: it has not answered the handshake within 0.5 s. "
        "Check the server, or give it more time: timeout_seconds=60 in its Wait."
    )


def test_a_program_that_is_no_server_is_quoted() -> None:
    assert start_error(odd("only_garbage", wait=Wait.ready(timeout_seconds=1))) == (
        "Server 'only_garbage' did not become ready: it has not answered the handshake within 1 s "
        "(its stdout began with 'usage: prog [-h] FILE', which is no message of the protocol). "
        "A server's stdout is for the protocol; let it log to stderr."
    )


def test_a_prompt_is_quoted() -> None:
    error = start_error(odd("prompt", wait=Wait.ready(timeout_seconds=1)))
    assert "(its stdout began with 'Password: ', which is no message of the protocol)" in error


def test_a_flood_is_given_up_like_silence() -> None:
    assert "(its stdout began with 'y'," in start_error(odd("flood", wait=Wait.ready(timeout_seconds=1)))


def test_garbage_on_stdout_is_noted_and_the_server_works() -> None:
    async def talk(connection: Connection) -> None:
        assert (await connection.call_tool("hello")).text == "hello"
        starting, called = connection.take_notes()
        assert starting == (
            "server 'garbage' wrote to its stdout what is no message of the protocol: 'Starting up...'; "
            "its stdout is for the protocol, its stderr for the rest"
        )
        assert r"'\x1b[31mcalled hello'" in called  # and can't colour a terminal
        assert connection.take_notes() == ()

    connected(odd("garbage"), talk)


def test_a_server_that_dies_during_a_call_is_told_with_its_exit_code_and_its_last_words() -> None:
    server = odd("crasher")
    assert death(server, "crash") == (
        "Server 'crasher' died while its tool 'crash' was called: its process ended with exit code 5. "
        f"Run it in a terminal: {' '.join(server.command)}\n"
        "The end of its stderr:\n"
        "    about to crash"
    )


def test_a_server_that_is_killed_is_told_with_the_signal() -> None:
    assert "its process was killed by SIGKILL" in death(odd("crasher"), "killed")


def test_a_server_that_dies_between_two_calls_is_told_at_the_next() -> None:
    error = death(odd("crasher"), "farewell", "crash")
    assert error.startswith("Server 'crasher' died ")
    assert "its process ended with exit code 7" in error


def test_a_server_that_falls_silent_for_ever_is_dead() -> None:
    assert "its process closed its stdout" in death(odd("mute"), "hush")


def test_a_connection_that_was_closed_says_so() -> None:
    async def talk(connection: Connection) -> None:
        await connection.close()
        await connection.close()
        with pytest.raises(ServerDiedError, match="Server 'logs' was closed before its tool 'hello' was called"):
            await connection.call_tool("hello")

    connected(odd("logs"), talk)


def test_a_server_that_does_not_end_by_itself_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(connection: Connection) -> None:
        assert (await connection.call_tool("hello")).text == "called hello"
        assert len(psutil.Process().children()) == 1

    monkeypatch.setattr(process, "_PATIENCE_SECONDS", 0.1)
    connected(odd("stubborn"), talk)
    assert psutil.Process().children() == []


@pytest.mark.parametrize(
    ("tool", "why"),
    [
        ("broken", "did not return structured content"),
        ("wrong", "'seven' is not of type 'integer'"),
        ("malformed", "validation error"),
    ],
)
def test_a_result_that_breaks_the_servers_own_word_is_an_error_of_the_tool(tool: str, why: str) -> None:
    async def talk(connection: Connection) -> None:
        outcome = await connection.call_tool(tool)
        assert outcome.is_error
        assert why in outcome.text
        assert len(outcome.text) < 1000
        assert connection.is_alive

    connected(odd("liar"), talk)


def test_a_launcher_and_its_deaf_child_are_both_gone_when_the_start_is_given_up(tmp_path: Path) -> None:
    def family() -> list[psutil.Process]:
        return [psutil.Process(int(pid)) for pid in pids.read_text().split() if psutil.pid_exists(int(pid))]

    pids = tmp_path / "pids"
    start_error(odd("launcher", str(pids), wait=Wait.ready(timeout_seconds=1)))
    assert len(pids.read_text().split()) == 2
    assert psutil.wait_procs(family(), timeout=5)[1] == []  # killed, but who inherits a child may be slow to bury it


def test_what_a_server_leaves_behind_is_gone_when_it_is_closed() -> None:
    async def talk(connection: Connection) -> None:
        family.extend(psutil.Process().children(recursive=True))
        assert len(family) == 2

    family: list[psutil.Process] = []
    connected(odd("parent"), talk)
    assert psutil.wait_procs(family, timeout=5)[1] == []


@pytest.mark.parametrize("at_once", [True, False])
def test_a_caller_that_gives_up_waiting_for_a_start_leaves_no_process(at_once: bool) -> None:
    async def main() -> None:
        async with ServerPool() as pool:
            with anyio.move_on_after(0 if at_once else 0.2) as scope:
                await pool.open(odd("silent"))
            assert scope.cancelled_caught
        assert psutil.Process().children(recursive=True) == []

    anyio.run(main)


def test_a_caller_that_gives_up_a_call_leaves_the_connection_usable() -> None:
    async def talk(connection: Connection) -> None:
        with anyio.move_on_after(0) as scope:
            await connection.call_tool("hello")
        assert scope.cancelled_caught
        assert connection.is_alive
        assert (await connection.call_tool("hello")).text == "called hello"

    connected(odd("logs"), talk)


def test_a_server_of_the_newest_protocol_is_served_where_the_sdk_can() -> None:
    async def talk(connection: Connection) -> None:
        assert (await connection.call_tool("greet")).text == "asked: decline"
        assert connection.take_notes() == ("server 'modern' asked for elicitation ('Your name?'); declined",)

    if hasattr(mcp.ClientSession, "discover"):
        connected(odd("modern"), talk)
    else:
        assert "it refused, saying 'no handshake here'" in start_error(odd("modern"))


def test_the_last_words_can_not_move_the_terminal(tmp_path: Path) -> None:
    script = tmp_path / "colours.py"
    script.write_text("import sys; sys.stderr.write('\\x1b[2J' + 'x' * 10_000); sys.exit(1)")
    error = start_error(MCPServer(command=[sys.executable, str(script)]))
    assert "\x1b" not in error
    assert max(map(len, error.splitlines())) < 400

"""Servers that live in this process."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from mcp import types
from mcp.server.lowlevel import Server

from pytest_aitest.conversation.servers import Connection, ServerPool, check_schema
from pytest_aitest.values.agent import MCPServer, Wait
from pytest_aitest.values.errors import DeclarationError, ServerDiedError, ServerStartError
from tests.support.servers import bank, megabytes, wishes


def connected(build: Callable[[], Any], talk: Callable[[Connection], Awaitable[None]]) -> None:
    async def main() -> None:
        async with ServerPool() as pool:
            await talk(await pool.open(MCPServer(factory=build, name="made")))

    anyio.run(main)


def start_error(build: Callable[[], Any], **fields: Any) -> ServerStartError:
    async def main() -> ServerStartError:
        async with ServerPool() as pool:
            with pytest.raises(ServerStartError) as caught:
                await pool.open(MCPServer(factory=build, name="made", **fields))
            return caught.value

    return anyio.run(main)


def low_level(*tools: types.Tool, **settings: Any) -> Server[Any]:
    """A low-level server, which both versions of mcp build in their own way."""
    if hasattr(Server, "list_tools"):  # mcp 1.x
        server: Any = Server("low", **settings)

        @server.list_tools()
        async def listed() -> list[types.Tool]:
            return list(tools)

        return server

    async def on_list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=list(tools))

    return Server("low", on_list_tools=on_list_tools, **settings)


def tool(**fields: Any) -> types.Tool:
    return types.Tool.model_validate({"name": "odd", "inputSchema": {"type": "object"}} | fields)


def test_each_opening_makes_a_server_of_its_own() -> None:
    async def main() -> None:
        server = MCPServer(factory=bank.build)
        async with ServerPool() as pool:
            first, second = await pool.open(server), await pool.open(server)
            await first.call_tool("withdraw", {"amount": 1500})
            assert (await first.call_tool("get_balance", {"account": "checking"})).structured == {"result": 0}
            assert (await second.call_tool("get_balance", {"account": "checking"})).structured == {"result": 1500}

    anyio.run(main)


def test_a_tool_error_carries_its_text_and_an_exception_is_an_error_too() -> None:
    async def talk(connection: Connection) -> None:
        told = await connection.call_tool("get_balance", {"account": "attic"})
        assert told.is_error
        assert "There is no account 'attic'" in told.text
        raised = await connection.call_tool("withdraw", {"amount": 2000})
        assert raised.is_error
        assert raised.text.startswith("Error executing tool withdraw")
        assert connection.is_alive

    connected(bank.build, talk)


@pytest.mark.parametrize(("tool", "arguments"), [("get_balence", {}), ("get_balance", {"acount": "savings"})])
def test_a_call_that_is_wrong_is_an_outcome(tool: str, arguments: dict[str, Any]) -> None:
    async def talk(connection: Connection) -> None:
        assert (await connection.call_tool(tool, arguments)).is_error
        assert connection.is_alive

    connected(bank.build, talk)


def test_a_picture_is_a_note_of_its_kind_and_size() -> None:
    async def talk(connection: Connection) -> None:
        assert (await connection.call_tool("picture")).text == "A cat:\n[image/png, 12 kB]"

    connected(megabytes.build, talk)


@pytest.mark.filterwarnings("ignore:The sampling capability is deprecated")  # mcp 2.x, to the server
def test_what_a_server_asks_of_a_user_or_a_model_is_declined_and_noted() -> None:
    async def talk(connection: Connection) -> None:
        assert (await connection.call_tool("greet")).text == "the user said decline"
        assert (await connection.call_tool("compose")).text == "no model: Declined: this client has no model to lend."
        assert connection.take_notes() == (
            "server 'made' asked for elicitation ('Your name?'); declined",
            "server 'made' asked for sampling ('A haiku, please'); declined",
        )

    connected(wishes.build, talk)


def test_hints_are_read_and_silence_is_none() -> None:
    async def talk(connection: Connection) -> None:
        hinted, silent = connection.tools
        assert (hinted.read_only, hinted.open_world) == (True, False)
        assert (silent.read_only, silent.open_world, silent.description) == (None, None, "")

    annotations = {"readOnlyHint": True, "openWorldHint": False}
    connected(lambda: low_level(tool(annotations=annotations), tool(name="silent")), talk)


def test_a_schema_that_is_none_is_told_by_its_place() -> None:
    async def talk(connection: Connection) -> None:
        for _ in range(2):
            with pytest.raises(DeclarationError) as caught:
                check_schema(connection.tools[0])
            assert str(caught.value) == (
                "Tool 'odd' of server 'made' declares arguments that are no JSON Schema: "
                "'strnig' is not valid under any of the given schemas (at $.properties.name.type). "
                "Correct the schema in the server, or leave the tool out with allowed_tools."
            )
        check_schema(connection.tools[1])

    wrong = {"type": "object", "properties": {"name": {"type": "strnig"}}}
    connected(lambda: low_level(tool(inputSchema=wrong), tool(name="right")), talk)


def test_a_server_without_tools_has_none() -> None:
    async def talk(connection: Connection) -> None:
        assert connection.tools == ()

    connected(lambda: Server("empty"), talk)


async def build_slowly() -> Any:
    await anyio.lowlevel.checkpoint()
    return bank.build()


def test_a_factory_may_be_a_coroutine_function() -> None:
    async def talk(connection: Connection) -> None:
        assert connection.tools[0].name == "get_balance"

    connected(build_slowly, talk)


@pytest.mark.parametrize(("made", "described"), [(None, "None"), (42, "a int"), (bank, "a module")])
def test_what_is_no_server_is_named(made: Any, described: str) -> None:
    assert str(start_error(lambda: made)) == (
        f"Server 'made' can't be started: its factory returned {described}, which is no MCP server. "
        "Return an mcp MCPServer (FastMCP in mcp 1.x) or a low-level Server."
    )


def test_what_a_factory_raises_is_the_cause() -> None:
    error = start_error(lambda: 1 / 0)
    assert str(error).startswith(
        "Server 'made' can't be started: its factory raised ZeroDivisionError: division by zero."
    )
    assert isinstance(error.__cause__, ZeroDivisionError)


@asynccontextmanager
async def broken(_server: Any) -> AsyncIterator[None]:
    raise ValueError("no database")
    yield


@asynccontextmanager
async def endless(_server: Any) -> AsyncIterator[None]:
    await anyio.sleep_forever()
    yield


def test_a_lifespan_that_raises_is_told() -> None:
    error = start_error(lambda: low_level(lifespan=broken))
    assert str(error).startswith("Server 'made' did not become ready: ValueError: no database. ")
    assert isinstance(error.__cause__, ValueError)


def test_a_lifespan_that_does_not_begin_is_given_up() -> None:
    error = start_error(lambda: low_level(lifespan=endless), wait=Wait.ready(timeout_seconds=0.2))
    assert "it has not answered the handshake within 0.2 s" in str(error)


def test_a_lifespan_is_left_when_the_connection_is_closed() -> None:
    @asynccontextmanager
    async def noted(_server: Any) -> AsyncIterator[None]:
        seen.append("entered")
        yield
        await anyio.lowlevel.checkpoint()
        seen.append("left")

    async def talk(connection: Connection) -> None:
        await connection.close()
        assert seen == ["entered", "left"]

    seen: list[str] = []
    connected(lambda: low_level(lifespan=noted), talk)


class Outcome(BaseException):
    """As pytest's own outcomes are: no `Exception`."""


def test_a_tool_that_takes_the_server_down_ends_no_more_than_its_connection() -> None:
    def build() -> Any:
        made = bank.build()

        @made.tool()
        async def burn() -> str:
            raise Outcome("burnt")

        return made

    async def main() -> None:
        async with ServerPool() as pool:
            other = await pool.open(MCPServer(factory=bank.build))
            connection = await pool.open(MCPServer(factory=build))
            with pytest.raises(ServerDiedError, match="died while its tool 'burn' was called: Outcome: burnt"):
                await connection.call_tool("burn")
            assert not connection.is_alive
            assert not (await other.call_tool("start_over")).is_error

    anyio.run(main)


def test_building_a_server_leaves_the_root_logger_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(connection: Connection) -> None:
        assert (root.handlers, root.level) == ([], logging.ERROR)

    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])  # which is when `basicConfig` does something
    monkeypatch.setattr(root, "level", logging.ERROR)
    connected(bank.build, talk)
    assert (root.handlers, root.level) == ([], logging.ERROR)

"""What mcp logs about our connections, and what stays as it is."""

import logging

import anyio
import pytest

from pytest_aitest.conversation.servers import ServerPool, quiet
from pytest_aitest.values.agent import MCPServer
from pytest_aitest.values.errors import ServerDiedError
from tests.support.endpoint import Endpoint, html
from tests.support.servers import command

SDK = logging.getLogger("mcp.client.streamable_http")


def test_what_the_sdk_says_of_a_broken_connection_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with ServerPool() as pool:
            with Endpoint(lambda _request: html(500)) as endpoint, pytest.raises(Exception, match="HTTP 500"):
                await pool.open(MCPServer(url=endpoint.url))
            connection = await pool.open(MCPServer(command=command("odd", "crasher")))
            with pytest.raises(ServerDiedError):
                await connection.call_tool("crash")

    anyio.run(main)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def test_at_debug_level_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with quiet.sdk_at_debug_level(), quiet.ours(), caplog.at_level(logging.DEBUG):
        SDK.error("hung up")
    assert [(record.levelname, record.message) for record in caplog.records] == [("DEBUG", "hung up")]


def test_what_is_said_of_other_connections_stays_an_error(caplog: pytest.LogCaptureFixture) -> None:
    with quiet.sdk_at_debug_level():
        SDK.error("not ours")
        with quiet.ours(), quiet.ours(yes=False):
            SDK.error("nor this")
        with quiet.ours():
            logging.getLogger("mcp.server").error("a server's")
    with quiet.ours():
        SDK.error("no pool is open")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("ERROR", "not ours"),
        ("ERROR", "nor this"),
        ("ERROR", "a server's"),
        ("ERROR", "no pool is open"),
    ]

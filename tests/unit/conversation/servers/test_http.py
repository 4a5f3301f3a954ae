"""Servers that run somewhere already: both transports, and every wrong url."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest

from pytest_aitest.conversation.servers import Connection, ServerPool
from pytest_aitest.values.agent import MCPServer, Wait
from pytest_aitest.values.errors import ServerDiedError, ServerStartError
from tests.support.endpoint import Endpoint, Reply, Request, dropped, failure, hanging, html, json_body
from tests.support.servers import web


@pytest.fixture(scope="module")
def bank() -> Iterator[str]:
    with web.running() as url:
        yield url


def connected(server: MCPServer, talk: Callable[[Connection], Awaitable[None]]) -> None:
    async def main() -> None:
        async with ServerPool() as pool:
            await talk(await pool.open(server))

    anyio.run(main)


def start_error(**fields: Any) -> str:
    async def main() -> str:
        async with ServerPool() as pool:
            with pytest.raises(ServerStartError) as caught:
                await pool.open(MCPServer(**fields))
            return str(caught.value)

    return anyio.run(main)


def scripted(**results: Any) -> Callable[[Request], Reply]:
    """A server that answers as `results` say, by method; the last of them is for calls of tools."""

    def answer(request: Request) -> Reply:
        if request.body["method"] == "tools/call":
            made = results["call"]
            assert isinstance(made, Reply)
            return made
        if "id" not in request.body:
            return Reply(status=202)
        answers = {
            "initialize": {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "scripted", "version": "1"},
            },
            "tools/list": {"tools": [{"name": "call", "inputSchema": {"type": "object"}}]},
        }
        return json_body({"jsonrpc": "2.0", "id": request.body["id"], "result": answers[request.body["method"]]})

    return answer


def outcome_of_call(reply: Reply) -> str:
    """What a call comes to where a server that has started well answers it with `reply`."""

    async def talk(connection: Connection) -> None:
        try:
            said.append((await connection.call_tool("call")).text)
        except ServerDiedError as error:
            said.append(str(error))
            assert not connection.is_alive

    said: list[str] = []
    with Endpoint(scripted(call=reply)) as endpoint:
        connected(MCPServer(url=endpoint.url, name="web"), talk)
    return said[0]


@pytest.mark.parametrize("transport", ["streamable-http", "sse"])
def test_both_transports_list_and_call_tools(bank: str, transport: Any) -> None:
    async def talk(connection: Connection) -> None:
        assert [tool.name for tool in connection.tools] == ["get_balance", "withdraw", "start_over"]
        assert (await connection.call_tool("get_balance", {"account": "savings"})).structured == {"result": 3000}
        assert (await connection.call_tool("get_balance", {"account": "none"})).is_error
        assert connection.take_notes() == ()

    connected(MCPServer(url=f"{bank}/{'sse' if transport == 'sse' else 'mcp'}", transport=transport), talk)


def test_headers_are_sent_with_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(connection: Connection) -> None:
        assert (await connection.call_tool("call")).text == "done"

    monkeypatch.setenv("BANK_TOKEN", "geheim")
    answer = {"jsonrpc": "2.0", "id": 2, "result": {"content": [{"type": "text", "text": "done"}]}}

    def script(request: Request) -> Reply:
        return scripted(call=json_body(answer | {"id": request.body.get("id")}))(request)

    with Endpoint(script) as endpoint:
        connected(MCPServer(url=endpoint.url, headers={"Authorization": "Bearer ${BANK_TOKEN}"}), talk)
    assert {request.headers["authorization"] for request in endpoint.requests} == {"Bearer geheim"}


def test_an_unknown_variable_in_a_header_is_named() -> None:
    assert start_error(url="http://127.0.0.1:1/mcp", headers={"X-Key": "${NO_SUCH_KEY}"}).startswith(
        "Server '127.0.0.1:1/mcp' can't be started: headers['X-Key'] asks for ${NO_SUCH_KEY}, "
        "and no such variable is set."
    )


@pytest.mark.parametrize("transport", ["streamable-http", "sse"])
def test_a_url_where_nobody_listens_is_named_without_its_secrets(transport: Any) -> None:
    assert start_error(url="http://user:geheim@127.0.0.1:1/mcp?key=geheim", transport=transport) == (
        "Server '127.0.0.1:1/mcp' did not become ready: ConnectError: All connection attempts failed. "
        "Check that an MCP server is running at http://127.0.0.1:1/mcp, and its own log."
    )


@pytest.mark.parametrize(
    ("reply", "why", "advice"),
    [
        (
            failure(401),
            "answered HTTP 401 Unauthorized. ",
            "credentials it wants in headers",
        ),
        (html(404), "answered HTTP 404 Not Found. ", "Check the path"),
        (html(500), "answered HTTP 500 Internal Server Error with text/html", "Check that an MCP server is running"),
        (failure(429), "answered HTTP 429 Too Many Requests with JSON that is no message", "MCP server is running"),
        (html(), "answered HTTP 200 OK with text/html", "Check that an MCP server is running"),
        (json_body({"hello": "world"}), "answered HTTP 200 OK with JSON that is no message", "MCP server is running"),
    ],
)
def test_an_answer_that_is_no_message_is_told_with_its_status(reply: Reply, why: str, advice: str) -> None:
    with Endpoint(lambda _request: reply) as endpoint:
        error = start_error(url=endpoint.url, name="web")
    assert error.startswith(f"Server 'web' did not become ready: {endpoint.url} {why}")
    assert advice in error


def test_a_message_that_can_not_be_read_is_not_waited_for() -> None:
    with Endpoint(lambda _request: json_body({"jsonrpc": "3.0"})) as endpoint:
        error = start_error(url=endpoint.url, name="web")
    assert error.startswith("Server 'web' did not become ready: it ")
    assert "validation error" in error


def test_a_redirect_to_another_server_is_not_followed() -> None:
    elsewhere = Reply(status=308, headers={"Location": "http://example.invalid/mcp"})
    with Endpoint(lambda _request: elsewhere) as endpoint:
        error = start_error(url=endpoint.url, name="web")
    assert "Redirect to http://example.invalid/mcp not followed" in error


def test_a_get_that_fails_ends_the_sse_transport() -> None:
    with Endpoint() as endpoint:
        error = start_error(url=endpoint.url, transport="sse", name="web")
    assert f"{endpoint.url} answered HTTP 501" in error


def test_a_server_that_hangs_is_given_up_in_its_time() -> None:
    with Endpoint(hanging()) as endpoint:
        error = start_error(url=endpoint.url, name="web", wait=Wait.ready(timeout_seconds=0.5))
    assert "it has not answered the handshake within 0.5 s" in error


@pytest.mark.parametrize("reply", [html(), failure(400), failure(404), html(500), failure(401), dropped()])
def test_an_answer_to_a_call_that_is_no_message_ends_the_connection(reply: Reply) -> None:
    assert outcome_of_call(reply).startswith("Server 'web' died while its tool 'call' was called: ")


def test_a_server_that_is_gone_at_the_next_call_has_died() -> None:
    async def main() -> None:
        async with ServerPool() as pool:
            with web.running() as url:
                connection = await pool.open(MCPServer(url=f"{url}/mcp"))
            with pytest.raises(ServerDiedError, match="ConnectError"):
                await connection.call_tool("get_balance", {"account": "savings"})

    anyio.run(main)

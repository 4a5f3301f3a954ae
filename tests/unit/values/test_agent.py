"""Declarations refuse what can't be right, and say what to write instead."""

from pathlib import Path
from typing import Any

import pytest

from pytest_aitest import Agent, DeclarationError, MCPServer, Provider, Wait

PROVIDER = Provider(model="builtin")


def build() -> None:
    """Stand for a server factory."""


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (
            lambda: MCPServer(command="python bank.py"),  # type: ignore[arg-type]
            "MCPServer(command='python bank.py'): must be a list of words: write ['python', 'bank.py']",
        ),
        (
            lambda: MCPServer(),
            "MCPServer: was given nothing; give exactly one of command=[...], factory=... and url=..., because they "
            "are three ways to reach one server.",
        ),
        (
            lambda: MCPServer(url="http://localhost/mcp", args=("x",)),
            "MCPServer: 'args' can't go with 'url', which has no use for it. Leave it out.",
        ),
        (
            lambda: MCPServer(factory=build, wait=Wait.for_log("ready")),
            "MCPServer: Wait.for_log needs a command: only a process that we start lets us read its log.",
        ),
        (
            lambda: MCPServer(url="localhost:8000"),
            "MCPServer(url='localhost:8000'): must be a url such as \"http://127.0.0.1:8000/mcp\"",
        ),
        (lambda: MCPServer(url="http://[::1"), "MCPServer(url='http://[::1'): is not a url: Invalid IPv6 URL"),
        (
            lambda: Wait.for_log("("),
            "Wait.for_log('(') is not a regular expression: missing ), unterminated subpattern at position 0.",
        ),
        (
            lambda: Wait.ready(timeout_seconds=0),
            "Wait(timeout_seconds=0): Input should be greater than 0",
        ),
        (
            lambda: Agent(provider=PROVIDER, sytem_prompt="Be brief."),  # type: ignore[call-arg]
            "Agent has no field 'sytem_prompt'. Its fields are 'provider', 'name', 'mcp_servers', 'system_prompt', "
            "'max_model_calls' and 'allowed_tools'. Did you mean 'system_prompt'?",
        ),
        (
            lambda: Provider("gpt-4o"),  # type: ignore[call-arg]
            "Provider takes its fields by name. Write Provider(model='gpt-4o').",
        ),
        (
            lambda: Agent(provider="gpt-4o"),  # type: ignore[arg-type]
            "Agent(provider='gpt-4o'): must be a Provider, such as Provider(...)",
        ),
        (lambda: Agent(), "Agent needs 'provider', and it was not given."),  # type: ignore[call-arg]
        (
            lambda: Agent(provider=PROVIDER, mcp_servers=(MCPServer(factory=build), MCPServer(factory=build))),
            "Agent: server 'build' is listed twice in mcp_servers. List it once.",
        ),
        (
            lambda: Agent(
                provider=PROVIDER,
                mcp_servers=(MCPServer(factory=build, name="a"), MCPServer(url="http://localhost/mcp", name="a")),
            ),
            "Agent: two servers are named 'a'. Give each a name of its own.",
        ),
        (
            lambda: Provider(model=""),
            'Provider(model=\'\'): must be the name of a model, such as "azure/gpt-5-mini" or "builtin", or a callable',
        ),
        (
            lambda: Provider(model=42),  # type: ignore[arg-type]
            'Provider(model=42): must be the name of a model, such as "azure/gpt-5-mini" or "builtin", or a callable',
        ),
    ],
)
def test_a_declaration_that_cannot_be_right_is_refused(declare: Any, message: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        declare()
    assert str(raised.value) == message


def test_equal_declarations_are_equal_wherever_they_are_made() -> None:
    one = MCPServer(command=["python", "bank.py"], env={"A": "1", "B": "2"})
    other = MCPServer(command=("python", Path("bank.py")), env={"B": "2", "A": "1"})
    assert one == other
    assert one != MCPServer(command=["python", "bank.py"], env={"A": "1"})


def test_a_list_of_servers_becomes_one_that_nobody_can_change() -> None:
    servers = [MCPServer(factory=build)]
    agent = Agent(provider=PROVIDER, mcp_servers=servers)
    servers.clear()
    assert [server.label for server in agent.mcp_servers] == ["build"]


@pytest.mark.parametrize(
    ("server", "label"),
    [
        (MCPServer(command=["python", "servers/banking_mcp.py"]), "banking_mcp"),
        (MCPServer(command=["python", "-m", "bank.server"]), "bank.server"),
        (MCPServer(command=["npx", "-y", "@corp/server-files", "/tmp"]), "server-files"),
        (MCPServer(command=["uvx"], args=["mcp-git"]), "mcp-git"),
        (MCPServer(command=["/usr/bin/bank"]), "bank"),
        (MCPServer(command=["docker", "run", "-i", "bank/server"]), "server"),
        (MCPServer(url="http://user:secret@localhost:8000/mcp/"), "localhost:8000/mcp"),
        (MCPServer(factory=build), "build"),
        (MCPServer(factory=build, name="bank"), "bank"),
    ],
)
def test_a_server_without_a_name_is_called_by_what_it_is_made_from(server: MCPServer, label: str) -> None:
    assert server.label == label


def test_the_upstream_name_of_the_call_limit_is_accepted() -> None:
    assert Agent(provider=PROVIDER, max_turns=3).max_model_calls == 3  # type: ignore[call-arg]


def test_the_repr_is_what_was_written() -> None:
    agent = Agent(provider=Provider(model="builtin"), mcp_servers=[MCPServer(url="http://localhost/mcp")])
    assert repr(agent) == (
        "Agent(provider=Provider(model='builtin'), mcp_servers=(MCPServer(url='http://localhost/mcp'),))"
    )


def test_a_key_is_not_in_the_repr() -> None:
    assert "secret" not in repr(Provider(model="gpt-4o", api_key="secret", extra={"token": "secret"}))

"""What an exploration may ask, and the price that it says otherwise."""

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_aitest import Agent, DeclarationError, MCPServer, Provider
from pytest_aitest.conversation.models import price
from pytest_aitest.conversation.tree import Called, Said
from pytest_aitest.exploration import allowed
from pytest_aitest.exploration.allowed import Allowance, PriceError, check_tools, forecast
from pytest_aitest.search.runner import StopSearchError


def said(provider: Provider, *servers: MCPServer) -> Said:
    agent = Agent(provider=provider, mcp_servers=list(servers))
    return Said(prompt="hi", agent=agent, max_model_calls=10, timeout_seconds=60)


FREE = [
    Provider(model=lambda messages, tools: "hi"),
    Provider(model="builtin"),
    Provider(model="openai/llama", api_base="http://localhost:8000/v1"),
    Provider(model="openai/llama", api_base="https://gpu.example/v1", price=(0, 0)),
]
PAID = Provider(model="azure/some-model", price=(1.0, 2.0))
UNPRICED = Provider(model="azure/nobody-knows-this")


@pytest.mark.parametrize("provider", FREE, ids=["callable", "builtin", "loopback", "said to be free"])
@pytest.mark.parametrize("pays", [True, False])
def test_what_costs_nothing_may_be_asked(provider: Provider, pays: bool) -> None:
    Allowance(pays=pays, calls=400).allow(said(provider))


def test_what_costs_is_refused_with_its_price() -> None:
    with pytest.raises(PriceError) as raised:
        Allowance(pays=False, calls=400).allow(said(PAID))
    assert str(raised.value) == "would ask azure/some-model up to 400 times, about $0.48; add --aitest-explore"
    assert isinstance(raised.value, StopSearchError)


def test_a_model_of_unknown_price_is_refused_without_one() -> None:
    with pytest.raises(PriceError) as raised:
        Allowance(pays=False, calls=7).allow(said(UNPRICED))
    assert str(raised.value) == "would ask azure/nobody-knows-this up to 7 times; add --aitest-explore"


def test_who_pays_may_ask_what_has_a_price() -> None:
    Allowance(pays=True, calls=400).allow(said(PAID))


def test_a_budget_in_dollars_needs_a_price() -> None:
    with pytest.raises(DeclarationError, match=r"Give Provider\(price=\(\.\.\.\)\)"):
        Allowance(pays=True, calls=400).allow(said(UNPRICED))
    Allowance(pays=True, calls=400, in_usd=False).allow(said(UNPRICED))


def test_a_listed_price_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {"azure/nobody-knows-this": {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-5}}
    monkeypatch.setattr(price, "_list_of_prices", lambda: listed)
    Allowance(pays=True, calls=400).allow(said(UNPRICED))
    assert forecast(UNPRICED, calls=10) == "azure/nobody-knows-this up to 10 times, about $0.02"


def test_a_declared_price_goes_before_a_listed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowed, "listed_price", lambda provider: (9.0, 9.0))
    assert forecast(PAID, calls=1_000) == "azure/some-model up to 1000 times, about $1.20"


def test_a_url_has_to_say_how_it_starts_anew_even_where_nobody_pays() -> None:
    with pytest.raises(DeclarationError, match="is a url, whose state is someone else's"):
        Allowance(pays=False, calls=1).allow(said(PAID, MCPServer(url="http://localhost:1/mcp")))
    Allowance(pays=True, calls=1).allow(said(PAID, MCPServer(url="http://localhost:1/mcp", reset="start_over")))


def test_a_tool_that_a_step_calls_is_held_to_its_servers_state_not_to_a_price() -> None:
    Allowance(pays=False, calls=1).allow(Called(tool="look", arguments={}))


def connection(*, open_world: bool, **server: Any) -> Any:
    tools = [SimpleNamespace(name="look", open_world=False), SimpleNamespace(name="search", open_world=open_world)]
    return SimpleNamespace(server=MCPServer(command=["x"], **server), label="web", tools=tools)


def test_a_tool_that_reaches_into_the_world_needs_a_word_on_its_state() -> None:
    with pytest.raises(DeclarationError, match="Server 'web' says of its tool 'search' that it reaches out"):
        check_tools([connection(open_world=True)])


@pytest.mark.parametrize("server", [{"fresh": True}, {"reset": "start_over"}], ids=["fresh", "reset"])
def test_a_server_that_starts_anew_may_reach_anywhere(server: dict[str, Any]) -> None:
    check_tools([connection(open_world=True, **server), connection(open_world=False)])

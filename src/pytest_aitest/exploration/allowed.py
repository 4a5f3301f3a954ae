"""What an exploration may ask: agents that cost nothing or that somebody pays for, servers that start anew.

An exploration asks often, and needs every conversation to begin in the same state; a fixed test needs neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_aitest.conversation.models.price import costs_nothing, listed_price
from pytest_aitest.conversation.servers import Connection
from pytest_aitest.conversation.tree import Event
from pytest_aitest.search.runner import StopSearchError
from pytest_aitest.values.agent import MCPServer, Provider
from pytest_aitest.values.errors import DeclarationError

_TOKENS = (1_000, 100)  # of the prompt and the completion of a model call, where nobody knows better


class PriceError(StopSearchError):
    """The exploration would cost money that nobody has allowed it to spend."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """Who may be asked. `calls` is how often at most, for the price; with `in_usd` there is a limit in dollars."""

    pays: bool
    calls: int
    in_usd: bool = True

    def allow(self, event: Event) -> None:
        """Let `event` go live, or say why not.

        Raises:
            PriceError: Its model costs money.
            DeclarationError: The state of one of its servers is not known, or the price that is to be limited.
        """
        if event.agent is None:
            return
        for server in event.agent.mcp_servers:
            _check_state(server)
        provider = event.agent.provider
        if costs_nothing(provider):
            return
        if not self.pays:
            raise PriceError(f"would ask {forecast(provider, calls=self.calls)}; add --aitest-explore")
        if self.in_usd and provider.price is None and listed_price(provider) is None:
            raise DeclarationError(
                f"The price of model {provider.label!r} is not known, so no budget in dollars can hold. "
                "Give Provider(price=(...)), in dollars per million prompt and completion tokens, or lift the limit "
                "with --aitest-budget-usd inf; --aitest-budget-calls still holds."
            )


def forecast(provider: Provider, *, calls: int) -> str:
    """`azure/gpt-5-mini up to 400 times, about $0.40`."""
    price = provider.price or listed_price(provider)
    about = ""
    if price is not None:
        usd = calls * sum(tokens * per_million for tokens, per_million in zip(_TOKENS, price, strict=True)) / 1e6
        about = f", about ${usd:.2f}"
    return f"{provider.label} up to {calls} times{about}"


def check_tools(connections: Sequence[Connection]) -> None:
    """Refuse a server whose tools reach beyond it, unless it says how it starts anew.

    Raises:
        DeclarationError: It does not.
    """
    for connection in connections:
        server = connection.server
        reaching = [tool.name for tool in connection.tools if tool.open_world]
        if reaching and server.reset is None and not server.fresh:
            raise DeclarationError(
                f"Server {connection.label!r} says of its tool {reaching[0]!r} that it reaches out into the world "
                "(openWorldHint=True), and an exploration repeats calls: a new process may not be a new state. "
                "Give MCPServer(reset=...) to say how it starts anew, or fresh=True if it does."
            )


def _check_state(server: MCPServer) -> None:
    if server.url is not None and server.reset is None:
        raise DeclarationError(
            f"Server {server.label!r} is a url, whose state is someone else's, and an exploration has many "
            "conversations that must all start in the same one. Say how it starts anew: "
            'MCPServer(url=..., reset="reset_tool"), or a function.'
        )

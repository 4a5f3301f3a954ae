"""What an exploration may ask: agents that cost nothing or that somebody pays for, servers that start anew.

An exploration asks often, and needs every conversation to begin in the same state; a fixed test needs neither.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pytest_aitest.conversation.models.price import costs_nothing, listed_price
from pytest_aitest.conversation.servers import Connection
from pytest_aitest.conversation.tree import Event
from pytest_aitest.report.amounts import counted
from pytest_aitest.search.runner import StopSearchError
from pytest_aitest.values.agent import MCPServer, Provider
from pytest_aitest.values.errors import DeclarationError
from pytest_aitest.values.record import MeanTurn

_TOKENS = (1_000, 100)  # of the prompt and the completion of a model call, where nobody knows better


class PriceError(StopSearchError):
    """The exploration would cost money that nobody has allowed it to spend."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """Who may be asked.

    Args:
        calls: How often at most, for the price.
        in_usd: Whether there is a limit in dollars.
        mean_turn: What a turn of a model has come to, where that is known.
        announce: Told what is expected, before the first model that costs is asked.
    """

    pays: bool
    calls: int
    in_usd: bool = True
    mean_turn: Callable[[str], MeanTurn | None] = lambda _: None
    announce: Callable[[str], object] = lambda _: None
    _announced: set[str] = field(default_factory=set)

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
            raise PriceError(f"would ask {self._forecast(provider)}; add --aitest-explore")
        if self.in_usd and provider.price is None and listed_price(provider) is None:
            raise DeclarationError(
                f"The price of model {provider.label!r} is not known, so no budget in dollars can hold. "
                "Give Provider(price=(...)), in dollars per million prompt and completion tokens, or lift the limit "
                "with --aitest-budget-usd inf; --aitest-budget-calls still holds."
            )
        if provider.label not in self._announced:
            self._announced.add(provider.label)
            self.announce(self._forecast(provider))

    def _forecast(self, provider: Provider) -> str:
        return forecast(provider, calls=self.calls, mean=self.mean_turn(provider.label))


def forecast(provider: Provider, *, calls: int, mean: MeanTurn | None = None) -> str:
    """`azure/gpt-5-mini up to 400 times, about $0.40`; the price by what its turns have cost, where that is known."""
    if mean is not None and mean.model_calls and mean.cost_usd is not None:
        usd = calls / mean.model_calls * mean.cost_usd
        return f"{provider.label} up to {calls} times, about ${usd:.2f} by {counted(mean.turns, 'recorded turn')}"
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

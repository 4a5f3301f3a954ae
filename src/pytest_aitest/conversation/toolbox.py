"""The tools that an agent may use in a turn, and the connections behind them.

Decides what is offered; calling is the connection's business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pytest_aitest.values.agent import Agent
from pytest_aitest.values.errors import DeclarationError, did_you_mean, quoted
from pytest_aitest.values.model import ToolSpec

from .servers import Connection, check_schema


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool and the live server that has it."""

    spec: ToolSpec
    connection: Connection


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """Tools by name, in the order in which their servers list them."""

    tools: dict[str, Tool]
    offered: tuple[str, ...]  # by the servers, whether or not the agent may use it

    @classmethod
    def of(cls, agent: Agent, connections: Sequence[Connection]) -> Self:
        """What `agent` may use of what the servers offer.

        Raises:
            DeclarationError: `allowed_tools` names a tool that nobody offers, two servers offer one name, or a schema
                is not a JSON Schema.
        """
        offered = [Tool(spec=spec, connection=connection) for connection in connections for spec in connection.tools]
        names = [tool.spec.name for tool in offered]
        for allowed in agent.allowed_tools or ():
            if allowed not in names:
                raise DeclarationError(
                    f"Agent {agent.name!r} has no tool {allowed!r}. Its servers offer {quoted(names)}."
                    f"{did_you_mean(allowed, names)}"
                )
        tools: dict[str, Tool] = {}
        for tool in offered:
            name = tool.spec.name
            if agent.allowed_tools is not None and name not in agent.allowed_tools:
                continue
            if name in tools:
                raise DeclarationError(
                    f"Agent {agent.name!r} would have two tools {name!r}, one of server "
                    f"{tools[name].spec.server!r} and one of {tool.spec.server!r}, and a model can't tell them apart. "
                    "Leave one server out, or list the tools it may use in allowed_tools without this one."
                )
            check_schema(tool.spec)
            tools[name] = tool
        return cls(tools=tools, offered=tuple(names))

    @property
    def specs(self) -> list[ToolSpec]:
        """The tools as a model is told of them."""
        return [tool.spec for tool in self.tools.values()]

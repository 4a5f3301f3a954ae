"""Bringing fresh servers to the state that a history left: its tool calls are repeated without the model, and compared.

Knows what happened, and nothing of why.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from pytest_aitest.values.errors import ServerDiedError, ServerError, did_you_mean, quoted
from pytest_aitest.values.plain import call_text, inert, one_line
from pytest_aitest.values.secrets import hide

from .connections import Connections
from .past import Happened
from .servers import Connection, ToolOutcome
from .tree import Called

TOOL_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class _Call:
    connection: Connection
    name: str
    arguments: Mapping[str, Any]
    said: str  # the last time


async def play(events: Sequence[Happened], connections: Connections) -> list[str]:
    """Repeat the tool calls of `events` on `connections`, opening what is not open.

    Returns:
        Where a server answered otherwise than it had, a sentence for each.

    Raises:
        ServerError: A server did not start, died, or took longer than a minute for one call.
    """
    differences = []
    for happened in events:
        async for call in _calls(happened, connections):
            said = (await _outcome(call)).text
            if said != call.said and hide(said) != hide(call.said):  # what a store recorded has its secrets hidden
                before, now = (one_line(text, most=100) for text in (call.said, said))
                what = one_line(call_text(call.name, call.arguments), most=100)
                differences.append(
                    f"Server {call.connection.label!r} answered {what} with {before!r}, and played back with {now!r}."
                )
    return differences


async def _calls(happened: Happened, connections: Connections) -> AsyncIterator[_Call]:
    """The calls that reached a server."""
    event, outcome = happened.event, happened.sample.outcome
    if isinstance(event, Called):
        if event.agent is not None:
            await connections.serving(event.agent)
        connection = connections.with_tool(event.tool, event.server)
        assert isinstance(outcome, ToolOutcome)
        yield _Call(connection=connection, name=event.tool, arguments=event.arguments, said=outcome.text)
        return
    serving = await connections.serving(event.agent)
    homes = {tool.name: connection for connection in reversed(serving) for tool in connection.tools}
    assert not isinstance(outcome, ToolOutcome)
    for call in outcome.tool_calls:
        if call.server is None or isinstance(call.arguments, str):
            continue
        if call.name not in homes:
            raise ServerError(
                f"Server {call.server!r} has no tool {call.name!r} any more, which the conversation had called, so it "
                f"can't be brought back to that state. It offers {quoted(homes)}.{did_you_mean(call.name, list(homes))}"
            )
        said = call.result if call.error is None else call.error
        yield _Call(connection=homes[call.name], name=call.name, arguments=call.arguments, said=said or "")


async def _outcome(call: _Call) -> ToolOutcome:
    text = one_line(inert(call_text(call.name, call.arguments)), most=200)
    try:
        with anyio.fail_after(TOOL_TIMEOUT_SECONDS):
            return await call.connection.call_tool(call.name, dict(call.arguments))
    except TimeoutError:
        why = f"{text} had not answered after {TOOL_TIMEOUT_SECONDS:g} s"
    except ServerDiedError as death:
        why = f"{text} ended it: {death}"
    raise ServerError(
        f"Server {call.connection.label!r} can't be brought back to the state that the conversation had left: {why}. "
        "Its tool calls were repeated for that; see why they do not come to the same end."
    )

"""Whether servers begin in the same state: what each says to the first call of a session, held against other sessions.

A playback shows the same only where a history goes on. Knows calls and answers, and nothing of how they are made.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

from pytest_aitest.values.agent import MCPServer
from pytest_aitest.values.plain import call_text, one_line
from pytest_aitest.values.transcript import Turn

from .keys import UnkeyableError, key_of, server_key
from .tree import Event, EventOutcome


class FirstAnswers:
    """The first answers of all sessions that share it."""

    def __init__(self) -> None:
        self._known: dict[Hashable, str] = {}

    def differences(self, before: Iterable[EventOutcome], event: Event, outcome: EventOutcome) -> list[str]:
        """Compare what servers said that `outcome` called first, after what came `before`.

        Returns:
            A sentence for each server that said something else than in another session.
        """
        called: set[str | None] = set()
        for earlier in before:
            if not isinstance(earlier, Turn):
                return []  # past the model, by which it is not known who was called
            called.update(call.server for call in earlier.tool_calls)
        differences = []
        for server, name, arguments, said in _calls(event, outcome):
            if server.label in called:
                continue
            called.add(server.label)
            try:
                key = server_key(server), name, key_of(arguments)
            except UnkeyableError:
                continue
            known = self._known.setdefault(key, said)
            if known != said:
                what, first, now = (one_line(text, most=100) for text in (call_text(name, arguments), known, said))
                differences.append(
                    f"Server {server.label!r} answered {what}, the first call of a session, with {first!r}, and in "
                    f"another with {now!r}."
                )
        return differences


def _calls(event: Event, outcome: EventOutcome) -> Iterator[tuple[MCPServer, str, Mapping[str, Any], str]]:
    """The calls of a turn that reached a server."""
    if event.agent is None or not isinstance(outcome, Turn):
        return
    servers = {server.label: server for server in event.agent.mcp_servers}
    for call in outcome.tool_calls:
        if call.server in servers and not isinstance(call.arguments, str):
            said = call.result if call.error is None else call.error
            yield servers[call.server], call.name, call.arguments, said or ""

"""One conversation, from empty history to close: its transcript, and servers that live as long as it does.

The async core does the work; the public methods block, or are awaited, on what it does.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import anyio

from pytest_aitest.values.agent import Agent, Provider
from pytest_aitest.values.errors import SessionError, ToolError
from pytest_aitest.values.model import Message
from pytest_aitest.values.plain import call_text, inert
from pytest_aitest.values.result import AgentResult
from pytest_aitest.values.transcript import ToolCall, Transcript, Turn

from .connections import Connections
from .engine import Engine
from .servers import ToolOutcome
from .toolbox import Toolbox
from .turn import take_turn

TURN_TIMEOUT_SECONDS = 60.0
TOOL_TIMEOUT_SECONDS = 60.0  # of a tool that is called past the model


class Session:
    """A conversation with one agent, or with several that share its history and servers.

    Opens servers when a turn first needs them, closes them at the end of the `with` block. Not for two threads at once;
    turns started side by side in one event loop are taken one after another.

    >>> from pytest_aitest import Agent, Provider, Session
    >>> with Session(Agent(provider=Provider(model=lambda messages, tools: f"{len(messages)} messages"))) as session:
    ...     first, second = session.say("hello"), session.say("still there?")
    >>> second.final_response
    '3 messages'
    """

    def __init__(
        self,
        agent: Agent | None = None,
        *,
        name: str = "",
        messages: Sequence[Message] = (),
        model: str | None = None,
    ) -> None:
        """Start from `messages`, OpenAI-style; `model` replaces that of every agent that speaks in this session."""
        self.name = name
        self.agent = agent
        self.transcript = Transcript(name=name, context=tuple(messages))
        self.results: list[AgentResult] = []  # of all turns ever taken here
        self._model = model
        self._engine = Engine.shared()
        self._connections = Connections(self._engine.pool)
        self._one_at_a_time = asyncio.Lock()  # anyio's would take on the kind of loop that this thread happens to run
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns so far."""
        return self.transcript.turns

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """All tool calls so far, in order."""
        return self.transcript.tool_calls

    def say(
        self,
        prompt: str,
        *,
        agent: Agent | None = None,
        max_model_calls: int | None = None,
        timeout_seconds: float = TURN_TIMEOUT_SECONDS,
        messages: Sequence[Message] | None = None,
    ) -> AgentResult:
        """Take one turn, and wait for it.

        A turn that does not end in an answer is returned, with its error, and later turns do not build on it.

        Args:
            prompt: The user's words.
            agent: Who answers; without it, whoever answered last.
            max_model_calls: In place of the agent's own limit.
            timeout_seconds: For the whole turn; the start of servers has its own limit (`Wait`).
            messages: A history, OpenAI-style, to go on from instead of this session's.

        Raises:
            DeclarationError: The agent's tools can't be what it declares.
            ServerStartError: A tool server did not become ready.
            SessionError: The session is closed, has no agent, or got a server declared anew.
        """
        __tracebackhide__ = True
        return self._engine.run(self._say, prompt, agent, max_model_calls, timeout_seconds, messages)

    async def say_async(
        self,
        prompt: str,
        *,
        agent: Agent | None = None,
        max_model_calls: int | None = None,
        timeout_seconds: float = TURN_TIMEOUT_SECONDS,
        messages: Sequence[Message] | None = None,
    ) -> AgentResult:
        """`say`, awaited: in any event loop, asyncio's or trio's."""
        __tracebackhide__ = True
        return await self._engine.run_async(self._say, prompt, agent, max_model_calls, timeout_seconds, messages)

    def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        server: str | None = None,
        agent: Agent | None = None,
    ) -> Any:
        """Call a tool of this session's live servers past the model, `allowed_tools` or not.

        Before the first turn, say whose servers are meant: `agent=...`.

        Returns:
            The tool's structured content, else its text parsed as JSON, else its text. What a tool returns that is no
            object, a number or a list, the SDK's servers wrap as `{"result": ...}`.

        Raises:
            ToolError: The tool answered with an error, or not within a minute.
            SessionError: No live server, or more than one, has such a tool. `server` names one.
        """
        __tracebackhide__ = True
        return self._engine.run(self._call_tool, name, arguments or {}, server, agent)

    async def call_tool_async(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        server: str | None = None,
        agent: Agent | None = None,
    ) -> Any:
        """`call_tool`, awaited."""
        __tracebackhide__ = True
        return await self._engine.run_async(self._call_tool, name, arguments or {}, server, agent)

    def close(self) -> None:
        """End the conversation; its servers close in the background, last opened first. A second call does nothing."""
        if not self._closed:
            self._closed = True
            with suppress(SessionError):  # where the loop has ended, nothing is left to close
                self._engine.run(self._close)

    async def _say(
        self,
        prompt: str,
        agent: Agent | None,
        max_model_calls: int | None,
        timeout_seconds: float,
        messages: Sequence[Message] | None,
    ) -> AgentResult:
        if not (isinstance(prompt, str) and prompt.strip()):
            raise SessionError(f"A turn starts with the user's words, and the prompt is {prompt!r}. Give it some text.")
        for limit, value in {"max_model_calls": max_model_calls, "timeout_seconds": timeout_seconds}.items():
            if value is not None and value <= 0:
                raise SessionError(f"{limit}={value} leaves no room for an answer. Give a number above 0.")
        async with self._one_at_a_time:
            speaker = self._speaker(agent)
            toolbox = Toolbox.of(speaker, await self._connections.serving(speaker))
            before = self.transcript if messages is None else Transcript(name=self.name, context=tuple(messages))
            turn = await take_turn(
                prompt,
                agent=speaker,
                model=self._engine.model(speaker.provider),
                toolbox=toolbox,
                context=before.messages,
                max_model_calls=max_model_calls or speaker.max_model_calls,
                timeout_seconds=timeout_seconds,
            )
            self.transcript = before.with_turn(turn)
            self.results.append(AgentResult(turn=turn, session=self.transcript))
            return self.results[-1]

    async def _call_tool(self, name: str, arguments: Mapping[str, Any], server: str | None, agent: Agent | None) -> Any:
        async with self._one_at_a_time:
            if agent is not None or not self._connections:
                await self._connections.serving(self._speaker(agent))
            connection = self._connections.with_tool(name, server)
            with anyio.move_on_after(TOOL_TIMEOUT_SECONDS) as limit:
                outcome = await connection.call_tool(name, dict(arguments))
        if limit.cancelled_caught:
            raise ToolError(f"{call_text(name, arguments)} had not answered after {TOOL_TIMEOUT_SECONDS:g} s.")
        if outcome.is_error:
            raise ToolError(inert(f"{call_text(name, arguments)} failed: {outcome.text}"))
        return _content(outcome)

    async def _close(self) -> None:
        async with self._one_at_a_time:
            self._connections.close_soon()

    def _speaker(self, agent: Agent | None) -> Agent:
        if self._closed:
            raise SessionError(f"Session {self.name!r} is closed, and so are its servers. Speak before it ends.")
        self.agent = agent or self.agent
        if self.agent is None:
            raise SessionError(
                "The session has no agent yet, so there is nobody to speak to and no server. "
                "Give one: agent=... in this call, or Session(agent)."
            )
        if self._model is None:
            return self.agent
        kept = self.agent.provider.model_dump(include={"temperature", "max_tokens", "timeout_seconds"})
        return self.agent.model_copy(update={"provider": Provider(model=self._model, **kept)})


def _content(outcome: ToolOutcome) -> Any:
    if outcome.structured is not None:
        return outcome.structured
    try:
        return json.loads(outcome.text)
    except ValueError:
        return outcome.text

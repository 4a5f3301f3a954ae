"""One conversation, from empty history to close: its transcript, and servers that live as long as it does.

The async core does the work; the public methods block, or are awaited, on what it does.
"""

import asyncio
import copy
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import anyio

from pytest_aitest.values.agent import Agent, Provider
from pytest_aitest.values.errors import AitestError, ServerDiedError, SessionError, ToolError, quoted
from pytest_aitest.values.model import Message
from pytest_aitest.values.plain import call_text, inert
from pytest_aitest.values.result import AgentResult
from pytest_aitest.values.transcript import ToolCall, Transcript, Turn

from .connections import Connections
from .engine import Engine
from .past import Past
from .playback import TOOL_TIMEOUT_SECONDS, play
from .servers import Connection, ToolOutcome
from .toolbox import Toolbox
from .tree import Called, Event, Said
from .turn import take_turn

Asked = TypeVar("Asked", bound=Event)
Answer = TypeVar("Answer")

TURN_TIMEOUT_SECONDS = 60.0
CallMode = Literal["event", "observation", "preparation"]
"""What `call_tool` is: a part of the conversation, an invariant's look at it, or what makes servers ready for it."""


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
        past: Past | None = None,
    ) -> None:
        """Start from `messages`, OpenAI-style; `model` replaces that of every agent that speaks in this session.

        `past` is the plugin's, for sessions that share what they know.
        """
        self.name = name
        self.agent = agent
        self._first_agent = agent
        self._beginning = self.transcript = Transcript(name=name, context=tuple(messages))
        self.results: list[AgentResult] = []  # of all turns ever taken here
        self.past = past or Past()
        self.past.begin_with(messages)
        self.call_mode: CallMode = "event"
        self.rephrased: str | None = None  # what the user says next, in place of what they are made to say
        self.replayed: set[int] = set()  # which of the results were not asked live
        self._model = model
        self._played = 0  # how many events of the past the live servers know of
        self._engine = Engine.shared()
        self._connections = Connections(self._engine.pool)
        self._one_at_a_time = asyncio.Lock()  # anyio's would take on the kind of loop that this thread happens to run
        self._closed = False

    def __repr__(self) -> str:
        return f"<session {self.name!r}: {len(self.turns)} turns>"

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
        said = self._said(prompt, agent, max_model_calls, timeout_seconds, messages)
        if (result := self._replayed(said)) is not None:
            return result
        self.past.before_live(said)
        return self._engine.run(self._say, said)

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
        said = self._said(prompt, agent, max_model_calls, timeout_seconds, messages)
        if (result := self._replayed(said)) is not None:
            return result
        self.past.before_live(said)
        return await self._engine.run_async(self._say, said)

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
        called = self._called(name, arguments or {}, server, agent)
        if (outcome := self._recalled(called)) is None:
            self.past.before_live(called)
            outcome = self._engine.run(self._call_tool, called)
        return _content(called, outcome)

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
        called = self._called(name, arguments or {}, server, agent)
        if (outcome := self._recalled(called)) is None:
            self.past.before_live(called)
            outcome = await self._engine.run_async(self._call_tool, called)
        return _content(called, outcome)

    def close(self) -> None:
        """End the conversation; its servers close in the background, last opened first. A second call does nothing."""
        if not self._closed:
            self._closed = True
            if self._connections or self._one_at_a_time.locked():
                with suppress(SessionError):  # where the loop has ended, nothing is left to close
                    self._engine.run(self._close)

    def restore(self) -> None:
        """Bring live servers to where the conversation is, as its next event would, and compare what they say."""
        self._engine.run(self._restore)

    def rewound(self, *, events: int) -> "Session":
        """A session of its own in the state that this one was in after so many events; it plays them to new servers."""
        past = self.past.up_to(events)
        turns = sum(isinstance(happened.sample.outcome, Turn) for happened in past.events)
        spoken = [happened.event.agent for happened in past.events if happened.event.agent is not None]
        session = Session(spoken[-1] if spoken else self._first_agent, name=self.name, model=self._model, past=past)
        session.results = self.results[:turns]
        session.transcript = self.results[turns - 1].session if turns else self._beginning
        return session

    def _said(
        self,
        prompt: str,
        agent: Agent | None,
        max_model_calls: int | None,
        timeout_seconds: float,
        messages: Sequence[Message] | None,
    ) -> Said:
        if not (isinstance(prompt, str) and prompt.strip()):
            raise SessionError(f"A turn starts with the user's words, and the prompt is {prompt!r}. Give it some text.")
        for limit, value in {"max_model_calls": max_model_calls, "timeout_seconds": timeout_seconds}.items():
            if value is not None and value <= 0:
                raise SessionError(f"{limit}={value} leaves no room for an answer. Give a number above 0.")
        speaker = self._speaker(agent)
        words, self.rephrased = self.rephrased or prompt, None
        return Said(
            prompt=words,
            agent=speaker,
            max_model_calls=max_model_calls or speaker.max_model_calls,
            timeout_seconds=timeout_seconds,
            messages=None if messages is None else tuple(messages),
        )

    def _called(self, name: str, arguments: Mapping[str, Any], server: str | None, agent: Agent | None) -> Called:
        self._check_open()
        if agent is not None or not self.past.events:
            agent = self._speaker(agent)
        agents = [happened.event.agent for happened in self.past.events] + [agent]
        servers = [each for speaker in agents if speaker is not None for each in speaker.mcp_servers]
        named = next((each for each in servers if each.label == server), None)
        return Called(tool=name, arguments=copy.deepcopy(dict(arguments)), server=server, named=named, agent=agent)

    def _replayed(self, said: Said) -> AgentResult | None:
        """The turn from the tree; None where it has to go live."""
        __tracebackhide__ = True
        sample = None if self._one_at_a_time.locked() else _looked_up(self.past.replay, said)
        if sample is None:
            return None
        assert isinstance(sample.outcome, Turn)
        self.replayed.add(len(self.results))
        return self._concluded(said, _renamed(sample.outcome, sample.event, said))

    def _recalled(self, called: Called) -> ToolOutcome | None:
        """What the tool says to that, from the tree; None where it has to be asked."""
        __tracebackhide__ = True
        if self._one_at_a_time.locked() or self.call_mode == "preparation":
            return None
        if self.call_mode == "observation":
            return _looked_up(self.past.observed, called)
        sample = _looked_up(self.past.replay, called)
        if sample is None:
            return None
        assert isinstance(sample.outcome, ToolOutcome)
        return sample.outcome

    async def _say(self, said: Said) -> AgentResult:
        async with self._one_at_a_time:
            await self._catch_up()
            serving = await self._connections.serving(said.agent)
            self.past.offered(serving)
            toolbox = Toolbox.of(said.agent, serving)
            before = self._before(said)
            if self.past.reseeds:
                random.seed(self.past.chance(said))
            with self._servers_forgotten_if_broken_off():
                turn = await take_turn(
                    said.prompt,
                    agent=said.agent,
                    model=self._engine.model(said.agent.provider),
                    toolbox=toolbox,
                    context=before.messages,
                    max_model_calls=said.max_model_calls,
                    timeout_seconds=said.timeout_seconds,
                )
            self.past.add(said, turn)
            self._played = len(self.past.events)
            return self._concluded(said, turn)

    def _before(self, said: Said) -> Transcript:
        return self.transcript if said.messages is None else Transcript(name=self.name, context=tuple(said.messages))

    def _concluded(self, said: Said, turn: Turn) -> AgentResult:
        self.transcript = self._before(said).with_turn(turn)
        self.results.append(AgentResult(turn=turn, session=self.transcript))
        return self.results[-1]

    async def _call_tool(self, called: Called) -> ToolOutcome:
        async with self._one_at_a_time:
            if self.call_mode != "preparation":
                await self._catch_up()
            if called.agent is not None:
                await self._connections.serving(called.agent)
            connection = self._connections.with_tool(called.tool, called.server)
            if self.call_mode == "observation":
                _check_only_looks(connection, called)
            with self._servers_forgotten_if_broken_off():
                try:
                    with anyio.fail_after(TOOL_TIMEOUT_SECONDS):
                        outcome = await connection.call_tool(called.tool, dict(called.arguments))
                except TimeoutError:
                    text = call_text(called.tool, called.arguments)
                    raise ToolError(f"{text} had not answered after {TOOL_TIMEOUT_SECONDS:g} s.") from None
            if self.call_mode == "observation":
                self.past.observe(called, outcome)
            elif self.call_mode == "event":
                self.past.add(called, outcome)
                self._played = len(self.past.events)
            return outcome

    @contextmanager
    def _servers_forgotten_if_broken_off(self) -> Iterator[None]:
        """What servers did in an event that never came to its end is not in the past, so they may not keep it."""
        try:
            yield
        except ServerDiedError:
            raise  # it keeps nothing
        except BaseException:
            self._connections.close_soon()
            self._played = 0
            raise

    async def _catch_up(self) -> None:
        """Bring the live servers to where the past is: what was replayed, they have not heard of."""
        missed, self._played = self.past.events[self._played :], 0
        try:
            self.past.differences += await play(missed, self._connections)
        except BaseException:
            self._connections.close_soon()  # they have heard of a part
            raise
        self._played = len(self.past.events)

    async def _restore(self) -> None:
        async with self._one_at_a_time:
            await self._catch_up()

    async def _close(self) -> None:
        async with self._one_at_a_time:
            self._connections.close_soon()

    def _check_open(self) -> None:
        if self._closed:
            raise SessionError(f"Session {self.name!r} is closed, and so are its servers. Speak before it ends.")

    def _speaker(self, agent: Agent | None) -> Agent:
        self._check_open()
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


def _renamed(turn: Turn, asked: Event, said: Said) -> Turn:
    """A turn from the tree, with the names that the agent and its servers have here."""
    assert asked.agent is not None
    before, now = ([server.label for server in agent.mcp_servers] for agent in (asked.agent, said.agent))
    if before == now:
        return turn if turn.agent == said.agent.name else replace(turn, agent=said.agent.name)
    labels = dict(zip(before, now, strict=True))
    return replace(
        turn,
        agent=said.agent.name,
        tool_calls=tuple(replace(call, server=labels.get(call.server or "")) for call in turn.tool_calls),
        tools=tuple(replace(tool, server=labels[tool.server]) for tool in turn.tools),
    )


def _check_only_looks(connection: Connection, called: Called) -> None:
    changing = [tool.name for tool in connection.tools if tool.read_only is False]
    if called.tool in changing:
        only = quoted(tool.name for tool in connection.tools if tool.name not in changing)
        raise SessionError(
            f"An invariant called {called.tool!r}, which server {connection.label!r} declares with readOnlyHint=False: "
            "it would change what it checks. "
            f"Call it in a rule, and in invariants one that only looks: there are {only}."
        )


def _looked_up(look_up: Callable[[Asked], Answer], event: Asked) -> Answer:
    """What is known of `event`; where what should know it can't be read, that is all there is to say."""
    __tracebackhide__ = True
    try:
        return look_up(event)
    except AitestError as error:
        raise error.with_traceback(None) from None


def _content(called: Called, outcome: ToolOutcome) -> Any:
    __tracebackhide__ = True
    if outcome.is_error:
        raise ToolError(inert(f"{call_text(called.tool, called.arguments)} failed: {outcome.text}"))
    if outcome.structured is not None:
        return copy.deepcopy(outcome.structured)  # the original may be told again
    try:
        return json.loads(outcome.text)
    except ValueError:
        return outcome.text

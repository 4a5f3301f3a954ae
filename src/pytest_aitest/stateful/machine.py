"""What users derive from: a state machine that has a conversation.

Knows how to speak; which steps are taken is for whoever drives it.
"""

import asyncio
import inspect
from collections.abc import Coroutine, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from hypothesis.stateful import RuleBasedStateMachine

from pytest_aitest.conversation.session import TURN_TIMEOUT_SECONDS, Session
from pytest_aitest.conversation.tree import Event
from pytest_aitest.values.agent import Agent
from pytest_aitest.values.errors import DeclarationError, SessionError, quoted
from pytest_aitest.values.result import AgentResult

from .declared import invariants_of, is_declared, rules_of

Result = TypeVar("Result")
_FIXTURES_OF_TESTS = {"aitest_run", "aitest_session", "request"}


class SessionMachine(RuleBasedStateMachine):
    """A Hypothesis state machine whose rules are turns of a conversation.

    Collected by pytest where its name fits `python_classes`: each `@pinned` method is a test, and `explore` one more,
    which tries other orders and other values. It sets its `agent`, or defines `make_agent`, which may ask for fixtures.
    """

    agent: Agent | None = None
    plans: ClassVar[int | None] = None  # how many orders an exploration tries besides the pinned ones
    plan_turns: ClassVar[int | None] = None  # steps in each; twice the longest pinned one, if not set
    confirm_runs: ClassVar[int] = 5  # fresh runs of a minimal transcript
    tolerate: ClassVar[float] = 0.0  # the rate of failure that is accepted
    explore_marks: ClassVar[Sequence[Any]] = ()  # pytest marks of the exploration only, e.g. [pytest.mark.slow]
    checks: ClassVar[Mapping[str, Any]] = {}  # e.g. {"no_repeated_call": False}

    _aitest_voice: "Voice | None" = None  # given by whoever drives the machine; by itself it gets its own

    def __init_subclass__(cls, **named: Any) -> None:
        __tracebackhide__ = True
        super().__init_subclass__(**named)
        _check_methods(cls)

    def open_session(self) -> None:
        """Called when a session goes live, before its servers hear of anything; `call_tool` prepares them here."""

    def close_session(self) -> None:
        """Called when a session that was live has ended."""

    @property
    def session(self) -> Session:
        """The conversation so far: `turns`, `tool_calls`."""
        return self._voice.session

    def say(
        self,
        prompt: str,
        *,
        agent: Agent | None = None,
        max_model_calls: int | None = None,
        timeout_seconds: float = TURN_TIMEOUT_SECONDS,
    ) -> AgentResult:
        """Take one turn, and wait for it; see `Session.say`."""
        __tracebackhide__ = True
        if self.session.call_mode != "event":
            raise SessionError(
                f"An invariant of {type(self).__name__} speaks to the agent, and so changes what it checks. "
                "Speak in rules; in invariants look at self.session, or call tools that only look."
            )
        return self.session.say(
            prompt,
            agent=agent or self._voice.agent,
            max_model_calls=max_model_calls,
            timeout_seconds=timeout_seconds,
        )

    def call_tool(self, name: str, arguments: Mapping[str, Any] | None = None, *, server: str | None = None) -> Any:
        """Call a tool of the live servers past the model; see `Session.call_tool`.

        In a rule it belongs to the conversation; in an invariant it only looks, and a tool that declares to change
        something is refused.
        """
        __tracebackhide__ = True
        begins = not self.session.past.events or self.session.call_mode == "preparation"
        agent = self._voice.agent if begins else None
        return self.session.call_tool(name, arguments, server=server, agent=agent)

    def wait(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine of your own to its end; all of one conversation share an event loop."""
        __tracebackhide__ = True
        return self._voice.loop.run(coroutine)

    def teardown(self) -> None:
        """End the conversation."""
        self._voice.end()

    @property
    def _voice(self) -> "Voice":
        if self._aitest_voice is None:
            self._aitest_voice = Voice(self, Session(name=type(self).__name__))
        return self._aitest_voice


class Voice:
    """What a machine speaks with: its session, who answers, and a loop for coroutines."""

    def __init__(self, machine: SessionMachine, session: Session, *, fixtures: Mapping[str, Any] | None = None) -> None:
        self.session = session
        self._machine = machine
        self._fixtures = fixtures or {}
        self._before_live, session.past.before_live = session.past.before_live, self._go_live
        self._was_live = False
        self._has_ended = False

    @cached_property
    def agent(self) -> Agent:
        """Who answers.

        Raises:
            DeclarationError: The machine does not say.
        """
        make = getattr(self._machine, "make_agent", None)
        if missing := set(make_agent_fixtures(type(self._machine))) - set(self._fixtures):
            raise DeclarationError(
                f"{type(self._machine).__name__}.make_agent asks for {quoted(sorted(missing))}, and only pytest, which "
                "collects the class itself, gives fixtures. Run it with pytest, or give parameters defaults."
            )
        agent = self._machine.agent if make is None else make(**self._fixtures)
        if isinstance(agent, Agent):
            return agent
        which = "its `agent` is" if make is None else "its make_agent returned"
        raise DeclarationError(
            f"{type(self._machine).__name__} has nobody to speak to: {which} {agent!r}. "
            "Set `agent = Agent(...)` in the class, or define make_agent(self) -> Agent."
        )

    @cached_property
    def loop(self) -> asyncio.Runner:
        """Where the machine's own coroutines run."""
        return asyncio.Runner()

    def end(self) -> None:
        """Close what is open; a second call does nothing."""
        if self._has_ended:
            return
        self._has_ended = True
        if "loop" in vars(self):
            self.loop.close()
        self.session.close()
        if self._was_live:
            self._machine.close_session()

    def _go_live(self, event: Event) -> None:
        self._before_live(event)
        if self._was_live:
            return
        self._was_live = True
        self.session.agent = self.agent  # whose servers are to be prepared
        mode, self.session.call_mode = self.session.call_mode, "preparation"
        try:
            self._machine.open_session()
        finally:
            self.session.call_mode = mode


def is_lazy(function: object) -> bool:
    """Whether calling it does nothing yet."""
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    return any(is_kind(function) for is_kind in kinds)


def make_agent_fixtures(machine: type[SessionMachine]) -> list[str]:
    """The fixtures that a machine's `make_agent` asks for."""
    make = getattr(machine, "make_agent", None)
    return [] if make is None else list(inspect.signature(make).parameters)[1:]


def _check_methods(cls: type[SessionMachine]) -> None:
    """Say at the class what would otherwise fail far from it.

    Raises:
        DeclarationError: A rule is no plain function of its strategies, or has the name of something of ours.
    """
    __tracebackhide__ = True
    plain = [(invariant.name, invariant.check) for invariant in invariants_of(cls) if invariant.of_calls is None]
    for name, function in [*plain, ("open_session", cls.open_session), ("close_session", cls.close_session)]:
        if is_lazy(function):
            raise DeclarationError(
                f"{cls.__name__}.{name} is `async def` or has a `yield`, and is called as a plain function: what it "
                "says would never be done. Write `def` and no `yield`; self.wait(...) runs coroutines of yours."
            )
    ours = {name for parent in SessionMachine.__mro__ for name in vars(parent) if not name.startswith("__")}
    for rule in rules_of(cls):
        where = f"{cls.__name__}.{rule.name}"
        if is_lazy(rule.function):
            how = "has a `yield`" if inspect.isgeneratorfunction(rule.function) else "is `async def`"
            raise DeclarationError(
                f"Rule {where} {how}, and a rule is a plain function: it would never run. "
                "Write `def`; self.say(...) waits by itself, and self.wait(...) runs coroutines of yours."
            )
        parameters = list(inspect.signature(rule.function).parameters.values())[1:]
        given = {*rule.strategies}
        missing = [
            p.name for p in parameters if p.name not in given and p.default is p.empty and p.kind < p.VAR_POSITIONAL
        ]
        if missing:
            instead = (
                "Use self.say(...) and self.session."
                if _FIXTURES_OF_TESTS & {*missing}
                else "Give a strategy in @rule(...), or let make_agent ask for the fixture and keep it on self."
            )
            raise DeclarationError(
                f"Rule {where} asks for {quoted(missing)}, and a rule is given only what its strategies draw. {instead}"
            )
    for name, member in vars(cls).items():
        if name in {*ours, "explore"} and is_declared(member):
            raise DeclarationError(
                f"{cls.__name__}.{name} has the name of something that every SessionMachine has. Call it otherwise."
            )

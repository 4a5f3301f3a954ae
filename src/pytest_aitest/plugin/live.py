"""Tests that have conversations: which session a test speaks in, and what its report tells of it.

Loaded by the first test that speaks, because everything below it costs time to import.
"""

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from typing import Any

import pytest

from pytest_aitest.conversation.engine import Engine
from pytest_aitest.conversation.session import TURN_TIMEOUT_SECONDS, Session
from pytest_aitest.values.agent import Agent
from pytest_aitest.values.errors import SessionError
from pytest_aitest.values.model import Message
from pytest_aitest.values.plain import filled
from pytest_aitest.values.result import AgentResult

from .collect import FLOW, LAST_TO_SPEAK, speaks

_SPEAKING = pytest.StashKey["Speaking"]()
_AWAIT_IT = (
    "aitest_run(...) is a coroutine, and {what}: the turn was never taken. Write `result = await aitest_run(...)` in "
    "an `async def` test; in a plain one ask for `aitest_session` and write "
    "`result = aitest_session.say(..., agent=...)`."
)


class Turning(Coroutine[Any, Any, AgentResult]):
    """A turn about to be taken, to be awaited once; tells whoever forgets to."""

    def __init__(self, turn: Coroutine[Any, Any, AgentResult]) -> None:
        self._turn = turn
        self.was_awaited = False

    def __await__(self) -> Generator[Any, Any, AgentResult]:
        self.was_awaited = True
        return self._turn.__await__()

    def send(self, value: Any) -> Any:
        self.was_awaited = True
        return self._turn.send(value)

    def throw(self, *error: Any) -> Any:
        return self._turn.throw(*error)

    def close(self) -> None:
        self._turn.close()

    def __bool__(self) -> bool:
        raise SessionError(_AWAIT_IT.format(what="its truth was asked for without `await`"))

    def __getattr__(self, name: str) -> Any:
        if not hasattr(AgentResult, name):
            raise AttributeError(name)
        raise SessionError(_AWAIT_IT.format(what=f".{name} was asked of it without `await`"))


class AitestRun:
    """What the fixture `aitest_run` is."""

    def __init__(self, speaking: "Speaking") -> None:
        self._speaking = speaking

    def __call__(
        self,
        agent: Agent,
        prompt: str,
        *,
        max_model_calls: int | None = None,
        timeout_seconds: float = TURN_TIMEOUT_SECONDS,
        messages: Sequence[Message] | None = None,
        max_turns: int | None = None,
        timeout_ms: float | None = None,
    ) -> Coroutine[Any, Any, AgentResult]:
        """Have `agent` answer `prompt`; awaitable in any async test, whatever runs it.

        In a test marked `session` the agent has heard all earlier turns, and has the servers of the whole session.
        Elsewhere each call is a conversation of its own.

        Args:
            agent: Who answers.
            prompt: The user's words.
            max_model_calls: In place of the agent's own limit.
            timeout_seconds: For the turn; the start of servers has its own limit (`Wait`).
            messages: A history, OpenAI-style, to go on from.
            max_turns: Another name of `max_model_calls`.
            timeout_ms: `timeout_seconds` in milliseconds.
        """
        turn = self._speaking.take_turn(
            prompt,
            agent=agent,
            max_model_calls=max_model_calls or max_turns,
            timeout_seconds=timeout_seconds if timeout_ms is None else timeout_ms / 1000,
            messages=messages,
        )
        self._speaking.turning.append(turning := Turning(turn))
        return turning


class Speaking:
    """One test while it has conversations."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._model = item.config.getoption("aitest_model")
        self._flow = item.stash.get(FLOW, None)
        self._sessions: list[Session] = []
        self._shared: Session | None = None
        self.turning: list[Turning] = []
        self.results: list[AgentResult] = []
        self.run = AitestRun(self)
        Engine.shared().pool.more_to_come = not item.stash.get(LAST_TO_SPEAK, True)

    def session(self) -> Session:
        """The session that all turns of the test share."""
        if self._flow is None:
            self._shared = self._shared or self._open(self._item.name)
            return self._shared
        if self._flow.session is None:
            self._flow.session = Session(name=self._flow.name, model=self._model)
        return self._flow.session

    async def take_turn(self, prompt: str, **how: Any) -> AgentResult:
        """Take a turn in the test's session, or in one of its own where nothing is shared."""
        __tracebackhide__ = True
        shares = self._flow is not None or self._shared is not None
        session = self.session() if shares else self._open(self._item.name)
        result = await session.say_async(prompt, **how)
        self.results.append(result)
        return result

    def forgotten(self) -> bool:
        """Whether a turn was asked for and never awaited."""
        unawaited = [turning for turning in self.turning if not turning.was_awaited]
        for turning in unawaited:
            turning.close()  # said by us, and better than Python's warning
        return bool(unawaited)

    def close(self) -> None:
        """Close the sessions of this test alone."""
        for session in self._sessions:
            session.close()

    def _open(self, name: str) -> Session:
        self._sessions.append(session := Session(name=name, model=self._model))
        return session


def speaking_in(item: pytest.Item) -> Speaking:
    """The one `Speaking` of a test."""
    if _SPEAKING not in item.stash:
        item.stash[_SPEAKING] = Speaking(item)
    return item.stash[_SPEAKING]


@pytest.hookimpl
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Make a coroutine test of ours blocking; an async plugin that wants it has had it by now."""
    test = pyfuncitem.obj
    if speaks(pyfuncitem) and inspect.iscoroutinefunction(test):
        pyfuncitem.obj = _blocking(test)


def _blocking(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        return asyncio.run(test(*args, **kwargs))

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    try:
        yield
    finally:
        forgotten = _SPEAKING in item.stash and item.stash[_SPEAKING].forgotten()
    if forgotten:
        pytest.fail(filled(_AWAIT_IT.format(what="the test never awaited it")), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell in the report what was said, where it failed, and always what it cost."""
    report = yield
    speaking = item.stash.get(_SPEAKING, None)
    if speaking is not None and report.when == "call":
        vars(report)["aitest_turns"] = [
            {
                "model": result.turn.model,
                "model_calls": result.turn.model_calls,
                "tokens": result.turn.prompt_tokens + result.turn.completion_tokens,
                "cost_usd": result.turn.cost_usd,
            }
            for result in speaking.results
        ]
        if report.failed:
            report.sections.extend((_title(result), str(result.turn)) for result in speaking.results)
    return report


def _title(result: AgentResult) -> str:
    return f"turn {len(result.session.turns)} of {result.session.name}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Close what ends here before the fixtures that it may have used are torn down."""
    try:
        flow = item.stash.get(FLOW, None)
        if flow is not None and (nextitem is None or nextitem.stash.get(FLOW, None) is not flow):
            flow.close()
        if _SPEAKING in item.stash:
            item.stash[_SPEAKING].close()
            del item.stash[_SPEAKING]  # a rerun of the test speaks anew
    finally:
        yield


def pytest_sessionfinish() -> None:
    Engine.close_shared()

"""Tests that have conversations: which session a test speaks in, and what its report tells of it.

Loaded by the first test that speaks, because everything below it costs time to import.
"""

import asyncio
import functools
import importlib
import inspect
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, Self

import pytest

from pytest_aitest.conversation.engine import Engine
from pytest_aitest.conversation.past import Past
from pytest_aitest.conversation.session import TURN_TIMEOUT_SECONDS, Session
from pytest_aitest.conversation.tree import Event, Node
from pytest_aitest.values.agent import Agent
from pytest_aitest.values.errors import SessionError
from pytest_aitest.values.model import Message
from pytest_aitest.values.plain import filled
from pytest_aitest.values.record import StepRecord, ToolLook
from pytest_aitest.values.result import AgentResult
from pytest_aitest.values.transcript import Turn, TurnRecord, summary

from . import storing
from .collect import FLOW, LAST_TO_SPEAK, has_invariants, speaks
from .progress import Progress
from .recorded_turns import note
from .testimony import TESTIMONY, Testimony

_ROOT = pytest.StashKey[Node]()
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
        self.was_awaited = True
        return self._turn.throw(*error)

    def close(self) -> None:
        self.was_awaited = True  # whoever closes it knew of it
        self._turn.close()

    def __bool__(self) -> bool:
        raise SessionError(_AWAIT_IT.format(what="its truth was asked for without `await`"))

    def __getattr__(self, name: str) -> Any:
        if name not in {*dir(AgentResult), *AgentResult.__dataclass_fields__}:
            raise AttributeError(name)
        raise SessionError(_AWAIT_IT.format(what=f".{name} was asked of it without `await`"))


class TurnTaker(Protocol):
    """Whatever takes the turns of a test, and remembers which it was asked for."""

    turning: list[Turning]

    async def take_turn(self, prompt: str, **how: Any) -> AgentResult: ...


class AitestRun:
    """What the fixture `aitest_run` is."""

    def __init__(self, speaking: TurnTaker) -> None:
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
        if not isinstance(agent, Agent):
            raise SessionError(
                f"aitest_run speaks to an Agent, and its first argument is {type(agent).__name__!r}. "
                "Write aitest_run(agent, prompt)."
            )
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
        self._heard: list[tuple[Session, int, int]] = []  # and how many turns and events each had when this test came
        self._shared: Session | None = None
        self._fixtures = 0  # that let it speak
        self.is_over = False
        self.turning: list[Turning] = []
        self.run = AitestRun(self)
        self.progress = Progress(item, name=item.name if self._flow is None else self._flow.name)
        if self._flow is not None:
            self._hear(self.session()).past.replays = item in self._flow.context
        Engine.shared().pool.more_to_come = not item.stash.get(LAST_TO_SPEAK, True)

    def session(self) -> Session:
        """The session that all turns of the test share."""
        if self._flow is None:
            self._shared = self._shared or self._open()
            return self._shared
        if self._flow.session is None:
            past = Past(root_of(self._item.config, self._flow.key))
            self._flow.session = Session(name=self._flow.name, model=self._model, past=past)
        return self._flow.session

    async def take_turn(self, prompt: str, **how: Any) -> AgentResult:
        """Take a turn in the test's session, or in one of its own where nothing is shared."""
        __tracebackhide__ = True
        if self._flow is not None or self._shared is not None:
            return await self.session().say_async(prompt, **how)
        with self._open() as session:  # nobody can speak in it again
            return await session.say_async(prompt, **how)

    @property
    def results(self) -> list[AgentResult]:
        """The turns of this test, by whichever way it took them."""
        return [result for session, heard, _ in self._heard for result in session.results[heard:]]

    def testify(self, testimony: Testimony) -> None:
        """Tell what was said in this attempt at the test so far."""
        testimony.fresh = [
            result.turn
            for session, heard, _ in self._heard
            for number, result in enumerate(session.results)
            if number >= heard and number not in session.replayed
        ]
        testimony.first_turn = 1 + (self._heard[0][1] if self._heard else 0)
        testimony.steps = [self._step(*heard) for heard in self._heard]

    def _step(self, session: Session, turns: int, events: int) -> StepRecord:
        happened: list[TurnRecord | ToolLook] = []
        for each in session.past.events[events:]:
            outcome = each.sample.outcome
            if isinstance(outcome, Turn):
                happened.append(replace(outcome.record, is_replayed=turns in session.replayed))
                turns += 1
            else:
                happened.append(ToolLook(call=str(each.event), said=outcome.text))
        return StepRecord(code=self._item.name, happened=tuple(happened))

    def said(self) -> Iterator[tuple[str, str]]:
        """What a reader of a failure needs: a line for each earlier turn, then each turn of the test in full."""
        for session, heard, _ in self._heard:
            if heard:
                yield f"earlier turns of {session.name}", summary(result.turn for result in session.results[:heard])
        for result in self.results:
            yield f"turn {len(result.session.turns)} of {result.session.name}", str(result.turn)

    def forgotten(self) -> bool:
        """Whether a turn was asked for and never awaited."""
        unawaited = [turning for turning in self.turning if not turning.was_awaited]
        for turning in unawaited:
            turning.close()  # said by us, and better than Python's warning
        return bool(unawaited)

    def __enter__(self) -> Self:
        self._fixtures += 1
        return self

    def __exit__(self, *_: object) -> None:
        """Close what ends with this test, when the last of the fixtures is torn down that lets it speak."""
        self._fixtures -= 1
        if self._fixtures:
            return
        self.is_over = True
        if self._shared is not None:
            self._shared.close()
        if self._flow is not None and self._flow.is_over:
            self._flow.close()

    def _heard_live(self, turn: Turn) -> None:
        note(self._item.config, turn)
        self.progress.heard(turn)

    def _asking(self, past: Past, event: Event) -> None:
        __tracebackhide__ = True
        storing.refuse(self._item.config, past, event)
        self.progress.asking(event)

    def _open(self) -> Session:
        past = Past(storing.root_of(self._item.config, self._item.nodeid, shares=False))
        return self._hear(Session(name=self._item.name, model=self._model, past=past))

    def _hear(self, session: Session) -> Session:
        self._heard.append((session, len(session.results), len(session.past.events)))
        session.past.before_live = partial(self._asking, session.past)
        session.past.heard = self._heard_live
        self.progress.turns = len(session.results)
        return session


def root_of(config: pytest.Config, test: str, *, shares: bool = False) -> Node:
    """The empty history: what is known of all others hangs under it, in this run or in its store.

    In a run all tests share it; with a store each has its own, and `shares` what others ask at the same time.
    """
    return storing.root_of(config, test, shares=shares) or config.stash.setdefault(_ROOT, Node())


def speaking_in(item: pytest.Item) -> Speaking:
    """The one `Speaking` of a test, or of one attempt at it where it is run again."""
    if _SPEAKING not in item.stash or item.stash[_SPEAKING].is_over:
        item.stash[_SPEAKING] = Speaking(item)
    return item.stash[_SPEAKING]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forget an earlier attempt at the test: what is told of this one must be its own."""
    if _SPEAKING in item.stash:
        del item.stash[_SPEAKING]
    if TESTIMONY in item.stash:
        del item.stash[TESTIMONY]


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
    except KeyboardInterrupt:  # of which pytest makes no report
        _testify(item)
        raise
    finally:
        forgotten = _SPEAKING in item.stash and item.stash[_SPEAKING].forgotten()
    if forgotten:
        pytest.fail(filled(_AWAIT_IT.format(what="the test never awaited it")), pytrace=False)
    _check_invariants(item)


def _testify(item: pytest.Item) -> None:
    if _SPEAKING in item.stash:
        item.stash[_SPEAKING].testify(item.stash.setdefault(TESTIMONY, Testimony()))


def _check_invariants(item: pytest.Item) -> None:
    """After a turn of a flow, what its class says must always hold."""
    __tracebackhide__ = True
    flow = item.stash.get(FLOW, None)
    if flow is None or flow.session is None or not flow.session.turns or not isinstance(item, pytest.Function):
        return
    if item.cls is not None and has_invariants(item.cls):
        flows: Any = importlib.import_module("pytest_aitest.flow")  # brings Hypothesis, whose user it has by now
        flows.check_invariants(item.instance, flow.session, _fixture_of(item, flow.session))


def _fixture_of(item: pytest.Function, session: Session) -> Callable[[str], Any]:
    def fixture(name: str) -> Any:
        return session if name == "aitest_session" else item._request.getfixturevalue(name)  # noqa: SLF001 - as plugins do

    return fixture


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell in the report what was said, in full where it failed."""
    report = yield
    speaking = item.stash.get(_SPEAKING, None)
    if speaking is not None:
        speaking.progress.end()
        _testify(item)
        if report.failed:
            report.sections.extend(speaking.said())
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Know when a flow is over; its fixtures then close it, before those that its servers may stand on."""
    flow = item.stash.get(FLOW, None)
    if flow is not None:
        flow.is_over = nextitem is None or nextitem.stash.get(FLOW, None) is not flow
    try:
        yield
    finally:
        if flow is not None and flow.is_over:  # its last turn may have no such fixture
            flow.close()


@pytest.hookimpl(trylast=True)  # after the last fixtures, which may speak
def pytest_sessionfinish() -> None:
    Engine.close_shared()

"""Lanes that ask one provider: its limits are theirs together. Real HTTP, real litellm, and a clock of the test's."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from pytest_aitest import Agent, Provider, Session
from pytest_aitest.conversation.engine import Engine
from pytest_aitest.conversation.rates import Rates
from pytest_aitest.conversation.tree import Node
from pytest_aitest.exploration.budget import Budget
from pytest_aitest.exploration.lanes import Lanes
from pytest_aitest.exploration.runner import ErroredError, TreeRunner
from pytest_aitest.search.plan import Plan
from tests.support.endpoint import Endpoint, Reply, Request, failure, text

from .scripted import Scripted, plan, says
from .side_by_side import LIMIT_SECONDS, Foreseen

ACTS = {name: says(name) for name in "abcd"}


@dataclass
class Watch:
    """What a test waits for, and time that passes only when it says so."""

    time: float = 1_000.0
    arrived: list[float] = field(default_factory=list)  # when requests came to the endpoint
    asked: int = 0  # turns that were to go live
    sleeping: list[tuple[float, anyio.Event]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)  # may be entered twice

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        event = anyio.Event()
        self.note(lambda: self.sleeping.append((self.time + seconds, event)))
        await event.wait()

    async def _pass(self, seconds: float) -> None:
        self.time += seconds
        for sleeper in [each for each in self.sleeping if each[0] <= self.time]:
            self.sleeping.remove(sleeper)
            sleeper[1].set()

    def passes(self, seconds: float) -> None:
        Engine.shared().run(self._pass, seconds)

    def note(self, what: Callable[[], object]) -> None:
        with self.changed:
            what()
            self.changed.notify_all()

    def asking(self, _: object) -> None:
        with self.changed:
            self.asked += 1
            self.changed.notify_all()

    def until(self, holds: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(holds, LIMIT_SECONDS), (self.arrived, self.asked, self.sleeping)

    def answer(self, request: Request) -> Reply:
        with self.changed:
            self.arrived.append(self.time)
            self.changed.notify_all()
        return text(f"hello to {len(request.body['messages'])} messages")


@contextmanager
def explored(
    watch: Watch, endpoint: Endpoint, *plans: Plan, asks: int | None = None, **limits: Any
) -> Iterator[list[BaseException]]:
    """A search for the first so many of `plans` with a lane for each, and what ended it, once the block has."""
    Engine.shared().rates = Rates(clock=watch.now, sleep=watch.sleep)
    agent = Agent(provider=Provider(model="openai/gpt-4o-mini", api_base=endpoint.url, **limits))
    runner = TreeRunner(
        subject=lambda past: Scripted(acts=ACTS, session=Session(agent, past=past)),
        rules=[],
        root=Node(),
        budget=Budget.unlimited(),
        asking=watch.asking,
    )
    lanes = Lanes(carrier=runner, lanes=len(plans))
    lanes.foresee(Foreseen(*plans))
    ended: list[BaseException] = []

    def search() -> None:
        try:
            for each in plans[:asks]:
                lanes.run(each)
        except BaseException as error:  # noqa: BLE001 - for the test
            ended.append(error)

    thread = threading.Thread(target=search, daemon=True)
    thread.start()
    yield ended
    thread.join(LIMIT_SECONDS)
    assert not thread.is_alive()
    lanes.close()


def test_a_pause_that_the_provider_asks_of_one_lane_is_kept_by_all() -> None:
    watch = Watch()

    def answer(request: Request) -> Reply:
        with watch.changed:
            reply, number = watch.answer(request), len(watch.arrived)
        if number == 1:
            watch.until(lambda: len(watch.arrived) == 4)
            return failure(429, headers={"Retry-After": "30"})
        watch.until(lambda: bool(watch.sleeping) or number > 4)  # the first has heard that it has to wait
        return reply

    plans = plan("a", "b"), plan("b", "c"), plan("c", "d"), plan("d", "a")
    with Endpoint(answer) as endpoint, explored(watch, endpoint, *plans) as ended:
        # Three have their answer and go on to their second turn; the fourth and the first of them sleep.
        watch.until(lambda: watch.asked == 7 and len(watch.sleeping) == 2)
        assert watch.arrived == [1_000.0] * 4
        watch.passes(30)
    assert ended == []
    assert Counter(watch.arrived) == {1_000.0: 4, 1_030.0: 5}


def test_requests_per_minute_are_those_of_all_lanes_together() -> None:
    watch = Watch()
    with Endpoint(watch.answer) as endpoint, explored(watch, endpoint, *map(plan, "abcd"), rpm=2) as ended:
        watch.until(lambda: len(watch.arrived) == 2 and watch.asked == 4 and len(watch.sleeping) == 1)
        watch.passes(60)
    assert ended == []
    assert Counter(watch.arrived) == {1_000.0: 2, 1_060.0: 2}


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_provider_that_refuses_one_lane_ends_the_search_only_if_that_is_asked_for(is_asked: bool) -> None:
    watch = Watch()

    def answer(request: Request) -> Reply:
        reply = watch.answer(request)
        if request.body["messages"][-1]["content"] == "b":
            return failure(401, "who are you?")
        watch.until(lambda: len(watch.arrived) >= 2)
        return reply

    asks = 2 if is_asked else 1
    with Endpoint(answer) as endpoint, explored(watch, endpoint, plan("a"), plan("b"), asks=asks) as ended:
        pass
    assert [type(error) for error in ended] == ([ErroredError] if is_asked else [])

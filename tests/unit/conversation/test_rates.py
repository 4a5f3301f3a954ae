import math
from dataclasses import dataclass

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aitest.conversation.rates import RateLimit, Rates, StillBlockedError
from pytest_aitest.values.agent import Provider
from tests.support.clock import Clock


def rates_at(clock: Clock, *, share: int = 1) -> Rates:
    return Rates(share=share, clock=clock.now, sleep=clock.sleep)


async def entered_at(limit: RateLimit, clock: Clock) -> float:
    await limit.enter()
    return clock.time - 1_000.0


def entries(provider: Provider, count: int, *, share: int = 1) -> list[float]:
    """When so many requests enter that all want to at once."""

    async def scenario() -> list[float]:
        clock = Clock()
        limit = rates_at(clock, share=share).limit_for(provider)
        return [await entered_at(limit, clock) for _ in range(count)]

    return anyio.run(scenario)


def test_without_limits_nobody_waits() -> None:
    assert entries(Provider(model="m"), 3) == [0, 0, 0]


def test_a_request_beyond_rpm_waits_until_the_window_frees() -> None:
    assert entries(Provider(model="m", rpm=2), 5) == [0, 0, 60, 60, 120]


def test_workers_share_the_limit_and_each_gets_at_least_one() -> None:
    assert entries(Provider(model="m", rpm=4), 3, share=2) == [0, 0, 60]
    assert entries(Provider(model="m", rpm=4), 2, share=9) == [0, 60]


def test_tokens_hold_back_once_they_were_used() -> None:
    async def scenario() -> list[float]:
        clock = Clock()
        limit = rates_at(clock).limit_for(Provider(model="m", tpm=100))
        when = []
        for tokens in (60, 60, 10):
            when.append(await entered_at(limit, clock))
            clock.time += 1
            limit.charge(tokens)
        return when

    # The third request finds 120 tokens in the window; the first 60 leave it 60 s after they were charged.
    assert anyio.run(scenario) == [0, 1, 61]


def test_providers_of_one_model_share_the_smaller_limit() -> None:
    clock = Clock()
    rates = rates_at(clock)
    limits = [rates.limit_for(Provider(model="m", rpm=rpm)) for rpm in (5, None, 1)]

    async def scenario() -> list[float]:
        return [await entered_at(limit, clock) for limit in limits]

    assert anyio.run(scenario) == [0, 60, 120]


def test_another_model_and_another_endpoint_have_limits_of_their_own() -> None:
    @dataclass(frozen=True)
    class Unhashable:
        script: list[str]

        def __call__(self, messages: object, tools: object) -> str:
            return "hello"

    rates = Rates()
    providers = [
        Provider(model="m", rpm=1),
        Provider(model="n", rpm=1),
        Provider(model="m", rpm=1, api_base="http://localhost/v1"),
        Provider(model=len, rpm=1),
        Provider(model=Unhashable(["hello"]), rpm=1),
    ]
    assert len({id(rates.limit_for(provider)) for provider in providers}) == len(providers)
    assert rates.limit_for(providers[4]) is rates.limit_for(providers[4])


def test_waiting_requests_enter_in_the_order_in_which_they_came() -> None:
    order: list[int] = []

    async def enter(limit: RateLimit, number: int) -> None:
        await limit.enter()
        order.append(number)

    async def scenario() -> None:
        limit = rates_at(Clock()).limit_for(Provider(model="m", rpm=1))
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(enter, limit, number)
                await anyio.wait_all_tasks_blocked()

    anyio.run(scenario)
    assert order == [0, 1, 2, 3, 4]


def test_a_cancelled_request_frees_its_place_and_is_not_counted() -> None:
    async def scenario() -> float:
        clock = Clock()
        limit = Rates(clock=clock.now, sleep=lambda _: anyio.sleep_forever()).limit_for(Provider(model="m", rpm=1))
        await limit.enter()
        with anyio.move_on_after(0):
            await limit.enter()
        clock.time += 60
        return await entered_at(limit, clock)

    assert anyio.run(scenario) == 60


def test_a_block_holds_everybody_and_the_longer_of_two_counts() -> None:
    async def scenario() -> float:
        clock = Clock()
        limit = rates_at(clock).limit_for(Provider(model="m"))
        limit.block(7)
        limit.block(3)
        return await entered_at(limit, clock)

    assert anyio.run(scenario) == 7


def test_a_block_beyond_ones_patience_is_said_at_once() -> None:
    async def scenario() -> None:
        clock = Clock()
        limit = rates_at(clock).limit_for(Provider(model="m"))
        limit.block(70)
        with pytest.raises(StillBlockedError, match=r"another 70\.0 s") as caught:
            await limit.enter(patience_seconds=60)
        assert caught.value.seconds == 70
        assert clock.slept == []

    anyio.run(scenario)


@given(st.lists(st.floats(0, 90), max_size=12), st.integers(1, 3))
def test_no_window_holds_more_than_rpm_and_nobody_waits_longer_than_that_takes(gaps: list[float], rpm: int) -> None:
    async def scenario() -> None:
        clock = Clock()
        limit = rates_at(clock).limit_for(Provider(model="m", rpm=rpm))
        entered: list[float] = []
        for gap in gaps:
            clock.time += gap
            earliest = max(clock.time, entered[-rpm] + 60 if len(entered) >= rpm else -math.inf)
            await limit.enter()
            entered.append(clock.time)
            assert clock.time == pytest.approx(earliest, abs=1e-5)

    anyio.run(scenario)

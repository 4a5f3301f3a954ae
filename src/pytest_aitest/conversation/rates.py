"""How often each model may be asked: `rpm` and `tpm`, over all sessions of the process.

Knows the clock, and nothing of models or of what is said to them. For one event loop; not for threads.
"""

import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, cast

import anyio

from pytest_aitest.values.agent import Provider

WINDOW_SECONDS = 60.0
_TICK = 1e-6  # what rounding may add to a time; without it a wait of 1e-14 seconds would never end


class StillBlockedError(Exception):
    """The provider asked everyone to wait, and for longer than the caller can."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"blocked for another {seconds:.1f} s")
        self.seconds = seconds


class Rates:
    """The limits of all models of this process.

    `share` is the number of processes that draw on the same account, as pytest-xdist's workers do: each gets its part.
    """

    def __init__(
        self,
        *,
        share: int = 1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.clock = clock
        self.sleep = sleep
        self._share = share
        self._limits: dict[Hashable, RateLimit] = {}

    def limit_for(self, provider: Provider) -> "RateLimit":
        """The limit that all providers of this model at this `api_base` have in common: the smallest of theirs."""
        key = (_identity(provider.model), provider.api_base)
        limit = self._limits.setdefault(key, RateLimit(self.clock, self.sleep))
        limit.lower(requests=self._part(provider.rpm), tokens=self._part(provider.tpm))
        return limit

    def _part(self, per_minute: int | None) -> float:
        return math.inf if per_minute is None else max(1, per_minute // max(1, self._share))


def _identity(model: Any) -> Hashable:
    """The model's name, or its function; a callable object that compares by value may have no hash."""
    try:
        hash(model)
    except TypeError:
        return id(model)
    return cast("Hashable", model)


class RateLimit:
    """One model's sliding windows, with a queue that is served in order.

    A request is counted when it enters. What it costs in tokens is known only afterwards and then charged, so `tpm`
    holds requests back once the window is full, and those already on their way may overshoot it.
    """

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._clock = clock
        self._sleep = sleep
        self._queue = anyio.Lock()  # its waiters get it in the order in which they came
        self._requests = _Window(math.inf)
        self._tokens = _Window(math.inf)
        self._blocked_until = -math.inf

    def lower(self, *, requests: float, tokens: float) -> None:
        """Hold to these limits too, where they are smaller."""
        self._requests.most = min(self._requests.most, requests)
        self._tokens.most = min(self._tokens.most, tokens)

    async def enter(self, *, patience_seconds: float = math.inf) -> None:
        """Wait for this request's turn and count it.

        Raises:
            StillBlockedError: the provider asked for a pause that lasts longer than `patience_seconds`. Waiting for our
                own limits is never given up: it ends.
        """
        async with self._queue:
            while (wait := self._wait_seconds(patience_seconds)) > _TICK:
                await self._sleep(wait)
            self._requests.add(1, at=self._clock())

    def charge(self, tokens: int) -> None:
        """Count what an answer used."""
        self._tokens.add(tokens, at=self._clock())

    def block(self, seconds: float) -> None:
        """Let nobody enter for so long, because the provider said so."""
        self._blocked_until = max(self._blocked_until, self._clock() + seconds)

    def _wait_seconds(self, patience_seconds: float) -> float:
        now = self._clock()
        blocked = self._blocked_until - now
        if blocked > max(patience_seconds, _TICK):
            raise StillBlockedError(blocked)
        return max(blocked, self._requests.full_until(now) - now, self._tokens.full_until(now) - now)


class _Window:
    """What was used in the last minute."""

    def __init__(self, most: float) -> None:
        self.most = most
        self._uses: deque[tuple[float, int]] = deque()  # (when, how much), oldest first

    def add(self, amount: int, *, at: float) -> None:
        """Count a use, without a limit too, because one may be declared within the minute."""
        self._forget(at)
        self._uses.append((at, amount))

    def full_until(self, now: float) -> float:
        """When there is room for more; in the past where there is room now."""
        if self.most == math.inf:
            return -math.inf
        self._forget(now)
        used = sum(amount for _, amount in self._uses)
        until = -math.inf
        for when, amount in self._uses:
            if used < self.most:
                break
            used -= amount
            until = when + WINDOW_SECONDS
        return until

    def _forget(self, now: float) -> None:
        while self._uses and self._uses[0][0] + WINDOW_SECONDS - now <= _TICK:
            self._uses.popleft()

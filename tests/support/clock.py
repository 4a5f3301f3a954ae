"""Time that passes only when somebody sleeps."""


class Clock:
    """Fits `Rates(clock=clock.now, sleep=clock.sleep)`; one sleeper at a time."""

    def __init__(self) -> None:
        self.time = 1_000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

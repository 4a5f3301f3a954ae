"""Several conversations at once: what the search will want to know next is found out while it waits for an answer.

The search asks one question after another, as with one lane, and gets the same answers; only sooner. Lane 0 is the
thread that asks: what nobody has begun, it carries out itself. Knows threads, and nothing of what a plan does.
"""

import contextvars
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Generic, Protocol, TypeVar

from pytest_aitest.conversation.tree import Event
from pytest_aitest.search.foresight import Wanted
from pytest_aitest.search.plan import Plan
from pytest_aitest.search.runner import Outcome, Rule, StopSearchError


class UnwantedError(StopSearchError):
    """Nobody wants to know any more what the plan under way would show."""


class Carried(Protocol):
    """A plan that was carried out, before it counts for anything."""

    @property
    def outcome(self) -> Outcome: ...

    @property
    def stopped(self) -> Exception | None:
        """Why it came to no end."""
        ...


Taken = TypeVar("Taken", bound=Carried)


class Carrier(Protocol[Taken]):
    """Carries plans out, for several threads at once."""

    @property
    def rules(self) -> Sequence[Rule]: ...

    def carry(self, wanted: Wanted, *, before_live: Callable[[Event], object]) -> Taken:
        """Carry a plan out; `before_live` is called before anything is asked live, and may raise `UnwantedError`."""
        ...

    def count(self, carried: Taken) -> Outcome:
        """Remember what it showed, for what the search has asked for; raise what stopped it."""
        ...


@dataclass(eq=False)
class _Job(Generic[Taken]):
    """A question that somebody is at, or has answered."""

    wanted: Wanted
    is_wanted: bool = True
    is_over: bool = False
    carried: Taken | None = None
    error: BaseException | None = None  # no Exception, which are values in `carried`

    @property
    def is_answered(self) -> bool:
        return self.carried is not None and self.carried.stopped is None

    @property
    def was_given_up(self) -> bool:
        return self.carried is not None and isinstance(self.carried.stopped, UnwantedError)


@dataclass(kw_only=True)
class Lanes(Generic[Taken]):
    """A runner that has up to `lanes` conversations at once, until `close`. See `search.runner.Runner`.

    Args:
        why_one_lane: Asked of each event that goes live: why all must stay in one lane, if they must.
        may_hurry: Whether what may not be needed may be asked all the same.
    """

    carrier: Carrier[Taken]
    lanes: int
    why_one_lane: Callable[[Event], str] = lambda _: ""
    may_hurry: Callable[[], bool] = lambda: True
    why_alone: str | None = None  # what it said; None: nothing has gone live yet
    _upcoming: Callable[..., list[Wanted]] | None = None
    _jobs: dict[object, _Job[Taken]] = field(default_factory=dict)  # by the question, until the search has the answer
    _answers: dict[object, Outcome] = field(default_factory=dict)
    _running: int = 0
    _asked: _Job[Taken] | None = None  # what the search waits for; meanwhile it can be looked at
    _confirmed: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self._threads = ThreadPoolExecutor(self.lanes, thread_name_prefix="aitest-lane")
        self._context = contextvars.copy_context()  # what the fixtures of the test have set

    def close(self, *, waits: bool = True) -> None:
        """Give up what is under way at its next live event; with `waits`, come back when that is done."""
        with self._changed:
            self._upcoming = None
            for job in self._jobs.values():
                job.is_wanted = False
        self._threads.shutdown(wait=waits, cancel_futures=True)

    @property
    def rules(self) -> Sequence[Rule]:
        return self.carrier.rules

    def foresee(self, upcoming: Callable[..., list[Wanted]]) -> None:
        self._upcoming = upcoming

    def run(self, plan: Plan, *, again: int = 0) -> Outcome:
        return self._answer(Wanted(plan=plan, again=again))

    def confirm(self, plan: Plan) -> Outcome:
        self._confirmed += 1
        return self._answer(Wanted(plan=plan, fresh_run=self._confirmed))

    def _answer(self, wanted: Wanted) -> Outcome:
        job = self._found_out(wanted)
        while job.was_given_up:  # it was given up before it was asked for
            job = self._found_out(wanted)
        if job.error is not None:
            raise job.error
        assert job.carried is not None
        return self.carrier.count(job.carried)

    def _found_out(self, wanted: Wanted) -> _Job[Taken]:
        with self._changed:
            job, is_ours = self._jobs.get(wanted.key), False
            if job is None:
                job, is_ours = self._begun(wanted), True
            self._asked, job.is_wanted = job, True
            if not (is_ours or job.is_over):
                self._look_ahead()
        if is_ours:
            self._carry(job)
        with self._changed:
            self._changed.wait_for(lambda: job.is_over)
            self._asked = None
            self._jobs.pop(wanted.key, None)
        return job

    def _begun(self, wanted: Wanted) -> _Job[Taken]:
        job = self._jobs[wanted.key] = _Job(wanted)
        self._running += 1
        return job

    def _carry(self, job: _Job[Taken]) -> None:
        try:
            job.carried = self.carrier.carry(job.wanted, before_live=partial(self._goes_live, job))
        except BaseException as error:  # noqa: BLE001 - for whoever asks for it, if anybody does
            job.error = error
        with self._changed:
            job.is_over = True
            self._running -= 1
            if job.carried is not None and job.is_answered:
                self._answers[job.wanted.key] = replace(job.carried.outcome, evidence=None)
            elif job.was_given_up:
                self._jobs.pop(job.wanted.key, None)
            if job is not self._asked and (job.is_answered or job.was_given_up):
                self._look_ahead()
            self._changed.notify_all()

    def _goes_live(self, job: _Job[Taken], event: Event) -> None:
        with self._changed:
            self.why_alone = self.why_alone or self.why_one_lane(event)
            if job is self._asked:  # lane 0 will be busy for a while
                self._look_ahead()
            elif not job.is_wanted or self.why_alone or not self.may_hurry():
                raise UnwantedError("the search has gone on without it")

    def _look_ahead(self) -> None:
        """Begin what is most urgent, and give up what is not urgent any more. Called with the lock held."""
        if self.why_alone != "" or self._asked is None or self._upcoming is None or not self.may_hurry():
            return
        urgent = self._upcoming(lambda wanted: self._answers.get(wanted.key), most=self.lanes)
        for wanted in urgent:
            if self._running < self.lanes and wanted.key not in self._jobs:
                self._threads.submit(self._context.copy().run, self._carry, self._begun(wanted))
        if self._running == self.lanes:
            still_urgent = {wanted.key for wanted in urgent}
            for key, job in self._jobs.items():
                job.is_wanted = key in still_urgent or job is self._asked

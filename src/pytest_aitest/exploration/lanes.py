"""Several conversations at once: what the search will want to know next is found out while it waits for an answer.

The search asks one question after another, as with one lane. Lane 0, the thread that asks, carries out each itself, and
need not ask again what other lanes have asked live until then. Knows threads, and nothing of what a plan does.
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

    @property
    def unknowable(self) -> str | None:
        """Why it was in vain for whoever carries it out again."""
        ...


Taken = TypeVar("Taken", bound=Carried)


class Carrier(Protocol[Taken]):
    """Carries plans out, for several threads at once; what one has asked live, the others know."""

    @property
    def rules(self) -> Sequence[Rule]: ...

    def carry(self, wanted: Wanted, *, before_live: Callable[[Event], object]) -> Taken:
        """Carry a plan out; `before_live` is called before anything is asked live, and may raise `UnwantedError`."""
        ...

    def count(self, carried: Taken) -> Outcome:
        """Remember what it showed, for what the search has asked for; raise what stopped it."""
        ...


@dataclass(eq=False)
class _Job:
    """A question that somebody is at."""

    wanted: Wanted
    is_wanted: bool = True


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
    _jobs: dict[object, _Job] = field(default_factory=dict)  # under way, by the question
    _answers: dict[object, Outcome] = field(default_factory=dict)
    _unanswered: set[object] = field(default_factory=set)  # what another lane came to no end with
    _asked: _Job | None = None  # what the search waits for; meanwhile it can be looked at
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
        """Carry it out here, after whoever is at it: what they have asked is known then, and what went wrong is not.

        So whatever a rule does is done in the test's own thread, and nothing depends on what another thread may do.
        """
        with self._changed:
            while (job := self._jobs.get(wanted.key)) is not None:
                self._asked, job.is_wanted = job, True
                self._look_ahead()
                self._changed.wait()
            job = self._asked = self._begun(wanted)
        try:
            return self.carrier.count(self._carried(job))
        finally:
            with self._changed:
                self._asked = None

    def _begun(self, wanted: Wanted) -> _Job:
        job = self._jobs[wanted.key] = _Job(wanted)
        return job

    def _carried(self, job: _Job) -> Taken:
        carried: Taken | None = None
        try:
            carried = self.carrier.carry(job.wanted, before_live=partial(self._goes_live, job))
        finally:
            with self._changed:
                del self._jobs[job.wanted.key]
                self._note(job, carried)
                self._changed.notify_all()
        return carried

    def _note(self, job: _Job, carried: Taken | None) -> None:
        """Learn from a plan that somebody was at; there is room for another one now."""
        if carried is not None and carried.stopped is None:
            self._answers[job.wanted.key] = replace(carried.outcome, evidence=None)
        elif carried is None or not isinstance(carried.stopped, UnwantedError):
            self._unanswered.add(job.wanted.key)
        if carried is not None and carried.unknowable:
            self.why_alone = self.why_alone or carried.unknowable
        if job is not self._asked:
            self._look_ahead()

    def _goes_live(self, job: _Job, event: Event) -> None:
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
            if len(self._jobs) < self.lanes and wanted.key not in self._jobs.keys() | self._unanswered:
                self._threads.submit(self._context.copy().run, self._carried, self._begun(wanted))
        if len(self._jobs) == self.lanes:
            still_urgent = {wanted.key for wanted in urgent}
            for key, job in self._jobs.items():
                job.is_wanted = key in still_urgent or job is self._asked

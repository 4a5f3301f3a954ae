"""One exploration, from its first plan to its record."""

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from hypothesis.database import ExampleDatabase

from pytest_aitest.conversation.tree import Event
from pytest_aitest.search.deck import Shard
from pytest_aitest.search.exploration import Exploration, Finding, Progress
from pytest_aitest.search.explore import explore
from pytest_aitest.search.meter import Turns
from pytest_aitest.search.plan import Plan, codes
from pytest_aitest.search.runner import Outcome, Runner, StopSearchError
from pytest_aitest.values.record import ExplorationRecord

from .attempt import Attempt
from .keep import KeptFailures
from .lanes import Lanes
from .record import Place, record_of
from .runner import TreeRunner

_ENGINE = "Hypothesis's engine"
_ONE_LANE = "One conversation at a time"
_SLOW_MS = 100  # a turn for which it is worthwhile to have several at once
_LATELY = 8  # turns that are looked at for that
_UNDOCUMENTED = 4  # as long as a pinned order might be


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far an exploration goes."""

    plans: int = 25
    plan_turns: int | None = None  # twice the longest pinned order
    most_turns: int = 50  # however long that is
    confirm_runs: int = 5
    tolerate: float = 0.0
    keep_going: bool = False

    def turns(self, documented: Iterable[int]) -> int:
        """How many steps a plan has, where there are documented orders of so many."""
        return min(self.plan_turns or 2 * max(documented, default=_UNDOCUMENTED), self.most_turns)


@dataclass(frozen=True, kw_only=True)
class Explorable:
    """A machine or a session class, with all that its plans need."""

    place: Place
    runner: TreeRunner
    pinned: Mapping[str, Plan]
    server_starts: Callable[[], int]  # in this process so far
    watch: Callable[[Progress], object] = lambda _: None  # told how far the search is
    lanes: int | str = 1  # conversations at once, or why there can be only one
    why_one_lane: Callable[[Event], str] = lambda _: ""  # see `Lanes`
    forecasts: Sequence[str] = ()  # what was expected to be asked of models that cost, once it is asked
    led: "Callable[[TreeRunner], Leader] | None" = None  # who chooses steps where no plan can be made ahead

    def run_pinned(self, name: str) -> Outcome:
        """Carry out a pinned order, live; others may read of it in the tree."""
        return self.runner.unrestrained().run_live(self.pinned[name])

    def explore(self, limits: Limits, *, database: ExampleDatabase | None) -> tuple[Exploration, ExplorationRecord]:
        """Look for a conversation that fails; what was found out, and its record."""
        runner = self.runner
        kept_failures = KeptFailures(database, test=self.place.nodeid, model=self.place.model)
        kept = kept_failures.plans({rule.name: list(rule.simplest) for rule in runner.rules})
        for plan in kept_failures.unfit:
            steps = ", ".join(codes(plan))
            runner.remarks[steps] = f"A failure that was kept can't be tried, the rules have changed: {steps}."
        began, starts = time.monotonic(), self.server_starts()
        with runner.budget.running():
            exploration = self._in_lanes(limits, kept)
        if exploration.findings and exploration.stopped is None and runner.fresh:
            for plan in list(self.pinned.values())[:1]:
                runner.check_servers(plan)
        for finding in exploration.findings:
            kept_failures.save(finding.plan)
        for plan in exploration.acquitted:
            kept_failures.passed(plan)
        record = record_of(
            exploration,
            runner=runner,
            place=self.place,
            pinned=self.pinned,
            remembers=database is not None or runner.root.answers_all,
            server_starts=self.server_starts() - starts,
            seconds=time.monotonic() - began,
        )
        return exploration, replace(record, forecast="; ".join(self.forecasts))

    def _in_lanes(self, limits: Limits, kept: Sequence[Plan]) -> Exploration:
        if isinstance(self.lanes, str):
            self.runner.remarks[self.lanes] = f"{_ONE_LANE}: {self.lanes}"
        if self.lanes == 1 or isinstance(self.lanes, str):
            return self._explored(self.runner, limits, kept)
        lanes = Lanes(
            carrier=self.runner,
            lanes=self.lanes,
            why_one_lane=self.why_one_lane,
            may_hurry=self._may_hurry,
        )
        exploration: Exploration | None = None
        try:
            exploration = self._explored(lanes, limits, kept)
        finally:
            # After Ctrl-C nobody waits for a turn that may take long: it is given up when the run ends.
            lanes.close(waits=exploration is not None and not isinstance(exploration.stopped, KeyboardInterrupt))
        if lanes.why_alone:
            self.runner.remarks[lanes.why_alone] = f"{_ONE_LANE}: {lanes.why_alone}"
        return exploration

    def _may_hurry(self) -> bool:
        """Where a model answers at once, what is begun ahead of need takes more time than it saves."""
        slow = any(turn.duration_ms > _SLOW_MS for turn in self.runner.fresh[-_LATELY:])
        return slow and not self.runner.budget.is_scarce

    def _explored(self, runner: Runner, limits: Limits, kept: Sequence[Plan]) -> Exploration:
        search = partial(
            explore,
            runner,
            plan_turns=limits.turns(map(len, self.pinned.values())),
            seed=self.runner.seed,
            confirm_runs=limits.confirm_runs,
            tolerate=limits.tolerate,
            keep_going=limits.keep_going,
            shard=self.place.shard if self.led is None else Shard(),  # who is led has no plans to deal
            watch=self.watch,
        )
        if self.led is None:
            return search(pinned=self.pinned, kept=kept, plans=limits.plans)
        first = search(pinned=self.pinned, kept=kept, plans=len(kept))
        if first.findings or first.stopped is not None:
            return replace(first, plans=limits.plans)
        return self._led(self.led, search, limits)

    def _led(
        self,
        led: Callable[[TreeRunner], "Leader"],
        search: Callable[..., Exploration],
        limits: Limits,
    ) -> Exploration:
        """Let another engine find a plan that fails, and find out about it what is to be known."""
        runner = self.runner
        leader, before = led(runner), len(runner.fresh)
        stopped: BaseException | None = None
        try:
            leader.run(
                plans=limits.plans,
                plan_turns=limits.turns(map(len, self.pinned.values())),
                seed=self.runner.seed,
            )
        except (StopSearchError, KeyboardInterrupt) as error:
            stopped = error
            runner.allow = _nothing_more  # what is known of the failure is to be told, and no more to be asked
        failing = leader.failing
        found = {} if failing is None else {_ENGINE: failing.executed}
        fresh = len(runner.fresh) - before
        known = search(pinned=found, plans=0)
        if failing is not None and not known.findings and known.stopped is None:
            known = replace(known, findings=(_unstable(failing, runner),))
        pairs = {pair for plan in leader.executed for pair in itertools.combinations([step.rule for step in plan], 2)}
        return replace(
            known,
            tried=len(leader.executed),
            plans=limits.plans,
            ran=known.ran + len(leader.executed),
            pairs=tuple(sorted(pairs)),
            turns={**known.turns, "find": known.turns["find"] + Turns(fresh=fresh)},
            stopped=known.stopped or stopped,
        )


def _unstable(failing: Attempt, runner: TreeRunner) -> Finding:
    """What failed once, and not when it was carried out again."""
    return Finding(outcome=runner.outcome(failing), found_in=_ENGINE, found_as=failing.executed, is_unstable=True)


def _nothing_more(_: object) -> None:
    raise StopSearchError("it was interrupted")


class Leader(Protocol):
    """An engine of its own that chooses steps, for what can't be planned ahead."""

    failing: Attempt | None
    executed: set[Plan]

    def run(self, *, plans: int, plan_turns: int, seed: int) -> None: ...

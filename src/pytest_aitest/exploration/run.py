"""One exploration, from its first plan to its record."""

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from hypothesis.database import ExampleDatabase

from pytest_aitest.checks import Check
from pytest_aitest.conversation.past import Past
from pytest_aitest.conversation.servers import Connection
from pytest_aitest.conversation.tree import Event, Node
from pytest_aitest.search.exploration import Exploration, Finding
from pytest_aitest.search.explore import explore
from pytest_aitest.search.meter import Turns
from pytest_aitest.search.plan import Plan
from pytest_aitest.search.runner import Outcome, Rule, StopSearchError
from pytest_aitest.values.record import ExplorationRecord
from pytest_aitest.values.transcript import Turn

from .attempt import Attempt, Subject, Verdicts
from .budget import Budget
from .keep import KeptFailures
from .record import Place, record_of
from .runner import TreeRunner

_MANY = 10**9
_ENGINE = "Hypothesis's engine"
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

    def turns(self, pinned: Iterable[Plan]) -> int:
        """How many steps a plan has, where these are documented."""
        return min(self.plan_turns or 2 * max(map(len, pinned), default=_UNDOCUMENTED), self.most_turns)


@dataclass(frozen=True, kw_only=True)
class Explorable:
    """A machine or a session class, with all that its plans need."""

    place: Place
    rules: Sequence[Rule]
    pinned: Mapping[str, Plan]
    subject: Callable[[Past], Subject]  # that takes the steps of one plan
    root: Node  # the empty history
    budget: Budget
    allow: Callable[[Event], None]  # see `TreeRunner`
    offered: Callable[[Sequence[Connection]], None]
    heard: Callable[[Turn], object]
    server_starts: Callable[[], int]  # in this process so far
    checks: Sequence[Check] = ()
    led: "Callable[[TreeRunner], Leader] | None" = None  # who chooses steps where no plan can be made ahead
    verdicts: Verdicts = field(default_factory=Verdicts)

    def _runner(self) -> TreeRunner:
        return TreeRunner(
            subject=self.subject,
            rules=self.rules,
            root=self.root,
            budget=self.budget,
            builtin_checks=self.checks,
            verdicts=self.verdicts,
            allow=self.allow,
            offered=self.offered,
            heard=self.heard,
            seed=self.place.seed,
        )

    def run_pinned(self, name: str) -> Outcome:
        """Carry out a pinned order, live; others may read of it in the tree.

        It is a test like any other: what explorations may ask and spend is nothing to it.
        """
        runner = self._runner()
        runner.allow, runner.offered, runner.budget = _anything, _anything, Budget(calls=_MANY, usd=_MANY)
        return runner.run_live(self.pinned[name])

    def explore(
        self, limits: Limits, *, database: ExampleDatabase | None
    ) -> tuple[Exploration, ExplorationRecord, int]:
        """Look for a conversation that fails.

        Returns:
            What was found out, its record, and how many steps were taken.
        """
        runner = self._runner()
        kept_failures = KeptFailures(database, test=self.place.nodeid)
        kept = list(kept_failures.plans({rule.name: list(rule.simplest) for rule in self.rules}))
        began, starts = time.monotonic(), self.server_starts()
        with self.budget.running():
            exploration = self._explored(runner, limits, kept)
        for finding in exploration.findings:
            kept_failures.save(finding.plan)
        if exploration.stopped is None and not exploration.findings:
            for plan in kept[: limits.plans]:
                kept_failures.forget(plan)
        record = record_of(
            exploration,
            runner=runner,
            place=self.place,
            pinned=self.pinned,
            server_starts=self.server_starts() - starts,
            seconds=time.monotonic() - began,
        )
        return exploration, record, runner.steps

    def _explored(self, runner: TreeRunner, limits: Limits, kept: Sequence[Plan]) -> Exploration:
        search = partial(
            explore,
            runner,
            plan_turns=limits.turns(self.pinned.values()),
            seed=self.place.seed,
            confirm_runs=limits.confirm_runs,
            tolerate=limits.tolerate,
            keep_going=limits.keep_going,
        )
        if self.led is None:
            return search(pinned=self.pinned, kept=kept, plans=limits.plans)
        first = search(pinned=self.pinned, kept=kept, plans=len(kept))
        if first.findings or first.stopped is not None:
            return replace(first, plans=limits.plans)
        return self._led(self.led, search, runner, limits)

    def _led(
        self,
        led: Callable[[TreeRunner], "Leader"],
        search: Callable[..., Exploration],
        runner: TreeRunner,
        limits: Limits,
    ) -> Exploration:
        """Let another engine find a plan that fails, and find out about it what is to be known."""
        leader, before = led(runner), len(runner.fresh)
        stopped: BaseException | None = None
        try:
            leader.run(
                plans=limits.plans,
                plan_turns=limits.turns(self.pinned.values()),
                seed=self.place.seed,
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


def _anything(_: object) -> None:
    """Allow it."""


def _nothing_more(_: object) -> None:
    raise StopSearchError("it was interrupted")


class Leader(Protocol):
    """An engine of its own that chooses steps, for what can't be planned ahead."""

    failing: Attempt | None
    executed: set[Plan]

    def run(self, *, plans: int, plan_turns: int, seed: int) -> None: ...

"""The loop: pinned plans, kept failures, planned ones; what fails is minimised and confirmed.

Owns the order of the search. Refuses to know what a step does, and who prints the result.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from .deck import Card, Deck, Shard
from .exploration import Exploration, Finding, Inapplicable, Progress
from .foresight import Shrinking, upcoming
from .investigate import Inquiry
from .meter import Meter
from .plan import Plan, codes
from .planner import Planner
from .runner import FarSighted, Outcome, Rule, Runner, StopSearchError


def explore(
    runner: Runner,
    *,
    pinned: Mapping[str, Plan],
    kept: Sequence[Plan] = (),
    plans: int = 25,
    plan_turns: int,
    seed: int,
    confirm_runs: int = 5,
    tolerate: float = 0.0,
    keep_going: bool = False,
    shard: Shard = Shard(),  # noqa: B008 - a value
    watch: Callable[[Progress], object] = lambda _: None,
) -> Exploration:
    """Look for a conversation that fails, until one that counts is found and minimised, or `plans` are tried.

    Args:
        runner: Carries plans out.
        pinned: Plans that run first, by name; what they say is documented.
        kept: Plans that failed in earlier explorations; they run next.
        plans: How many unpinned plans to try, the kept ones among them.
        plan_turns: How many steps a planned plan has, initial ones aside.
        seed: The same seed and runner give the same exploration, in every process.
        confirm_runs: How often a minimal plan is run afresh.
        tolerate: The rate of failure that is accepted; an exploration goes on after such a finding.
        keep_going: Whether to go on after a finding that counts.
        shard: Which of the plans are tried here; with the same seed all shards deal from one deck.
        watch: Told how far it is, after each plan.
    """
    planner = Planner(runner.rules, pinned=pinned.values(), plan_turns=plan_turns, seed=seed)
    deck = Deck(planner, pinned=pinned, kept=kept, plans=plans, shard=shard)
    aims = _Aims(confirm_runs=confirm_runs, tolerate=tolerate, keep_going=keep_going, plans=deck.own)
    search = _Search(runner, planner, deck, aims, watch=watch)
    if isinstance(runner, FarSighted):
        runner.foresee(partial(upcoming, search))
    stopped: BaseException | None = None
    try:
        search.look()
    except (StopSearchError, KeyboardInterrupt) as error:
        stopped = error
        search.keep_best()
    return Exploration(
        findings=tuple(search.findings),
        tried=search.tried,
        plans=deck.own,
        inapplicable=tuple(search.inapplicable),
        ran=search.ran,
        pairs=tuple(sorted(planner.coverage.pairs)),
        is_exhausted=deck.is_exhausted,
        seed=seed,
        turns=search.meter.total,
        acquitted=tuple(search.acquitted),
        stopped=stopped,
    )


@dataclass(frozen=True, kw_only=True)
class _Aims:
    """What is to be found out."""

    confirm_runs: int
    tolerate: float
    keep_going: bool
    plans: int


class _Search:
    """One exploration under way."""

    def __init__(
        self,
        runner: Runner,
        planner: Planner,
        deck: Deck,
        aims: _Aims,
        *,
        watch: Callable[[Progress], object] = lambda _: None,
    ) -> None:
        self.findings: list[Finding] = []
        self.inapplicable: list[Inapplicable] = []
        self.acquitted: list[Plan] = []
        self.tried = 0
        self.ran = 0
        self.confirmed = 0
        self.shrunk: list[Any] = []
        self.meter = Meter(runner, watch=lambda: watch(self._progress()))
        self._runner = runner
        self._planner = planner
        self._deck = deck
        self._aims = aims
        self._card: Card | None = None  # the plan that it deals with
        self._inquiry: Inquiry | None = None
        self._spent = dict(self.meter.total)  # when the finding before was made

    @property
    def rules(self) -> Sequence[Rule]:
        return self._runner.rules

    def look(self) -> None:
        """Deal with all plans, or with those up to the first that leads to a finding that counts."""
        self._card = self._card or self._deck.deal()
        while self._card is not None:
            self.confirmed, self.shrunk = self.meter.confirmed, []
            if self._ends_with(self._card) and not self._aims.keep_going:
                return
            self._card = self._deck.deal()

    def carried_on(self, runner: Runner) -> None:
        """See `foresight.Continued`: once more from the plan that it deals with, whose answers are known."""
        other = _Search(runner, self._planner, self._deck.copy(), self._aims)
        other.findings, other._card = [*self.findings], self._card
        other.look()

    def keep_best(self) -> None:
        """Make a finding of what is known about the failure under investigation, if there is one."""
        if self._inquiry is not None:
            turns = self.meter.since(self._spent)
            self.findings.append(self._inquiry.finding(tolerate=self._aims.tolerate, turns=turns))
            self._spent = dict(self.meter.total)
            self._inquiry = None

    def _progress(self) -> Progress:
        inquiry = self._inquiry
        return Progress(
            phase=self.meter.phase,
            tried=self.tried,
            plans=self._aims.plans,
            found=0 if inquiry is None else len(inquiry.found_as),
            shortest=0 if inquiry is None else len(inquiry.shortest),
        )

    def _ends_with(self, card: Card) -> bool:
        """Run one plan; whether it led to a new finding that counts."""
        self.meter.phase = "find"
        outcome = self.meter.run(card.plan)
        self.ran += 1
        self.tried += card.counts
        self._deck.note(outcome.executed, planned=card.plan)
        if outcome.inapplicable is not None:
            self.inapplicable.append(Inapplicable(name=card.name, plan=card.plan, reason=outcome.inapplicable))
        if card.is_kept and outcome.failure is None and codes(outcome.executed) == codes(card.plan):
            self.acquitted.append(card.plan)
        if outcome.failure is None or outcome.failure in [finding.failure for finding in self.findings]:
            return False
        self._investigate(outcome, card.name)
        return self.findings[-1].verdict == "fails"

    def _investigate(self, failing: Outcome, name: str) -> None:
        self._inquiry = Inquiry(
            failing,
            found_in=name,
            meter=self.meter,
            rules=[Shrinking(rule, self.shrunk) for rule in self.rules],
            values=self._planner.values,
        )
        self._inquiry.investigate(confirm_runs=self._aims.confirm_runs)
        self.keep_best()

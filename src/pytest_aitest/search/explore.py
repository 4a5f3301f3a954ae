"""The loop: pinned plans, kept failures, planned ones; what fails is minimised and confirmed.

Owns the order of the search. Refuses to know what a step does, and who prints the result.
"""

from collections.abc import Callable, Mapping, Sequence

from .deck import Card, Deck, Shard
from .exploration import Exploration, Finding, Inapplicable, Progress
from .investigate import Inquiry
from .meter import Meter
from .plan import Plan, codes
from .planner import Planner
from .runner import Outcome, Runner, StopSearchError


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
    search = _Search(
        runner, planner, deck, confirm_runs=confirm_runs, tolerate=tolerate, plans=shard.share(plans), watch=watch
    )
    stopped: BaseException | None = None
    try:
        search.look(keep_going=keep_going)
    except (StopSearchError, KeyboardInterrupt) as error:
        stopped = error
        search.keep_best()
    return Exploration(
        findings=tuple(search.findings),
        tried=search.tried,
        plans=shard.share(plans),
        inapplicable=tuple(search.inapplicable),
        ran=search.ran,
        pairs=tuple(sorted(planner.coverage.pairs)),
        is_exhausted=deck.is_exhausted,
        seed=seed,
        turns=search.meter.total,
        acquitted=tuple(search.acquitted),
        stopped=stopped,
    )


class _Search:
    """One exploration under way."""

    def __init__(
        self,
        runner: Runner,
        planner: Planner,
        deck: Deck,
        *,
        confirm_runs: int,
        tolerate: float,
        plans: int,
        watch: Callable[[Progress], object],
    ) -> None:
        self.findings: list[Finding] = []
        self.inapplicable: list[Inapplicable] = []
        self.acquitted: list[Plan] = []
        self.tried = 0
        self.ran = 0
        self.meter = Meter(runner, watch=lambda: watch(self._progress()))
        self._plans = plans
        self._runner = runner
        self._planner = planner
        self._deck = deck
        self._confirm_runs = confirm_runs
        self._tolerate = tolerate
        self._inquiry: Inquiry | None = None
        self._spent = dict(self.meter.total)  # when the finding before was made

    def look(self, *, keep_going: bool) -> None:
        while (card := self._deck.deal()) is not None:
            if self._ends_with(card) and not keep_going:
                return

    def keep_best(self) -> None:
        """Make a finding of what is known about the failure under investigation, if there is one."""
        if self._inquiry is not None:
            turns = self.meter.since(self._spent)
            self.findings.append(self._inquiry.finding(tolerate=self._tolerate, turns=turns))
            self._spent = dict(self.meter.total)
            self._inquiry = None

    def _progress(self) -> Progress:
        inquiry = self._inquiry
        return Progress(
            phase=self.meter.phase,
            tried=self.tried,
            plans=self._plans,
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
            failing, found_in=name, meter=self.meter, rules=self._runner.rules, values=self._planner.values
        )
        self._inquiry.investigate(confirm_runs=self._confirm_runs)
        self.keep_best()

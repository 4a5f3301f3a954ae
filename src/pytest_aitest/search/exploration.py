"""What an exploration found out. Values; knows nothing of how."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .meter import Phase, Turns
from .minimise import Necessity
from .plan import Plan
from .runner import Failure, Outcome
from .verdict import Rate, Verdict

KEPT_FAILURE = "kept failure"  # how `Finding.found_in` begins for one


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One failure: the shortest plan that shows it, how often it does, and what it took to know that."""

    outcome: Outcome  # of the minimal plan
    found_in: str  # "documented", "kept failure 1", "plan 3"
    found_as: Plan  # as it was executed when it failed first
    is_minimal: bool = False  # whether it is proved that no single step can be left out
    necessity: tuple[Necessity, ...] = ()  # for each step of `plan`; empty where it is not known
    is_unstable: bool = False  # whether the same plan, all replayed, came out otherwise: state leaks, a rule is random
    rate: Rate | None = None  # None: never confirmed
    verdict: Verdict = "fails"
    turns: Mapping[Phase, Turns] = field(default_factory=dict)  # since the finding before

    @property
    def was_kept(self) -> bool:
        """Whether it was known from an earlier exploration."""
        return self.found_in.startswith(KEPT_FAILURE)

    @property
    def plan(self) -> Plan:
        return self.outcome.executed

    @property
    def failure(self) -> Failure:
        assert self.outcome.failure is not None
        return self.outcome.failure


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a search is."""

    phase: Phase
    tried: int  # unpinned plans so far
    plans: int  # that might be tried
    found: int = 0  # steps of the failure under investigation, as it was found
    shortest: int = 0  # steps of the shortest plan known that fails the same


@dataclass(frozen=True, kw_only=True)
class Inapplicable:
    """A plan that could not be judged."""

    name: str  # as in `Finding.found_in`
    plan: Plan  # as planned
    reason: str


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """All that was found out."""

    findings: tuple[Finding, ...]
    tried: int  # unpinned plans that ran
    plans: int  # that might have run
    inapplicable: tuple[Inapplicable, ...]
    ran: int  # plans of all kinds that ran; where all were inapplicable, nothing was explored
    pairs: tuple[tuple[str, str], ...]  # rules that ran in this order, in one plan
    is_exhausted: bool  # whether no plan was left that had not been tried
    seed: int
    turns: Mapping[Phase, Turns]
    acquitted: tuple[Plan, ...] = ()  # kept failures that were carried out as they are, and passed
    stopped: BaseException | None = None  # why it ended early: StopSearchError, or KeyboardInterrupt to raise again

    @property
    def is_inapplicable(self) -> bool:
        """Whether not one plan could be judged."""
        return self.ran > 0 and len(self.inapplicable) == self.ran

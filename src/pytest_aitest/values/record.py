"""What tests leave behind, for whoever shows it: what was said in them, how they ended, what was found, what it cost.

Values only, JSON both ways (see `run_record`); knows nothing of how they came about, nor of how they are shown.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self

from .transcript import Turn, TurnRecord

Outcome = Literal[
    "passed",
    "noted",  # passed, and something is to be said of it: an order note, a failure that is accepted
    "failed",
    "error",  # before or after the test itself
    "skipped",
    "priced",  # skipped, because it would cost
    "not run",  # an earlier turn of its flow failed
    "xfailed",
    "xpassed",
    "rerun",  # failed, and was run again
]


Kind = Literal["turn", "context", "test", "pinned", "exploration"]
"""What a test is: a turn of a flow, one that ran only for a later one, one by itself, an order, a search for orders."""


@dataclass(frozen=True, kw_only=True)
class ToolLook:
    """A tool that was called past the model, and what it said."""

    call: str  # 'get_all_balances()'
    said: str


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One step as it went."""

    code: str  # 'transfer(amount=1)'
    happened: tuple[TurnRecord | ToolLook, ...] = ()  # turns, and calls past the model, in their order
    looks: tuple[ToolLook, ...] = ()  # of the check that failed after it

    @property
    def turns(self) -> list[TurnRecord]:
        """The turns that were taken in it."""
        return [happened for happened in self.happened if isinstance(happened, TurnRecord)]


@dataclass(frozen=True, kw_only=True)
class Necessity:
    """What an order does without one of its steps."""

    step: int  # from 1
    passed: int = 0  # samples without the step, all of which passed
    result: Literal["passes", "fails otherwise", "can't run", "does not count"] = "passes"
    by: str = ""  # the check that failed or does not count, the rule that can't run


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """How often a minimal transcript failed when everything was asked anew."""

    failed: int
    runs: int
    low: float  # of the 95 % interval of the rate
    high: float


@dataclass(frozen=True, kw_only=True)
class PinnedOrder:
    """A documented order, to hold a finding against."""

    name: str
    steps: tuple[str, ...]  # code
    passes: bool | None  # None: it was not run in this shard


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What was asked, and what it cost."""

    find: int = 0  # fresh turns, by what they were for
    shrink: int = 0
    confirm: int = 0
    ahead: int = 0  # begun before they were needed, and then not needed; broken off
    replayed: int = 0  # turns answered from the conversation tree
    model_calls: int = 0
    tokens: int = 0
    cost_usd: float | None = 0.0  # of the turns whose price is known; None where that is none of them
    unpriced_turns: int = 0  # those whose price is not known
    models: tuple[str, ...] = ()  # that were asked
    server_starts: int = 0
    seconds: float = 0.0

    @classmethod
    def on(cls, turns: Iterable[Turn | TurnRecord], **more: Any) -> Self:
        """What was spent on turns that were asked live."""
        turns = list(turns)
        priced = [turn.cost_usd for turn in turns if turn.cost_usd is not None]
        return cls(
            model_calls=sum(turn.model_calls for turn in turns),
            tokens=sum(turn.prompt_tokens + turn.completion_tokens for turn in turns),
            cost_usd=sum(priced) if priced or not turns else None,
            unpriced_turns=len(turns) - len(priced),
            models=tuple(dict.fromkeys(turn.model for turn in turns)),
            **more,
        )

    @property
    def fresh_turns(self) -> int:
        """All turns that were asked live."""
        return self.find + self.shrink + self.confirm + self.ahead


@dataclass(frozen=True, kw_only=True)
class MeanTurn:
    """What a turn of a model comes to, over several."""

    turns: int
    model_calls: float
    tokens: float
    cost_usd: float | None  # None where no price is known

    @classmethod
    def of(cls, turns: Collection[Turn]) -> Self:
        """The mean of some turns, at least one."""
        priced = [turn.cost_usd for turn in turns if turn.cost_usd is not None]
        return cls(
            turns=len(turns),
            model_calls=sum(turn.model_calls for turn in turns) / len(turns),
            tokens=sum(turn.prompt_tokens + turn.completion_tokens for turn in turns) / len(turns),
            cost_usd=sum(priced) / len(priced) if priced else None,
        )


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A conversation that fails, cut down as far as it went."""

    check: str  # "money_is_conserved"
    error: str = ""  # "AssertionError: assert 4499 == 4500", for where no traceback is shown
    place: str = ""  # "test_banking.py:31"
    verdict: Literal["fails", "tolerated", "seen once", "unstable"] = "fails"
    steps: tuple[StepRecord, ...]
    is_minimal: bool  # no step can be left out
    why_not_minimal: str = ""
    necessity: tuple[Necessity, ...] = ()
    confirmation: Confirmation | None = None
    keep: str = ""  # code to paste, if there is any
    keep_where: str = ""  # "TestBanking, test_banking.py"
    keep_remark: str = ""  # why there is no code, or what else remembers it
    was_kept: bool = False  # from an earlier run, and so was tried first
    notes: tuple[str, ...] = ()  # from Hypothesis's note(), and of ours

    @property
    def codes(self) -> list[str]:
        """Its steps as code, to be held against a pinned order."""
        return [step.code for step in self.steps]


@dataclass(frozen=True, kw_only=True)
class ExplorationRecord:
    """One exploration."""

    name: str  # "TestBanking::explore"
    shard: str = ""  # "1/4": it dealt its plans with others, and had every fourth of them; empty: it had all
    again: str  # 'pytest "test_banking.py::TestBanking::explore"'
    seed: int
    plans_tried: int
    plans: int
    rules: tuple[str, ...] = ()  # whose orders are tried
    initial_rules: tuple[str, ...] = ()  # those of them that come first, or not at all
    covered: tuple[tuple[str, str], ...] = ()  # pairs of rules that ran in this order, in one plan
    spent: Spent
    findings: tuple[Finding, ...] = ()
    pinned: tuple[PinnedOrder, ...] = ()
    order_notes: tuple[str, ...] = ()
    events: tuple[tuple[str, int], ...] = ()  # from Hypothesis's event(), and how often
    why_ended: str = ""  # "its budget was spent", "no other order is left"; empty: at its last finding, or all tried
    forecast: str = ""  # what it was expected to ask, where that costs: "azure/gpt-5-mini up to 400 times, about $0.40"
    remarks: tuple[str, ...] = ()  # e.g. a server that can't be replayed, a budget that was spent

    @property
    def pairs(self) -> int:
        """How many ordered pairs of rules there are."""
        return len(self.rules) * (len(self.rules) - len(self.initial_rules))


@dataclass(frozen=True, kw_only=True)
class TestRecord:
    """One test that had a conversation, or explored some."""

    __test__ = False  # no test class

    nodeid: str
    kind: Kind
    outcome: Outcome = "passed"
    session: str = ""  # tells it from all other sessions of the run: "tests/test_shop.py::shopping-flow[gpt-5-mini]"
    first_turn: int = 1  # the number of its first turn in that session
    steps: tuple[StepRecord, ...] = ()  # one, for a test; those of its order, for a pinned one
    exploration: ExplorationRecord | None = None
    failure: str = ""  # what pytest says of it in short: "AssertionError: assert 4499 == 4500"
    place: str = ""  # where that was raised: "test_banking.py:31"
    details: str = ""  # all that pytest shows of it
    reason: str = ""  # why it was skipped, not run, or expected to fail
    asked: Spent = Spent()  # all that was asked live
    seconds: float = 0.0
    worker: str = ""  # of pytest-xdist

    @property
    def turns(self) -> list[TurnRecord]:
        """The turns that were taken in it."""
        return [turn for step in self.steps for turn in step.turns]

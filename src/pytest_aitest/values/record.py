"""What an exploration leaves behind, for whoever shows it: steps with what was said in them, findings, costs.

Values only; knows nothing of how they came about, nor of how they are shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from .transcript import Turn


@dataclass(frozen=True, kw_only=True)
class ToolLook:
    """A tool that was called past the model, and what it said."""

    call: str  # 'get_all_balances()'
    said: str


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One step as it went."""

    code: str  # 'transfer(amount=1)'
    happened: tuple[Turn | ToolLook, ...] = ()  # turns, and calls past the model, in their order
    looks: tuple[ToolLook, ...] = ()  # of the check that failed after it


@dataclass(frozen=True, kw_only=True)
class Necessity:
    """What an order does without one of its steps."""

    step: int  # from 1
    passed: int  # samples without the step, all of which passed


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
    steps: Sequence[str]  # code
    passes: bool


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What was asked, and what it cost."""

    find: int = 0  # fresh turns, by what they were for
    shrink: int = 0
    confirm: int = 0
    replayed: int = 0  # turns answered from the conversation tree
    model_calls: int = 0
    tokens: int = 0
    cost_usd: float | None = 0.0  # None where a price is not known
    server_starts: int = 0
    seconds: float = 0.0

    @property
    def fresh_turns(self) -> int:
        """All turns that were asked live."""
        return self.find + self.shrink + self.confirm


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A conversation that fails, cut down as far as it went."""

    check: str  # "money_is_conserved"
    error: str = ""  # "AssertionError: assert 4499 == 4500", for where no traceback is shown
    steps: tuple[StepRecord, ...]
    is_minimal: bool  # no step can be left out
    why_not_minimal: str = ""
    necessity: tuple[Necessity, ...] = ()
    confirmation: Confirmation | None = None
    keep: str = ""  # code to paste; empty where an argument has no literal form
    keep_where: str = ""  # "TestBanking, test_banking.py"
    cannot_keep: str = ""  # why there is no code to paste
    notes: tuple[str, ...] = ()  # from Hypothesis's note(), and of ours


@dataclass(frozen=True, kw_only=True)
class ExplorationRecord:
    """One exploration."""

    name: str  # "TestBanking::explore"
    again: str  # 'pytest "test_banking.py::TestBanking::explore"'
    seed: int
    plans_tried: int
    plans: int
    pairs_covered: int
    pairs: int
    spent: Spent
    findings: tuple[Finding, ...] = ()
    pinned: tuple[PinnedOrder, ...] = ()
    order_notes: tuple[str, ...] = ()
    events: tuple[tuple[str, int], ...] = ()  # from Hypothesis's event(), and how often
    why_ended: str = ""  # "its budget was spent", "no other order is left"; empty: at its last finding, or all tried
    remarks: tuple[str, ...] = ()  # e.g. a server that can't be replayed, a budget that was spent

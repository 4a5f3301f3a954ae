"""The plans of one exploration, in the order in which they are tried: pinned ones, kept failures, planned ones.

Knows what comes next, and nothing of how a plan came out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from .exploration import KEPT_FAILURE
from .plan import Plan
from .planner import Planner


@dataclass(frozen=True)
class Shard:
    """One of several explorations that deal the plans of one among them."""

    number: int = 1  # from 1
    of: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, position: int) -> bool:
        """Whether the plan at this position, from 1, is its own."""
        return (position - 1) % self.of == self.number - 1

    def share(self, plans: int) -> int:
        """How many of so many plans are its own."""
        return (plans - self.number) // self.of + 1


@dataclass(frozen=True, kw_only=True)
class Card:
    """A plan to try."""

    name: str  # "documented", "kept failure 1", "plan 3"
    plan: Plan
    counts: bool = False  # towards the number of plans
    is_kept: bool = False


class Deck:
    """Deals plans, until none is left or enough were dealt.

    The first shard has the pinned and the kept ones, the others take them for tried. What others plan is taken to be
    carried out as planned.
    """

    def __init__(
        self,
        planner: Planner,
        *,
        pinned: Mapping[str, Plan],
        kept: Sequence[Plan] = (),
        plans: int,
        shard: Shard = Shard(),
    ) -> None:
        self.is_exhausted = False  # whether there was no plan any more that had not been tried
        self._planner = planner
        self._known = [Card(name=name, plan=plan) for name, plan in pinned.items()]
        self._known += [
            Card(name=f"{KEPT_FAILURE} {number}", plan=plan, counts=True, is_kept=True)
            for number, plan in enumerate(kept[:plans], 1)
        ]
        self._shard = shard
        self._left = plans  # of all shards
        kept_ones = len(kept[:plans])
        self.own = shard.share(plans - kept_ones) + (kept_ones if shard.number == 1 else 0)  # plans that count
        self._planned = 0

    def copy(self) -> Self:
        """One that deals the same from here on, if all goes as planned."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other._planner, other._known = self._planner.copy(), [*self._known]
        return other

    def deal(self) -> Card | None:
        """The next plan; say with `note` how it was carried out."""
        while self._known:
            card = self._known.pop(0)
            self._left -= card.counts
            if self._shard.number == 1:
                return card
            self.note(card.plan, planned=card.plan)
        while self._left:
            plan = self._planner.propose()
            if plan is None:
                self.is_exhausted = True
                break
            self._left -= 1
            self._planned += 1
            if self._shard.has(self._planned):
                return Card(name=f"plan {self._planned}", plan=plan, counts=True)
            self.note(plan, planned=plan)
        return None

    def note(self, executed: Plan, *, planned: Plan) -> None:
        """Learn what became of a plan."""
        self._planner.note(executed, planned=planned)

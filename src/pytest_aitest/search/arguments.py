"""Which arguments to try in a step, and what kind each is. Knows no order of steps."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from random import Random
from typing import Any

from .plan import Given, Plan
from .runner import Rule

Arguments = Mapping[str, Any]

_FEW = 5  # so few different values are each a kind of their own
_MOST_LISTED = 20  # that are options for one step


class Listed(tuple[Arguments, ...]):
    """A pool of all that may be tried: its arguments stay together, and no others are made of them."""

    __slots__ = ()


def documented_values(plans: Iterable[Plan]) -> dict[tuple[str, str], list[Any]]:
    """What pinned plans give each (rule, argument), without repeats; results of other steps are no values."""
    found: dict[tuple[str, str], list[Any]] = {}
    for step in (step for plan in plans for step in plan):
        for name, value in step.arguments.items():
            values = found.setdefault((step.rule, name), [])
            if not isinstance(value, Given) and repr(value) not in map(repr, values):
                values.append(value)
    return found


class Values:
    """The arguments of one rule: documented, simplest, extreme, any."""

    def __init__(self, rule: Rule, documented: Mapping[tuple[str, str], Sequence[Any]]) -> None:
        self.rule = rule
        self.documented = {name: documented.get((rule.name, name), ()) for name in rule.simplest}
        self._kinds: dict[tuple[str, str], str] = {}

    @cached_property
    def extremes(self) -> dict[str, tuple[Any, Any]]:
        """Of each argument, the smallest and the largest of the pool."""
        return {name: _ends([arguments[name] for arguments in self.rule.pool]) for name in self.rule.simplest}

    @cached_property
    def few(self) -> frozenset[str]:
        """The arguments with so few values that each is tried for its own sake."""
        seen = {name: {repr(arguments[name]) for arguments in self.rule.pool} for name in self.rule.simplest}
        return frozenset(name for name, values in seen.items() if len(values) <= _FEW)

    def usual(self) -> Arguments:
        """What the documentation says, else the simplest."""
        return {name: values[0] if values else self.rule.simplest[name] for name, values in self.documented.items()}

    def options(self, random: Random) -> list[Arguments]:
        """One set of arguments of each sort, the usual one first."""
        if not self.rule.simplest:
            return [{}]
        usual, pool = self.usual(), self.rule.pool
        if isinstance(pool, Listed):
            return [usual, *random.sample(pool, min(len(pool), _MOST_LISTED))]
        anything = random.choice(pool)
        options = [usual, self.rule.simplest, anything]
        for name, ends in self.extremes.items():
            options += [{**usual, name: end} for end in ends]
            options.append({**usual, name: anything[name]})
        return options

    def kind(self, name: str, value: Any) -> str:
        """In which way a value is special; any two of one kind may well be treated alike."""
        key = name, repr(value)
        if key not in self._kinds:
            self._kinds[key] = self._kind_of(name, key[1])
        return self._kinds[key]

    def _kind_of(self, name: str, shown: str) -> str:
        if isinstance(name, str) and name in self.few:
            return shown
        if any(shown == repr(value) for value in self.documented.get(name, ())):
            return "documented"
        if shown == repr(self.rule.simplest.get(name)):
            return "simplest"
        smallest, largest = self.extremes.get(name, (None, None))
        if shown == repr(largest):
            return "largest"
        return "smallest" if shown == repr(smallest) else "other"


def _ends(values: Sequence[Any]) -> tuple[Any, Any]:
    """Smallest and largest: shortest and longest of what has a length, because limits are on lengths."""
    try:
        ordered = sorted(values, key=len) if hasattr(values[0], "__len__") else sorted(values)
    except Exception:  # noqa: BLE001  a user's type may refuse comparison with any error
        ordered = sorted(values, key=lambda value: (len(repr(value)), repr(value)))
    return ordered[0], ordered[-1]

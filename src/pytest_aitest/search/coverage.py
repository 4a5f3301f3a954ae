"""What makes one conversation different from another: features of a plan, and which were seen already.

A feature belongs to one step and what went before it. Knows no runner.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .arguments import Values
from .plan import Given, Plan, Step

Feature = tuple[str, ...]

_MOST_REPEATS = 4
_MOST_ATTEMPTS = 3
_WEIGHTS = {"pair": 6, "without": 6, "next": 4, "count": 4, "triple": 1, "kind": 6, "again": 4, "kind after": 2}


class Past:
    """What a step's features depend on: the steps before it."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.pairs: dict[tuple[str, str], None] = {}  # a dict keeps its order in every process, a set does not
        self.counts: dict[str, int] = {}

    def add(self, step: Step) -> None:
        for earlier in self.counts:
            self.pairs[earlier, step.rule] = None
        self.counts[step.rule] = self.counts.get(step.rule, 0) + 1
        self.steps.append(step)


class Coverage:
    """The features that plans had."""

    def __init__(self, values: Mapping[str, Values]) -> None:
        self.pairs: dict[tuple[str, str], None] = {}
        self._values = values
        self._seen: set[Feature] = set()
        self._attempts: dict[Feature, int] = {}

    def copy(self) -> "Coverage":
        """One that learns by itself from here on."""
        other = Coverage(self._values)
        other.pairs, other._seen, other._attempts = dict(self.pairs), set(self._seen), dict(self._attempts)
        return other

    def note(self, executed: Plan, *, planned: Plan = ()) -> None:
        """Count the features of `executed` as seen, and those planned in vain a few times as not to be had."""
        past = Past()
        for step in executed:
            self.add(past, step)
        self.pairs.update(past.pairs)
        past = Past()
        for step in planned:
            for feature in self._unseen(self._features(past, step)):
                self._attempts[feature] = self._attempts.get(feature, 0) + 1
                if self._attempts[feature] == _MOST_ATTEMPTS:
                    self._seen.add(feature)
            past.add(step)

    def add(self, past: Past, step: Step) -> None:
        """Take one step further, and count its features as seen."""
        self._seen.update(self._features(past, step))
        past.add(step)

    def gain_of_rule(self, past: Past, rule: str) -> int:
        """How much is new in taking `rule` now, whatever its arguments."""
        return _weigh(self._unseen(self._features_of_rule(past, rule)))

    def gain_of_arguments(self, past: Past, step: Step) -> int:
        """How much is new in taking just these arguments now."""
        return _weigh(self._unseen(self._features_of_arguments(past, step)))

    def _unseen(self, features: Iterable[Feature]) -> Iterator[Feature]:
        return (feature for feature in features if feature not in self._seen)

    def _features(self, past: Past, step: Step) -> Iterator[Feature]:
        yield from self._features_of_rule(past, step.rule)
        yield from self._features_of_arguments(past, step)

    def _features_of_rule(self, past: Past, rule: str) -> Iterator[Feature]:
        for other in self._values:
            if other in past.counts:
                yield "pair", other, rule
            elif other != rule:
                yield "without", other, rule
        yield "next", past.steps[-1].rule if past.steps else "", rule
        yield "count", rule, str(min(past.counts.get(rule, 0) + 1, _MOST_REPEATS))
        for first, second in past.pairs:
            yield "triple", first, second, rule

    def _features_of_arguments(self, past: Past, step: Step) -> Iterator[Feature]:
        rule = step.rule
        if step.arguments and rule in past.counts:
            same = any(earlier.code == step.code for earlier in past.steps)
            yield "again", rule, "same" if same else "different"
        for name, value in step.arguments.items():
            kind = self._kind(rule, name, value)
            yield "kind", rule, name, kind
            for other in past.counts:
                yield "kind after", other, rule, name, kind

    def _kind(self, rule: str, name: str, value: Any) -> str:
        if isinstance(value, Given) or rule not in self._values:
            return "given"
        return self._values[rule].kind(name, value)


def _weigh(features: Iterable[Feature]) -> int:
    return sum(_WEIGHTS[feature[0]] for feature in features)

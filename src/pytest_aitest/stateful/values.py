"""Arguments for one rule, drawn from its Hypothesis strategies: a pool, the simplest ones, smaller ones.

All is drawn outside any example, because Hypothesis refuses to be nested. Uses only its public interface. Knows neither
machines nor what a rule does.
"""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from math import ceil, floor, inf, isfinite
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, find, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import HypothesisDeprecationWarning, NoSuchExample, Unsatisfiable
from hypothesis.strategies import SearchStrategy

from pytest_aitest.values.errors import DeclarationError

_DRAWS = 150
_POOL = 50  # of them that are kept
_FINDS = 300  # examples that one `find` may look at
_MOST_CALLS = 16  # of `fails` for one argument; each may be a live turn
_ROUNDS = 2  # how often a round number and its neighbour are tried before plain bisection
_NOTHING = object()
_INTEGERS = re.compile(r"integers\((min_value=(?P<low>-?\d+))?(, )?(max_value=(?P<high>-?\d+))?\)")

_QUIET: dict[str, Any] = {
    "database": None,
    "deadline": None,
    "derandomize": False,
    "print_blob": False,
    "verbosity": Verbosity.normal,
    "suppress_health_check": list(HealthCheck),
}


class StrategyRule:
    """A rule and its arguments' strategies, as the search asks for them."""

    def __init__(
        self, *, name: str, strategies: Mapping[str, SearchStrategy[Any]], is_initial: bool = False, seed: int = 0
    ) -> None:
        self.name = name
        self.is_initial = is_initial
        self._strategies = dict(strategies)
        self._seed = seed
        self._found_least: dict[tuple[str, int, int], Any] = {}

    @cached_property
    def simplest(self) -> Mapping[str, Any]:
        """What Hypothesis would shrink each argument to."""
        return {name: self._simplest_of(name) for name in self._strategies}

    @cached_property
    def pool(self) -> Sequence[Mapping[str, Any]]:
        """About fifty draws, the same ones for the same seed."""
        if not self._strategies:
            return ({},)
        _ = self.simplest  # an argument that can't be drawn is named there
        try:
            drawn = _drawn(tuple(self._strategies.items()), self._seed)
        except Exception as error:
            raise self._undrawable(" and ".join(map(repr, self._strategies)), error) from error
        return self._chosen(drawn)

    def shrinks_at_once(self, argument: str) -> bool:
        """Whether `shrunk` takes no longer than what it asks `fails`."""
        return self._bounds(argument) is not None

    def shrunk(self, argument: str, value: Any, fails: Callable[[Any], bool]) -> Any:
        """The simplest value found, not above `value`, for which `fails` holds; it is always one of the strategy's.

        Numbers are bisected, and so are the lengths of what has one; what else there is, Hypothesis's shrinker tries.
        """
        verdicts = _Verdicts(fails, value)
        best = value if _measure(value) is None else self._bisected(argument, value, verdicts)
        if best is value and not isinstance(value, int | float):
            best = self._found(argument, value, verdicts)
        return best

    def _chosen(self, drawn: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """The first draws that differ, and those with the least and the most of an argument, which are rare."""
        different = list({repr(arguments): arguments for arguments in drawn}.values())
        chosen = different[:_POOL]
        for name in self._strategies:
            measured = [arguments for arguments in different[_POOL:] if _measure(arguments[name]) is not None]
            measured.sort(key=lambda arguments: _measure(arguments[name]) or 0)
            chosen += [*measured[:1], *measured[-1:]]
        return tuple(chosen)

    def _simplest_of(self, argument: str) -> Any:
        if (bounds := self._bounds(argument)) is not None:
            return int(min(max(0, bounds[0]), bounds[1]))
        try:
            return self._find(argument, lambda _: True)
        except Exception as error:
            raise self._undrawable(repr(argument), error) from error

    def _find(self, argument: str, holds: Callable[[Any], bool]) -> Any:
        with warnings.catch_warnings():
            # That somebody uses `random` inside a strategy: other lanes seed it for their turns.
            warnings.simplefilter("ignore", HypothesisDeprecationWarning)
            return self._found_by_hypothesis(argument, holds)

    def _found_by_hypothesis(self, argument: str, holds: Callable[[Any], bool]) -> Any:
        return find(
            self._strategies[argument],
            holds,
            # Explaining the value that it ends with would take ten times as long as finding it.
            settings=settings(**_QUIET, max_examples=_FINDS, phases=[Phase.generate, Phase.shrink]),
            random=Random(self._seed),  # noqa: S311  no secret
        )

    def _undrawable(self, argument: str, error: Exception) -> DeclarationError:
        why = str(error).strip().partition("\n")[0] or "it gave no reason"
        return DeclarationError(
            f"Rule {self.name!r} can't be tried: no value can be drawn for its argument {argument} "
            f"({type(error).__name__}: {why}). Give it a strategy of which .example() works."
        )

    # Shrinking one value

    def _bisected(self, argument: str, value: Any, verdicts: "_Verdicts") -> Any:
        """The value nearest to the simplest one that fails, if all beyond it do."""
        start = _measure(self.simplest[argument]) or 0
        sign = 1 if (_measure(value) or 0) >= start else -1

        def size(other: Any) -> float:
            measure = _measure(other) if type(other) is type(value) else None
            return -1 if measure is None else (measure - start) * sign

        best, passes, end = value, 0, ceil(size(value))  # sizes to try: above `passes`, below `end`
        beside, rounds = 0, 0
        while passes + 1 < end and verdicts.left:
            if beside:
                target, beside = passes + 1 if beside > 0 else end - 1, 0
            else:
                target, rounds = (
                    _between(passes, end, offset=round(start) * sign, is_round=rounds < _ROUNDS),
                    rounds + 1,
                )
                beside = rounds <= _ROUNDS
            candidate = self._least(argument, size, target, sign)
            if candidate is _NOTHING or size(candidate) >= size(best):
                end, beside = target, 0
            elif verdicts.ask(candidate):
                best, end, beside = candidate, target, -beside
            else:
                passes = floor(size(candidate))
        return best

    def _least(self, argument: str, size: Callable[[Any], float], target: int, sign: int) -> Any:
        """The simplest value of at least that size; found once, because each search takes a while."""
        if (bounds := self._bounds(argument)) is not None:
            low, high = bounds
            value = round(_measure(self.simplest[argument]) or 0) + sign * target
            return value if low <= value <= high else _NOTHING
        key = argument, target, sign
        if key not in self._found_least:
            try:
                self._found_least[key] = self._find(argument, lambda other: size(other) >= target)
            except (NoSuchExample, Unsatisfiable):
                self._found_least[key] = _NOTHING
        return self._found_least[key]

    def _bounds(self, argument: str) -> tuple[float, float] | None:
        """Between which numbers all whole ones may be given, as far as the strategy shows; then none need be found."""
        match = _INTEGERS.fullmatch(repr(self._strategies[argument]))
        if match is None:
            return None
        low = -inf if match["low"] is None else int(match["low"])
        high = inf if match["high"] is None else int(match["high"])
        return (low, high) if low <= high else None  # else Hypothesis says what is wrong

    def _found(self, argument: str, value: Any, verdicts: "_Verdicts") -> Any:
        """What Hypothesis shrinks to; each verdict is asked for between two searches, as examples can't be nested."""
        most = len(value) if hasattr(value, "__len__") else inf

        def may_fail(other: Any) -> bool:
            if hasattr(other, "__len__") and len(other) > most:
                return False
            return verdicts.known(other)

        while True:
            try:
                found = self._find(argument, may_fail)
            except (NoSuchExample, Unsatisfiable):
                found = value
            if not verdicts.settle():
                return found


@lru_cache(maxsize=256)
def _drawn(strategies: tuple[tuple[str, SearchStrategy[Any]], ...], seed: int) -> Sequence[Mapping[str, Any]]:
    """Random arguments; drawn once for all machines that inherit a rule, because it takes a tenth of a second."""
    drawn: list[Mapping[str, Any]] = []

    @seeded(seed)
    @settings(**_QUIET, max_examples=_DRAWS, phases=[Phase.generate])
    @given(st.fixed_dictionaries(dict(strategies)))
    def collect(arguments: dict[str, Any]) -> None:
        drawn.append(arguments)

    collect()
    return drawn


class _Verdicts:
    """What is known of which values fail; asks a bounded number of times."""

    def __init__(self, fails: Callable[[Any], bool], value: Any) -> None:
        self.left = _MOST_CALLS
        self._fails = fails
        self._known = {repr(value): True}
        self._open: list[Any] = []

    def ask(self, value: Any) -> bool:
        shown = repr(value)
        if shown not in self._known:
            self.left -= 1
            self._known[shown] = self.left >= 0 and self._fails(value)
        return self._known[shown]

    def known(self, value: Any) -> bool:
        """The verdict if it is known; else False for now, and `settle` will ask for it."""
        shown = repr(value)
        if shown not in self._known and not self._open:
            self._open.append(value)
        return self._known.get(shown, False)

    def settle(self) -> bool:
        """Ask for what `known` could not tell; False where there was nothing, or no more may be asked."""
        if not self._open or self.left <= 0:
            return False
        self.ask(self._open.pop())
        return True


def _measure(value: Any) -> float | None:
    """A number's own value, the length of what has one; None for what can't be bisected."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value if isfinite(value) else None
    return len(value) if isinstance(value, str | bytes | list | tuple | dict | set | frozenset) else None


def _between(low: int, high: int, *, offset: int, is_round: bool) -> int:
    """A size between two others: the middle one, or the roundest in the middle half, where limits like to be."""
    middle = (low + high) // 2
    if not is_round:
        return middle
    first, last = low + max(1, (high - low) // 4), high - max(1, (high - low) // 4)
    unit = 10 ** len(str(high + abs(offset)))
    while unit > 1:
        for step in (unit, unit // 2):
            nearest: int = round((middle + offset) / step) * step - offset
            if first <= nearest <= last:
                return nearest
        unit //= 10
    return middle

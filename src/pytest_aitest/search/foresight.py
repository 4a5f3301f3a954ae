"""What a search will want to know next: the search itself, carried on with guessed answers while it waits.

Whoever can have several conversations at once asks for it, so that answers are there when they are wanted. The search
stays what it is, one question after another, and so comes to the same end however many are had side by side.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import Any, Protocol

from .exploration import Finding
from .plan import Plan
from .runner import Failure, Outcome, Rule, Runner

_PASSES = 0.5  # the chance that a shortened plan does not fail any more
_LATER = 0.9  # what a question loses in urgency for each that comes before it in any case
_NOT_YET = object()
_LEAST = 0.3  # the chance of being asked that a question has, for it to be worth its price
_MOST_CARRIED_ON = 60  # how often the search is carried on for one look ahead


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A question of the search."""

    plan: Plan
    again: int = 0  # see `Runner.run`
    fresh_run: int = 0  # see `Runner.confirm`: which of all those of the search, from 1; 0: it is none

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for questions with the same answer; samples that are not named are the first ones."""
        steps = tuple((step, *(step.samples if any(step.samples) else ())) for step in self.plan)
        return steps, self.again, self.fresh_run


class Shrinking:
    """A rule whose arguments are shrunk once; a search that is carried on is told what came of it."""

    def __init__(self, rule: Rule, results: list[Any], *, told: Iterator[Any] | None = None) -> None:
        """Write results into `results`, or take them from `told` as long as they last."""
        self.name, self.is_initial = rule.name, rule.is_initial
        self._rule = rule
        self._results = results
        self._told = told

    @property
    def simplest(self) -> Mapping[str, Any]:
        return self._rule.simplest

    @property
    def pool(self) -> Sequence[Mapping[str, Any]]:
        return self._rule.pool

    def shrinks_at_once(self, argument: str) -> bool:
        return self._rule.shrinks_at_once(argument)

    def shrunk(self, argument: str, value: Any, fails: Callable[[Any], bool]) -> Any:
        if self._told is not None:
            result = next(self._told, _NOT_YET)
            if result is not _NOT_YET:
                return result
            if not self.shrinks_at_once(argument):
                return value
        result = self._rule.shrunk(argument, value, fails)
        self._results.append(result)
        return result


Answers = Callable[[Wanted], Outcome | None]
"""What is known already."""


class Continued(Protocol):
    """A search that can be carried on from where it waits, on copies."""

    confirmed: int  # fresh runs until the plan that it deals with

    shrunk: list[Any]  # values, since the plan that it deals with

    @property
    def findings(self) -> Sequence[Finding]: ...

    @property
    def rules(self) -> Sequence[Rule]: ...

    def carried_on(self, runner: Runner) -> None:
        """Do with `runner` what is to be done from here on, and change nothing."""
        ...


def upcoming(search: Continued, answers: Answers, *, most: int) -> list[Wanted]:
    """What `search` may want to know, first what it is most likely to; what it waits for is the first.

    Args:
        search: It waits, and does not move meanwhile.
        answers: Told to it where they are known.
        most: So many questions are enough.
    """
    found: dict[object, Wanted] = {}
    paths: list[tuple[float, tuple[bool, ...]]] = [(-1.0, ())]
    for _ in range(_MOST_CARRIED_ON):
        if not paths or len(found) >= most:
            break
        chance, guesses = heappop(paths)
        if -chance < _LEAST:
            break
        guessing = _Guessing(search, answers, guesses, found, most)
        try:
            search.carried_on(guessing)
        except _OpenError:
            chance *= guessing.urgency
            heappush(paths, (chance * _PASSES, (*guesses, False)))
            heappush(paths, (chance * (1 - _PASSES), (*guesses, True)))
        except _EnoughError:
            break
    return list(found.values())


class _OpenError(BaseException):
    """It depends on an answer that can't be guessed."""


class _EnoughError(BaseException):
    """No more questions are wanted."""


class _Guessing:
    """A runner that makes up what it does not know. See `Runner`.

    A plan of the deck is guessed to pass, a fresh run to fail. Whether a shortened plan fails is told by `guesses`, as
    long as they last.
    """

    def __init__(
        self,
        search: Continued,
        answers: Answers,
        guesses: Sequence[bool],
        found: dict[object, Wanted],
        most: int,
    ) -> None:
        told = iter([*search.shrunk])
        self.rules = [Shrinking(rule, [], told=told) for rule in search.rules]
        self.urgency = 1.0
        self._answers = answers
        self._guesses = list(guesses)
        self._found = found
        self._most = most
        self._confirmed = search.confirmed
        self._dealt_with = [finding.failure for finding in search.findings]
        self._failure: Failure | None = None  # what is being shortened
        self._guessed: dict[object, Outcome] = {}

    def run(self, plan: Plan, *, again: int = 0) -> Outcome:
        wanted = Wanted(plan=plan, again=again)
        outcome = self._answers(wanted) or self._guessed.get(wanted.key)
        if outcome is None:
            outcome = self._guessed[wanted.key] = self._made_up(wanted)
        if outcome.failure not in self._dealt_with:
            self._failure = self._failure or outcome.failure
        return outcome

    def confirm(self, plan: Plan) -> Outcome:
        self._confirmed += 1
        wanted = Wanted(plan=plan, fresh_run=self._confirmed)
        outcome = self._answers(wanted)
        if outcome is None:
            self._note(wanted)
            outcome = Outcome(executed=plan, failure=self._failure)
        return outcome

    def _made_up(self, wanted: Wanted) -> Outcome:
        if self._failure is None:
            self._note(wanted)
            return Outcome(executed=wanted.plan)
        if not self._guesses:
            self._note(wanted)
            raise _OpenError
        return Outcome(executed=wanted.plan, failure=self._failure if self._guesses.pop(0) else None)

    def _note(self, wanted: Wanted) -> None:
        # A further sample waits until the one before is known: asked side by side, both might be given the same one.
        if wanted.again == 0 or self._answers(replace(wanted, again=wanted.again - 1)) is not None:
            self._found.setdefault(wanted.key, wanted)
        self.urgency *= _LATER
        if len(self._found) >= self._most:
            raise _EnoughError

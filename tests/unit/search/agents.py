"""Small agents to search: a predicate says what goes wrong, a tree keeps what was asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from pytest_aitest.search.plan import Plan, Step
from pytest_aitest.search.runner import Failure, Outcome, StopSearchError

FAILURE = Failure(check="invariant", error_type="AssertionError", place="agent.py:1")
OTHER = Failure(check="invariant", error_type="KeyError", place="agent.py:2")

Wrong = Callable[[Sequence[Step]], Failure | bool | None]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A rule with arguments to choose from, the simplest first."""

    name: str
    choices: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    is_initial: bool = False

    @property
    def simplest(self) -> Mapping[str, Any]:
        return {name: values[0] for name, values in self.choices.items()}

    @property
    def pool(self) -> Sequence[Mapping[str, Any]]:
        most = max(map(len, self.choices.values()), default=1)
        return [{name: values[n % len(values)] for name, values in self.choices.items()} for n in range(most)]

    def shrunk(self, argument: str, value: Any, fails: Callable[[Any], bool]) -> Any:
        values = self.choices[argument]
        return next((other for other in values[: values.index(value)] if fails(other)), value)


class Agent:
    """Carries plans out as `Runner` asks, one turn a step."""

    def __init__(
        self,
        rules: Sequence[Choice],
        wrong: Wrong,
        *,
        probability: float = 1.0,
        allows: Callable[[Sequence[Step], Step], bool] = lambda history, step: True,
        refuses: Callable[[Sequence[Step]], str | None] = lambda history: None,
        only_notes: Callable[[Sequence[Step]], bool] = lambda history: False,
        most_turns: int | None = None,
        ends_with: type[BaseException] = StopSearchError,
    ) -> None:
        self.rules = rules
        self.asked: list[tuple[Plan, int]] = []  # each call of run
        self.live: list[tuple[str, ...]] = []  # the history of each turn that went live
        self._wrong, self._probability, self._allows, self._refuses = wrong, probability, allows, refuses
        self._only_notes = only_notes
        self._most_turns, self._ends_with = most_turns, ends_with
        self._random = Random(0)
        self._samples: dict[Plan, list[Failure | None]] = {}  # by history, the samples of earlier steps included

    def run(self, plan: Plan, *, again: int = 0) -> Outcome:
        self.asked.append((plan, again))
        history: list[Step] = []
        fresh = 0
        for position, step in enumerate(plan):
            if not self._may_run(history, step):
                continue
            known = self._samples.setdefault((*map(pinned_to_sample, history), step), [])
            wanted = step.samples[0] if step.samples and step.samples[0] < len(known) else 0
            order = [wanted, *(other for other in range(len(known)) if other != wanted)]
            nth = again if position == len(plan) - 1 else 0
            sample = order[nth] if nth < len(known) else len(known)
            if sample == len(known):
                known.append(self._ask([*history, step]))
                fresh += 1
            history.append(replace(step, samples=(sample,)))
            if known[sample] is not None or self._refuses(history):
                break
        failure = known[sample] if history else None
        return Outcome(
            executed=tuple(history),
            failure=failure,
            fresh_turns=fresh,
            replayed_turns=len(history) - fresh,
            inapplicable=None if failure else self._refuses(history),
            is_undecided=not failure and self._only_notes(history),
        )

    def confirm(self, plan: Plan) -> Outcome:
        for end in range(1, len(plan) + 1):
            if (failure := self._ask(plan[:end])) is not None:
                return Outcome(executed=plan[:end], failure=failure, fresh_turns=end)
        return Outcome(executed=plan, fresh_turns=len(plan))

    def _may_run(self, history: Sequence[Step], step: Step) -> bool:
        given = {earlier.gives for earlier in history}
        return all(name in given for name in step.needs()) and self._allows(history, step)

    def _ask(self, history: Sequence[Step]) -> Failure | None:
        if len(self.live) == self._most_turns:
            raise self._ends_with("spent")
        self.live.append((*(f"{step.code}{step.samples}" for step in history[:-1]), history[-1].code))
        wrong = self._wrong(history)
        if not wrong or self._random.random() >= self._probability:
            return None
        return wrong if isinstance(wrong, Failure) else FAILURE


def pinned_to_sample(step: Step) -> Step:
    """A step that differs from the same one with another outcome."""
    return replace(step, gives=f"{step.gives}{step.samples}")


def step(rule: str, **arguments: Any) -> Step:
    return Step(rule=rule, arguments=arguments)


def plan(names: str) -> Plan:
    """`plan("a b a")`: steps without arguments."""
    return tuple(step(name) for name in names.split())


def codes(steps: Sequence[Step]) -> list[str]:
    return [each.code for each in steps]


def names(steps: Sequence[Step]) -> str:
    return " ".join(each.rule for each in steps)


def in_order(*rules: str) -> Wrong:
    """Goes wrong at the last of `rules`, once the others have run in this order."""

    def wrong(history: Sequence[Step]) -> bool:
        earlier = iter([each.rule for each in history[:-1]])
        return history[-1].rule == rules[-1] and all(name in earlier for name in rules[:-1])

    return wrong

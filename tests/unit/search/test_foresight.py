"""What a search will want to know next: told in time, of what it really asks, and without touching it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_aitest.search.arguments import Values
from pytest_aitest.search.deck import Shard
from pytest_aitest.search.exploration import Exploration
from pytest_aitest.search.explore import explore
from pytest_aitest.search.foresight import Wanted
from pytest_aitest.search.plan import Plan, Step
from pytest_aitest.search.runner import FarSighted, Outcome

from .agents import OTHER, Agent, Choice, in_order, plan, step


class AtOnce(Choice):
    """A rule whose values are listed, so that shrinking one takes no time."""

    def shrinks_at_once(self, argument: str) -> bool:
        return True


class Slow(Choice):
    def shrinks_at_once(self, argument: str) -> bool:
        return False


LETTERS = [AtOnce(name=name) for name in "abcd"]
MOST = 12


@dataclass
class Watched:
    """A runner that looks ahead before each answer, as lanes do, and keeps what it was told.

    Args:
        knows: Whether whoever looks ahead has been told an answer that was given.
        is_compared: Whether the search is looked at too, before and after.
    """

    agent: Agent
    most: int = MOST
    knows: Callable[[Wanted], bool] = lambda _: True
    is_compared: bool = False
    asked: list[Wanted] = field(default_factory=list)
    foreseen: list[list[Wanted]] = field(default_factory=list)  # at each question
    touched: list[str] = field(default_factory=list)  # what looking ahead has changed
    _answers: dict[object, Outcome] = field(default_factory=dict)
    _confirmed: int = 0

    @property
    def rules(self) -> Sequence[Choice]:
        return self.agent.rules

    def foresee(self, upcoming: Callable[..., list[Wanted]]) -> None:
        self._upcoming = upcoming

    def run(self, plan: Plan, *, again: int = 0) -> Outcome:
        return self._answer(Wanted(plan=plan, again=again), lambda: self.agent.run(plan, again=again))

    def confirm(self, plan: Plan) -> Outcome:
        self._confirmed += 1
        return self._answer(Wanted(plan=plan, fresh_run=self._confirmed), lambda: self.agent.confirm(plan))

    def _answer(self, wanted: Wanted, ask: Callable[[], Outcome]) -> Outcome:
        search = self._upcoming.args[0] if self.is_compared else None  # type: ignore[attr-defined]
        before, asked = shape(search), len(self.agent.asked)
        self.asked.append(wanted)
        self.foreseen.append(self._upcoming(lambda each: self._answers.get(each.key), most=self.most))
        after = shape(search)
        self.touched += [] if after == before else [part for part in before if before[part] != after[part]]
        assert len(self.agent.asked) == asked
        outcome = ask()
        if self.knows(wanted):
            self._answers[wanted.key] = outcome
        return outcome

    def keys(self) -> list[list[object]]:
        return [[each.key for each in foreseen] for foreseen in self.foreseen]


def shape(value: Any, inside: frozenset[int] = frozenset()) -> Any:
    """`value` as plain data, all the way down, without what is only remembered to save time."""
    inner = inside | {id(value)}
    match value:
        case Random():
            return value.getstate()
        case dict():
            return {repr(key): shape(each, inner) for key, each in value.items()}
        case list() | tuple():
            return [shape(each, inner) for each in value]
        case set() | frozenset():
            return sorted(map(repr, value))
    if id(value) in inside or callable(value) or isinstance(value, Agent | Watched | Step | Values):
        return id(value)
    return {name: shape(each, inner) for name, each in vars(value).items()} if hasattr(value, "__dict__") else value


def watched(agent: Agent, *, runner: Mapping[str, Any] = {}, **changes: Any) -> tuple[Watched, Exploration]:
    looks = Watched(agent, **runner)
    assert isinstance(looks, FarSighted)
    how: dict[str, Any] = {"pinned": {"documented": plan("a b")}, "plan_turns": 6, "seed": 1, **changes}
    return looks, explore(looks, **how)


def well(_: object) -> bool:
    return False


@pytest.mark.parametrize("kept", [[], [plan("d d d"), plan("c")]], ids=["", "with kept failures"])
@pytest.mark.parametrize("shard", [Shard(), Shard(2, 3)], ids=str)
def test_of_an_agent_without_fault_all_that_will_be_asked_is_told_in_its_order(kept: list[Plan], shard: Shard) -> None:
    looks, found = watched(Agent(LETTERS, well), kept=kept, plans=9, shard=shard)
    asked = [each.key for each in looks.asked]
    assert len(asked) == found.ran
    assert looks.keys() == [asked[place:][:MOST] for place in range(len(asked))]


def test_of_what_fails_always_each_question_was_foreseen_when_the_one_before_was_asked() -> None:
    """But one: that a plan of the deck fails is not guessed. It is carried out again, which by then is known."""
    looks, found = watched(Agent(LETTERS, in_order("b", "a", "c")), pinned={"documented": plan("a d b d a d c d")})
    (finding,) = found.findings
    assert finding.is_minimal
    asked = [each.key for each in looks.asked]
    surprises = [place for place in range(1, len(asked)) if asked[place] not in looks.keys()[place - 1]]
    assert len(asked) > 15
    assert surprises == [1]
    for place, foreseen in enumerate(looks.foreseen):
        is_known = place == 1
        assert is_known or foreseen[0].key == asked[place]


def test_fresh_runs_are_told_all_at_once_and_then_the_search_ends() -> None:
    looks, _ = watched(Agent(LETTERS, in_order("b")), pinned={"documented": plan("b")}, confirm_runs=5)
    confirms = [place for place, each in enumerate(looks.asked) if each.fresh_run]
    told = [[each.fresh_run for each in looks.foreseen[place]] for place in confirms]
    assert told[:5] == [list(range(first, 6)) for first in range(1, 6)]


def test_a_further_sample_is_not_told_before_the_one_before_is_known() -> None:
    """Asked side by side, both might be given the same sample, which would then count twice."""
    agent = Agent(LETTERS, in_order("b", "a"), probability=0.6)
    looks, _ = watched(agent, pinned={"documented": plan("b c a d a")})
    known: set[object] = set()
    told = 0
    for wanted, foreseen in zip(looks.asked, looks.foreseen, strict=True):
        for each in foreseen:
            told += each.again > 0
            assert each.again == 0 or Wanted(plan=each.plan, again=each.again - 1).key in known
        known.add(wanted.key)
    assert told > 0


AMOUNTS = {"amount": range(40)}


@pytest.mark.parametrize("kind", [AtOnce, Slow])
def test_values_that_shrink_at_once_are_carried_on_with_and_others_left_alone(kind: type[Choice]) -> None:
    def too_much(history: Sequence[Any]) -> bool:
        return history[-1].rule == "pay" and history[-1].arguments["amount"] > 17

    shrunk: list[Any] = []

    class Noted(kind):  # type: ignore[misc, valid-type]
        def shrunk(self, argument: str, value: Any, fails: Callable[[Any], bool]) -> Any:
            shrunk.append(value)
            return super().shrunk(argument, value, fails)

    agent = Agent([*LETTERS, Noted(name="pay", choices=AMOUNTS)], too_much)
    looks, found = watched(agent, runner={"is_compared": True}, pinned={}, kept=[(step("a"), step("pay", amount=30))])
    assert found.findings[0].plan[-1].arguments["amount"] == 18
    asked = [each.key for each in looks.asked]
    ahead = [key for place, foreseen in enumerate(looks.keys()) for key in foreseen if key in asked[place + 1 :]]
    values = [code for code in map(str, ahead) if "amount=9)" in code]
    assert bool(values) == (kind is AtOnce)
    assert (len(shrunk) > 1) == (kind is AtOnce)
    assert looks.touched == []


def both(history: Sequence[Any]) -> Any:
    if history[-1].rule == "c":
        return OTHER
    return history[-1].rule == "d"


HOWS: list[dict[str, Any]] = [
    {"keep_going": True},
    {"tolerate": 1.0},
    {"kept": [plan("d d d"), plan("a b c")]},
    {"shard": Shard(2, 3), "keep_going": True},
    {"pinned": {}},
    {"plans": 0},
    {"plans": 100_000, "plan_turns": 20},
]


@pytest.mark.parametrize("how", HOWS, ids=str)
@pytest.mark.parametrize("probability", [1.0, 0.5])
def test_looking_ahead_changes_nothing_and_comes_to_an_end(how: dict[str, Any], probability: float) -> None:
    """However far there is to look, and whatever of it is known."""
    rules = [*LETTERS, AtOnce(name="log_in", is_initial=True)]
    told = {"pinned": {"documented": plan("a b")}, "plan_turns": 4, "plans": 5, "seed": 1, **how}
    for knows in (lambda _: True, lambda _: False, lambda wanted: len(wanted.plan) > 2):
        agents = [Agent(rules, both, probability=probability) for _ in range(2)]
        looks, found = watched(agents[0], runner={"knows": knows, "most": 4, "is_compared": True}, **told)
        assert looks.touched == []
        assert all(len(foreseen) <= 4 for foreseen in looks.foreseen)
        assert explore(agents[1], **told) == found
        assert agents[1].asked == agents[0].asked


@settings(max_examples=12, deadline=None)
@given(
    rules=st.permutations("abcd"),
    probability=st.sampled_from([1.0, 0.5]),
    most=st.integers(1, 8),
    unknown=st.integers(1, 4),
    seed=st.integers(0, 9),
)
def test_what_it_waits_for_comes_first_and_nothing_twice(
    rules: list[str], probability: float, most: int, unknown: int, seed: int
) -> None:
    agent = Agent(LETTERS, in_order(*rules[:2]), probability=probability)
    looks, _ = watched(
        agent, runner={"most": most, "knows": lambda wanted: len(wanted.plan) % unknown == 0}, seed=seed, plans=4
    )
    known: set[object] = set()
    for wanted, foreseen in zip(looks.asked, looks.keys(), strict=True):
        assert len(set(foreseen)) == len(foreseen) <= most
        assert not known.intersection(foreseen)
        if len(wanted.plan) % unknown == 0:
            known.add(wanted.key)

"""Several conversations at once: the same end as with one, what is given up, what is dropped, what is shared."""

import _thread
import contextvars
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

from pytest_aitest.exploration import run as run_module
from pytest_aitest.exploration.budget import Budget, BudgetSpentError
from pytest_aitest.exploration.lanes import Lanes
from pytest_aitest.exploration.record import Place
from pytest_aitest.exploration.run import Explorable, Limits
from pytest_aitest.exploration.runner import ErroredError, TreeRunner
from pytest_aitest.search.exploration import Exploration
from pytest_aitest.search.explore import explore
from pytest_aitest.search.foresight import Wanted
from pytest_aitest.search.plan import Plan, Step
from pytest_aitest.search.runner import Outcome, StopSearchError
from pytest_aitest.stateful.values import StrategyRule
from tests.benchmarks import zoo
from tests.benchmarks.simulated import rules_of
from tests.benchmarks.zoo import Defect

from .scripted import plan
from .side_by_side import SOMETHING, WELL, Foreseen, Turnstile, happens, lanes_alive, runner_of, turn

BY_NAME = {defect.name: defect for defect in [*zoo.by_hand(), *zoo.at_random(2026)]}
LETTERS = [StrategyRule(name=name, strategies={}) for name in "abcd"]


@contextmanager
def beside(carrier: Any, lanes: int, **how: Any) -> Iterator[Lanes[Any]]:
    made = Lanes(carrier=carrier, lanes=lanes, **how)
    try:
        yield made
    finally:
        made.close()


def told(found: Exploration) -> tuple[Any, ...]:
    """All that an exploration found out; which samples a plan took is not compared by itself."""
    samples = [[step.samples for step in finding.plan] for finding in found.findings]
    return found, [finding.necessity for finding in found.findings], samples


# The same end


@cache
def drawn(name: str) -> list[StrategyRule]:
    """The rules of a defect's machine: drawing values takes longer than a search."""
    return rules_of(BY_NAME[name])


def met(defect: Defect, lanes: int, *, turnstile: int, probability: float = 1.0, **how: Any) -> tuple[Any, ...]:
    """What is found out of a defect, where each live turn lets any other go first."""
    wanted = {"pinned": {"documented": defect.documented}, "plans": 30, "plan_turns": 10, "seed": 3, **how}
    with Turnstile(turnstile) as waits:
        runner = runner_of(
            drawn(defect.name), defect.shows, probability=probability, before_answer=lambda _: waits.wait()
        )
        with beside(runner, lanes) as lanes_of_it:
            found = explore(runner if lanes == 1 else lanes_of_it, **wanted)
    replayed = sum(turns.replayed for turns in found.turns.values())
    fresh = sum(turns.fresh for turns in found.turns.values())
    assert (runner.replayed, len(runner.fresh) - runner.ahead) == (replayed, fresh)
    return told(found)


@pytest.mark.parametrize(
    "name",
    ["second transfer is not booked", "points do not pay a changed flight", "note is lost after escalation"],
)
@pytest.mark.parametrize("turnstile", [1, 2])
def test_a_search_comes_to_the_same_end_with_any_number_of_lanes(name: str, turnstile: int) -> None:
    """The same findings, plans, necessity and counts, in whatever order the turns end."""
    one = met(BY_NAME[name], 1, turnstile=0)
    assert one[0].findings
    for lanes in (1, 2, 4, 8):
        assert met(BY_NAME[name], lanes, turnstile=turnstile) == one


@pytest.mark.parametrize("how", [{"keep_going": True}, {"tolerate": 1.0}, {"plans": 0}, {"confirm_runs": 1}], ids=str)
def test_so_it_does_where_it_goes_on_after_findings(how: Mapping[str, Any]) -> None:
    defect = BY_NAME["second transfer is not booked"]
    how = {"plans": 6, "kept": [defect.documented[1:3] * 2], **how}
    assert met(defect, 4, turnstile=5, **how) == met(defect, 1, turnstile=0, **how)


def test_so_it_does_where_the_agent_varies_and_each_sample_has_its_own_lot() -> None:
    defect = BY_NAME["seat after a group was found"]
    how = {"probability": 0.5, "plans": 60, "plan_turns": 12, "seed": 1}
    one = met(defect, 1, turnstile=0, **how)
    assert one[0].findings
    for lanes in (2, 8):
        assert met(defect, lanes, turnstile=3, **how) == one


def test_the_first_failing_plan_in_plan_order_wins_though_a_later_one_ends_sooner() -> None:
    second_has_ended = threading.Event()

    def before_answer(step: Step) -> None:
        if step.rule == "b":
            second_has_ended.set()
        elif step.rule == "a":
            assert happens(second_has_ended)

    runner = runner_of(LETTERS, lambda history: history[-1][0] in "ab", before_answer=before_answer)
    with beside(runner, 2) as lanes:
        found = explore(lanes, pinned={"first": plan("a"), "second": plan("b")}, plan_turns=3, seed=1)
    (finding,) = found.findings
    assert (finding.found_in, finding.plan) == ("first", plan("a"))
    assert runner.ahead >= 1


# What is begun, given up, dropped


@dataclass(frozen=True, kw_only=True)
class Done:
    outcome: Outcome
    stopped: Exception | None = None
    unknowable: str | None = None


@dataclass(kw_only=True)
class Acting:
    """A carrier to which each step is an event, live the first time, and some of them do something."""

    acts: Mapping[str, Callable[[], object]]
    rules: Sequence[Any] = ()
    live: list[str] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)  # that had what went live
    known: set[Plan] = field(default_factory=set)

    def carry(self, wanted: Wanted, *, before_live: Callable[[Any], object]) -> Done:
        try:
            for end, step in enumerate(wanted.plan, 1):
                if wanted.plan[:end] in self.known:
                    continue
                before_live(SOMETHING)
                self.live.append(step.rule)
                self.threads.append(threading.current_thread().name)
                self.acts.get(step.rule, lambda: None)()
                self.known.add(wanted.plan[:end])
        except StopSearchError as error:
            return Done(outcome=Outcome(executed=()), stopped=error)
        return Done(outcome=Outcome(executed=wanted.plan))

    def count(self, carried: Done) -> Outcome:
        if carried.stopped is not None:
            raise carried.stopped
        return carried.outcome


class Held:
    """An act that goes on when it is told to, and tells when it has begun."""

    def __init__(self) -> None:
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.has_begun.set()
        assert happens(self.may_go_on)


def begun(held: Held, acts: Mapping[str, Callable[[], object]] = {}) -> tuple[Acting, Foreseen]:
    """A carrier that holds `b`, and whose `a` ends when `b` has begun; `b` and then `c` are foreseen."""
    carrier = Acting(acts={"a": lambda: happens(held.has_begun), "b": held, **acts})
    return carrier, Foreseen(plan("a"), plan("b", "c"))


def test_what_will_be_wanted_is_begun_in_another_thread_and_asked_once() -> None:
    held = Held()
    carrier, foreseen = begun(held)
    with beside(carrier, 2) as lanes:
        lanes.foresee(foreseen)
        lanes.run(plan("a"))
        held.may_go_on.set()
        assert lanes.run(plan("b", "c")).executed == plan("b", "c")
    assert carrier.live == ["a", "b", "c"]
    assert carrier.threads[0] == threading.current_thread().name
    assert all(name.startswith("aitest-lane") for name in carrier.threads[1:])


def test_what_is_not_wanted_any_more_stops_before_its_next_live_event_and_makes_room() -> None:
    held, other = Held(), Held()
    carrier, foreseen = begun(held, {"d": lambda: (held.may_go_on.set(), happens(other.has_begun)), "e": other})
    with beside(carrier, 2) as lanes:
        lanes.foresee(foreseen)
        lanes.run(plan("a"))
        foreseen.plans = (plan("d"), plan("e"))
        lanes.run(plan("d"))
        assert other.has_begun.is_set()
        assert "c" not in carrier.live
        other.may_go_on.set()
        lanes.run(plan("b", "c"))  # goes on from what is known
    assert [carrier.live.count(step) for step in "bcde"] == [1, 1, 1, 1]
    assert carrier.threads[carrier.live.index("c")] == threading.current_thread().name


def test_what_is_asked_for_before_it_stops_goes_on() -> None:
    held = Held()
    carrier, foreseen = begun(held)
    with beside(carrier, 2) as lanes:
        lanes.foresee(foreseen)
        lanes.run(plan("a"))
        foreseen.plans = (plan("d"),)
        lanes.run(plan("d"))
        foreseen.look = held.may_go_on.set  # when the search waits for it
        lanes.run(plan("b", "c"))
    assert carrier.live == ["a", "b", "d", "c"]


def test_closing_leaves_no_thread_and_ends_what_is_under_way_at_its_next_event() -> None:
    held = Held()
    carrier, foreseen = begun(held)
    with beside(carrier, 2) as lanes:
        lanes.foresee(foreseen)
        lanes.run(plan("a"))
        lanes.close(waits=False)
        assert lanes_alive()
        held.may_go_on.set()
    assert lanes_alive() == []
    assert "c" not in carrier.live


def test_ctrl_c_in_a_turn_waits_for_no_other_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other lane asks may take long; it is given up when the run ends."""
    held = Held()

    def before_answer(step: Step) -> None:
        if step.rule == "b":
            held()
        else:
            assert happens(held.has_begun)
            raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "_SLOW_MS", -1)
    runner = runner_of(LETTERS, lambda history: False, before_answer=before_answer)
    runner.fresh.append(turn(WELL))  # after which lanes begin
    pinned = {"first": plan("a"), "second": plan("b")}
    found, _ = explorable(runner, pinned, lanes=2).explore(Limits(plans=0), database=None)
    assert isinstance(found.stopped, KeyboardInterrupt)
    (still,) = [thread for thread in threading.enumerate() if thread.name in lanes_alive()]
    held.may_go_on.set()
    still.join(20)
    assert not still.is_alive()


def test_ctrl_c_while_it_waits_for_another_lane_does_not_wait() -> None:
    held = Held()
    carrier, foreseen = begun(held)
    with beside(carrier, 2) as lanes:
        lanes.foresee(foreseen)
        lanes.run(plan("a"))
        foreseen.look = _thread.interrupt_main
        with pytest.raises(KeyboardInterrupt):
            lanes.run(plan("b", "c"))
        foreseen.look = lambda: None
        held.may_go_on.set()


@pytest.mark.parametrize("error", [ErroredError("no line"), RuntimeError("ours"), SystemExit(3)], ids=repr)
@pytest.mark.parametrize("times", [1, 2])
def test_an_error_of_a_lane_is_the_searchs_only_if_it_meets_it_too(error: BaseException, times: int) -> None:
    held, left = Held(), [error] * times

    def fails() -> None:
        held()
        if left:
            raise left.pop()

    carrier, foreseen = begun(held, {"b": fails})
    with beside(carrier, 2) as lanes:
        lanes.foresee(foreseen)
        lanes.run(plan("a"))
        held.may_go_on.set()
        lanes.run(plan("d"))
        if times == 1:
            assert lanes.run(plan("b", "c")).executed == plan("b", "c")
        else:
            with pytest.raises(type(error)) as raised:
                lanes.run(plan("b", "c"))
            assert raised.value is error
    assert carrier.live.count("b") == 2  # a lane does not begin again what it came to no end with


VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


def test_lanes_see_what_was_set_before_and_nothing_of_one_another() -> None:
    seen: list[str] = []
    held = Held()

    def look() -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set("changed")
        if len(seen) == 2:  # both lanes
            held.has_begun.set()

    acts = {"a": lambda: happens(held.has_begun), "b": look, "c": look}
    carrier = Acting(acts=acts)
    token = VARIABLE.set("by a fixture")
    with beside(carrier, 2) as lanes:
        lanes.foresee(Foreseen(plan("a"), plan("b"), plan("c")))
        lanes.lanes = 3
        lanes.run(plan("a"))
    VARIABLE.reset(token)
    assert seen == ["by a fixture"] * 2


def test_what_can_not_be_asked_beside_others_stays_in_one_lane_and_it_says_why() -> None:
    carrier = Acting(acts={})
    with beside(carrier, 4, why_one_lane=lambda event: "it draws lots") as lanes:
        lanes.foresee(Foreseen(plan("a"), plan("b"), plan("c")))
        assert lanes.why_alone is None
        lanes.run(plan("a"))
        assert lanes.why_alone == "it draws lots"
    assert carrier.live == ["a"]


def test_nothing_is_begun_or_gone_on_with_ahead_of_need_where_there_is_no_hurry() -> None:
    held, may_hurry = Held(), [True]
    carrier, foreseen = begun(held)
    with beside(carrier, 2, may_hurry=lambda: may_hurry[0]) as lanes:
        lanes.foresee(foreseen)
        lanes.run(plan("a"))
        may_hurry[0] = False
        held.may_go_on.set()
        foreseen.plans = (plan("d"), plan("e"))
        lanes.run(plan("d"))
    assert sorted(carrier.live) == ["a", "b", "d"]


# Budgets


def explorable(runner: TreeRunner, pinned: Mapping[str, Plan], *, lanes: int) -> Explorable:
    place = Place(name="test", nodeid="test", kind="Test", file="test.py", again="")
    return Explorable(place=place, runner=runner, pinned=pinned, server_starts=lambda: 0, lanes=lanes)


@pytest.mark.parametrize("lanes", [2, 4, 8])
def test_a_budget_holds_to_within_a_turn_of_each_lane_and_half_of_it_is_left_for_what_is_needed(
    lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "_SLOW_MS", -1)
    budget = Budget(calls=40)
    under_way: list[threading.Thread] = []  # of turns that began when little was left
    late: list[int] = []  # how many such there were, at each

    with Turnstile(lanes) as waits:

        def before_answer(_: Step) -> None:
            began_late = budget.spent_calls >= 30
            if began_late:
                under_way.append(threading.current_thread())
                late.append(len(under_way))
            waits.wait()
            if began_late:
                under_way.remove(threading.current_thread())

        runner = runner_of(LETTERS, lambda history: False, before_answer=before_answer, budget=budget)
        made = explorable(runner, {"documented": plan(*"abcd")}, lanes=lanes)
        found, record = made.explore(Limits(plans=50), database=None)
    assert isinstance(found.stopped, BudgetSpentError)
    assert 40 <= budget.spent_calls == len(runner.fresh) <= 40 + lanes
    assert set(late) == {1}
    assert waits.most_waiting > 1
    assert record.spent.find + record.spent.ahead == len(runner.fresh)

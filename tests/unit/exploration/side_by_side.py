"""Agents with planted defects that many threads may ask at once, over the real tree, runner and lanes; no model.

What they answer depends on the history and the number of the sample only, so it is the same for any number of lanes.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any, Self

from pytest_aitest import Agent, Provider
from pytest_aitest.conversation.past import Past
from pytest_aitest.conversation.tree import Event, Node, Said
from pytest_aitest.exploration.budget import Budget
from pytest_aitest.exploration.runner import TreeRunner
from pytest_aitest.search.foresight import Answers, Wanted
from pytest_aitest.search.plan import Plan, Step
from pytest_aitest.search.runner import Rule
from pytest_aitest.values.transcript import Turn

LIMIT_SECONDS = 20  # after which what should have happened by itself is taken not to happen any more
SOMEBODY = Agent(name="somebody", provider=Provider(model="builtin"))
SOMETHING = Said(prompt="hi", agent=SOMEBODY, max_model_calls=1, timeout_seconds=1.0)
BROKEN, WELL = "broken", "well"

History = Sequence[tuple[str, Mapping[str, Any]]]
Shows = Callable[[History], bool]


class Turnstile:
    """Lets threads through one after another, in an order drawn by lot among those that wait."""

    def __init__(self, seed: int) -> None:
        self._random = Random(f"turnstile {seed}")
        self._changed = threading.Condition()
        self._waiting: list[object] = []
        self._is_closed = False
        self._thread = threading.Thread(target=self._let_through, name="turnstile")
        self.most_waiting = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(LIMIT_SECONDS)
        assert not self._thread.is_alive()

    def wait(self) -> None:
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            self.most_waiting = max(self.most_waiting, len(self._waiting))
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: ticket not in self._waiting, LIMIT_SECONDS)

    def _let_through(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if not self._waiting:
                    return
            for _ in range(self._random.randrange(6)):
                time.sleep(0)  # others may come, or may not
            with self._changed:
                self._waiting.pop(self._random.randrange(len(self._waiting)))
                self._changed.notify_all()


def turn(answer: str) -> Turn:
    messages = ({"role": "assistant", "content": answer},)
    return Turn(agent="somebody", model="m", user="hi", messages=messages, model_calls=1, cost_usd=0.01)


@dataclass(kw_only=True)
class Broken:
    """A subject that says each step to nobody, and fails where its defect shows."""

    past: Past
    shows: Shows
    probability: float
    before_answer: Callable[[Step], object]
    history: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session: Any = SimpleNamespace(past=self.past, results=[], call_mode="event")

    def can_take(self, step: Step) -> bool:
        return True

    def take(self, step: Step, arguments: Mapping[str, Any]) -> None:
        self.history.append((step.rule, arguments))
        said = Said(prompt=step.code, agent=SOMEBODY, max_model_calls=1, timeout_seconds=1.0)
        if self.past.replay(said) is None:
            self.past.before_live(said)
            self.before_answer(step)
            lot = Random(self.past.chance(said)).random()
            self.past.add(said, turn(BROKEN if self.shows(self.history) and lot < self.probability else WELL))
        known = self.past.events[-1].sample.outcome
        assert isinstance(known, Turn)
        assert known.final_response == WELL

    def checks(self) -> Iterator[tuple[str, Callable[[], object]]]:
        return iter(())

    def count(self) -> None: ...

    def end(self) -> None: ...


def runner_of(
    rules: Sequence[Rule],
    shows: Shows,
    *,
    probability: float = 1.0,
    before_answer: Callable[[Step], object] = lambda _: None,
    allow: Callable[[Event], None] = lambda _: None,
    budget: Budget | None = None,
    seed: int = 0,
) -> TreeRunner:
    """The real runner over a tree of its own; `before_answer` is called in whatever thread asks."""
    return TreeRunner(
        subject=lambda past: Broken(past=past, shows=shows, probability=probability, before_answer=before_answer),
        rules=rules,
        root=Node(),
        budget=budget or Budget.unlimited(),
        allow=allow,
        seed=seed,
    )


class Foreseen:
    """What a search will ask, as the test says; `look` is called whenever somebody wants to know."""

    def __init__(self, *plans: Plan) -> None:
        self.plans = plans
        self.look: Callable[[], object] = lambda: None

    def __call__(self, answers: Answers, *, most: int) -> list[Wanted]:
        self.look()
        wanted = [Wanted(plan=each) for each in self.plans]
        return [each for each in wanted if answers(each) is None][:most]


def lanes_alive() -> list[str]:
    """The threads of lanes that have not ended."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("aitest-lane")]


def happens(event: threading.Event) -> bool:
    """Whether it does, or has."""
    return event.wait(LIMIT_SECONDS)

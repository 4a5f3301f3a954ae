"""What happened in one session, where that stands in the conversation tree, and what of it may be replayed."""

import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pytest_aitest.values.errors import is_by_chance, is_provider_fault
from pytest_aitest.values.model import Message
from pytest_aitest.values.transcript import Turn

from .first_answers import FirstAnswers
from .keys import UnkeyableError
from .servers import Connection, ToolOutcome
from .tree import Called, Event, EventOutcome, Node, Sample

_ASKING = threading.Condition()  # for what stands in `Node.asking`
_CHANGES = "Answering changes what the agent's callables close over, which makes it another agent each time"


@dataclass(frozen=True, kw_only=True)
class Happened:
    """An event and the sample of its outcomes that this session met."""

    event: Event
    sample: Sample


class Past:
    """The events of one session, in the tree or by themselves.

    Args:
        start: The history that it begins with.
        replays: Whether known events are answered from the tree.
        reseeds: Whether global `random` is seeded anew for each live turn, another way for each sample. Hypothesis, as
            the host of a conversation, sets it to the same state each time, and so would make all samples equal.
        seed: What they are drawn from.
        before_live: Called, by whoever speaks, before an event is asked live; may raise.
        offered: Told of the tools that an agent is about to be offered; may raise.
        heard: Told of each turn that was asked live.
        first_answers: Those of other sessions, to compare with.
        asks_once: Whether what another session is asking live at this moment is waited for, and not asked as well.
            Then `release` has to be called at the end.
    """

    def __init__(
        self,
        start: Node | None = None,
        *,
        replays: bool = False,
        reseeds: bool = False,
        seed: int = 0,
        before_live: Callable[[Event], None] = lambda _: None,
        offered: Callable[[Sequence[Connection]], None] = lambda _: None,
        heard: Callable[[Turn], object] = lambda _: None,
        first_answers: FirstAnswers | None = None,
        asks_once: bool = False,
    ) -> None:
        self._start = start or Node()
        self.heard = heard
        self._first_answers = first_answers or FirstAnswers()
        self._asks_once = asks_once
        self._claimed: tuple[Node, Hashable] | None = None  # what it has begun to ask, and others wait for
        self.replays = replays
        self.reseeds = reseeds
        self._seed = seed
        self.offered = offered
        self.before_live = before_live
        self.events: list[Happened] = []
        self.fresh = 0  # turns that were asked live
        self.replayed = 0  # turns that were not
        self.differences: list[str] = []  # of servers, from what they had said to the same calls before
        self.looks: list[tuple[Called, ToolOutcome]] = []  # what a check has seen, for it to be shown
        self.unknowable: str | None = None  # why events are not replayed
        self.begin_step()

    @property
    def node(self) -> Node:
        """The history so far."""
        return self.events[-1].sample.node if self.events else self._start

    @property
    def has_met_chance(self) -> bool:
        """Whether a turn ended in what says more of the day than of the conversation."""
        outcomes = (happened.sample.outcome for happened in self.events)
        return any(isinstance(outcome, Turn) and is_by_chance(outcome.error_kind) for outcome in outcomes)

    def begin_step(self, wanted: Sequence[int] = (), *, again: int | None = None) -> None:
        """Say which samples the coming events shall take where they are known, or which number in any case."""
        self._wanted, self._again = wanted, again
        self._step_began = len(self.events)

    @property
    def this_step(self) -> list[Happened]:
        """The events since `begin_step`."""
        return self.events[self._step_began :]

    @property
    def samples(self) -> tuple[int, ...]:
        """The numbers of the samples that they took."""
        return tuple(happened.sample.number for happened in self.this_step)

    def replay(self, event: Event) -> Sample | None:
        """Answer `event` from the tree; None where it has to go live."""
        self.release()
        sample = self._settled(event) if self.replays else self.node.recorded(event)
        if sample is not None:
            self.replayed += isinstance(sample.outcome, Turn)
            self.events.append(Happened(event=event, sample=sample))
        return sample

    def _settled(self, event: Event) -> Sample | None:
        """What is known once nobody else is about to know more; where that is nothing, others wait for this session."""
        node = self.node
        sample = self._known(event)
        try:
            key = event.key
        except UnkeyableError:
            return sample
        while sample is None and self._asks_once and self._claimed is None:
            with _ASKING:
                _ASKING.wait_for(lambda: key not in node.asking)
                sample = self._known(event)
                if sample is None:
                    node.asking.add(key)
                    self._claimed = node, key
        return sample

    def release(self) -> None:
        """Let others ask what this session was asking. What its checks then saw is known by now too."""
        if self._claimed is not None:
            node, key = self._claimed
            with _ASKING:
                node.asking.discard(key)
                _ASKING.notify_all()
            self._claimed = None

    def _known(self, event: Event) -> Sample | None:
        try:
            samples = self.node.samples(event)
        except UnkeyableError as error:
            self.unknowable = f"The agent holds {error}, which can't be compared"
            return None
        if self._again is not None:
            return samples[self._again] if self._again < len(samples) else None
        position = len(self.events) - self._step_began
        wanted = self._wanted[position] if position < len(self._wanted) else 0
        return samples[min(wanted, len(samples) - 1)] if samples else None

    def chance(self, event: Event) -> bytes:
        """What a live outcome of `event` may take its randomness from: another for each seed and each sample."""
        return b"%d " % self._seed + self.node.address_after(event, self.node.next_number(event))

    def add(self, event: Event, outcome: EventOutcome) -> None:
        """Note the live outcome of `event`, and keep it for others if it tells them something.

        A provider's fault does not, nor a slow or a dead server: they say more of the day than of the conversation.
        """
        kind = None
        if isinstance(outcome, Turn):
            self.fresh += 1
            self.heard(outcome)
            kind = outcome.error_kind
        if not is_by_chance(kind):
            earlier = (happened.sample.outcome for happened in self.events)
            self.differences += self._first_answers.differences(earlier, event, outcome)
        if event.has_changed():
            self.unknowable = _CHANGES
        sample = self.node.add(event, outcome, keep=not (is_provider_fault(kind) or is_by_chance(kind)))
        self.events.append(Happened(event=event, sample=sample))

    def observed(self, look: Called) -> ToolOutcome | None:
        """What a tool that only looks said at this point of the history, if that is known."""
        try:
            outcome = self.node.look(look) if self.replays or self.node.answers_all else None
        except UnkeyableError as error:
            self.unknowable = f"The agent holds {error}, which can't be compared"
            return None
        if outcome is not None:
            self.looks.append((look, outcome))
        return outcome

    def observe(self, look: Called, outcome: ToolOutcome) -> None:
        """Note what a tool that only looks said; nothing has happened by it."""
        self.looks.append((look, outcome))
        with suppress(UnkeyableError):
            self.node.add_look(look, outcome)

    def begin_with(self, messages: Sequence[Message]) -> None:
        """Let the history begin with `messages`, as no session without them does."""
        if messages:
            self._start = self._start.beginning(messages)

    def up_to(self, count: int) -> "Past":
        """A past of its own with the first so many events of this one, and nothing live."""
        past = Past(self._start, replays=self.replays, reseeds=self.reseeds, seed=self._seed, heard=self.heard)
        past.events = self.events[:count]
        return past

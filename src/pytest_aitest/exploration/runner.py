"""The search's runner over the conversation tree: each plan on a subject of its own, in a session of its own.

Knows what is replayed and what an outcome counts for; what a step does is the subject's business.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from pytest_aitest.checks import Check
from pytest_aitest.conversation.first_answers import FirstAnswers
from pytest_aitest.conversation.past import Past
from pytest_aitest.conversation.servers import Connection
from pytest_aitest.conversation.session import Session
from pytest_aitest.conversation.tree import Event, Node
from pytest_aitest.search.foresight import Wanted
from pytest_aitest.search.plan import Plan
from pytest_aitest.search.runner import Outcome, Rule, StopSearchError
from pytest_aitest.values.errors import AitestError, ServerError, is_by_chance
from pytest_aitest.values.record import StepRecord
from pytest_aitest.values.transcript import Turn

from .attempt import Attempt, Subject, Taken, Verdicts
from .budget import Budget
from .hosting import Aside, hosted

_UNLIKE = (
    "It does not begin in the same state each time, or answers by chance. MCPServer(reset=...) says how it starts "
    "anew; what failed after such an answer was asked anew from its start."
)


class ErroredError(StopSearchError):
    """Something that is not the agent's went wrong; its cause says what."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What an outcome rests on, for the report."""

    taken: tuple[Taken, ...]
    notes: tuple[str, ...]

    @property
    def records(self) -> tuple[StepRecord, ...]:
        """The steps that were taken, for whoever is told of them."""
        return tuple(taken.record for taken in self.taken)


@dataclass(frozen=True, kw_only=True)
class Carried:
    """A plan that was carried out, and the conversations that it took; for nothing yet."""

    outcome: Outcome
    conversations: tuple[tuple[Attempt, Aside], ...]
    stopped: Exception | None = None  # why it came to no end

    @property
    def unknowable(self) -> str | None:
        """Why nothing of it can be replayed."""
        pasts = [attempt.subject.session.past for attempt, _ in self.conversations]
        return next((past.unknowable for past in pasts if past.unknowable), None)

    @property
    def past(self) -> Past:
        """That of the last one."""
        return self.conversations[-1][0].subject.session.past

    def and_then(self, other: "Carried") -> "Carried":
        """This, and then `other`, whose outcome holds."""
        return replace(other, conversations=(*self.conversations, *other.conversations))


@dataclass(kw_only=True)
class TreeRunner:
    """Carries plans out, and remembers what that took.

    Args:
        subject: Makes the subject of one plan, whose session has this past.
        root: The empty history that all plans share.
        refuse: Told of each event that is to go live, and of what came before; may raise.
        allow: Told of each event that is to go live; may raise `StopSearchError`.
        offered: Told of the servers whose tools an agent is about to be offered; may raise.
        asking: Told of each event that goes live now.
        heard: Told of each turn that was asked live.
    """

    subject: Callable[[Past], Subject]
    rules: Sequence[Rule]
    root: Node
    budget: Budget
    refuse: Callable[[Past, Event], object] = lambda *_: None
    allow: Callable[[Event], None] = lambda _: None
    offered: Callable[[Sequence[Connection]], None] = lambda _: None
    asking: Callable[[Event], object] = lambda _: None
    heard: Callable[[Turn], object] = lambda _: None
    builtin_checks: Sequence[Check] = ()
    verdicts: Verdicts = field(default_factory=Verdicts)
    fresh: list[Turn] = field(default_factory=list)
    replayed: int = 0
    steps: int = 0  # taken, in all plans
    events: Counter[str] = field(default_factory=Counter)
    remarks: dict[str, str] = field(default_factory=dict)  # by what they are about, each of which is told of once
    seed: int = 0  # of what agents draw from global `random`
    _ahead: dict[int, Turn] = field(default_factory=dict)  # turns that count for nothing yet
    _lost: int = 0  # turns of plans that came to no end
    _by_chance: dict[str, list[str]] = field(default_factory=dict)
    _confirmed: int = 0
    _roots: dict[str, Node] = field(default_factory=dict)  # of what is asked anew from its start
    _first_answers: FirstAnswers = field(default_factory=FirstAnswers)
    _acquitted: set[bytes] = field(default_factory=set)  # histories that failed, and did not when all was live

    def run(self, plan: Plan, *, again: int = 0) -> Outcome:
        """Carry out `plan` over the tree. See `Runner.run`."""
        return self.count(self.carry(Wanted(plan=plan, again=again)))

    def confirm(self, plan: Plan) -> Outcome:
        """Carry out `plan` with nothing replayed. See `Runner.confirm`."""
        self._confirmed += 1
        return self.count(self.carry(Wanted(plan=plan, fresh_run=self._confirmed)))

    def run_live(self, plan: Plan) -> Outcome:
        """Carry out `plan`, every turn of it live; the tree learns from it."""
        return self.count(self._carried_out(plan, self.root, replays=False))

    def unrestrained(self) -> "TreeRunner":
        """The same for a test like any other, to which it is nothing what explorations may ask and spend."""
        return replace(self, allow=_anything, offered=_anything, budget=Budget.unlimited())

    def carry(self, wanted: Wanted, *, before_live: Callable[[Event], object] = lambda _: None) -> Carried:
        """Carry out a plan, for which several threads may ask at once; it counts for nothing until `count`.

        What one of them has asked live is replayed for the others, also of a fresh run with the same number.

        `before_live` is called before each event that goes live, and may raise `StopSearchError`.
        """
        if wanted.fresh_run:
            root = self._apart(f"confirm {wanted.fresh_run}")
            return self._carried_out(wanted.plan, root, before_live=before_live)
        again, plan = wanted.again, wanted.plan
        carried = self._carried_out(plan, self.root, again=again, before_live=before_live)
        if carried.stopped is None and carried.outcome.failure is not None and carried.past.has_met_chance:
            carried = carried.and_then(self._carried_out(plan, self.root, again=again, before_live=before_live))
        outcome, history = carried.outcome, carried.past.node.address
        if outcome.failure is None or carried.stopped is not None:
            return carried
        if carried.past.differences and history not in self._acquitted:
            root = self._apart(f"acquit {history.hex()}")
            carried = carried.and_then(self._carried_out(outcome.executed, root, before_live=before_live))
            if carried.stopped is not None:
                return carried
            if carried.outcome.failure != outcome.failure:
                self._acquitted.add(history)
            outcome = replace(outcome, evidence=carried.outcome.evidence)
        failure = None if history in self._acquitted else outcome.failure
        return replace(carried, outcome=replace(outcome, failure=failure))

    def _apart(self, name: str) -> Node:
        return self._roots.setdefault(name, self.root.apart(name))

    def count(self, carried: Carried) -> Outcome:
        """Remember what was seen on the way. Fresh is what the search has not come across before, whoever asked it.

        Raises:
            Exception: What stopped it.
        """
        fresh = replayed = 0
        for attempt, aside in carried.conversations:
            known = self.note(attempt)
            fresh, replayed = fresh + len(_turns(attempt)) - known, replayed + known
            self.events.update(aside.events)
        if carried.stopped is not None:
            self._lost += fresh
            raise carried.stopped
        return replace(carried.outcome, fresh_turns=fresh, replayed_turns=replayed)

    def check_servers(self, plan: Plan) -> None:
        """Bring fresh servers to where a known plan left others, asking no model, and remark where they say otherwise.

        A state that outlives its server shows here also where no failing conversation needed a playback.
        """
        is_known = True

        def before_live(_: Event) -> None:
            if is_known:
                raise StopSearchError("it is not all known")

        def restore(session: Session) -> None:
            nonlocal is_known
            if session.past.events:
                is_known = False
                session.past.before_live(session.past.events[-1].event)  # a machine prepares its servers
                session.restore()

        attempt = self.attempt(self.subject(Past(self.root, replays=True, before_live=before_live)))
        attempt.at_end = restore
        hosted(lambda: attempt.run(plan))
        self._note_differences(attempt.subject.session.past)

    def _carried_out(
        self,
        plan: Plan,
        root: Node,
        *,
        again: int = 0,
        replays: bool = True,
        before_live: Callable[[Event], object] = lambda _: None,
    ) -> Carried:
        def attempted() -> Attempt:
            gate = _Gate(self, before_live)
            past = self.past(root, replays=replays, asks_once=True, gate=gate)
            attempt = self.attempt(self.subject(past))
            try:
                _, aside = hosted(lambda: attempt.run(plan, again=again))
            finally:
                past.release()
                self._note_differences(past)
            conversations.append((attempt, aside))
            attempt.ours = gate.stop or attempt.ours  # the user's code may have swallowed it
            return attempt

        conversations: list[tuple[Attempt, Aside]] = []
        attempt = attempted()
        if isinstance(attempt.ours, ServerError):  # once more: it may have been the day's fault
            attempt = attempted()
        stopped = attempt.ours
        if stopped is not None and not isinstance(stopped, StopSearchError):
            stopped = ErroredError(str(stopped))
            stopped.__cause__ = attempt.ours
        outcome = self.outcome(attempt, conversations[-1][1].notes)
        return Carried(outcome=outcome, conversations=tuple(conversations), stopped=stopped)

    def outcome(self, attempt: Attempt, notes: Sequence[str] = ()) -> Outcome:
        """What came of an attempt."""
        past = attempt.subject.session.past
        return Outcome(
            executed=attempt.executed,
            failure=attempt.failure,
            fresh_turns=past.fresh,
            replayed_turns=past.replayed,
            inapplicable=attempt.inapplicable,
            is_undecided=attempt.is_undecided,
            evidence=Evidence(taken=attempt.taken, notes=tuple(notes)),
        )

    def past(
        self,
        root: Node | None = None,
        *,
        replays: bool = True,
        asks_once: bool = False,
        gate: "_Gate | None" = None,
    ) -> Past:
        """For the session of one plan."""
        gate = gate or _Gate(self)
        gate.past = Past(
            root or self.root,
            replays=replays,
            asks_once=asks_once,
            reseeds=True,
            seed=self.seed,
            before_live=gate,
            offered=self.offered,
            heard=self._heard,
            first_answers=self._first_answers,
        )
        return gate.past

    def attempt(self, subject: Subject) -> Attempt:
        """What judges the steps of one plan."""
        return Attempt(subject=subject, builtin_checks=self.builtin_checks, verdicts=self.verdicts)

    def note(self, attempt: Attempt) -> int:
        """Remember what one plan took; how many of its turns were known."""
        attempt.subject.count()
        past = attempt.subject.session.past
        known = sum(self._ahead.pop(id(turn), None) is None for turn in _turns(attempt))
        self.replayed += known
        self.steps += len(attempt.executed)
        self._note_differences(past)
        if past.unknowable is not None:
            self.remarks[past.unknowable] = f"{past.unknowable}, so nothing was replayed."
        return known

    @property
    def ahead(self) -> int:
        """How many turns were asked of which the search has not come to know: plans begun ahead of need, broken off."""
        return len(self._ahead) + self._lost

    def _note_differences(self, past: Past) -> None:
        for difference in past.differences:  # one for each server: after the first there are many
            self.remarks.setdefault(difference.partition(" answered ")[0], f"{difference} {_UNLIKE}")

    def all_remarks(self, *, told: Collection[str] = ()) -> list[str]:
        """What is to be said of the exploration, without what `told` says already."""
        mishaps = [
            f"In {len(errors)} conversation{'s' if len(errors) > 1 else ''}: {errors[0]}"
            for errors in self._by_chance.values()
            if not any(errors[0] in text for text in told)
        ]
        return [*self.remarks.values(), *mishaps]

    def _heard(self, turn: Turn) -> None:
        self.fresh.append(turn)
        self._ahead[id(turn)] = turn
        self.heard(turn)
        if turn.error_kind is not None and is_by_chance(turn.error_kind):
            self._by_chance.setdefault(turn.error_kind, []).append(turn.error or "")
        self.budget.charge(turn)


def _turns(attempt: Attempt) -> list[Turn]:
    outcomes = [happened.sample.outcome for happened in attempt.subject.session.past.events]
    return [outcome for outcome in outcomes if isinstance(outcome, Turn)]


class _Gate:
    """What lets the events of one conversation go live, and remembers why one was not to."""

    def __init__(self, runner: TreeRunner, before_live: Callable[[Event], object] = lambda _: None) -> None:
        self.stop: Exception | None = None
        self.past = Past()  # of that conversation
        self._runner = runner
        self._before_live = before_live

    def __call__(self, event: Event) -> None:
        try:
            self._before_live(event)
            self._runner.refuse(self.past, event)
            self._runner.allow(event)
            self._runner.budget.check()
            self._runner.asking(event)
        except (AitestError, StopSearchError) as error:
            self.stop = error
            raise


def _anything(_: object) -> None:
    """Allow it."""

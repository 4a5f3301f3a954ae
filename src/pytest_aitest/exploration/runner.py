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
from pytest_aitest.search.plan import Plan
from pytest_aitest.search.runner import Outcome, Rule, StopSearchError
from pytest_aitest.values.errors import AitestError, ServerError, is_by_chance
from pytest_aitest.values.record import StepRecord
from pytest_aitest.values.transcript import Turn

from .attempt import Attempt, Subject, Taken, Verdicts
from .budget import Budget
from .hosting import hosted

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


@dataclass(kw_only=True)
class TreeRunner:
    """Carries plans out, and remembers what that took.

    Args:
        subject: Makes the subject of one plan, whose session has this past.
        root: The empty history that all plans share.
        allow: Told of each event that is to go live; may raise `StopSearchError`.
        offered: Told of the servers whose tools an agent is about to be offered; may raise.
        asking: Told of each event that goes live now.
        heard: Told of each turn that was asked live.
    """

    subject: Callable[[Past], Subject]
    rules: Sequence[Rule]
    root: Node
    budget: Budget
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
    _stop: Exception | None = None  # why something was not to be asked
    _by_chance: dict[str, list[str]] = field(default_factory=dict)
    _confirmed: int = 0
    _first_answers: FirstAnswers = field(default_factory=FirstAnswers)
    _acquitted: set[bytes] = field(default_factory=set)  # histories that failed, and did not when all was live

    def run(self, plan: Plan, *, again: int = 0) -> Outcome:
        """Carry out `plan` over the tree. See `Runner.run`."""
        outcome, past = self._carried_out(plan, self.root, again=again)
        if outcome.failure is not None and past.has_met_chance:
            fresh_turns = outcome.fresh_turns
            outcome, past = self._carried_out(plan, self.root, again=again)
            outcome = replace(outcome, fresh_turns=outcome.fresh_turns + fresh_turns)
        if outcome.failure is None:
            return outcome
        history = past.node.address
        if past.differences and history not in self._acquitted:
            live = self.confirm(outcome.executed)
            outcome = replace(outcome, fresh_turns=outcome.fresh_turns + live.fresh_turns, evidence=live.evidence)
            if live.failure != outcome.failure:
                self._acquitted.add(history)
        return replace(outcome, failure=None) if history in self._acquitted else outcome

    def run_live(self, plan: Plan) -> Outcome:
        """Carry out `plan`, every turn of it live; the tree learns from it."""
        return self._carried_out(plan, self.root, replays=False)[0]

    def unrestrained(self) -> "TreeRunner":
        """The same for a test like any other, to which it is nothing what explorations may ask and spend."""
        return replace(self, allow=_anything, offered=_anything, budget=Budget.unlimited())

    def confirm(self, plan: Plan) -> Outcome:
        """Carry out `plan` with nothing replayed. See `Runner.confirm`."""
        self._confirmed += 1
        return self._carried_out(plan, self.root.apart(f"confirm {self._confirmed}"))[0]

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

    def _carried_out(self, plan: Plan, root: Node, *, again: int = 0, replays: bool = True) -> tuple[Outcome, Past]:
        attempt, past, notes = self._attempted(plan, root, again=again, replays=replays)
        if isinstance(attempt.ours, ServerError):  # once more: it may have been the day's fault
            attempt, past, notes = self._attempted(plan, root, again=again, replays=replays)
        stop, self._stop = self._stop or attempt.ours, None  # the user's code may have swallowed it
        if isinstance(stop, StopSearchError):
            raise stop
        if stop is not None:
            raise ErroredError(str(stop)) from stop
        return self.outcome(attempt, notes), past

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

    def _attempted(self, plan: Plan, root: Node, *, again: int, replays: bool) -> tuple[Attempt, Past, list[str]]:
        past = self.past(root, replays=replays)
        attempt = self.attempt(self.subject(past))
        _, aside = hosted(lambda: attempt.run(plan, again=again))
        self.events.update(aside.events)
        self.note(attempt)
        return attempt, past, aside.notes

    def past(self, root: Node | None = None, *, replays: bool = True) -> Past:
        """For the session of one plan."""
        return Past(
            root or self.root,
            replays=replays,
            reseeds=True,
            seed=self.seed,
            before_live=self._before_live,
            offered=self.offered,
            heard=self._heard,
            first_answers=self._first_answers,
        )

    def attempt(self, subject: Subject) -> Attempt:
        """What judges the steps of one plan."""
        return Attempt(subject=subject, builtin_checks=self.builtin_checks, verdicts=self.verdicts)

    def note(self, attempt: Attempt) -> None:
        """Remember what one plan took."""
        past = attempt.subject.session.past
        self.replayed += past.replayed
        self.steps += len(attempt.executed)
        self._note_differences(past)
        if past.unknowable is not None:
            self.remarks[past.unknowable] = f"{past.unknowable}, so nothing was replayed."

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

    def _before_live(self, event: Event) -> None:
        try:
            self.allow(event)
            self.budget.check()
            self.asking(event)
        except (AitestError, StopSearchError) as error:
            self._stop = error
            raise

    def _heard(self, turn: Turn) -> None:
        self.fresh.append(turn)
        self.heard(turn)
        if turn.error_kind is not None and is_by_chance(turn.error_kind):
            self._by_chance.setdefault(turn.error_kind, []).append(turn.error or "")
        self.budget.charge(turn)


def _anything(_: object) -> None:
    """Allow it."""

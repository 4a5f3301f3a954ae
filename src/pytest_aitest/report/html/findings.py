"""What broke: a card for each finding of an exploration, and for each test that failed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pytest_aitest.report.failure import (
    asked_line,
    code_to_keep,
    conversation_title,
    how_it_ended,
    needed_title,
    rate_line,
    tried_line,
    turns_asked,
    unit_of,
    without,
)
from pytest_aitest.report.orders import Line, against, nearest
from pytest_aitest.report.totals import again, is_broken
from pytest_aitest.values.record import Confirmation, ExplorationRecord, Finding, Outcome, TestRecord
from pytest_aitest.values.run_record import RunRecord

from .anchors import Anchors
from .conversations import Conversation, SessionView, conversation
from .texts import Passage, passage

_MEANS = {
    "fails": "",
    "tolerated": "It fails no more often than its author accepts.",
    "seen once": "It failed once, and never again when everything was asked anew.",
    "unstable": "Asked anew, it failed in another way, or only now and then: take its conversation for a hint.",
}


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How often it fails, fit to be drawn: all of it in percent."""

    at: float
    low: float
    high: float
    text: str

    @property
    def width(self) -> float:
        return max(self.high - self.low, 1.0)


@dataclass(frozen=True, kw_only=True)
class Card:
    """Something that broke."""

    anchor: str
    outcome: Outcome
    title: str  # the check, or the test
    module: str
    verdict: str  # "fails", "tolerated", ...
    meaning: str
    failure: str
    place: str
    details: Passage | None
    steps: Conversation | None
    steps_title: str
    remarks: list[str]
    again: str
    cost: list[str]
    rate: Rate | None = None
    rate_text: str = ""
    pinned: str = ""
    pinned_ended: str = ""  # "passes"
    lines: tuple[Line, ...] = ()
    needed_title: str = ""
    needed: tuple[str, ...] = ()
    keep: str = ""
    keep_where: str = ""
    keep_remark: str = ""
    shown_at: str = ""  # anchor of where it happened, or was tried
    shown_as: str = ""


def cards(run: RunRecord, sessions: Iterable[SessionView], anchors: Anchors) -> list[tuple[int, Card]]:
    """Cards, each with the identity of its test's record; the worst first."""
    places = {id(test): (session, position) for session in sessions for position, test in enumerate(session.tests)}
    made: list[tuple[int, Card]] = []
    for test in run.tests:
        findings = test.exploration.findings if test.exploration else ()
        made += [(id(test), card) for card in _found(test, findings, anchors)]
        if is_broken(test) and not any(finding.verdict in ("fails", "unstable") for finding in findings):
            made.append((id(test), _failed(run, test, places.get(id(test)), anchors)))
    return sorted(made, key=lambda pair: _rank(pair[1]))


def _rank(card: Card) -> int:
    """Confirmed findings, what else broke, what is only noted."""
    if card.outcome not in ("failed", "error"):
        return 2
    return 0 if card.verdict == "fails" else 1


def _found(test: TestRecord, findings: Iterable[Finding], anchors: Anchors) -> Iterator[Card]:
    record = test.exploration
    if record is None:
        return
    details = test.details
    for finding in findings:
        anchor = anchors.new("finding", finding.check or record.name)
        shown = details if finding.verdict == "fails" else ""
        details = "" if shown else details
        pinned = nearest(record.pinned, finding.codes)
        yield Card(
            anchor=anchor,
            outcome=test.outcome,
            title=finding.check or record.name,
            module=test.nodeid.partition("::")[0],
            verdict=finding.verdict,
            meaning=_MEANS[finding.verdict],
            failure=finding.error or test.failure,
            place=finding.place,
            details=passage(shown) if shown else None,
            steps=conversation(finding.steps, anchors, prefix=anchor),
            steps_title=conversation_title(finding) if finding.steps else "it fails before anything is said",
            remarks=_remarks(finding),
            again=record.again,
            cost=_cost(record, finding),
            rate=_rate(finding.confirmation),
            rate_text=rate_line(finding),
            pinned=pinned.name if pinned else "",
            pinned_ended=how_it_ended(pinned) if pinned else "",
            lines=tuple(against(pinned, finding.codes)) if pinned else (),
            needed_title=needed_title(finding),
            needed=tuple(without(necessity, unit_of(finding)) for necessity in finding.necessity),
            keep=code_to_keep(finding),
            keep_where=finding.keep_where,
            keep_remark=finding.keep_remark,
            shown_as=record.name,
        )


def _remarks(finding: Finding) -> list[str]:
    why = finding.why_not_minimal
    return ([f"May not be the shortest: {why}"] if why and not finding.is_minimal else []) + list(finding.notes)


def _rate(confirmation: Confirmation | None) -> Rate | None:
    if confirmation is None or not confirmation.runs:
        return None
    at = 100 * confirmation.failed / confirmation.runs
    text = f"{confirmation.failed} of {confirmation.runs}, 95 % interval"
    low, high = 100 * confirmation.low, 100 * confirmation.high
    return Rate(at=at, low=low, high=high, text=f"{text} {low:.0f} to {high:.0f} %")


def _cost(record: ExplorationRecord, finding: Finding) -> list[str]:
    lines = [turns_asked(record.spent), asked_line(record.spent), f"{tried_line(record, finding)}; seed {record.seed}"]
    return [line for line in lines if line]


def _failed(run: RunRecord, test: TestRecord, place: tuple[SessionView, int] | None, anchors: Anchors) -> Card:
    name = test.nodeid.partition("::")[2] or test.nodeid
    anchor = anchors.new("failure", name)
    session = place[0] if place else None
    shown_at = _shown_at(test, session) if session else ""
    steps = test.steps if test.turns or any(step.looks or step.happened for step in test.steps) else ()
    return Card(
        anchor=anchor,
        outcome=test.outcome,
        title=name,
        module=test.nodeid.partition("::")[0],
        verdict=test.outcome,
        meaning="",
        failure=test.failure,
        place=test.place,
        details=passage(test.details) if test.details else None,
        steps=conversation(steps, anchors, prefix=anchor, first_turn=test.first_turn) if steps else None,
        steps_title="what was said" if steps else "",
        remarks=[],
        again=test.exploration.again if test.exploration else again(run, test),
        cost=[line for line in [asked_line(test.asked)] if line],
        shown_at=shown_at,
        shown_as=session.name if session else "",
    )


def _shown_at(test: TestRecord, session: SessionView) -> str:
    """The anchor of a test's last turn, or of where that would stand."""
    before = sum(max(len(other.steps), 1) for other in session.tests[: _index(test, session.tests)])
    part = session.parts[before + max(len(test.steps), 1) - 1]
    return part.turns[-1].anchor if part.turns and part.turns[-1].anchor else part.anchor or session.anchor


def _index(test: TestRecord, tests: list[TestRecord]) -> int:
    return next(position for position, other in enumerate(tests) if other is test)

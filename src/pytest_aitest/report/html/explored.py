"""What explorations tried: which orders, which not and why, what it cost and what the conversation tree saved."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from pytest_aitest.report.amounts import counted
from pytest_aitest.report.failure import asked_line, tried_line, turns_asked
from pytest_aitest.report.orders import rules
from pytest_aitest.values.record import ExplorationRecord, TestRecord

from .anchors import Anchors

State = Literal["failing", "covered", "not tried", "impossible"]


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Ordered pairs of rules."""

    rules: list[str]
    rows: list[tuple[str, list[State]]]  # a rule, and what became of it before each other
    numbers: list[tuple[State, int]]  # how many pairs there are of each state


@dataclass(frozen=True, kw_only=True)
class Explored:
    """One exploration, tried or not."""

    anchor: str
    test: TestRecord
    record: ExplorationRecord | None
    findings: list[tuple[str, str]]  # anchors and titles of its cards
    matrix: Matrix | None
    tried: str
    untried: str
    cost: list[str]
    saved: str


def explorations(
    tests: Iterable[TestRecord], findings: Mapping[int, list[tuple[str, str]]], anchors: Anchors
) -> list[Explored]:
    """All explorations; `findings` has what was found, by the identity of a test's record."""
    return [
        _explored(test, findings.get(id(test), []), anchors)
        for test in tests
        if test.kind == "exploration" or test.exploration is not None
    ]


def _explored(test: TestRecord, findings: list[tuple[str, str]], anchors: Anchors) -> Explored:
    record = test.exploration
    name = record.name if record else test.nodeid.partition("::")[2]
    if record is None:
        return Explored(
            anchor=anchors.new("exploration", name),
            test=test,
            record=None,
            findings=findings,
            matrix=None,
            tried="",
            untried="",
            cost=[],
            saved="",
        )
    left = max(record.plans - record.plans_tried, 0)
    return Explored(
        anchor=anchors.new("exploration", name),
        test=test,
        record=record,
        findings=findings,
        matrix=_matrix(record),
        tried=tried_line(record, record.findings[-1] if record.findings else None),
        untried=f"{counted(left, 'plan')} not tried" if left else "",
        cost=[line for line in (turns_asked(record.spent), asked_line(record.spent)) if line],
        saved=_saved(record),
    )


def _saved(record: ExplorationRecord) -> str:
    spent = record.spent
    turns = spent.replayed + spent.fresh_turns
    if not spent.replayed:
        return ""
    return f"{counted(spent.replayed, 'turn')} of {turns:,} replayed ({100 * spent.replayed / turns:.0f} %)"


def _matrix(record: ExplorationRecord) -> Matrix | None:
    if not record.rules:
        return None
    covered = set(record.covered)
    failing = {pair for finding in record.findings for pair in combinations(rules(finding.codes), 2)}

    def state(first: str, then: str) -> State:
        if (first, then) in failing:
            return "failing"
        if (first, then) in covered:
            return "covered"
        return "impossible" if then in record.initial_rules else "not tried"

    rows = [(first, [state(first, then) for then in record.rules]) for first in record.rules]
    states = [state for _, row in rows for state in row]
    kinds: tuple[State, ...] = ("failing", "covered", "not tried", "impossible")
    numbers = [(kind, states.count(kind)) for kind in kinds if kind in states]
    return Matrix(rules=list(record.rules), rows=rows, numbers=numbers)

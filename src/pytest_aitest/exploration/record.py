"""What a search found out, written as records for whoever shows it."""

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_aitest.search.exploration import Exploration
from pytest_aitest.search.exploration import Finding as Found
from pytest_aitest.search.plan import Plan
from pytest_aitest.values.record import Confirmation, ExplorationRecord, Finding, Necessity, PinnedOrder, Spent

from .keep import method_text, without_literal
from .runner import TreeRunner


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which exploration it is, and where its code stands."""

    name: str  # "TestBanking::explore[azure/gpt-5-mini]"
    nodeid: str
    kind: str  # "TestBanking"
    file: str  # "test_banking.py"
    seed: int
    again: str  # the command that repeats it


def record_of(
    exploration: Exploration,
    *,
    runner: TreeRunner,
    place: Place,
    pinned: Mapping[str, Plan],
    server_starts: int,
    seconds: float,
) -> ExplorationRecord:
    """The record of an exploration that has ended."""
    failed_pinned = {found.found_in for found in exploration.findings}
    costs = [turn.cost_usd for turn in runner.fresh]
    return ExplorationRecord(
        name=place.name,
        again=place.again,
        seed=exploration.seed,
        plans_tried=exploration.tried,
        plans=exploration.plans,
        pairs_covered=len(exploration.pairs),
        pairs=exploration.possible_pairs,
        spent=Spent(
            find=exploration.turns["find"].fresh,
            shrink=exploration.turns["shrink"].fresh,
            confirm=exploration.turns["confirm"].fresh,
            replayed=runner.replayed,
            model_calls=sum(turn.model_calls for turn in runner.fresh),
            tokens=sum(turn.prompt_tokens + turn.completion_tokens for turn in runner.fresh),
            cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
            server_starts=server_starts,
            seconds=seconds,
        ),
        findings=tuple(_finding(found, place=place, stopped=exploration.stopped) for found in exploration.findings),
        pinned=tuple(
            PinnedOrder(name=name, steps=[str(step) for step in plan], passes=name not in failed_pinned)
            for name, plan in pinned.items()
        ),
        why_ended=_why_ended(exploration),
        events=tuple(sorted(runner.events.items())),
        remarks=tuple(runner.remarks.values()),
    )


def _why_ended(exploration: Exploration) -> str:
    """Why no more was tried, where that was not a failure."""
    if exploration.stopped is not None:
        return _why_stopped(exploration.stopped)
    if exploration.is_exhausted:
        return "no other order is left"
    return ""


def _why_stopped(stopped: BaseException) -> str:
    return "it was interrupted" if isinstance(stopped, KeyboardInterrupt) else str(stopped) or type(stopped).__name__


def _error_text(error: BaseException | None) -> str:
    return "" if error is None else f"{type(error).__name__}: {error}".removesuffix(": ")


def _finding(found: Found, *, place: Place, stopped: BaseException | None) -> Finding:
    low, high = found.rate.interval if found.rate is not None else (0.0, 1.0)
    unkept = without_literal(found.plan)
    return Finding(
        check=found.failure.check,
        error=_error_text(found.failure.error),
        steps=found.outcome.evidence.records,
        is_minimal=found.is_minimal,
        why_not_minimal="" if found.is_minimal or stopped is None else _why_stopped(stopped),
        necessity=tuple(
            Necessity(step=number, passed=necessity.samples)
            for number, necessity in enumerate(found.necessity, 1)
            if necessity.samples
        ),
        confirmation=None
        if found.rate is None
        else Confirmation(failed=found.rate.failed, runs=found.rate.runs, low=low, high=high),
        keep="" if unkept else method_text(found.plan, check=found.failure.check),
        keep_where=f"{place.kind}, {place.file}",
        cannot_keep=f"{unkept} can't be written as code: an argument has no literal form." if unkept else "",
        notes=found.outcome.evidence.notes,
    )

"""What a search found out, written as records for whoever shows it."""

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_aitest.search.deck import Shard
from pytest_aitest.search.exploration import Exploration
from pytest_aitest.search.exploration import Finding as Found
from pytest_aitest.search.plan import Plan, codes
from pytest_aitest.values.record import Confirmation, ExplorationRecord, Finding, Necessity, PinnedOrder, Spent

from .keep import method_text, without_literal
from .runner import TreeRunner


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which exploration it is, and where its code stands."""

    name: str  # "TestBanking::explore[azure/gpt-5-mini]"
    nodeid: str  # the same in all shards
    kind: str  # "TestBanking"
    file: str  # "test_banking.py"
    again: str  # the command that repeats it
    model: str = ""  # in place of those of its agents
    shard: Shard = Shard()  # noqa: RUF009 - a value
    import_of_pinned: str = ""  # the line that its module needs for code that is to be kept


def record_of(
    exploration: Exploration,
    *,
    runner: TreeRunner,
    place: Place,
    pinned: Mapping[str, Plan],
    remembers: bool,
    server_starts: int,
    seconds: float,
) -> ExplorationRecord:
    """The record of an exploration that has ended."""
    failed_pinned = {found.found_in for found in exploration.findings}
    return ExplorationRecord(
        name=place.name,
        shard=str(place.shard) if place.shard.of > 1 else "",
        again=place.again,
        seed=exploration.seed,
        plans_tried=exploration.tried,
        plans=exploration.plans,
        rules=tuple(rule.name for rule in runner.rules),
        initial_rules=tuple(rule.name for rule in runner.rules if rule.is_initial),
        covered=exploration.pairs,
        spent=Spent.on(
            runner.fresh,
            find=exploration.turns["find"].fresh,
            shrink=exploration.turns["shrink"].fresh,
            confirm=exploration.turns["confirm"].fresh,
            ahead=runner.ahead,
            replayed=runner.replayed,
            server_starts=server_starts,
            seconds=seconds,
        ),
        findings=tuple(
            _finding(
                found,
                place,
                exploration.stopped,
                _keeping(found, pinned, place, remembers=remembers),
            )
            for found in exploration.findings
        ),
        pinned=tuple(
            PinnedOrder(
                name=name,
                steps=tuple(str(step) for step in plan),
                passes=name not in failed_pinned if place.shard.number == 1 else None,
            )
            for name, plan in pinned.items()
        ),
        why_ended=_why_ended(exploration),
        events=tuple(sorted(runner.events.items())),
        remarks=tuple(runner.all_remarks(told=[_error_text(found.failure.error) for found in exploration.findings])),
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


def _keeping(found: Found, pinned: Mapping[str, Plan], place: Place, *, remembers: bool) -> tuple[str, str]:
    """Code that keeps it, and what is to be said of that."""
    if not found.plan:
        return "", "It fails before anything is said: there is no order to keep."
    if same := next((name for name, plan in pinned.items() if codes(plan) == codes(found.plan)), ""):
        return "", f"`{same}` is this very conversation: it is kept already."
    if unkept := without_literal(found.plan):
        return "", (
            f"{unkept} can't be written as code, nor kept for the next run: an argument has no literal form. "
            "Choose among names, and make the value in the rule."
        )
    remarks = [f"It needs `{place.import_of_pinned}`." if place.import_of_pinned else ""]
    remarks += [] if remembers else ["Nothing else remembers it: Hypothesis has no example database here."]
    return method_text(found.plan, check=found.failure.check), " ".join(filter(None, remarks))


def _finding(found: Found, place: Place, stopped: BaseException | None, keeping: tuple[str, str]) -> Finding:
    low, high = found.rate.interval if found.rate is not None else (0.0, 1.0)
    keep, keep_remark = keeping
    return Finding(
        check=found.failure.check,
        error=_error_text(found.failure.error),
        place=found.failure.place,
        verdict="unstable" if found.is_unstable else found.verdict,
        steps=found.outcome.evidence.records,
        is_minimal=found.is_minimal,
        why_not_minimal="" if found.is_minimal or stopped is None else _why_stopped(stopped),
        necessity=tuple(
            Necessity(step=number, passed=without.samples, result=without.result, by=without.by)
            for number, without in enumerate(found.necessity, 1)
            if without.samples or without.result != "passes"
        ),
        confirmation=None
        if found.rate is None
        else Confirmation(failed=found.rate.failed, runs=found.rate.runs, low=low, high=high),
        keep=keep,
        keep_where=f"{place.kind}, {place.file}",
        keep_remark=keep_remark,
        was_kept=found.was_kept,
        notes=found.outcome.evidence.notes,
    )

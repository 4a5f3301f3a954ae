"""The answer to "is it all right?": how tests ended, by whom they were answered, what it cost."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from pytest_aitest.report.amounts import counted, time_text
from pytest_aitest.report.totals import WORDS, caveat, cost, is_broken, is_context, models
from pytest_aitest.values.record import Outcome
from pytest_aitest.values.run_record import RunRecord

_JUDGED: tuple[Outcome, ...] = ("passed", "noted", "xfailed", "xpassed")
_ALWAYS: tuple[Outcome, ...] = ("failed", "noted", "priced", "not run", "passed")


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many tests ended so."""

    outcome: Outcome
    word: str
    number: int
    anchor: str  # of the first of them


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The run in one strip."""

    answer: str
    is_all_right: bool
    counts: list[Count]
    facts: list[tuple[str, str]]  # label and value
    models: list[str]
    replaced: str  # the model that stood in for all others
    has_builtin: bool
    began: str


def overview(run: RunRecord, anchors: dict[int, str]) -> Overview:
    """All of it; `anchors` says where each test is shown, by the identity of its record."""
    judged = [test for test in run.tests if not is_context(test)]
    counted_outcomes = Counter(test.outcome for test in judged)
    shown = [outcome for outcome in WORDS if outcome in _ALWAYS or counted_outcomes[outcome]]
    answered = models(run)
    return Overview(
        answer=_answer(counted_outcomes, len(judged), caveat(run)),
        is_all_right=not any(map(is_broken, judged)) and not caveat(run),
        counts=[
            Count(
                outcome=outcome,
                word=WORDS[outcome],
                number=counted_outcomes[outcome],
                anchor=next((anchors.get(id(test), "") for test in judged if test.outcome == outcome), ""),
            )
            for outcome in shown
        ],
        facts=_facts(run),
        models=answered,
        replaced=run.model,
        has_builtin="builtin" in answered,
        began=_moment(run.began),
    )


def _answer(counts: Counter[Outcome], tests: int, but: str) -> str:
    if not tests:
        return f"Nothing was tested: {but}." if but else "Nothing was tested."
    bad = [f"{counts['failed']:,} failed"] if counts["failed"] else []
    bad += [counted(counts["error"], "error")] if counts["error"] else []
    if bad:
        return f"No. {' and '.join(bad)} of {counted(tests, 'test')}{f', and {but}' if but else ''}."
    if but:
        return f"No conversation failed, but: {but}."
    if not any(counts[outcome] for outcome in _JUDGED):
        return "Nothing was judged."
    unjudged = counts["priced"] + counts["skipped"] + counts["not run"]
    noted = f", with {counted(counts['noted'], 'note')}" if counts["noted"] else ""
    return f"Yes{noted}." + (f" {counted(unjudged, 'test')} did not run." if unjudged else "")


def _facts(run: RunRecord) -> list[tuple[str, str]]:
    asked = [test.asked for test in run.tests]
    return [
        ("cost", cost(run)),
        ("time", time_text(run.seconds) or "0.0 s"),
        ("model calls", f"{sum(spent.model_calls for spent in asked):,}"),
        ("tokens", f"{sum(spent.tokens for spent in asked):,}"),
    ]


def _moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = " UTC" if moment.utcoffset() is not None and not moment.utcoffset() else ""
    return f"{moment.day} {moment:%B %Y, %H:%M}{zone}"

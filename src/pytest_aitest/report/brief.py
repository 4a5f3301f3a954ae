"""A run as plain text, short: how it ended, what broke, what explorations tried."""

from collections.abc import Iterator

from pytest_aitest.values.plain import inert, wrapped
from pytest_aitest.values.record import TestRecord
from pytest_aitest.values.run_record import RunRecord

from .amounts import listed, time_text
from .failure import conversation, passed_line, warning_text
from .totals import caveat, cost, is_broken, model_text, models, outcomes

_MOST_LINES = 8


def brief(run: RunRecord) -> str:
    """`run` as someone reads it in a terminal."""
    broken = [text for test in run.tests if is_broken(test) for text in _broken(test)]
    noted = [line for test in run.tests for line in _noted(test)]
    counts = listed(*(f"{count:,} {word}" for word, count in outcomes(run).items()))
    total = listed(
        counts, caveat(run), cost(run), *(f"model {model_text(model)}" for model in models(run)), time_text(run.seconds)
    )
    return "\n\n".join(filter(None, [*broken, "\n".join(noted), total])) + "\n"


def _broken(test: TestRecord) -> Iterator[str]:
    record = test.exploration
    for finding in record.findings if record else ():
        yield warning_text(record, finding) if record else ""
    if record is None or not record.findings or test.outcome == "error":
        how = "had an error" if test.outcome == "error" else "failed"
        why = "\n".join(filter(None, [test.failure, test.place]))
        heading = f"{test.nodeid} {how}" + (f": {why}" if why else "")
        yield "\n".join([*wrapped(heading, most_lines=_MOST_LINES), *_said(test)])


def _said(test: TestRecord) -> list[str]:
    return [conversation(test.steps, first=test.first_turn)] if test.steps else []


def _noted(test: TestRecord) -> Iterator[str]:
    if test.outcome == "priced":
        yield f"{inert(test.nodeid)}: {inert(test.reason)}"
    if record := test.exploration:
        yield passed_line(record)
        for finding in () if is_broken(test) else record.findings:
            yield f"\n{warning_text(record, finding)}\n"
        yield from (f"{inert(record.name)}: {inert(note)}" for note in (*record.order_notes, *record.remarks))

"""What a test leaves in its report: the record of what was said in it, what failed, what it cost, without secrets.

Written where the test runs, because only there is all of it known. Loaded by the first test that speaks.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

import pytest

from pytest_aitest.values.record import ExplorationRecord, Kind, Outcome, Spent, StepRecord, TestRecord
from pytest_aitest.values.run_record import packed
from pytest_aitest.values.secrets import SECRETS, hide_within
from pytest_aitest.values.transcript import Turn

from .collect import FLOW, MACHINE, Flow, speaks


@dataclass(kw_only=True)
class Testimony:
    """What one attempt at a test has to tell, filled in by whoever conducts it."""

    __test__ = False

    kind: Kind = "test"
    session: str = ""
    first_turn: int = 1
    steps: Sequence[StepRecord] = ()
    fresh: list[Turn] = field(default_factory=list)  # turns that were asked live
    exploration: ExplorationRecord | None = None
    outcome: Outcome = "passed"  # what pytest does not tell apart
    sections: Sequence[tuple[str, str]] = ()  # to show if it fails
    told: int = 0  # how many of the fresh turns are in a report already

    @property
    def asked(self) -> Spent:
        """All that it asked live."""
        return self.exploration.spent if self.exploration else Spent.on(self.fresh, find=len(self.fresh))


TESTIMONY = pytest.StashKey[Testimony]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the test's record into its report, which travels, and what is worth it into its properties."""
    report = yield
    if not (speaks(item) or TESTIMONY in item.stash or hasattr(item.parent, MACHINE)):
        return report
    _hide_secrets(report)
    testimony = item.stash.get(TESTIMONY, None) or Testimony()
    if report.when == "call" or not report.passed or len(testimony.fresh) > testimony.told:
        testimony.told = len(testimony.fresh)
        record = _record(item, report, testimony)
        vars(report)["aitest_record"] = hide_within(packed(record))
        item.user_properties[:] = [*_foreign(item.user_properties), *_properties(record)]
        report.user_properties = list(item.user_properties)
    return report


def _record(item: pytest.Item, report: pytest.TestReport, testimony: Testimony) -> TestRecord:
    flow = item.stash.get(FLOW, None)
    record = TestRecord(
        nodeid=item.nodeid,
        kind=testimony.kind,
        outcome=testimony.outcome,
        session=testimony.session or item.nodeid,
        first_turn=testimony.first_turn,
        steps=tuple(testimony.steps),
        exploration=testimony.exploration,
        asked=testimony.asked,
        seconds=report.duration,
        **_failure(report),
    )
    return record if flow is None else _of_flow(record, flow, item, report)


def _of_flow(record: TestRecord, flow: Flow, item: pytest.Item, report: pytest.TestReport) -> TestRecord:
    not_run = report.skipped and flow.failed is not None and flow.failed is not item
    return replace(
        record,
        kind="context" if item in flow.context else "turn",
        session=f"{item.nodeid.partition('::')[0]}::{flow.name}",
        outcome="not run" if not_run else record.outcome,
    )


def _failure(report: pytest.TestReport) -> dict[str, Any]:
    """What pytest says of the end of a test that did not pass, in short and in full."""
    wasxfail = getattr(report, "wasxfail", None)
    told = {} if wasxfail is None else {"reason": wasxfail.removeprefix("reason: ")}
    if isinstance(report.longrepr, tuple):
        return {"reason": report.longrepr[2].removeprefix("Skipped: "), **told}
    if report.longrepr is None:
        return told
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        told["failure"] = report.longreprtext.strip()
    else:
        told |= {"failure": crash.message, "place": f"{PurePath(crash.path).name}:{crash.lineno}"}
    return {**told, "details": report.longreprtext}


def _hide_secrets(report: pytest.TestReport) -> None:
    """Take them out of what pytest shows: source lines never, values that it found in them, and what was printed."""
    hide = SECRETS.hiding()
    report.sections = [(title, hide(text)) for title, text in report.sections]
    if isinstance(report.longrepr, tuple):
        path, line, reason = report.longrepr
        report.longrepr = path, line, hide(reason)
    elif isinstance(report.longrepr, str):
        report.longrepr = hide(report.longrepr)
    else:
        _hide_in(report.longrepr, hide)


def _hide_in(shown: Any, hide: Any) -> None:
    """Replace the texts of one of pytest's representations of an exception, and of all that it is made of."""
    for name, value in list(getattr(shown, "__dict__", {}).items()):
        if isinstance(value, str):
            setattr(shown, name, hide(value))
        elif isinstance(value, list | tuple):
            made = [hide(part) if isinstance(part, str) else part for part in value]
            for part in made:
                for each in part if isinstance(part, tuple) else (part,):
                    _hide_in(each, hide)
            setattr(shown, name, type(value)(made))
        else:
            _hide_in(value, hide)


def _foreign(properties: Iterable[tuple[str, object]]) -> Iterator[tuple[str, object]]:
    return ((name, value) for name, value in properties if not name.startswith("aitest_"))


def _properties(record: TestRecord) -> Iterator[tuple[str, object]]:
    """For JUnit's XML, and whoever else shows a test's properties."""
    turns = record.turns
    yield "aitest_session", record.session.partition("::")[2]
    if record.kind in ("turn", "context"):
        yield "aitest_flow", record.session.partition("::")[2].partition("[")[0]
        yield "aitest_turn", record.first_turn
    if turns or record.exploration:
        yield "aitest_turns", len(turns) or record.asked.fresh_turns
        yield "aitest_model_calls", record.asked.model_calls
        yield "aitest_tokens", record.asked.tokens
    if record.asked.cost_usd is not None:
        yield "aitest_cost_usd", round(record.asked.cost_usd, 6)
    if record.exploration:
        yield "aitest_plans", record.exploration.plans_tried
        for finding in record.exploration.findings:
            if finding.confirmation:
                yield "aitest_confirmed_rate", f"{finding.confirmation.failed}/{finding.confirmation.runs}"

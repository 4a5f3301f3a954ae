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
from pytest_aitest.values.secrets import hide_within
from pytest_aitest.values.transcript import Turn

from .collect import FLOW, MACHINE, Flow, speaks


@dataclass(kw_only=True)
class Testimony:
    """What one attempt at a test has to tell, filled in by whoever conducts it."""

    __test__ = False

    kind: Kind = "test"
    first_turn: int = 1
    steps: Sequence[StepRecord] = ()
    fresh: list[Turn] = field(default_factory=list)  # turns that were asked live
    exploration: ExplorationRecord | None = None
    outcome: Outcome = "passed"  # what pytest does not tell apart
    sections: Sequence[tuple[str, str]] = ()  # to show if it fails
    told_once: str = ""  # what failed, where all shards of an exploration tell together what is in `sections`
    told: int = 0  # how much of what happened is in a report already

    @property
    def asked(self) -> Spent:
        """All that it asked live."""
        if self.exploration:
            return self.exploration.spent
        replayed = sum(turn.is_replayed for step in self.steps for turn in step.turns)
        return Spent.on(self.fresh, find=len(self.fresh), replayed=replayed)

    @property
    def happened(self) -> int:
        """How much there is to tell."""
        return sum(len(step.happened) for step in self.steps)


TESTIMONY = pytest.StashKey[Testimony]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Tell of a test that Ctrl-C ends, for which pytest makes no report."""
    try:
        return (yield)
    except KeyboardInterrupt:
        recorder: Any = item.config.pluginmanager.get_plugin("aitest-recorder")
        if recorder is not None and TESTIMONY in item.stash:
            why = "KeyboardInterrupt: it was interrupted"
            report = pytest.TestReport(item.nodeid, item.location, {}, "failed", why, "call")
            vars(report)["aitest_record"] = packed(hide_within(_record(item, report, item.stash[TESTIMONY])))
            recorder.pytest_runtest_logreport(report)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the test's record into its report, which travels, and what is worth it into its properties.

    The setup tells who is about to speak: it may be the last that is heard of a process.
    """
    report = yield
    if not (speaks(item) or TESTIMONY in item.stash or hasattr(item.parent, MACHINE)):
        return report
    testimony = item.stash.get(TESTIMONY, None) or Testimony()
    if report.when != "teardown" or not report.passed or testimony.happened > testimony.told:
        testimony.told = testimony.happened
        record = hide_within(_record(item, report, testimony))
        vars(report)["aitest_record"] = packed(record)
        if report.when != "setup" or not report.passed:
            item.user_properties[:] = [*_foreign(item.user_properties), *_properties(record)]
            report.user_properties = list(item.user_properties)
    return report


def _record(item: pytest.Item, report: pytest.TestReport, testimony: Testimony) -> TestRecord:
    flow = item.stash.get(FLOW, None)
    record = TestRecord(
        nodeid=item.nodeid,
        kind=testimony.kind,
        outcome=testimony.outcome,
        session=item.nodeid,
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
    before = [] if flow.session is None else flow.session.turns
    return replace(
        record,
        kind="context" if item in flow.context else "turn",
        session=flow.key,
        first_turn=record.first_turn if record.turns else len(before) + 1,
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


def _foreign(properties: Iterable[tuple[str, object]]) -> Iterator[tuple[str, object]]:
    return ((name, value) for name, value in properties if not name.startswith("aitest_"))


def _properties(record: TestRecord) -> Iterator[tuple[str, object]]:
    """For JUnit's XML, and whoever else shows a test's properties."""
    turns = record.turns
    yield "aitest_session", record.session.partition("::")[2]
    if record.kind in ("turn", "context"):
        yield "aitest_flow", record.session.partition("[")[0].rpartition("::")[2]
        yield "aitest_turn", record.first_turn
    if turns or record.exploration:
        yield "aitest_turns", len(turns) or record.asked.fresh_turns
        yield "aitest_model_calls", record.asked.model_calls
        yield "aitest_tokens", record.asked.tokens
        if record.asked.cost_usd is not None:
            yield "aitest_cost_usd", round(float(record.asked.cost_usd), 6)
    if record.exploration:
        yield "aitest_plans", record.exploration.plans_tried
        confirmed = [finding.confirmation for finding in record.exploration.findings if finding.confirmation]
        if confirmed:
            yield "aitest_confirmed_rate", ", ".join(f"{rate.failed}/{rate.runs}" for rate in confirmed)

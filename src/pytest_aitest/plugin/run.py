"""How the turns of a flow run: after a failure no more, context turns shown as such.

Knows flows and outcomes; what is said in them is not its business.
"""

from collections.abc import Generator

import pytest

from pytest_aitest.values.plain import filled

from .collect import FLOW, Flow, speaks

LIVE = "pytest_aitest.plugin.live"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if speaks(item):
        item.config.pluginmanager.import_plugin(LIVE)
    flow = item.stash.get(FLOW, None)
    if flow is None or flow.failed is None:
        return
    if flow.failed is item:
        why = (
            f"{item.name} is not run again: it is a turn of session {flow.name!r}, whose servers already have the state "
            "of its first attempt. Leave the tests of sessions out of reruns. This is how it failed:"
        )
        pytest.fail(f"{filled(why)}\n\n{flow.failure}", pytrace=False)
    failed = flow.failed.name
    if flow.failed in flow.context and item not in flow.context:
        pytest.fail(filled(f"turn {failed} of {flow.name}, run for context, failed: {flow.failure_line}"), pytrace=False)
    # A marker, not pytest.skip: the skip is then reported at the test and not at this line.
    item.add_marker(pytest.mark.skip(reason=f"turn {failed} of {flow.name} failed"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note failed turns; a context turn was not asked for, so its outcome is told but not counted."""
    report = yield
    flow = item.stash.get(FLOW, None)
    if flow is not None:
        if report.failed and report.when != "teardown":
            _note_failure(flow, item, report)
        if item in flow.context:
            vars(report)["aitest_context"] = True  # what is in here travels to the controller under xdist
            if report.failed:
                report.outcome = "skipped"
                report.longrepr = (str(item.path), (item.location[1] or 0) + 1, f"context turn failed: {flow.failure_line}")
    return report


def _note_failure(flow: Flow, item: pytest.Item, report: pytest.TestReport) -> None:
    assert isinstance(item, pytest.Function)
    crash = getattr(report.longrepr, "reprcrash", None)
    flow.failed, flow.failure = item, report.longreprtext
    flow.failure_line = str(crash.message if crash else report.longrepr).partition("\n")[0]


def pytest_report_teststatus(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
    if getattr(report, "aitest_context", False) and (report.when == "call" or report.skipped):
        return "context", "c", "CONTEXT" if report.passed else "CONTEXT FAILED"
    return None

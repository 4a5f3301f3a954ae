"""How the turns of a flow run: after a failure no more, context turns shown as such.

Knows flows and outcomes; what is said in them is not its business.
"""

import importlib
from collections.abc import Generator

import pytest

from pytest_aitest.values.plain import filled

from .collect import FLOW, Flow, speaks

LIVE = "pytest_aitest.plugin.live"
TESTIMONY = "pytest_aitest.plugin.testimony"


def load_live(config: pytest.Config) -> None:
    """Have pytest listen to `live`, which is slow to import, from now on."""
    if not config.pluginmanager.has_plugin(LIVE):
        # Not import_plugin: it warns about a module that a test has imported before, for its types.
        for name in (LIVE, TESTIMONY):  # in this order: who hears of a report first speaks of it last
            config.pluginmanager.register(importlib.import_module(name), name)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if speaks(item):
        load_live(item.config)
    flow = item.stash.get(FLOW, None)
    if flow is None:
        return
    flow.begin(item)
    if flow.failed is None:
        return
    failed = flow.failed.name
    if flow.failed in flow.context and item not in flow.context:
        why = f"{item.name} can't run: turn {failed} of {flow.name}, run for context, failed like this:"
        pytest.fail(f"{filled(why)}\n\n{flow.failure}", pytrace=False)
    # A marker, not pytest.skip: the skip is then reported at the test and not at this line.
    item.add_marker(pytest.mark.skip(reason=f"turn {failed} of {flow.name} failed"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the first failed turn; a context turn was not asked for, so its outcome is told but not counted.

    A fixture that fails to be torn down counts everywhere: that is not the turn's outcome.
    """
    report = yield
    flow = item.stash.get(FLOW, None)
    if flow is None or report.when == "teardown":
        return report
    failed = report.failed
    if failed and flow.failed is None:
        _note_failure(flow, item, report)
    if item in flow.context:
        outcome = "FAILED" if failed else "SKIPPED" if report.skipped else ""
        vars(report)["aitest_context"] = f"CONTEXT {outcome}".strip()  # travels to the controller under xdist
        if failed:
            report.outcome = "skipped"
            report.longrepr = (str(item.path), (item.location[1] or 0) + 1, flow.failure.partition("\n")[0])
    return report


def _note_failure(flow: Flow, item: pytest.Item, report: pytest.TestReport) -> None:
    sections = [f"\n{f' {title} ':-^80}\n{text}" for title, text in report.sections]
    flow.failed, flow.failure = item, report.longreprtext + "".join(sections)


def pytest_report_teststatus(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
    word = getattr(report, "aitest_context", None)
    return ("context", "c", word) if word and (report.when == "call" or report.skipped) else None

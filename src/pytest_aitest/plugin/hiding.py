"""Keeping secrets out of what pytest shows: failures, what was printed, reasons, warnings, the ids of parameters.

Where the project has declared an agent or a server, and only there; then in all of its tests, for what was given to one
test is a secret in the next. Ids that a test gives itself (`ids=[...]`) and the names of files stay: other plugins find
tests by them. So does what a test prints under `-s`, and what is printed by `--setup-show`.
"""

import copy
import re
import sys
import warnings
from collections.abc import Generator
from functools import partial
from typing import Any

import pytest

from pytest_aitest.values.plain import inert
from pytest_aitest.values.secrets import SECRETS, Hide

_DECLARATIONS = "pytest_aitest.values.agent"
_BRACKETS = str.maketrans("", "", "[]")


def add_options(parser: pytest.Parser) -> None:
    parser.addini(
        "aitest_secrets",
        "regular expressions, one a line: what matches is shown nowhere; if one has a group, that part of it",
        type="linelist",
        default=[],
    )


def check_options(config: pytest.Config) -> None:
    """Know the user's own patterns for this run, or say what is wrong with one."""
    config.add_cleanup(partial(setattr, SECRETS, "patterns", SECRETS.patterns))
    SECRETS.patterns = [_pattern(text) for text in config.getini("aitest_secrets")]


def _pattern(text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise pytest.UsageError(
            f"aitest_secrets has {text!r}, which is no regular expression: {error}. "
            "Write one a line, with a backslash before what is meant literally, as in \\(."
        ) from None
    if pattern.search(""):
        raise pytest.UsageError(
            f"aitest_secrets has {text!r}, which matches where there is nothing, and so everywhere. "
            "Write what at least one character of a secret looks like, + in place of *."
        )
    return pattern


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Hide them before anybody else reads the report, and while variables that the test has set are still there."""
    report = yield
    if _wanted():
        SECRETS.keep_environment()
        _hide_in_report(report)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Hide them in what was added to the report since it was made, as pytest does with a subtest's output."""
    if _wanted():
        _hide_in_report(report)


@pytest.hookimpl(tryfirst=True)
def pytest_collectreport(report: pytest.CollectReport) -> None:
    if _wanted():
        _hide_in_report(report)


@pytest.hookimpl(tryfirst=True)
def pytest_warning_recorded(warning_message: warnings.WarningMessage) -> None:
    if not _wanted():
        return
    warning = warning_message.message
    hidden = SECRETS.hiding()(str(warning))
    if hidden != str(warning):
        warning_message.message = _worded(warning, hidden)


@pytest.hookimpl(tryfirst=True)
def pytest_make_parametrize_id(val: object) -> str | None:
    """Call a parameter that is a secret by its name."""
    if not isinstance(val, str) or not _wanted():
        return None
    hidden = SECRETS.hiding()(val)
    return None if hidden == val else hidden.translate(_BRACKETS)


def _wanted() -> bool:
    return _DECLARATIONS in sys.modules


def _hide_in_report(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.longrepr is None and not report.sections and not hasattr(report, "wasxfail"):
        return
    hide = SECRETS.hiding()
    report.sections[:] = [(title, hide(text)) for title, text in report.sections]
    report.longrepr = _hidden(report.longrepr, inert)  # a model's words may be in an assert
    if isinstance(reason := getattr(report, "wasxfail", None), str):
        vars(report)["wasxfail"] = hide(reason)


def _hidden(shown: Any, hide: Hide) -> Any:
    """One of pytest's representations of an exception, with all that it is made of."""
    if isinstance(shown, str):
        return hide(shown)
    if type(shown) in (list, tuple):
        return type(shown)(_hidden(part, hide) for part in shown)
    if hasattr(shown, "toterminal"):
        for name, part in list(getattr(shown, "__dict__", {}).items()):
            if name != "style":  # a word of pytest's
                setattr(shown, name, _hidden(part, hide))
    return shown


def _worded(warning: Warning | str, text: str) -> Warning | str:
    if isinstance(warning, str):
        return text
    worded = copy.copy(warning)
    worded.args = (text,)
    return worded if str(worded) == text else Warning(text)

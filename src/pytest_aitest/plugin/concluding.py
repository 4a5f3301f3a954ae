"""What became of an exploration, told to pytest: a failure with its shortest conversation, a warning, a skip.

Knows records and outcomes; how they came about is not its business.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NoReturn, TypeVar

import pytest

from pytest_aitest.exploration.allowed import PriceError
from pytest_aitest.exploration.budget import BudgetSpentError
from pytest_aitest.exploration.frames import place_of, users_traceback
from pytest_aitest.report.failure import outline, rate_line, sections, warning_text, what_failed
from pytest_aitest.search.exploration import Exploration
from pytest_aitest.search.exploration import Finding as Found
from pytest_aitest.search.runner import StopSearchError
from pytest_aitest.values.errors import DeclarationError, ExplorationWarning, SessionError
from pytest_aitest.values.plain import filled
from pytest_aitest.values.record import ExplorationRecord, Finding

from .paying import counting_verdicts
from .sharding import shard_of
from .summary import INTERRUPTED
from .testimony import TESTIMONY

Result = TypeVar("Result")


def shown_as_the_users(run: Callable[[], Result]) -> Result:
    """Run it; an error of the user's code, in a constructor say, is raised as if it came straight from there."""
    __tracebackhide__ = True
    try:
        return run()
    except Exception as error:  # noqa: BLE001 - raised again
        raised = error
    raise raised.with_traceback(users_traceback(raised) or raised.__traceback__)


@contextmanager
def declarations_said() -> Iterator[None]:
    """Say what is declared wrongly, without any frame of ours."""
    wrong = ""
    try:
        yield
    except DeclarationError as error:
        wrong = str(error)
    if wrong:
        fail(filled(wrong))


def conclude(exploration: Exploration, record: ExplorationRecord, item: pytest.Item) -> None:
    """Fail with what counts, warn of what does not, skip what could not be judged; else return."""
    __tracebackhide__ = True
    findings = list(zip(exploration.findings, record.findings, strict=True))
    if exploration.stopped is not None and not isinstance(exploration.stopped, StopSearchError):
        item.config.stash[INTERRUPTED] = "\n\n".join(warning_text(record, shown) for _, shown in findings)
        raise exploration.stopped
    fatal = counting_verdicts(item.config)
    counting = [finding for finding in findings if finding[1].verdict in fatal]
    for finding in findings:
        if finding not in counting:
            _warn(warning_text(record, finding[1]), item)
    if counting:
        _fail_with(counting, record, item)
    _conclude_early(exploration, record, item)
    if exploration.is_inapplicable:
        skip(f"no plan could be judged: {exploration.inapplicable[0].reason}")


def _fail_with(counting: Sequence[tuple[Found, Finding]], record: ExplorationRecord, item: pytest.Item) -> NoReturn:
    """Raise the first, and show all."""
    __tracebackhide__ = True
    (found, shown), *others = counting
    told = [] if found.is_unstable else sections(record, shown)
    told += [("also found", warning_text(record, other, with_cost=False)) for _, other in others]
    item.stash[TESTIMONY].sections = told
    note = rate_line(shown)
    if item.config.getoption("usepdb"):  # which shows no sections of a report
        note += "".join(f"\n--- {title} ---\n{text}" for title, text in told)
    elif shard_of(item):
        item.stash[TESTIMONY].told_once = what_failed(shown)
        note = ""  # of what all shards found the shortest is told
    if found.is_unstable:
        fail(_unstable(found))
    raise_users_error(found.failure.error, note=note)


def _warn(what: str, item: pytest.Item) -> None:
    warnings.warn_explicit(what, ExplorationWarning, str(item.path), (item.location[1] or 0) + 1)


def _conclude_early(exploration: Exploration, record: ExplorationRecord, item: pytest.Item) -> None:
    """Say what an exploration that found nothing that counts did not try."""
    __tracebackhide__ = True
    match exploration.stopped:
        case PriceError() as error:
            item.stash[TESTIMONY].outcome = "priced"
            skip(str(error))
        case BudgetSpentError() as error:
            left = exploration.plans - exploration.tried
            what = f"{error}: {left} of {exploration.plans} plans not tried"
            if item.config.getini("aitest_budget_spent") == "fail":
                fail(what)
            if not exploration.tried:
                skip(what)
            _warn(what, item)
        case StopSearchError() as error:
            tried = outline(replace(record, why_ended=""))
            until_then = f"\nUntil then {tried}; seed {record.seed}." if record.spent.fresh_turns else ""
            could_not_go_on(error, until_then=until_then)


def could_not_go_on(error: Exception, *, until_then: str = "") -> NoReturn:
    """Say what is not the agent's doing."""
    __tracebackhide__ = True
    cause = error.__cause__ or error
    place = place_of(cause)
    where = f"\nAt {place}." if place else ""
    whose = "" if isinstance(cause, DeclarationError | SessionError) else "\nThat is not the agent's doing."
    fail(filled(f"{type(cause).__name__}: {error}{where}{whose}{until_then}"))


def skip(reason: str) -> NoReturn:
    raise pytest.skip.Exception(reason, _use_item_location=True)  # else it is reported at this line


def fail(text: str) -> NoReturn:
    # Not hidden from the traceback, which is not shown: pytest would say that all of it is hidden.
    raise pytest.fail.Exception(text, pytrace=False) from None


def raise_users_error(error: BaseException | None, *, note: str) -> NoReturn:
    """Raise a check's error once, as if it came straight from the user's code."""
    __tracebackhide__ = True
    assert error is not None
    traceback = users_traceback(error)
    if traceback is None:  # a check of ours, which has no line to show
        fail("\n".join(filter(None, [str(error), note])))
    if note:
        error.add_note(note)
    raise error.with_traceback(traceback)


def _unstable(found: Found) -> str:
    return filled(
        f"{found.failure.check} failed once, and then not, in the very same conversation, repeated word for word from "
        "what was recorded. Something else than the conversation decides: an attribute of the class or module that "
        "one plan leaves behind for the next, or a rule that draws lots. Keep what a plan needs on self, and make it "
        "in __init__."
    )

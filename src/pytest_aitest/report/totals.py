"""A run in few words: how its tests ended, who answered, what was paid."""

from collections import Counter
from collections.abc import Iterable, Iterator
from shlex import quote

from pytest_aitest.values.plain import one_line
from pytest_aitest.values.record import Outcome, TestRecord
from pytest_aitest.values.run_record import RunRecord
from pytest_aitest.values.transcript import TurnRecord

from .amounts import counted, listed, price
from .merge import own_nodeid

WORDS: dict[Outcome, str] = {  # what calls for a reader first
    "failed": "failed",
    "error": "error",
    "noted": "noted",
    "priced": "skipped for its price",
    "not run": "not run",
    "skipped": "skipped",
    "xpassed": "xpassed",
    "xfailed": "xfailed",
    "rerun": "rerun",
    "passed": "passed",
}


def outcomes(run: RunRecord) -> dict[str, int]:
    """How many tests ended in what: what occurs, and passed tests always.

    Turns that were taken only because a later one needs them are counted apart, as in pytest's own summary.
    """
    found = Counter("context" if is_context(test) else WORDS[test.outcome] for test in run.tests)
    return {word: found[word] for word in (*WORDS.values(), "context") if found[word] or word == "passed"}


def caveat(run: RunRecord) -> str:
    """Why a run in which no conversation failed is not all right, if it is not."""
    others = f"{counted(run.other_failures, 'failure')} elsewhere" if run.other_failures else ""
    return listed(others, "the run was stopped before its end" if run.was_stopped else "")


def again(run: RunRecord, test: TestRecord) -> str:
    """The command that runs a test again."""
    model = f" --aitest-model={_quoted(run.model)}" if run.model else ""
    return f"pytest {_quoted(own_nodeid(test.nodeid))}{model}"


def _quoted(text: str) -> str:
    """`text` for a shell; in double quotes where all shells agree on what these mean."""
    return quote(text) if not set(text) & set("[] '()*?#&;<>|~") or set(text) & set('"$`\\!\n') else f'"{text}"'


def worst(tests: Iterable[TestRecord]) -> str:
    """In what the one of `tests` ended that calls for a reader most."""
    return WORDS[min((test.outcome for test in tests), key=list(WORDS).index)]


def is_broken(test: TestRecord) -> bool:
    """Whether it makes the run red."""
    return test.outcome in ("failed", "error")


def is_context(test: TestRecord) -> bool:
    """Whether it was run for a later turn only, and nothing is to be said of it."""
    return test.kind == "context" and test.outcome == "passed"


def models(run: RunRecord) -> list[str]:
    """Who answered."""
    asked = {model for test in run.tests for model in test.asked.models}
    return sorted(asked | {turn.model for test in run.tests for turn in _turns(test)} | ({run.model} - {""}))


def model_text(model: str) -> str:
    """A model, with a notice where green means little because no language model was asked."""
    return "builtin: not a language model" if model == "builtin" else one_line(model, most=80)


def cost(run: RunRecord) -> str:
    """What all tests cost together, as far as prices are known."""
    asked = [test.asked for test in run.tests]
    known = sum(spent.cost_usd or 0.0 for spent in asked)
    unknown = sum(max(spent.unpriced_turns, spent.cost_usd is None) for spent in asked)
    if not unknown:
        return price(known)
    return f"{price(known)} and {counted(unknown, 'turn')} of unknown price" if known else price(None)


def _turns(test: TestRecord) -> Iterator[TurnRecord]:
    yield from test.turns
    for finding in test.exploration.findings if test.exploration else ():
        for step in finding.steps:
            yield from step.turns

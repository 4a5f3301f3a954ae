"""What an exploration means to pytest: a failure with its shortest conversation, a warning, a skip with its price.

Knows records and outcomes; what the steps are made of, a machine's rules or a class's tests, is not its business.
"""

import hashlib
import os
import random
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn, TypeVar

import pytest

from pytest_aitest.checks import chosen_checks, read_checks
from pytest_aitest.conversation.engine import Engine
from pytest_aitest.conversation.models.price import costs_nothing
from pytest_aitest.conversation.past import Past
from pytest_aitest.exploration.allowed import Allowance, PriceError, check_tools, forecast
from pytest_aitest.exploration.attempt import Subject, Verdicts
from pytest_aitest.exploration.budget import Budget, BudgetSpentError
from pytest_aitest.exploration.frames import place_of, users_traceback
from pytest_aitest.exploration.hosting import Assumed, Profile, forced_seed
from pytest_aitest.exploration.record import Place
from pytest_aitest.exploration.run import Explorable, Leader, Limits
from pytest_aitest.exploration.runner import ErroredError, TreeRunner
from pytest_aitest.report.failure import conversation, passed_line, rate_line, sections, warning_text
from pytest_aitest.search.exploration import Exploration
from pytest_aitest.search.exploration import Finding as Found
from pytest_aitest.search.plan import Plan, Step
from pytest_aitest.search.runner import Rule, StopSearchError
from pytest_aitest.values.agent import Provider
from pytest_aitest.values.errors import DeclarationError, ExplorationWarning, SessionError, quoted
from pytest_aitest.values.plain import filled
from pytest_aitest.values.record import ExplorationRecord
from pytest_aitest.values.transcript import Turn

from .live import root_of, told
from .paying import mode_of, number
from .summary import INTERRUPTED

Result = TypeVar("Result")

BUDGET = pytest.StashKey[Budget]()
RUN_SEED = pytest.StashKey[int]()
RECORD = pytest.StashKey[ExplorationRecord]()
SHOWN = pytest.StashKey[list[tuple[str, str]]]()  # sections of a failure
TOLD = pytest.StashKey[list[Turn]]()  # that were asked live

_CALLS_PER_TURN = 2  # one that calls a tool, one that answers
_SEEDS = 100_000

VERDICTS = Verdicts(
    skips=(Assumed, pytest.skip.Exception, pytest.xfail.Exception),
    fails=(pytest.fail.Exception,),
)


def explorable(
    item: pytest.Item,
    *,
    seed: int,
    kind: type,
    rules: Sequence[Rule],
    pinned: Mapping[str, Plan],
    subject: Callable[[Past], Subject],
    wanted_checks: Mapping[str, Any],
    led: Callable[[TreeRunner], Leader] | None = None,
) -> Explorable:
    """What `item` explores, with what this run knows and may spend."""
    config = item.config
    budget = config.stash.setdefault(BUDGET, _budget(config))
    nodeid = item.nodeid
    given = {"--aitest-model": config.getoption("aitest_model"), "--hypothesis-seed": seed}
    options = [f"{name}={value}" for name, value in given.items() if value is not None]
    if config.getoption("aitest_explore"):
        options.append("--aitest-explore")
    return Explorable(
        place=Place(
            name="::".join(nodeid.split("::")[1:]),
            nodeid=nodeid,
            kind=kind.__name__,
            file=item.path.name,
            seed=seed,
            again=f'pytest "{nodeid}" {" ".join(options)}',
        ),
        rules=rules,
        pinned={name: _completed(plan, rules) for name, plan in pinned.items()},
        subject=subject,
        root=root_of(config),
        budget=budget,
        allow=Allowance(pays=mode_of(config) == "always", calls=budget.calls, in_usd=budget.usd != float("inf")).allow,
        offered=check_tools,
        heard=_heard_anew(item),
        server_starts=lambda: Engine.shared().pool.started,
        checks=chosen_checks(read_checks(config.getini("aitest_checks")), wanted_checks),
        verdicts=VERDICTS,
        led=led,
    )


def _heard_anew(item: pytest.Item) -> Callable[[Turn], None]:
    """Who notes the turns of this attempt at a test; nothing is left of an earlier one."""
    for key in (RECORD, SHOWN):
        stashed: Any = key
        if stashed in item.stash:
            del item.stash[stashed]
    item.stash[TOLD] = []
    return item.stash[TOLD].append


def run_pinned(explorable: Explorable, name: str, item: pytest.Item) -> None:
    """Run a documented order as a test."""
    __tracebackhide__ = True
    stopped: StopSearchError | None = None
    try:
        outcome = _shown_as_the_users(partial(explorable.run_pinned, name))
    except ErroredError as error:
        stopped = error
    if stopped is not None:  # said outside the handler, for pytest shows a chain of errors
        _could_not_go_on(stopped)
    item.stash[SHOWN] = [("what was said", conversation(outcome.evidence.records))]
    if outcome.inapplicable is not None:
        _skip(outcome.inapplicable)
    if outcome.failure is not None:
        _raise(outcome.failure.error, note="")
    executed = [step.code for step in outcome.executed]
    for step in explorable.pinned[name]:
        if step.code not in executed:
            _fail(filled(f"Step {step} of the pinned order can't be taken: its precondition does not hold there."))
        executed.remove(step.code)


def explore(
    explorable: Explorable,
    limits: Limits,
    item: pytest.Item,
    *,
    profile: Profile,
    order_notes: Callable[[], Iterable[str]] = tuple,
) -> None:
    """Run an exploration as a test."""
    __tracebackhide__ = True
    if mode_of(item.config) == "never":
        _skip("explorations are switched off")
    pool = Engine.shared().pool
    before, pool.more_to_come = pool.more_to_come, True
    try:
        exploration, record, steps = _shown_as_the_users(partial(explorable.explore, limits, database=profile.database))
    finally:
        pool.more_to_come = before
    record = replace(record, order_notes=tuple(order_notes()))
    item.stash[RECORD] = record
    if not steps and exploration.stopped is None and not exploration.findings and exploration.ran:
        names = quoted(rule.name for rule in explorable.rules)
        _fail(filled(f"Nothing can be said: at the start no precondition holds, of {names}. Let one rule begin."))
    _conclude(exploration, record, item)


def _shown_as_the_users(run: Callable[[], Result]) -> Result:
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
        _fail(filled(wrong))


def _conclude(exploration: Exploration, record: ExplorationRecord, item: pytest.Item) -> None:
    __tracebackhide__ = True
    findings = list(zip(exploration.findings, record.findings, strict=True))
    if exploration.stopped is not None and not isinstance(exploration.stopped, StopSearchError):
        item.config.stash[INTERRUPTED] = "\n\n".join(warning_text(record, shown) for _, shown in findings)
        raise exploration.stopped
    for found, shown in findings:
        if found.is_unstable:
            _fail(_unstable(found))
        if found.verdict == "fails" or (
            found.verdict == "seen once" and item.config.getini("aitest_unconfirmed") == "fail"
        ):
            item.stash[SHOWN] = sections(record, shown)
            note = rate_line(shown)
            if item.config.getoption("usepdb"):  # which shows no sections of a report
                note += "".join(f"\n--- {title} ---\n{text}" for title, text in item.stash[SHOWN])
            _raise(found.failure.error, note=note)
    for _, shown in findings:
        warnings.warn_explicit(
            warning_text(record, shown), ExplorationWarning, str(item.path), (item.location[1] or 0) + 1
        )
    _conclude_early(exploration, item)
    if exploration.is_inapplicable:
        _skip(f"no plan could be judged: {exploration.inapplicable[0].reason}")


def _conclude_early(exploration: Exploration, item: pytest.Item) -> None:
    """Say what an exploration that found nothing that counts did not try."""
    __tracebackhide__ = True
    match exploration.stopped:
        case PriceError() as error:
            _skip(str(error))
        case BudgetSpentError() as error:
            left = exploration.plans - exploration.tried
            what = f"{error}: {left} of {exploration.plans} plans not tried"
            if item.config.getini("aitest_budget_spent") == "fail":
                _fail(what)
            if not exploration.tried:
                _skip(what)
            warnings.warn_explicit(what, ExplorationWarning, str(item.path), (item.location[1] or 0) + 1)
        case StopSearchError() as error:
            _could_not_go_on(error)


def _could_not_go_on(error: StopSearchError) -> NoReturn:
    __tracebackhide__ = True
    cause = error.__cause__ or error
    place = place_of(cause)
    where = f"\nAt {place}." if place else ""
    whose = "" if isinstance(cause, DeclarationError | SessionError) else "\nThat is not the agent's doing."
    _fail(filled(f"{type(cause).__name__}: {error}{where}{whose}"))


def _skip(reason: str) -> NoReturn:
    raise pytest.skip.Exception(reason, _use_item_location=True)  # else it is reported at this line


def _fail(text: str) -> NoReturn:
    # Not hidden from the traceback, which is not shown: pytest would say that all of it is hidden.
    raise pytest.fail.Exception(text, pytrace=False) from None


def _raise(error: BaseException | None, *, note: str) -> NoReturn:
    """Raise a check's error once, as if it came straight from the user's code."""
    __tracebackhide__ = True
    assert error is not None
    traceback = users_traceback(error)
    if traceback is None:  # a check of ours, which has no line to show
        _fail("\n".join(filter(None, [str(error), note])))
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


def _completed(plan: Plan, rules: Sequence[Rule]) -> Plan:
    """With all that has to run first, where the author left it out."""
    named = {step.rule for step in plan}
    first = [
        Step(rule=rule.name, arguments=rule.simplest) for rule in rules if rule.is_initial and rule.name not in named
    ]
    return (*first, *plan)


def limits_of(kind: type, config: pytest.Config, profile: Profile) -> Limits:
    """How far the exploration of a machine or a session class goes."""
    return Limits(
        plans=min(_setting(kind, config, "plans"), profile.max_examples),
        plan_turns=_setting(kind, config, "plan_turns") or None,
        most_turns=profile.stateful_step_count,
        confirm_runs=getattr(kind, "confirm_runs", Limits.confirm_runs),
        tolerate=getattr(kind, "tolerate", Limits.tolerate),
        keep_going=config.getoption("aitest_keep_going"),
    )


def forecast_of(limits: Limits, pinned: Iterable[Plan], provider: Provider | None, config: pytest.Config) -> str:
    """What an exploration would ask at most; `provider` is None where that is known only when it runs."""
    turns = limits.turns(pinned)
    plans = f"up to {limits.plans} plans of {turns} steps"
    model = config.getoption("aitest_model")
    provider = Provider(model=model) if model else provider
    if provider is None:
        return f"{plans}, with an agent that its fixtures make"
    if costs_nothing(provider):
        return f"{plans}, asking {provider.label} for nothing"
    calls = min(limits.plans * turns * _CALLS_PER_TURN, config.getoption("aitest_budget_calls"))
    paid = "" if mode_of(config) == "always" else "; skipped without --aitest-explore"
    return f"{plans}, asking {forecast(provider, calls=calls)}{paid}"


def _setting(kind: type, config: pytest.Config, name: str) -> int:
    """A class's own limit, else the run's; an option goes before both."""
    own: int | None = getattr(kind, name, None)
    return own if own is not None and config.getoption(f"aitest_{name}") is None else number(config, f"aitest_{name}")


def seed_of(item: pytest.Item, profile: Profile) -> int:
    """By --hypothesis-seed, by the test's name, or by lot."""
    forced = forced_seed()
    if forced is not None:
        return forced if isinstance(forced, int) else _hashed(str(forced))
    if profile.derandomize:
        return _hashed(item.nodeid)
    return item.config.stash.setdefault(RUN_SEED, random.SystemRandom().randrange(_SEEDS))


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def _budget(config: pytest.Config) -> Budget:
    """This process's share: under xdist all workers spend the run's."""
    share = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    seconds = config.getoption("aitest_budget_seconds")
    return Budget(
        calls=max(1, config.getoption("aitest_budget_calls") // share),
        usd=config.getoption("aitest_budget_usd") / share,
        seconds=seconds,
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell in the report what was found, what was tried, and what it cost."""
    report = yield
    if report.when != "call" or TOLD not in item.stash:
        return report
    vars(report)["aitest_turns"] = [told(turn) for turn in item.stash[TOLD]]
    shown = item.stash.get(SHOWN, None)
    if shown is not None and not report.passed:  # an expected failure is told too
        report.sections.extend(shown)
    if (record := item.stash.get(RECORD, None)) is not None:
        tried = [passed_line(record), *record.remarks] if report.passed else []
        seen = [f"{record.name}: {text}, in {count} plans" for text, count in record.events]
        vars(report)["aitest_explored"] = [*tried, *record.order_notes, *seen]
    return report

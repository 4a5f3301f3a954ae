"""Explorations and pinned orders run as tests of pytest: with what the run knows, may spend, and tells of progress.

What the steps are made of, a machine's rules or a class's tests, is not its business; nor what becomes of a failure.
"""

import hashlib
import os
import random
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pytest

from pytest_aitest.checks import chosen_checks, read_checks
from pytest_aitest.conversation.engine import Engine
from pytest_aitest.conversation.models.price import costs_nothing
from pytest_aitest.conversation.past import Past
from pytest_aitest.conversation.tree import Event
from pytest_aitest.exploration.allowed import Allowance, check_tools, forecast
from pytest_aitest.exploration.attempt import Subject, Verdicts
from pytest_aitest.exploration.budget import Budget
from pytest_aitest.exploration.hosting import Assumed, Profile, forced_seed
from pytest_aitest.exploration.record import Place
from pytest_aitest.exploration.run import Explorable, Leader, Limits
from pytest_aitest.exploration.runner import ErroredError, TreeRunner
from pytest_aitest.exploration.shared_state import why_not_beside_itself, why_not_beside_others
from pytest_aitest.report.failure import conversation
from pytest_aitest.search.deck import Shard
from pytest_aitest.search.plan import Plan, Step, codes
from pytest_aitest.search.runner import Rule, StopSearchError
from pytest_aitest.values.agent import Provider
from pytest_aitest.values.errors import StoreMissError, quoted
from pytest_aitest.values.plain import filled
from pytest_aitest.values.transcript import Turn

from . import storing
from .collect_explorations import FORECAST
from .concluding import conclude, could_not_go_on, declarations_said, fail, raise_users_error, shown_as_the_users, skip
from .gathering import TOLD_ONCE
from .live import root_of
from .paying import limit_of, mode_of, number
from .progress import Progress
from .recorded_turns import mean_turn, note
from .sharding import exploration_of, numbers_of, shard_of
from .testimony import TESTIMONY, Testimony
from .tolerance import own_limits

Result = TypeVar("Result")

BUDGET = pytest.StashKey[Budget]()
PROGRESS = pytest.StashKey[Progress]()
RUN_SEED = pytest.StashKey[int]()

_CALLS_PER_TURN = 2  # one that calls a tool, one that answers
_SEEDS = 100_000
_BEYOND_SEEDS = 2**63  # the first that a store can't keep
_NOTED = pytest.StashKey[bool]()

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
    limits: Limits | None = None,
    led: Callable[[TreeRunner], Leader] | None = None,
) -> Explorable:
    """What `item` explores, with what this run knows and may spend; without `limits` it only runs pinned orders."""
    config = item.config
    budget = config.stash.setdefault(BUDGET, _budget(config))
    name = "::".join(item.nodeid.split("::")[1:])
    testimony = item.stash[TESTIMONY] = Testimony()  # of this attempt at the test; nothing is left of an earlier one
    forecasts: list[str] = []

    def expects(asked: str) -> None:
        forecasts.append(asked)
        progress.expects(asked)

    allowance = Allowance(
        pays=mode_of(config) == "always",
        calls=budget.calls
        if limits is None
        else min(budget.calls, _most_calls(limits, limits.turns(map(len, pinned.values())))),
        in_usd=budget.usd != float("inf"),
        mean_turn=partial(mean_turn, config),
        announce=expects,
    )
    progress = item.stash[PROGRESS] = Progress(item, name=name)

    def heard(turn: Turn) -> None:
        testimony.fresh.append(turn)
        note(config, turn)
        progress.heard(turn)

    def asking(event: Event) -> None:
        progress.asking(event)
        _note_exploration(item, seed)

    return Explorable(
        place=Place(
            name=name,
            nodeid=exploration_of(item),
            shard=Shard(*numbers_of(item)),
            kind=kind.__name__,
            file=item.path.name,
            again=_again(item, seed),
            model=config.getoption("aitest_model") or "",
            import_of_pinned=_import_of_pinned(kind),
        ),
        runner=TreeRunner(
            subject=subject,
            rules=rules,
            root=root_of(config, item.nodeid, shares=_is_exploration(item)),
            budget=budget,
            refuse=partial(storing.refuse, config),
            allow=allowance.allow,
            offered=check_tools,
            asking=asking,
            heard=heard,
            builtin_checks=chosen_checks(read_checks(config.getini("aitest_checks")), wanted_checks),
            verdicts=VERDICTS,
            seed=seed,
        ),
        pinned={name: _completed(plan, rules) for name, plan in pinned.items()},
        server_starts=lambda: Engine.shared().pool.started,
        watch=progress.searched,
        lanes=_lanes(kind, config),
        why_one_lane=why_not_beside_others,
        forecasts=forecasts,
        led=led,
    )


def _note_exploration(item: pytest.Item, seed: int) -> None:
    """Remember once in the store how it explores."""
    store = storing.store_of(item.config) if _is_exploration(item) and not item.stash.get(_NOTED, False) else None
    if store is not None:
        item.stash[_NOTED] = True
        _, shards = numbers_of(item)
        store.note_exploration(exploration_of(item), seed, shards=shards)


def _is_exploration(item: pytest.Item) -> bool:
    return hasattr(getattr(item, "function", None), FORECAST)


def _lanes(kind: type, config: pytest.Config) -> int | str:
    """How many conversations may be had at once, or why only one, where more are wanted."""
    wanted = number(config, "aitest_lanes")
    is_debugged = any(config.getoption(name, default=None) for name in ("usepdb", "trace"))
    is_read_along = config.getoption("capture") == "no"  # what is said comes in one order
    if wanted == 1 or is_debugged or is_read_along or storing.replays_only(config):
        return 1
    return why_not_beside_itself(kind) or wanted


def _again(item: pytest.Item, seed: int) -> str:
    """The command that repeats it; of a shard, the whole exploration, for a shard alone has not the pinned orders."""
    nodeid, config = exploration_of(item), item.config
    # Where -n stands in addopts there is `explore[a-1/4]` and no `explore[a]`; `explore` names all of its kind.
    shards = 1 if shard_of(item) and "[" in nodeid else None
    if shards and storing.replays_only(config):  # in as many as were recorded
        nodeid, shards = item.nodeid, None
    model = config.getoption("aitest_model")
    given = {"--aitest-model": model, "--aitest-shards": shards, "--hypothesis-seed": seed}
    options = [f"{name}={value}" for name, value in given.items() if value is not None]
    options += ["--aitest-explore"] if config.getoption("aitest_explore") else []
    return f'pytest "{nodeid}" {" ".join(options)}'


def _import_of_pinned(kind: type) -> str:
    """What the module of a class lacks for a pinned method."""
    names = vars(sys.modules.get(kind.__module__, object))
    return "" if "pinned" in names else "from pytest_aitest.stateful import pinned"


def run_pinned(explorable: Explorable, name: str, item: pytest.Item) -> None:
    """Run a documented order as a test."""
    __tracebackhide__ = True
    stopped: StopSearchError | None = None
    try:
        outcome = shown_as_the_users(partial(explorable.run_pinned, name))
    except ErroredError as error:
        stopped = error
    if stopped is not None:  # said outside the handler, for pytest shows a chain of errors
        could_not_go_on(stopped)
    testimony = item.stash[TESTIMONY]
    testimony.kind, testimony.steps = "pinned", outcome.evidence.records
    testimony.sections = [("what was said", conversation(testimony.steps))]
    if outcome.inapplicable is not None:
        skip(outcome.inapplicable)
    if outcome.failure is not None:
        raise_users_error(outcome.failure.error, note="")
    executed = codes(outcome.executed)
    for step in explorable.pinned[name]:
        if step.code not in executed:
            fail(filled(f"Step {step} of the pinned order can't be taken: its precondition does not hold there."))
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
        skip("explorations are switched off")
    shard = explorable.place.shard
    if explorable.led is not None and shard.number > 1:
        skip(f"its steps are chosen by Hypothesis's engine (bundles, data), not planned: shard 1/{shard.of} tries all")
    _must_be_recorded(item)
    pool = Engine.shared().pool
    pool.the_same_to_come = True
    # A store finds a failure again by itself. What else is tried first would be asked by nobody who has only the store.
    database = profile.database if storing.path_of(item.config) is None else None
    try:
        exploration, record = shown_as_the_users(partial(explorable.explore, limits, database=database))
    finally:
        pool.the_same_to_come = False
    if exploration.stopped is None:
        _note_exploration(item, explorable.runner.seed)
    record = replace(record, order_notes=tuple(order_notes()))
    testimony = item.stash[TESTIMONY]
    testimony.kind, testimony.exploration = "exploration", record
    testimony.outcome = "noted" if record.findings or record.order_notes else "passed"
    if not explorable.runner.steps and exploration.stopped is None and not exploration.findings and exploration.ran:
        names = quoted(rule.name for rule in explorable.runner.rules)
        fail(filled(f"Nothing can be said: at the start no precondition holds, of {names}. Let one rule begin."))
    conclude(exploration, record, item)


def _must_be_recorded(item: pytest.Item) -> None:
    """Fail where a run that only replays knows nothing of an exploration; by lot it would ask what nobody recorded."""
    __tracebackhide__ = True
    store, test = storing.replayed(item.config), exploration_of(item)
    if store is not None and forced_seed() is None and not store.shards_of(test):
        could_not_go_on(
            StoreMissError(
                f"{storing.shown(item.config)} holds no exploration {test}, and this run only replays. If the test was "
                "renamed or moved, its plans are others now. Run with --aitest-store-mode record to add it."
            )
        )


def _completed(plan: Plan, rules: Sequence[Rule]) -> Plan:
    """With all that has to run first, where the author left it out."""
    named = {step.rule for step in plan}
    first = [
        Step(rule=rule.name, arguments=rule.simplest) for rule in rules if rule.is_initial and rule.name not in named
    ]
    return (*first, *plan)


def limits_of(kind: type, config: pytest.Config, profile: Profile, *, item: pytest.Item | None = None) -> Limits:
    """How far the exploration of a machine or a session class goes; `item` is the test that has its marks."""
    with declarations_said():  # whoever added a marker after collection
        own = own_limits(kind, item)
    return Limits(
        plans=min(limit_of(kind, config, "plans"), profile.max_examples),
        plan_turns=limit_of(kind, config, "plan_turns") or None,
        most_turns=profile.stateful_step_count,
        keep_going=config.getoption("aitest_keep_going"),
        **own,
    )


def forecast_of(
    limits: Limits, documented: Iterable[int], provider: Provider | None, config: pytest.Config, *, unknown: str
) -> str:
    """What an exploration would ask at most, with documented orders of so many steps.

    `provider` is None where it is known only when it runs; it is then said to be `unknown`.
    """
    turns = limits.turns(documented)
    plans = f"up to {limits.plans} plans of {turns} steps"
    model = config.getoption("aitest_model")
    provider = Provider(model=model) if model else provider
    if provider is None:
        return f"{plans}, asking {unknown}"
    if costs_nothing(provider):
        return f"{plans}, asking {provider.label} for nothing"
    calls = min(_most_calls(limits, turns), config.getoption("aitest_budget_calls"))
    paid = "" if mode_of(config) == "always" else "; skipped without --aitest-explore"
    return f"{plans}, asking {forecast(provider, calls=calls, mean=mean_turn(config, provider.label))}{paid}"


def _most_calls(limits: Limits, turns: int) -> int:
    return limits.plans * turns * _CALLS_PER_TURN


def seed_of(item: pytest.Item, profile: Profile) -> int:
    """By --hypothesis-seed, else as the store has it, else by the test's name or by lot; the same for all shards."""
    store, forced = storing.store_of(item.config), forced_seed()
    seed = _seed(item, profile, forced)
    return seed if store is None or forced is not None else store.seed_for(exploration_of(item), seed)


def _seed(item: pytest.Item, profile: Profile, forced: int | str | None) -> int:
    if forced is not None:
        return forced % _BEYOND_SEEDS if isinstance(forced, int) else _hashed(str(forced))
    workerinput = getattr(item.config, "workerinput", None)
    if profile.derandomize or (workerinput is None and shard_of(item)):  # jobs of a matrix know nothing of each other
        return _hashed(exploration_of(item))
    if workerinput is not None:
        return _hashed(workerinput["testrunuid"]) % _SEEDS
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
    """Tell in the report of a failure what was found; an expected one is told too."""
    report = yield
    if (progress := item.stash.get(PROGRESS, None)) is not None:
        progress.end()
    if report.when == "call" and TESTIMONY in item.stash and not report.passed:
        testimony = item.stash[TESTIMONY]
        if report.failed and testimony.told_once:
            vars(report)[TOLD_ONCE] = exploration_of(item), testimony.told_once  # travels to the controller
        else:
            report.sections.extend(testimony.sections)
    return report

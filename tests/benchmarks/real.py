"""The zoo on real sessions: whether what `search` says of simulated agents is true of real ones, turn by turn.

Each defect becomes a machine whose agent, a scripted model, calls a tool of a real in-process server. The server keeps
what was done, so it breaks only if its state was brought back rightly; nobody else counts what was asked live.
"""

import contextlib
import inspect
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from time import perf_counter
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis.errors import Flaky
from mcp.types import ToolAnnotations

from pytest_aitest import Agent, AgentResult, MCPServer, Provider
from pytest_aitest.checks import chosen_checks
from pytest_aitest.conversation.engine import Engine
from pytest_aitest.conversation.tree import Event, Node
from pytest_aitest.exploration.allowed import check_tools
from pytest_aitest.exploration.budget import Budget
from pytest_aitest.exploration.record import Place
from pytest_aitest.exploration.run import Explorable, Limits
from pytest_aitest.exploration.runner import TreeRunner
from pytest_aitest.search.runner import StopSearchError
from pytest_aitest.stateful import SessionMachine, invariant, pinned, rule
from pytest_aitest.stateful.declared import rules_of
from pytest_aitest.stateful.engine import Led
from pytest_aitest.stateful.pinning import pinned_plans, signatures_of
from pytest_aitest.stateful.subject import MachineSubject
from pytest_aitest.stateful.values import StrategyRule
from pytest_aitest.values.model import ModelAnswer, ToolRequest

from . import search, zoo
from .search import PLAN_TURNS, Run, Spent, show
from .simulated import SimulatedRunner
from .zoo import Argument, Defect

try:
    from mcp.server import MCPServer as Server
except ImportError:  # mcp 1.x
    from mcp.server.fastmcp import FastMCP as Server

PROBABILITIES = (1.0, 0.5)
STOCK_EVERY = 4  # of the sample
STOCK_PLANS, STOCK_TURNS = 100, 50  # Hypothesis's defaults


@dataclass(kw_only=True)
class Subject:
    """What the agent and the server of one run are; by name, because their declarations must have a key."""

    defect: Defect
    probability: float
    luck: Random
    asked: int = 0  # turns, by whomever
    most_asked: int | None = None

    @property
    def is_spent(self) -> bool:
        return self.most_asked is not None and self.asked >= self.most_asked


SUBJECTS: dict[str, Subject] = {}


# The agent


def build(name: str) -> Any:
    """A server that keeps what was done to it."""
    server, subject = Server("zoo"), SUBJECTS[name]
    history: list[zoo.Event] = []
    state = {"broken": False}

    @server.tool(annotations=ToolAnnotations(readOnlyHint=False))
    def act(rule: str, arguments: dict[str, Any], unlucky: bool) -> str:
        """Do what the user wants."""
        history.append((rule, arguments))
        state["broken"] = unlucky and subject.defect.shows(history)
        return "broken" if state["broken"] else "done"

    @server.tool(annotations=ToolAnnotations(readOnlyHint=True))
    def look() -> dict[str, bool]:
        """See whether all is well."""
        return dict(state)

    return server


async def answer(name: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> ModelAnswer:
    """Have done what the user wants; what might go wrong does so by lot, drawn as the simulation draws it."""
    subject = SUBJECTS[name]
    if messages[-1]["role"] == "tool":
        return ModelAnswer(text=messages[-1]["content"])
    subject.asked += 1
    wishes = [json.loads(message["content"]) for message in messages if message["role"] == "user"]
    might = subject.defect.shows([(wish["rule"], wish["arguments"]) for wish in wishes])
    unlucky = might and subject.luck.random() < subject.probability
    return ModelAnswer(tool_requests=[ToolRequest(name="act", arguments={**wishes[-1], "unlucky": unlucky})])


# The machine


def machine_of(defect: Defect, name: str) -> type[SessionMachine]:
    agent = Agent(
        name="zoo",
        provider=Provider(model=partial(answer, name)),
        mcp_servers=[MCPServer(factory=partial(build, name))],
    )

    def documented(self: Any) -> None:
        for step in defect.documented:
            getattr(self, step.rule)(**step.arguments)

    def is_well(self: Any) -> None:
        assert not self.call_tool("look")["broken"]

    members = {rule: method(rule, arguments) for rule, arguments in defect.machine.items()}
    members |= {"documented": pinned(documented), "is_well": invariant()(is_well), "agent": agent}
    return type("ZooMachine", (SessionMachine,), members)


def method(name: str, arguments: Mapping[str, Argument]) -> Any:
    def say(self: Any, **values: Any) -> None:
        result = self.say(json.dumps({"rule": name, "arguments": values}))
        assert result.success, result

    names = ["self", *arguments]
    parameters = [inspect.Parameter(each, inspect.Parameter.POSITIONAL_OR_KEYWORD) for each in names]
    say.__name__ = name
    vars(say).update(__signature__=inspect.Signature(parameters))
    return rule(**{name: argument.strategy for name, argument in arguments.items()})(say)


def planned_rules(defect: Defect) -> list[StrategyRule]:
    """As the plugin makes them; the simulation is given the same."""
    return [StrategyRule(name=each.name, strategies=each.strategies) for each in rules_of(machine_of(defect, "rules"))]


def explorable(
    machine: type[SessionMachine], rules: Sequence[StrategyRule], subject: Subject, seed: int, *, is_led: bool = False
) -> Explorable:
    """As the plugin makes it, pytest aside."""
    made = partial(MachineSubject, machine, name=subject.defect.name, model=None, fixtures={})

    def allow(_: Event) -> None:
        if subject.is_spent:
            raise StopSearchError(f"{subject.most_asked} turns were asked")

    return Explorable(
        place=Place(name=subject.defect.name, nodeid="zoo", kind="ZooMachine", file="zoo.py", again=""),
        runner=TreeRunner(
            subject=made,
            rules=rules,
            root=Node(),
            budget=Budget(),
            allow=allow,
            offered=check_tools,
            builtin_checks=chosen_checks(),
            seed=seed,
        ),
        pinned=pinned_plans(machine, signatures_of(machine)),
        server_starts=lambda: Engine.shared().pool.started,
        led=partial(Led.over, machine=machine, subject=made) if is_led else None,
    )


# The approaches, each beside what the simulation does


@dataclass(kw_only=True)
class Totals:
    """What real runs took."""

    seconds: float = 0.0
    asked: int = 0
    replayed: int = 0


def ours(totals: Totals, defect: Defect, rules: Sequence[StrategyRule], seed: int, *, probability: float = 1.0) -> Run:
    subject, machine = begun(defect, seed, probability=probability)
    limits = Limits(plans=600, plan_turns=PLAN_TURNS)
    with timed(totals, subject):
        found, record = explorable(machine, rules, subject, seed).explore(limits, database=None)
    totals.replayed += record.spent.replayed
    if found.stopped is not None:
        raise found.stopped
    if not found.findings:
        return Run(defect=defect, plan=None)
    finding = found.findings[0]
    low, high = finding.rate.interval if finding.rate else (0.0, 1.0)
    true_rate = SimulatedRunner(defect, probability=probability).true_rate(finding.plan)
    return Run(
        defect=defect,
        plan=finding.plan,
        fresh=finding.turns["find"].fresh + finding.turns["shrink"].fresh,
        find=finding.turns["find"].fresh,
        holds=low - search.TINY <= true_rate <= high + search.TINY,
    )


def led(totals: Totals, defect: Defect, rules: Sequence[StrategyRule], seed: int) -> Run:
    """Hypothesis's engine over the tree, as it leads where no plan can be made ahead."""
    subject, machine = begun(defect, seed, most_asked=search.STOCK_MOST_FRESH)
    with timed(totals, subject):
        made = explorable(machine, rules, subject, seed, is_led=True)
        runner = made.runner
        runner.run(made.pinned["documented"])
        assert made.led is not None
        leader = made.led(runner)
        try:
            leader.run(plans=STOCK_PLANS, plan_turns=STOCK_TURNS, seed=seed)
        except StopSearchError:
            return Run(defect=defect, plan=None)
    totals.replayed += runner.replayed
    return Run(defect=defect, plan=leader.failing, fresh=len(runner.fresh))


def alone(totals: Totals, defect: Defect, rules: Sequence[StrategyRule], seed: int) -> Run:
    """`Machine.TestCase`, as any state machine of Hypothesis's: every turn is live."""
    subject, machine = begun(defect, seed, most_asked=search.STOCK_MOST_FRESH)
    executed: list[Any] = []
    limits = settings(database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)

    class Listened(machine):
        def say(self, prompt: str, **how: Any) -> AgentResult:
            if subject.is_spent:
                raise Spent
            return super().say(prompt, **how)

        def teardown(self) -> None:
            executed[:] = [turn.user for turn in self.session.turns]
            super().teardown()

    with timed(totals, subject):
        test_case = seeded(seed)(Listened).TestCase
        test_case.settings = limits
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                test_case().runTest()
        except AssertionError:
            wishes = map(json.loads, executed)
            plan = tuple(zoo.step(wish["rule"], **wish["arguments"]) for wish in wishes)
            return Run(defect=defect, plan=plan, fresh=subject.asked + len(defect.documented))
        except (Spent, Flaky):
            pass
    return Run(defect=defect, plan=None)


def begun(
    defect: Defect, seed: int, *, probability: float = 1.0, most_asked: int | None = None
) -> tuple[Subject, type[SessionMachine]]:
    name = f"{defect.name} {seed}"
    SUBJECTS[name] = Subject(defect=defect, probability=probability, luck=Random(name), most_asked=most_asked)
    return SUBJECTS[name], machine_of(defect, name)


@contextlib.contextmanager
def timed(totals: Totals, subject: Subject) -> Iterator[None]:
    started = perf_counter()
    try:
        yield
    finally:
        totals.seconds += perf_counter() - started
        totals.asked += subject.asked


# All of them


def measure(*, every: int = 6, seeds: int = 2) -> None:
    logging.disable(logging.INFO)  # building a server lets records of its SDK through to the terminal
    halves = [half[::every] for half in (zoo.by_hand(), zoo.at_random(search.RANDOM_HALF))]
    made: dict[int, list[StrategyRule]] = {}  # by machine: drawing values takes longer than a search
    rules = {
        defect.name: made.get(id(defect.machine)) or made.setdefault(id(defect.machine), planned_rules(defect))
        for half in halves
        for defect in half
    }

    def meet(approach: search.Approach, seeds: int, every: int = 1) -> list[list[Run]]:
        return [
            [approach(defect, rules[defect.name], seed) for defect in half[::every] for seed in range(seeds)]
            for half in halves
        ]

    print(f"every {every}th defect, {seeds} seeds, met by simulated agents and by real sessions")
    print(f"{'':40}  found   by hand   random   excess  optimal    plain  interval")
    for probability in PROBABILITIES:
        totals = Totals()
        simulated = meet(partial(search.ours, probability=probability), seeds)
        real = meet(partial(ours, totals, probability=probability), seeds)
        compare(f"ours, shown with p={probability:g}", simulated, real, totals)
    as_led = settings(
        max_examples=STOCK_PLANS,
        stateful_step_count=STOCK_TURNS,
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
    )
    for name, approach, counterpart in (
        ("Hypothesis's engine, with tree", led, partial(search.stock, limits=as_led)),
        ("Hypothesis's engine, without tree", alone, partial(search.stock, shares_tree=False)),
    ):
        totals = Totals()
        simulated = meet(counterpart, 1, STOCK_EVERY)
        real = meet(partial(approach, totals), 1, STOCK_EVERY)
        compare(name, simulated, real, totals)
    Engine.close_shared()


def compare(name: str, simulated: Sequence[Sequence[Run]], real: Sequence[Sequence[Run]], totals: Totals) -> None:
    show(f"{name}, simulated", simulated)
    show(f"{name}, real", real)
    pairs = [pair for halves in zip(simulated, real, strict=True) for pair in zip(*halves, strict=True)]
    different = [pair for pair in pairs if told(pair[0]) != told(pair[1])]
    print(
        f"    {len(pairs) - len(different)} of {len(pairs)} runs agree turn by turn; {totals.asked} turns asked in "
        f"{totals.seconds:.1f} s, {totals.replayed} replayed"
    )
    for one, other in different:
        print(f"    {one.defect.name}: simulated {told(one)}, real {told(other)}")


def told(run: Run) -> str:
    plan = "nothing" if run.plan is None else ", ".join(map(str, run.plan))
    return f"{plan} after {run.find} and {run.fresh - run.find} turns"

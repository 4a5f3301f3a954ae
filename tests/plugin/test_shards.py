"""An exploration as several tests that deal its plans among them: made as asked for, side by side, told as one."""

import re
import shlex
import shutil
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from xdist.remote import Producer

from pytest_aitest.plugin import sharding
from pytest_aitest.plugin.xdist import _MINDS_TIES, Ties
from pytest_aitest.values.record import ExplorationRecord
from pytest_aitest.values.run_record import RunRecord, read_run

from .conftest import Project
from .test_flows import ECHO

SEED = ("--hypothesis-seed=1", "-p", "no:cacheprovider")
HYPOTHESIS = "hypothesispytest"

MACHINE = (
    ECHO
    + """
    from hypothesis import strategies as st
    from pytest_aitest.stateful import Bundle, SessionMachine, invariant, pinned, rule


    class TestEcho(SessionMachine):
        agent = agent

        @rule(word=st.sampled_from(["one", "two", "three"]))
        def say_it(self, word):
            self.say(word)

        @rule()
        def bye(self):
            self.say("bye")

        @pinned
        def documented(self):
            self.say_it(word="one")
"""
)
FLOW = (
    ECHO
    + """

    @pytest.mark.session("chat", explore=True)
    class TestChat:
        async def test_first(self, aitest_run):
            await aitest_run(agent, "one")

        async def test_second(self, aitest_run):
            await aitest_run(agent, "two")
"""
)


def collected(project: Project, *arguments: str) -> list[str]:
    """What is collected, without its file."""
    run = project._pytester.runpytest_inprocess("--collect-only", "-q", "-p", "aitest", *arguments)
    return [line.partition("::")[2] for line in run.outlines if line.startswith("test_") and "::" in line]


def run_of(project: Project, *arguments: str, plugins: tuple[str, ...] = (HYPOTHESIS,), name: str = "run") -> RunRecord:
    project.run(*arguments, f"--aitest-json={name}.json", "--aitest-explore", plugins=plugins)
    return read_run((project.path / f"{name}.json").read_text(encoding="utf-8"), source=name)


def explorations(run: RunRecord) -> dict[str, ExplorationRecord]:
    return {test.nodeid.partition("::")[2]: test.exploration for test in run.tests if test.exploration}


# Which tests there are


@pytest.mark.parametrize(
    ("arguments", "explored"),
    [
        ((), ["explore"]),
        (("--aitest-shards=3",), ["explore[1/3]", "explore[2/3]", "explore[3/3]"]),
        (("--aitest-shards", "2/3"), ["explore[2/3]"]),
        (("--aitest-shards=9", "--aitest-plans=2"), ["explore[1/2]", "explore[2/2]"]),
        (("--aitest-shards=2/2", "--aitest-plans=1"), []),
    ],
    ids=lambda value: " ".join(value),
)
def test_there_are_as_many_as_asked_for_and_no_more_than_plans(
    project: Project, arguments: tuple[str, ...], explored: list[str]
) -> None:
    project.write(test_echo=MACHINE, test_flow=FLOW)
    assert collected(project, *arguments) == [
        "TestEcho::documented",
        *(f"TestEcho::{name}" for name in explored),
        "TestChat::test_first",
        "TestChat::test_second",
        *(f"TestChat::{name}" for name in explored),
    ]


def test_other_parameters_stand_before_the_shard_and_a_class_may_have_fewer_plans(project: Project) -> None:
    marked = '@pytest.mark.parametrize("model", ["azure/gpt-5-mini", "m/2"])\n    class'
    making = "def make_agent(self, model):\n            return agent"
    project.write(
        test_echo=MACHINE.replace("class", marked).replace(
            "agent = agent\n\n        @rule(w", f"{making}\n\n        @rule(w"
        ),
        test_flow=FLOW.replace("class TestChat:", "class TestChat:\n        plans = 2\n"),
    )
    shards = [f"explore[{model}-{number}/3]" for model in ("azure/gpt-5-mini", "m/2") for number in (1, 2, 3)]
    found = collected(project, "--aitest-shards=3")
    assert [test.partition("::")[2] for test in found if "Echo::explore" in test] == shards
    assert found[-2:] == ["TestChat::explore[1/2]", "TestChat::explore[2/2]"]
    assert collected(project, "--aitest-shards=3", "-k", "2/3") == [f"TestEcho::{shards[1]}", f"TestEcho::{shards[4]}"]
    assert collected(project, "--aitest-shards=3", f"test_echo.py::TestEcho::{shards[4]}") == [f"TestEcho::{shards[4]}"]
    assert len(collected(project, "--aitest-shards=3", "test_echo.py::TestEcho::explore")) == 6


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("0", "among 0 shards"),
        ("1/0", "among 0 shards"),
        ("-1", "no number of shards"),
        ("x", "no number of shards"),
        ("1/2/3", "no number of shards"),
        ("\u0664", "no number of shards"),
        ("6/5", "no shard 6 among 5"),
        ("0/4", "no shard 0 among 4"),
    ],
)
def test_a_number_that_cannot_be_meant_is_refused_with_what_to_give_instead(value: str, why: str) -> None:
    with pytest.raises(pytest.UsageError, match=rf"^--aitest-shards {value}: .*{why}.*Give ") as refused:
        sharding.check_options(given(aitest_shards=value))
    assert len(str(refused.value)) < 160


@pytest.mark.parametrize("value", [None, "1", "16", "1/1", "16/16"])
def test_a_number_that_can_be_meant_is_taken(value: str | None) -> None:
    sharding.check_options(given(aitest_shards=value))


def given(**options: Any) -> Any:
    """A configuration that says so."""
    return SimpleNamespace(getoption=options.get)


def test_it_is_refused_before_anything_is_collected(project: Project) -> None:
    project.write(test_broken="import no_such_module\n")
    result = project.run("--aitest-shards=6/5")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.str().startswith("ERROR: --aitest-shards 6/5: there is no shard 6 among 5")
    assert "no_such_module" not in result.stdout.str()


def test_the_forecast_is_said_once_and_for_all_shards(project: Project) -> None:
    project.write(test_flow=FLOW)
    output = project.output("--collect-only", "-q", "-n4", plugins=("xdist",))
    assert output.count("aitest: ") == 1
    assert (
        "aitest: test_flow.py::TestChat::explore: up to 25 plans of 4 steps, asking the agents that its tests speak "
        "to; dealt among 4 shards\n"
    ) in output
    assert output.count("::explore[") == 4
    assert "dealt among 4 shards, here 2/4\n" in project.output("--collect-only", "-q", "--aitest-shards=2/4")


def test_marks_and_fixtures_are_those_of_an_exploration_in_one_piece(project: Project) -> None:
    project.write(
        test_flow=FLOW.replace(
            "class TestChat:",
            'class TestChat:\n        explore_marks = pytest.mark.skip(reason="not today")\n'
            "        @pytest.fixture(autouse=True)\n        def there(self):\n            self.is_there = True\n",
        ).replace('aitest_run(agent, "two")', 'aitest_run(agent, "two")\n            assert self.is_there')
    )
    output = project.output("-rs", "--aitest-shards=3")
    assert "SKIPPED [3] test_flow.py:" in output
    assert "2 passed, 3 skipped" in output


# What each of them does


@pytest.mark.parametrize(
    ("arguments", "explored"),
    [(("--aitest-shards=3",), ["explore"]), (("--aitest-shards=1/2",), ["explore"]), (("--aitest-shards=2/2",), [])],
    ids=lambda value: " ".join(value),
)
@pytest.mark.parametrize("marked", ["machine", "session class"])
def test_one_that_is_expected_to_fail_stays_whole(
    project: Project, arguments: tuple[str, ...], explored: list[str], marked: str
) -> None:
    if marked == "machine":
        project.write(test_echo=MACHINE.replace("agent = agent\n", "agent = agent\n        explore_marks = EXPECTED\n"))
    else:
        project.write(test_echo=FLOW.replace("class TestChat:", "class TestChat:\n        explore_marks = EXPECTED\n"))
    path = project.path / "test_echo.py"
    path.write_text("import pytest\nEXPECTED = pytest.mark.xfail(strict=True)\n" + path.read_text())
    names = [name.partition("::")[2] for name in collected(project, *arguments)]
    assert [name for name in names if "explore" in name] == explored


def test_together_they_try_what_one_would(project: Project) -> None:
    project.write(test_echo=MACHINE)
    how = ("--aitest-plans=7", *SEED)
    (alone,) = explorations(run_of(project, *how)).values()
    shards = explorations(run_of(project, "--aitest-shards=3", *how))
    assert [(name, each.shard, each.plans_tried, each.plans) for name, each in shards.items()] == [
        ("TestEcho::explore[1/3]", "1/3", 3, 3),
        ("TestEcho::explore[2/3]", "2/3", 2, 2),
        ("TestEcho::explore[3/3]", "3/3", 2, 2),
    ]
    assert {pair for each in shards.values() for pair in each.covered} == {*alone.covered}
    assert [[order.passes for order in each.pinned] for each in shards.values()] == [[True], [None], [None]]


def test_jobs_of_a_matrix_deal_from_one_deck(project: Project) -> None:
    project.write(test_echo=MACHINE)
    seeds = {
        record.seed
        for how in ("2/3", "3")
        for record in explorations(run_of(project, f"--aitest-shards={how}", "--aitest-plans=3")).values()
    }
    assert len(seeds) == 1


def test_all_workers_have_the_seed_of_the_run(project: Project) -> None:
    project.write(test_echo=MACHINE, test_flow=FLOW)
    seeds = [
        {record.seed for record in explorations(run_of(project, *how, plugins=(HYPOTHESIS, "xdist"))).values()}
        for how in (("-n2", "--testrunuid=a"), ("-n2", "--testrunuid=b", "--dist=each"))
    ]
    assert [len(each) for each in seeds] == [1, 1]
    assert seeds[0] != seeds[1]


def test_what_hypothesis_chooses_the_steps_of_is_left_to_the_first(project: Project) -> None:
    project.write(
        test_echo=MACHINE.replace("word=st.sampled_from", "data=st.data()) #")
        .replace("self, word", "self, data")
        .replace("self.say(word)", "self.say(data.draw(st.sampled_from(['one', 'two'])))")
        .partition("        @pinned")[0]
    )
    output = project.output("-rs", "-v", "--aitest-shards=3", "--aitest-plans=6", *SEED, plugins=(HYPOTHESIS,))
    assert "test_echo.py::TestEcho::explore[1/3] PASSED" in output
    assert "1 passed, 2 skipped" in output
    assert re.search(r"SKIPPED \[2\] test_echo.py:\d+: its steps are chosen by Hypothesis's engine", output)
    assert re.search(r"^TestEcho::explore  (\d of )?6 plans", output, flags=re.MULTILINE)


def test_a_failure_that_any_of_them_keeps_is_tried_first_by_the_first(project: Project) -> None:
    project.write(test_echo=MACHINE + FAILING)
    found = explorations(run_of(project, "--aitest-shards=2/2", *SEED))
    assert len(found["TestEcho::explore[2/2]"].findings) == 1
    kept = explorations(run_of(project, "--aitest-shards=3", *SEED))["TestEcho::explore[1/3]"]
    assert [finding.was_kept for finding in kept.findings] == [True]


FAILING = """
        @invariant()
        def never_bye(self):
            last = self.session.turns[-1].user if self.session.turns else ""
            assert last != "bye"
"""


# Where they run


SIDE_BY_SIDE = (
    ECHO.replace(
        "def echo(",
        '''
    def wait_for_all():
        """Until a model was asked in each of so many processes."""
        folder = Path("asked")
        folder.mkdir(exist_ok=True)
        (folder / str(os.getpid())).touch()
        until = time.monotonic() + 20
        while len(list(folder.iterdir())) < 3:
            assert time.monotonic() < until, "the other shards did not begin"
            time.sleep(0.01)


    def together(messages, tools):
        if "explore" in os.environ["PYTEST_CURRENT_TEST"]:
            wait_for_all()
        return "fine"


    def echo(''',
    ).replace("import pytest", "import os\n    import time\n    from pathlib import Path\n    import pytest", 1)
    + """
    from pytest_aitest.stateful import SessionMachine, pinned, rule


    class TestWaiting(SessionMachine):
        agent = Agent(name="waiting", provider=Provider(model=together))

        @rule()
        def one(self):
            self.say("one")

        @rule()
        def two(self):
            self.say("two")

        @pinned
        def documented(self):
            self.one()


    @pytest.mark.session("chat")
    @pytest.mark.parametrize("number", range(OTHERS))
    class TestChat:
        async def test_first(self, aitest_run, number):
            assert (await aitest_run(agent, "one")).final_response == "one"

        async def test_second(self, aitest_run, number):
            assert (await aitest_run(agent, "two")).final_response == "one | two"
"""
)


@pytest.mark.parametrize("mode", ["load", "loadscope", "loadgroup"])
def test_they_run_side_by_side_in_every_mode_and_flows_stay_whole(project: Project, mode: str) -> None:
    others = 4
    project.write(test_all=SIDE_BY_SIDE.replace("OTHERS", str(others)))
    how = ("-n3", f"--dist={mode}", "-v", "--aitest-plans=3", *SEED)
    output = project.output(*how, plugins=("xdist", HYPOTHESIS))
    assert f"{1 + 3 + 2 * others} passed" in output
    ran = re.findall(r"\[(gw\d)\] \[ *\d+%\] PASSED test_all.py::(\S+)", output)
    assert len({test for _, test in ran}) == len(ran) == 1 + 3 + 2 * others
    assert len({worker for worker, test in ran if "explore" in test}) == 3


class Worker:
    """A process of xdist's, as its scheduler sees it: it begins a test once it knows of the next, or that none is."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.tests: list[int] = []
        self.shutting_down = False

    def send_runtest_some(self, tests: list[int]) -> None:
        assert not self.shutting_down
        self.tests += tests

    def shutdown(self) -> None:
        self.shutting_down = True

    @property
    def runs(self) -> bool:
        return bool(self.tests) and (self.shutting_down or len(self.tests) > 1)


class Run:
    """Tests, dealt out to workers that take turns as chance has it."""

    def __init__(self, kind: str, *, tests: list[str], ties: Ties, workers: int) -> None:
        self.tests = tests
        self.workers = [Worker(f"gw{number}") for number in range(workers)]
        options = {"tx": ["popen"] * workers, "maxschedchunk": None}
        config: Any = SimpleNamespace(
            getvalue=options.get, getoption=options.get, option=SimpleNamespace(loadscopereorder=True)
        )
        self.scheduler: Any = {each.__name__: each for each in _MINDS_TIES.values()}[kind](
            config, Producer("", enabled=False)
        )
        self.scheduler.ties = ties
        for worker in self.workers:
            self.scheduler.add_node(worker)
            self.scheduler.add_node_collection(worker, tests)
        self.scheduler.schedule()

    @property
    def running(self) -> list[str]:
        return [self.tests[worker.tests[0]] for worker in self.workers if worker.runs]

    def rest(self, chance: Random) -> list[tuple[str, Worker]]:
        """Every test with who ran it, in the order in which they end."""
        ended = []
        while running := [worker for worker in self.workers if worker.runs]:
            worker = chance.choice(running)
            test = worker.tests.pop(0)
            ended.append((self.tests[test], worker))
            self.scheduler.mark_test_complete(worker, test, chance.choice([0.0, 1.0]))
        return ended


@settings(deadline=None)
@for_all(
    kind=st.sampled_from(["_TiedLoad", "_Tied", "_TiedFile", "_TiedGroup"]),
    workers=st.integers(1, 5),
    explorations=st.integers(0, 4),
    shards=st.integers(2, 6),
    flows=st.integers(0, 4),
    others=st.integers(0, 40),
    chance=st.randoms(use_true_random=False),
)
def test_whatever_there_is_all_is_run_once_flows_are_whole_and_shards_begin_side_by_side(
    *, kind: str, workers: int, explorations: int, shards: int, flows: int, others: int, chance: Random
) -> None:
    parts = {f"a.py::T{part}::explore": shards for part in range(explorations)}
    tied = {f"{name}[{number}/{of}]": name for name, of in parts.items() for number in range(1, of + 1)}
    turns = {f"a.py::F{flow}::test_{turn}": f"a.py::F{flow}::test_0" for flow in range(flows) for turn in range(3)}
    tests = list(tied)
    for test in [*(f"b{number % 3}.py::test_{number}" for number in range(others)), ""]:
        place = chance.randrange(len(tests) + 1)
        tests[place:place] = [test] if test else turns  # which stand together
    run = Run(kind, tests=tests, ties=Ties(flows=turns, shards=tied), workers=workers)
    first = [test for test in run.running if test in tied]
    if workers > 1 and len(tied) >= workers >= shards:
        assert len(first) == workers
        assert max(sum(tied[test] == name for test in first) for name in parts) == shards
    ended = run.rest(chance)
    assert sorted(test for test, _ in ended) == sorted(tests)
    for flow in range(flows):
        ran = [(test, worker) for test, worker in ended if test.startswith(f"a.py::F{flow}::")]
        assert [test for test, _ in ran] == [f"a.py::F{flow}::test_{turn}" for turn in range(3)]
        assert len({worker.gateway.id for _, worker in ran}) == 1


# What the terminal shows


def test_the_same_failure_in_several_shards_is_shown_once(project: Project) -> None:
    project.write(test_echo=MACHINE + FAILING)
    project.shows_what_is_expected("--aitest-shards=3", "--aitest-lanes=1", *SEED, plugins=(HYPOTHESIS,))


def test_workers_and_quiet_runs_show_a_failure_like_one_process(project: Project) -> None:
    project.write(test_echo=MACHINE + FAILING)
    how = ("--tb=short", "--aitest-plans=4", "--hypothesis-seed=1", "-q", "-p", "no:cacheprovider")
    here = told(project.output(*how, "--aitest-shards=2", plugins=(HYPOTHESIS,)))
    shutil.rmtree(project.path / ".hypothesis")
    there = told(project.output(*how, "-n2", plugins=(HYPOTHESIS, "xdist")))
    assert here.startswith("=== TestEcho::explore: found by shards 1/2 and 2/2 ===\nnever_bye failed (test_echo.py:")
    assert there == here


def told(output: str) -> str:
    """What is told of shards together, but for the cost: only those of one process know what others have asked."""
    return output[output.index("=== TestEcho::explore: ") : output.index("--- cost ---")]


def test_with_pdb_each_shows_all_where_it_stops(project: Project) -> None:
    project.write(test_echo=MACHINE + FAILING)
    output = project.run("--pdb", "--aitest-shards=2/2", *SEED, plugins=(HYPOTHESIS,)).stdout.str()
    assert "E       --- shortest conversation that fails: 1 turn ---\n" in output
    assert "found by" not in output.partition("--- conversations")[0]


def test_a_command_that_repeats_it_names_what_pytest_knows(project: Project) -> None:
    marked = '@pytest.mark.parametrize("model", ["a"])\n    class'
    project.write(
        test_echo=MACHINE.replace("class", marked).replace(
            "agent = agent\n", "def make_agent(self, model):\n            return agent\n"
        )
        + FAILING
    )
    (again,) = {record.again for record in explorations(run_of(project, "--aitest-shards=2", *SEED)).values()}
    assert again == (
        'pytest "test_echo.py::TestEcho::explore[a]" --aitest-shards=1 --hypothesis-seed=1 --aitest-explore'
    )
    command = ["--aitest-shards=2", *shlex.split(again)[1:]]  # the first as from addopts
    assert explorations(run_of(project, *command)).keys() == {"TestEcho::explore[a]"}

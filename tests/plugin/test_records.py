"""What a run leaves: one record, however it is distributed and however it ends; in files, in JUnit's XML, in hooks."""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pytest_aitest.values.run_record import RunRecord, read_run

from .conftest import Project
from .test_flows import ECHO

SEED = ("--hypothesis-seed=1", "-p", "no:cacheprovider")
PLUGINS = ("_hypothesis_pytestplugin", "xdist")

MODELS = """
    import pytest
    from pytest_aitest import Agent, MCPServer, ModelAnswer, Provider

    try:
        from mcp.server import MCPServer as Server
    except ImportError:
        from mcp.server.fastmcp import FastMCP as Server


    def build():
        server, state = Server("counter"), {"count": 0}

        @server.tool(structured_output=False)
        def count(by: int) -> str:
            state["count"] += by
            return str(state["count"])

        return server


    def counting(messages, tools):
        if messages[-1]["role"] == "tool":
            return f"It is {messages[-1]['content']}."
        return {"tool_calls": [{"name": "count", "arguments": {"by": int(messages[-1]["content"].split()[-1])}}]}


    def echo(messages, tools):
        return " | ".join(message["content"] for message in messages if message["role"] == "user")


    counter = Agent(name="counter", provider=Provider(model=counting), mcp_servers=[MCPServer(factory=build)])
    speaker = Agent(name="speaker", provider=Provider(model=echo))


    def paid(messages, tools):
        return ModelAnswer(text=echo(messages, tools), prompt_tokens=3, completion_tokens=2)


    dear = Agent(name="dear", provider=Provider(model=paid, price=(1000, 2000)))
"""

TEST_FLOWS = (
    MODELS
    + """

    @pytest.mark.session("counting")
    class TestCounting:
        async def test_first(self, aitest_run):
            assert (await aitest_run(counter, "add 2")).final_response == "It is 2."

        def test_look(self, aitest_session):
            aitest_session.say("add 3")
            assert aitest_session.call_tool("count", {"by": 0}) == 5
            aitest_session.say("add 4", agent=counter)

        async def test_failing(self, aitest_run):
            assert (await aitest_run(counter, "add 5")).final_response == "It is 5."

        async def test_never(self, aitest_run):
            await aitest_run(counter, "add 6")


    async def test_alone(aitest_run):
        await aitest_run(dear, "alone")


    @pytest.mark.xfail(reason="known")
    async def test_known(aitest_run):
        await aitest_run(speaker, "known")
        assert False


    @pytest.mark.skip(reason="not today")
    async def test_skipped(aitest_run):
        pass


    @pytest.fixture
    def broken():
        raise LookupError("no such account")


    async def test_broken(aitest_run, broken):
        pass


    @pytest.fixture
    def speaking(aitest_session):
        aitest_session.say("before", agent=speaker)
        yield
        aitest_session.say("after", agent=speaker)
        raise LookupError("left open")


    def test_speaking(speaking, aitest_session):
        aitest_session.say("between", agent=speaker)


    def test_silent():
        pass
"""
)

TEST_EXPLORED = (
    MODELS
    + """
    from hypothesis import strategies as st
    from pytest_aitest.stateful import SessionMachine, invariant, pinned, rule

    @pytest.mark.session("chat", explore=True)
    class TestChat:
        async def test_hello(self, aitest_run):
            await aitest_run(speaker, "hello")

        async def test_again(self, aitest_run):
            assert "hello" in (await aitest_run(speaker, "again")).final_response


    class TestCounter(SessionMachine):
        agent = counter

        @rule(by=st.integers(1, 9))
        def add(self, by):
            self.say(f"add {by}")

        @invariant()
        def stays_small(self):
            last = self.session.turns[-1].final_response if self.session.turns else ""
            assert "8" not in last

        @pinned
        def documented(self):
            self.add(by=1)
            self.add(by=2)


    class TestDear(SessionMachine):
        agent = dear

        @rule()
        def hello(self):
            self.say("hello")

        @rule()
        def goodbye(self):
            self.say("goodbye")

        @pinned
        def documented(self):
            self.hello()
"""
)

CHAT = """

    @pytest.mark.session("chat")
    class TestChat:
        async def test_first(self, aitest_run):
            await aitest_run(agent, "one")

        async def test_second(self, aitest_run):
            await aitest_run(agent, "two")
"""


def run_of(
    project: Project, *arguments: str, name: str = "run.json", plugins: tuple[str, ...] = ("xdist",)
) -> RunRecord:
    """What a run has left."""
    project.run(*arguments, f"--aitest-json={name}", plugins=plugins)
    return read_run((project.path / name).read_text(encoding="utf-8"), source=name)


def timeless(data: Any) -> Any:
    """A run's JSON without what differs from run to run."""
    if isinstance(data, list):
        return [timeless(each) for each in data]
    if not isinstance(data, dict):
        return data
    changing = {"began": "now", "seconds": 0, "duration_ms": 0, "written_by": "us", "server_starts": 0, "id": ""}
    return {name: changing[name] if name in changing else timeless(value) for name, value in data.items()}


def normalised(path: Path) -> str:
    text = json.dumps(timeless(json.loads(path.read_text(encoding="utf-8"))), indent=1, ensure_ascii=False) + "\n"
    return re.sub(r"0x[0-9a-f]{6,}", "0x0", text.replace(f"{path.parent}/", ""))


def compared(project: Project, text: str, suffix: str) -> None:
    expected = project._expected.with_suffix(suffix)
    if project._rewrite:
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


def ends(run: RunRecord) -> dict[str, tuple[str, str]]:
    """What each test was, and how it ended."""
    return {test.nodeid.partition("::")[2]: (test.kind, test.outcome) for test in run.tests}


# One record, however the run goes


def test_what_a_run_leaves_is_the_same_in_one_process_and_in_several(project: Project) -> None:
    """The record, what JUnit's XML says of it, and what other plugins hear."""
    project.write(conftest=HOOKS, test_a_flows=TEST_FLOWS, test_b_explored=TEST_EXPLORED)
    whole = "-n2", "--aitest-shards=1"  # what shards leave is told in test_shards.py
    runs = {"one": ("xunit1",), "load": ("xunit2", *whole), "scope": ("xunit2", *whole, "--dist=loadscope")}
    written, properties, heard = [], [], []
    for name, (family, *how) in runs.items():
        files = f"--aitest-json={name}.json", f"--junitxml={name}.xml", "-o", f"junit_family={family}"
        project.run(*SEED, *how, *files, plugins=PLUGINS)
        # Each of two workers has half of the run's budget.
        text = normalised(project.path / f"{name}.json")
        # What turns of that model have cost, each process knows of those that it has asked.
        written.append(re.sub(r"up to \d+ times, about \$[\d.]+( by \d+ recorded turns?)?", "up to N times", text))
        properties.append(junit_properties(project.path / f"{name}.xml"))
        heard.append((project.path / "heard").read_text().splitlines())
        (project.path / "heard").unlink()
        shutil.rmtree(project.path / ".hypothesis")  # where failures are kept, to be tried first
    compared(project, written[0], ".json")
    compared(project, properties[0], ".txt")
    assert heard[0] == HEARD
    assert written[1:] == written[:1] * 2
    assert properties[1:] == properties[:1] * 2
    for elsewhere in heard[1:]:
        assert sorted(elsewhere) == sorted(HEARD)
        for test in ("test_look", "test_speaking"):
            assert [line for line in elsewhere if test in line] == [line for line in HEARD if test in line]


HOOKS = """
    heard = open("heard", "a")

    def pytest_aitest_turn(turn, nodeid, config):
        print(nodeid.partition("::")[2], turn.user, hasattr(config, "workerinput"), file=heard, flush=True)

    def pytest_aitest_exploration(exploration):
        print(exploration.name, exploration.plans_tried, file=heard, flush=True)
"""
HEARD = [
    "TestCounting::test_first add 2 False",
    "TestCounting::test_look add 3 False",
    "TestCounting::test_look add 4 False",
    "TestCounting::test_failing add 5 False",
    "test_alone alone False",
    "test_known known False",
    "test_speaking before False",
    "test_speaking between False",
    "test_speaking after False",
    "TestChat::test_hello hello False",
    "TestChat::test_again again False",
    "TestChat::explore 16",
    "TestCounter::documented add 1 False",
    "TestCounter::documented add 2 False",
    "TestCounter::explore 1",
    "TestDear::documented hello False",
    "TestDear::explore 0",
]


def junit_properties(path: Path) -> str:
    """Of each test; none may be there twice."""
    lines = []
    for case in sorted(
        ElementTree.parse(path).iter("testcase"), key=lambda case: (case.get("classname"), case.get("name"))
    ):
        told = {each.get("name"): each.get("value") for each in case.iter("property")}
        assert len(told) == len(list(case.iter("property")))
        lines += [f"{case.get('classname')}::{case.get('name')}", *(f"  {name} = {told[name]}" for name in told)]
    return "\n".join(lines) + "\n"


def test_every_worker_of_dist_each_leaves_its_own(project: Project) -> None:
    project.write(test_a=ECHO + CHAT)
    run = run_of(project, "-n2", "--dist=each")
    assert [(test.nodeid.rpartition("::")[2], test.worker, len(test.turns)) for test in run.tests] == [
        ("test_first", "gw0", 1),
        ("test_first", "gw1", 1),
        ("test_second", "gw0", 1),
        ("test_second", "gw1", 1),
    ]


def test_context_turns_are_told_as_such_and_those_replayed_cost_nothing(project: Project) -> None:
    project.write(test_a=ECHO.replace("model=echo", "model=echo, price=(1, 1)") + CHAT, test_b="from test_a import *\n")
    run = run_of(project, "--deselect=test_b.py::TestChat::test_first", "--deselect=test_a.py::TestChat::test_first")
    told = {(test.nodeid.partition(".")[0], test.turns[0].user): test for test in run.tests}
    assert {key: (test.kind, test.turns[0].is_replayed, test.asked.find) for key, test in told.items()} == {
        ("test_a", "one"): ("context", False, 1),
        ("test_a", "two"): ("turn", False, 1),
        ("test_b", "one"): ("context", True, 0),
        ("test_b", "two"): ("turn", False, 1),
    }
    assert told["test_b", "one"].asked.model_calls == 0


def test_every_attempt_at_a_test_is_told(project: Project) -> None:
    project.write(
        test_a=ECHO
        + """

    attempts = []

    @pytest.fixture
    def unsteady(request):
        attempts.append(request.node.name)
        if attempts.count(request.node.name) == 2:
            raise LookupError("no such account")
        yield
        if attempts.count(request.node.name) == 4:
            raise LookupError("left open")

    async def test_unsteady(unsteady, aitest_run):
        await aitest_run(agent, f"attempt {len(attempts)}")
        assert len(attempts) != 1

    @pytest.mark.session("chat")
    class TestChat:
        async def test_first(self, aitest_run):
            await aitest_run(agent, "one")
            attempts.append("first")
            assert attempts.count("first") == 2

        async def test_second(self, aitest_run):
            assert (await aitest_run(agent, "two")).final_response == "one | two"
"""
    )
    # fmt: off
    expected = [
        ("test_unsteady", "rerun", ["attempt 1"]),
        ("test_unsteady", "rerun", []),
        ("test_unsteady", "passed", ["attempt 3"]),
        ("test_first", "rerun", ["one"]),
        ("test_first", "passed", ["one"]),
        ("test_second", "passed", ["two"]),
    ]
    # fmt: on
    for how in ((), ("-n1",)):
        run = run_of(project, "--reruns=2", *how, plugins=("rerunfailures", "xdist"))
        told = [
            (test.nodeid.rpartition("::")[2], test.outcome, [turn.user for turn in test.turns]) for test in run.tests
        ]
        assert told == expected
        assert [test.asked.find for test in run.tests] == [1, 0, 1, 1, 1, 1]


def test_what_a_dead_worker_ran_is_told_as_an_error(project: Project) -> None:
    project.write(
        test_a=ECHO
        + """

    async def test_fine(aitest_run):
        await aitest_run(agent, "fine")

    @pytest.mark.session("chat")
    class TestChat:
        async def test_first(self, aitest_run):
            await aitest_run(agent, "one")

        async def test_second(self, aitest_run):
            await aitest_run(agent, "two")
            import os
            os._exit(1)

        async def test_third(self, aitest_run):
            await aitest_run(agent, "three")
"""
    )
    run = run_of(project, "-n1")
    assert ends(run) == {
        "test_fine": ("test", "passed"),
        "TestChat::test_first": ("turn", "passed"),
        "TestChat::test_second": ("turn", "error"),
        "TestChat::test_third": ("turn", "skipped"),
    }
    assert {test.session for test in run.tests[1:]} == {"test_a.py::chat"}
    assert run.tests[2].failure == "worker 'gw0' crashed while running 'test_a.py::TestChat::test_second'"
    assert run.tests[3].reason == "session chat: its worker died in turn test_second"


def test_an_interrupted_run_leaves_what_had_ended(project: Project) -> None:
    project.write(
        test_a=ECHO
        + """

    async def test_fine(aitest_run):
        await aitest_run(agent, "fine")

    def test_interrupted(aitest_session):
        aitest_session.say("hello", agent=agent)
        raise KeyboardInterrupt
"""
    )
    result = project.run("--aitest-json=run.json", "--aitest-md=run.md")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    run = read_run((project.path / "run.json").read_text(encoding="utf-8"), source="run.json")
    assert ends(run) == {"test_fine": ("test", "passed"), "test_interrupted": ("test", "failed")}
    assert [turn.user for turn in run.tests[-1].turns] == ["hello"]
    assert "aitest: wrote " in result.stdout.str()


def test_a_subtest_is_no_test_of_its_own(project: Project) -> None:
    project.write(
        test_a=ECHO
        + """

    def test_all(aitest_session, subtests):
        for word in ("one", "two"):
            with subtests.test(word=word):
                assert aitest_session.say(word, agent=agent).final_response == "one"
"""
    )
    for how in ((), ("-n1",)):
        (test,) = run_of(project, *how).tests
        assert [turn.user for turn in test.turns] == ["one", "two"]
        assert (test.outcome, test.asked.find, test.place) == ("failed", 2, "test_a.py:16")
        assert test.failure.startswith("AssertionError: assert 'one | two' == 'one'")


def test_a_run_without_conversations_leaves_an_empty_record(project: Project) -> None:
    project.write(test_a="def test_plain():\n    pass\n")
    run = run_of(project, "--aitest-html=run.html", "--aitest-md=run.md", plugins=())
    assert run.tests == ()
    assert run.written_by.startswith("pytest-aitest ")
    assert (project.path / "run.html").stat().st_size > 1000
    assert (project.path / "run.md").exists()


def test_what_fails_elsewhere_is_counted_and_a_stopped_run_is_known(project: Project) -> None:
    project.write(test_a=ECHO + CHAT, test_b="def test_plain():\n    assert 0\n", test_c="import no_such_module\n")
    run = run_of(project, "--continue-on-collection-errors", plugins=())
    assert (run.other_failures, run.was_stopped) == (2, False)
    assert run_of(project, "-x", "--continue-on-collection-errors", plugins=()).was_stopped


def test_a_test_that_fails_and_then_fails_to_be_torn_down_tells_of_both(project: Project) -> None:
    project.write(
        test_a=ECHO
        + """

    @pytest.fixture
    def leaking():
        yield
        raise ValueError("teardown boom")

    async def test_both(aitest_run, leaking):
        assert not await aitest_run(agent, "hello"), "call boom"
"""
    )
    (test,) = run_of(project).tests
    assert test.outcome == "failed"
    assert "call boom" in test.failure
    assert test.failure.endswith("And when it was torn down:\nValueError: teardown boom")
    assert "teardown boom" in test.details


def test_looking_at_what_there_is_writes_nothing(project: Project) -> None:
    project.write(test_a=ECHO + CHAT)
    for how in ("--collect-only", "--help", "--version"):
        assert "wrote" not in project.run(how, "--aitest-json=new/run.json").stdout.str()
    assert not (project.path / "new").exists()


# Files


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--aitest-json=folder"],
            "--aitest-json {}/folder: that is a folder, and a report is a file. Give the path of a file in it.",
        ),
        (
            ["--aitest-html=file/run.html"],
            "--aitest-html {}/file/run.html: {}/file is no folder, so nothing can be in it. Give another path.",
        ),
        (
            ["--aitest-json=run", "--aitest-md=folder/../run"],
            "--aitest-md {}/folder/../run: --aitest-json is written there too. Give each a file of its own.",
        ),
        (
            ["--aitest-md", "test_a.py"],
            "--aitest-md {}/test_a.py: that is Python code, and would be overwritten. "
            "Give the path of the report before what is to be run.",
        ),
        (
            ["--aitest-md=locked/run.md"],
            "--aitest-md {}/locked/run.md: nothing can be written in the folder {}/locked. "
            "Give another path, or change its mode.",
        ),
        (
            ["-o", "aitest_secrets=ok\nIBAN ("],
            "aitest_secrets has 'IBAN (', which is no regular expression: missing ), unterminated subpattern at "
            "position 5. Write one a line, with a backslash before what is meant literally, as in \\(.",
        ),
        (
            ["-o", "aitest_secrets=x*"],
            "aitest_secrets has 'x*', which matches where there is nothing, and so everywhere. "
            "Write what at least one character of a secret looks like, + in place of *.",
        ),
    ],
    ids=["folder", "below a file", "twice", "code", "locked", "no pattern", "everywhere"],
)
def test_what_cannot_be_is_said_before_anything_runs(project: Project, options: list[str], message: str) -> None:
    if "locked/run.md" in options[0] and (sys.platform == "win32" or os.geteuid() == 0):
        pytest.skip("modes keep nobody out here")
    project.write(test_a="def test_plain():\n    pass\n")
    (project.path / "file").touch()
    (project.path / "folder").mkdir()
    (project.path / "locked").mkdir(mode=0o500)
    result = project.run(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.str().strip() == "ERROR: " + message.format(*[project.path] * message.count("{}"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_a_report_that_cannot_be_written_makes_the_run_red_and_keeps_the_others(project: Project) -> None:
    project.write(
        conftest="""
        import pytest_aitest.report.html as html

        html.render = lambda run: 1 / 0
        """,
        test_a=ECHO + CHAT,
    )
    result = project.run(
        "--aitest-json=/dev/full", "--aitest-html=out/run.html", "--aitest-md=out/run.md", "--color=yes"
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    said = [line for line in result.outlines if "aitest: " in line]
    red = "\x1b[31maitest: --aitest-{}\x1b[0m"
    assert said[-3:] == [
        f"aitest: wrote {project.path / 'out/run.md'}",
        red.format("json /dev/full: it could not be written: No space left on device."),
        red.format(
            f"html {project.path / 'out/run.html'}: it could not be made: ZeroDivisionError: division by zero. "
            "Please report that as a defect."
        ),
    ]
    assert [path.name for path in (project.path / "out").iterdir()] == ["run.md"]


def test_a_report_of_the_last_run_is_replaced_as_a_whole(project: Project) -> None:
    project.write(test_a=ECHO + CHAT)
    (project.path / "old.json").write_text("old")
    (project.path / "run.json").symlink_to("old.json")
    run = run_of(project, plugins=())
    assert (project.path / "run.json").is_symlink()
    assert len(run.tests) == 2
    assert not [path.name for path in project.path.iterdir() if path.name.startswith(".run")]


# Other readers


def test_a_rerun_has_each_property_once(project: Project) -> None:
    project.write(test_a=ECHO + CHAT.replace('"two")', '"two")\n            assert False'))
    project.run("--reruns=2", "--junitxml=run.xml", plugins=("rerunfailures",))
    assert junit_properties(project.path / "run.xml").count("aitest_turn = 2") == 3  # each attempt is a test case


def test_a_hook_that_raises_ends_the_run_as_pytests_own_do(project: Project) -> None:
    project.write(
        conftest='def pytest_aitest_turn():\n    raise LookupError("not mine")\n',
        test_a=ECHO + CHAT,
    )
    result = project.run("--aitest-json=run.json")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert "INTERNALERROR> LookupError: not mine" in result.stdout.str()
    assert (project.path / "run.json").exists()

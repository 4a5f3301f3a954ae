"""A run that remembers: what is in the store is not asked again, by fixed tests, orders and explorations alike."""

import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest

from .conftest import Project, normalised

SERVER = """
    import pathlib

    try:
        from mcp.server import MCPServer as Server
    except ImportError:  # mcp 1.x
        from mcp.server.fastmcp import FastMCP as Server

    def build():
        with pathlib.Path("starts.txt").open("a") as starts:
            starts.write("x")
        server = Server("bank")
        balances = {"checking": 1500, "savings": 3000}

        @server.tool()
        def transfer(amount: int) -> str:
            balances["checking"] -= amount
            balances["savings"] += amount - (1 if amount == 13 else 0)
            return "done"

        @server.tool()
        def total() -> dict:
            return {"total": sum(balances.values())}

        return server


    if __name__ == "__main__":
        build().run("stdio")
"""

MODEL = """
    import pathlib
    import sys

    from bank_server import build
    from hypothesis import settings
    from pytest_aitest import Agent, MCPServer, ModelAnswer, Provider, ToolRequest


    settings.register_profile("forgetful", database=None)
    settings.load_profile("forgetful")


    def teller(messages, tools):
        \"\"\"Answers by what it is asked, and counts how often it is.\"\"\"
        with pathlib.Path("calls.txt").open("a") as calls:
            calls.write("x")
        said = messages[-1]["content"]
        if messages[-1]["role"] == "user" and "Transfer" in said:
            return ModelAnswer(tool_requests=[ToolRequest(name="transfer", arguments={"amount": int(said.split()[1])})])
        return f"{len(messages)} messages"


    bank = MCPServer(factory=build)
    agent = Agent(name="bank", provider=Provider(model=teller), mcp_servers=[bank], system_prompt="You are a bank.")
"""

TESTS = """
    import pytest
    from hypothesis import strategies as st
    from pytest_aitest.stateful import SessionMachine, invariant, pinned, rule
    from model import agent


    @pytest.mark.session("chat", explore=True)
    class TestChat:
        plans = 1

        async def test_hello(self, aitest_run):
            assert (await aitest_run(agent, "Hello")).success

        async def test_transfer(self, aitest_run, aitest_session):
            assert (await aitest_run(agent, "Transfer 200 please")).tool_was_called("transfer")
            assert aitest_session.call_tool("total") == {"total": 4_500}

        @invariant()
        def keeps_its_money(self, aitest_session):
            assert aitest_session.call_tool("total")["total"] == 4_500


    class TestBank(SessionMachine):
        agent = agent
        plans, confirm_runs = 2, 2

        @rule(amount=st.sampled_from([200, 13]))
        def transfer(self, amount):
            self.say(f"Transfer {amount} please")

        @invariant()
        def money_is_conserved(self):
            assert self.call_tool("total")["total"] == 4_500

        @pinned
        def documented(self):
            self.transfer(amount=200)


    async def test_alone(aitest_run):
        first, second = [await aitest_run(agent, "Hello") for _ in range(2)]
        assert first.final_response == second.final_response == "2 messages"
"""

AS_PROCESS = "factory=build", 'command=[sys.executable, "bank_server.py"]'
STORE = ("--aitest-store", "store.db")
REPLAY = (*STORE, "--aitest-store-mode", "replay")


@pytest.fixture
def banking(project: Project) -> Project:
    project.write(bank_server=SERVER, model=MODEL, test_bank=TESTS)
    return project


def asked(project: Project) -> tuple[int, int]:
    """How often the model was called, and a server started, until now."""
    files = [project.path / name for name in ("calls.txt", "starts.txt")]
    counts = [len(file.read_text()) if file.exists() else 0 for file in files]
    return counts[0], counts[1]


def edit(project: Project, file: str, before: str, after: str) -> None:
    path = project.path / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def verdicts(output: str) -> list[str]:
    return [line for line in output.splitlines() if "::" in line and line.split(" ")[1:2] in (["PASSED"], ["FAILED"])]


def errors_in(output: str) -> list[str]:
    return [line[1:].strip() for line in output.splitlines() if line.startswith("E  ")]


def failures(output: str) -> str:
    """What a run says of what failed, but for what it has cost."""
    return output.partition("=== FAILURES ===")[2].partition("--- cost ---")[0]


def test_a_replaying_run_asks_no_model_starts_no_server_and_shows_the_same(banking: Project) -> None:
    edit(banking, "model.py", *AS_PROCESS)
    recorded = banking.output("-v", *STORE)
    before = asked(banking)
    assert before[0] > 10
    assert before[1] > 2
    replayed = banking.output("-v", *REPLAY)
    assert asked(banking) == before
    assert "nothing asked" in replayed
    assert verdicts(replayed) == verdicts(recorded)
    assert len(verdicts(replayed)) == 6
    assert failures(replayed) == failures(recorded)
    assert "shortest conversation that fails: 1 turn" in failures(replayed)
    # Recording what is known already asks no more than replaying it does, by workers too.
    for workers in ((), ("-n", "2", "--aitest-shards", "1")):
        again = banking.output("-v", *STORE, *workers, plugins=("xdist",) if workers else ())
        assert asked(banking) == before
        assert "nothing asked" in again


CHANGES = [
    ("model.py", "You are a bank.", "You are a big bank.", "its instructions were recorded as 'You are a bank.'"),
    ("bank_server.py", "amount == 13", "amount == 14", "the code of bank_server.build"),
    ("test_bank.py", '"Hello")).success', '"Hallo")).success', "the words: recorded is 'Hello', asked 'Hallo'"),
]


def test_what_an_answer_depends_on_and_has_changed_is_named(banking: Project) -> None:
    chosen = ("-k", "test_hello")
    banking.run(*STORE, *chosen)
    known = asked(banking)
    for file, before, after, difference in CHANGES:
        edit(banking, file, before, after)
        output = banking.output(*REPLAY, *chosen)
        errors = errors_in(output)
        assert errors[0].startswith("pytest_aitest.values.errors.StoreMissError: The store ")
        assert difference in errors[1]
        assert errors[-1] == "Run with --aitest-store-mode record to add it."
        assert "storing.py" not in output  # the traceback is the user's own
        edit(banking, file, after, before)
    assert asked(banking) == known
    edit(banking, *CHANGES[0][:3])
    banking.run(*STORE, *chosen).assert_outcomes(passed=1, deselected=5)
    assert asked(banking)[0] == known[0] + 1


def test_the_content_of_a_server_s_script_and_its_environment_count(banking: Project) -> None:
    chosen = ("-k", "test_hello")
    edit(banking, "model.py", *AS_PROCESS)
    banking.run(*STORE, *chosen)
    edit(banking, "bank_server.py", "amount == 13", "amount == 14")
    assert "the content of bank_server.py has changed" in banking.output(*REPLAY, *chosen)
    edit(banking, "bank_server.py", "amount == 14", "amount == 13")
    banking.run(*REPLAY, *chosen).assert_outcomes(passed=1, deselected=5)
    edit(banking, "model.py", '"bank_server.py"]', '"bank_server.py"], env={"LIMIT": "5"}')
    assert "env" in errors_in(banking.output(*REPLAY, *chosen))[1]


def test_a_miss_shows_what_is_known_and_where_the_conversation_leaves_it(banking: Project) -> None:
    banking.run(*STORE, "-k", "TestChat and not explore")
    edit(banking, "test_bank.py", "Transfer 200 please", "Transfer 250 please")
    output = banking.output(*REPLAY, "-k", "TestChat and not explore")
    assert errors_in(output) == [
        "pytest_aitest.values.errors.StoreMissError: The store store.db does not hold 'Transfer 250 please', and this "
        "run only replays.",
        "Before that it knows:",
        "1 Hello -> 2 messages",
        "Recorded there is another: the words: recorded is 'Transfer 200 please', asked 'Transfer 250 please'.",
        "Run with --aitest-store-mode record to add it.",
    ]


def test_an_exploration_that_meets_what_is_not_recorded_says_so_and_blames_nobody(banking: Project) -> None:
    banking.run(*STORE, "-k", "TestBank")
    edit(banking, "test_bank.py", "[200, 13]", "[200, 150]")
    output = " ".join(banking.output(*REPLAY, "-k", "TestBank and explore").split())
    assert "StoreMissError: The store store.db does not hold 'Transfer" in output
    assert "That is not the agent's doing." in output


def test_refreshing_asks_all_anew_and_forgets_what_was_answered_before(banking: Project) -> None:
    chosen = ("-k", "test_hello or test_alone")
    banking.run(*STORE, *chosen)
    first = asked(banking)
    banking.run(*STORE, "--aitest-store-mode", "refresh", *chosen).assert_outcomes(passed=2, deselected=4)
    assert asked(banking)[0] == 2 * first[0]
    banking.run(*REPLAY, *chosen).assert_outcomes(passed=2, deselected=4)
    with sqlite3.connect(banking.path / "store.db") as store:
        assert store.execute("SELECT count(*) FROM samples WHERE NOT is_look").fetchone() == (first[0],)


def test_a_test_that_is_run_again_is_answered_as_it_was_then(project: Project) -> None:
    project.write(
        test_flaky="""
            from pytest_aitest import Agent, Provider

            answers = iter(["bad", "good"])


            def moody(messages, tools):
                return next(answers)


            agent = Agent(provider=Provider(model=moody))


            async def test_mood(aitest_run):
                assert (await aitest_run(agent, "How are you?")).final_response == "good"
        """
    )
    rerun = ("--reruns", "1")
    for options in (STORE, REPLAY, STORE):
        result = project.run(*options, *rerun, plugins=("rerunfailures",))
        result.stdout.fnmatch_lines(["*1 passed, 1 rerun*"])


def test_two_workers_record_at_once_what_one_process_replays(banking: Project) -> None:
    banking.run(*STORE, "-n", "2", "--aitest-shards", "1", plugins=("xdist",)).assert_outcomes(passed=5, failed=1)
    before = asked(banking)
    banking.run(*REPLAY).assert_outcomes(passed=5, failed=1)
    assert asked(banking) == before


ECHO = """
    from hypothesis import strategies as st
    from pytest_aitest import Agent, Provider
    from pytest_aitest.stateful import SessionMachine, precondition, rule


    def echo(messages, tools):
        return messages[-1]["content"]


    class TestEcho(SessionMachine):
        agent = Agent(provider=Provider(model=echo))
        plans, plan_turns, confirm_runs = 9, 6, 1
        said = ()

        @rule(word=st.sampled_from(["a", "b", "c"]))
        def say_it(self, word):
            self.said = (*self.said, self.say(word).final_response)
            assert "c" not in self.said[1:]

        @precondition(lambda self: len(self.said) % 2)
        @rule()
        def say_more(self):
            self.say("more")
"""


def outcomes(project: Project, *options: str) -> dict[str, str]:
    """What became of each test."""
    how = ("-q", "-rA", "-p", "no:cacheprovider", "--tb=line")
    said = project.output(*how, *options, plugins=("_hypothesis_pytestplugin", "xdist"))
    assert "StoreMissError" not in said
    if REPLAY[-1] in options:
        assert "no fresh turns" in said or "FAILED" not in said
    return dict(reversed(each) for each in re.findall(r"^(PASSED|FAILED) (\S+)", said, re.MULTILINE))


@pytest.mark.parametrize("recorded", [(), ("--aitest-shards=3",)], ids=["whole", "in shards"])
def test_an_exploration_is_replayed_in_the_shards_in_which_it_was_recorded(
    project: Project, recorded: tuple[str, ...]
) -> None:
    project.write(test_echo=ECHO)
    found = outcomes(project, *STORE, "--hypothesis-seed=1", *recorded)
    assert len(found) == (3 if recorded else 1)
    assert "FAILED" in found.values()
    assert outcomes(project, *REPLAY, "-n", "2") == found
    assert outcomes(project, *REPLAY, "--aitest-shards=2") == found
    jobs = [outcomes(project, *REPLAY, f"--aitest-shards={number}/2") for number in (1, 2)]
    assert jobs[0] | jobs[1] == found
    assert len(jobs[0]) == (2 if recorded else 1)


def test_a_run_that_asks_nothing_changes_nothing_of_how_an_exploration_was_recorded(project: Project) -> None:
    project.write(test_echo=ECHO)
    found = outcomes(project, *STORE, "--aitest-shards=3")
    project.run(*STORE, "--aitest-no-explore").assert_outcomes(skipped=1)
    assert outcomes(project, *REPLAY) == found


def test_what_was_kept_elsewhere_is_not_tried_with_a_store(project: Project) -> None:
    project.write(test_echo=ECHO)
    project.run("--hypothesis-seed=1", plugins=("_hypothesis_pytestplugin",)).assert_outcomes(failed=1)
    assert (project.path / ".hypothesis").exists()
    found = outcomes(project, *STORE, "--hypothesis-seed=7")
    shutil.rmtree(project.path / ".hypothesis")
    assert outcomes(project, *REPLAY) == found


def test_an_exploration_under_another_name_was_not_recorded(project: Project) -> None:
    project.write(test_echo=ECHO)
    project.run(*STORE)
    edit(project, "test_echo.py", "TestEcho", "TestEchoes")
    project.shows_what_is_expected(*REPLAY)


def test_no_secret_is_in_the_file(banking: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANK_TOKEN", "hush-hush-2026")
    edit(banking, "test_bank.py", '"Hello")).success', '"Hello, my token is hush-hush-2026")).success')
    edit(banking, "model.py", *AS_PROCESS)
    edit(banking, "model.py", '"bank_server.py"]', '"bank_server.py"], env={"TOKEN": "${BANK_TOKEN}"}')
    banking.run(*STORE, "-k", "test_hello").assert_outcomes(passed=1, deselected=5)
    assert b"hush" not in (banking.path / "store.db").read_bytes()
    banking.run(*REPLAY, "-k", "test_hello").assert_outcomes(passed=1, deselected=5)


def test_collecting_makes_no_store(banking: Project) -> None:
    banking.run(*STORE, "--collect-only")
    banking.run(*STORE, "--help")
    assert not (banking.path / "store.db").exists()


# What it costs


PRICED = """
    from pytest_aitest import Agent, Provider
    from pytest_aitest.stateful import SessionMachine, pinned, rule


    def echo(messages, tools):
        return {"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 2_000, "completion_tokens": 0}}


    class TestPriced(SessionMachine):
        agent = Agent(provider=Provider(model=echo, price=(1.0, 1.0)))
        plans, plan_turns = 5, 4

        @rule()
        def ask(self):
            self.say("hello")

        @pinned
        def documented(self):
            self.ask()
"""


def test_an_exploration_is_forecast_by_what_turns_have_cost(project: Project) -> None:
    project.write(test_priced=PRICED)
    guessed = "TestPriced::explore: up to 5 plans of 4 steps, asking echo up to 40 times, about $0.04; skipped"
    assert guessed in project.output("--collect-only", *STORE)
    skipped = project.output("-rs", *STORE)  # with what the pinned order has just cost
    assert "would ask echo up to 40 times, about $0.08 by 1 recorded turn; add --aitest-explore" in skipped
    known = guessed.replace("$0.04", "$0.08 by 1 recorded turn")
    assert known in project.output("--collect-only", *STORE)
    assert "aitest: TestPriced::explore: may ask echo up to 40 times, about $0.08 by 1 recorded turn" in project.output(
        "--aitest-explore", *STORE, "-k", "explore"
    )


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--aitest-store-mode", "replay"), "--aitest-store-mode replay: there is no store to replay. Name its file"),
        ((*STORE, "--aitest-store-mode", "reply"), "--aitest-store-mode reply: it is one of off, replay, record,"),
        (REPLAY, "There is no store store.db, and this run only replays."),
        (("--aitest-store", "."), "is a folder"),
    ],
    ids=["no store", "no mode", "no file", "a folder"],
)
def test_a_store_that_can_not_be_meant_is_refused_before_anything_runs(
    banking: Project, options: tuple[str, ...], message: str
) -> None:
    result = banking.run(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str().replace(f"{banking.path}/", "").replace(str(banking.path), ".")
    assert asked(banking) == (0, 0)


def spoil_version(path: Path) -> None:
    with sqlite3.connect(path) as store:
        store.execute("PRAGMA user_version = 99")


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5_000])


def make_foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as store:
        store.execute("CREATE TABLE mine (precious TEXT)")


SPOILT: list[tuple[Callable[[Path], object], str]] = [
    (spoil_version, "99"),
    (cut_off, "cut off"),
    (make_foreign, "store.db is"),
    (lambda path: path.write_text("my notes"), "store.db is"),
]


def test_a_file_that_is_no_sound_store_is_refused_and_left_as_it_was(banking: Project) -> None:
    path = banking.path / "store.db"
    banking.run(*STORE, "-k", "test_hello")
    known, sound = asked(banking), path.read_bytes()
    for mode, (act, message) in zip(cycle(["replay", "record"]), SPOILT, strict=False):
        path.write_bytes(sound)
        act(path)
        before = path.read_bytes()
        result = banking.run(*STORE, "--aitest-store-mode", mode)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert message in result.stderr.str()
        assert path.read_bytes() == before
    assert asked(banking) == known


def pytest_in(project: Project, *options: str, **more: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "pytest", "-p", "aitest", "-p", "no:cacheprovider", *options]
    return subprocess.Popen(
        command, cwd=project.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more
    )


def test_a_full_disk_is_told_of_and_costs_no_test(banking: Project) -> None:
    banking.run(*STORE, "-k", "test_hello")
    room = (banking.path / "store.db").stat().st_size

    def leave_little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as the disk would, writing fails

    run = pytest_in(banking, *STORE, "-k", "not explore", preexec_fn=leave_little_room)
    output, _ = run.communicate(timeout=60)
    output = " ".join(normalised(output, banking.path).split())
    assert "4 passed" in output
    assert "The store store.db could not be written" in output
    assert "What this run asked from then on is not in it." in output
    assert run.returncode == pytest.ExitCode.TESTS_FAILED


def test_what_a_killed_run_had_asked_is_not_asked_again(project: Project) -> None:
    os.mkfifo(project.path / "kill")
    project.write(
        test_killed="""
            import pathlib

            import pytest
            from pytest_aitest import Agent, Provider


            def count(messages, tools):
                with pathlib.Path("calls.txt").open("a") as calls:
                    calls.write("x")
                if messages[-1]["content"] == "two" and pathlib.Path("kill").exists():
                    pathlib.Path("kill").write_text("now")  # blocks until somebody reads it
                    pathlib.Path("kill").read_text()  # and then for ever
                return "fine"


            agent = Agent(provider=Provider(model=count))


            @pytest.mark.session("chat")
            class TestChat:
                async def test_one(self, aitest_run):
                    assert (await aitest_run(agent, "one")).success

                async def test_two(self, aitest_run):
                    assert (await aitest_run(agent, "two")).success
        """
    )
    run = pytest_in(project, *STORE)
    assert (project.path / "kill").read_text() == "now"
    run.kill()
    run.communicate(timeout=60)
    (project.path / "kill").unlink()
    (project.path / "calls.txt").unlink()
    project.run(*STORE).assert_outcomes(passed=2)
    assert asked(project) == (1, 0)

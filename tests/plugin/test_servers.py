"""Servers of a flow live from its first turn to its last, and no process outlives the run, however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from .conftest import Project

COUNTER = '''
    import os
    import sys

    try:
        from mcp.server import MCPServer
    except ImportError:
        from mcp.server.fastmcp import FastMCP as MCPServer

    with open(sys.argv[1], "a") as pids:
        print(os.getpid(), file=pids)
    server, state = MCPServer("counter", log_level="ERROR"), {"count": 0}


    @server.tool()
    def count(by: int) -> int:
        """Count on."""
        state["count"] += by
        return state["count"]


    @server.tool()
    def die() -> str:
        """Die at once."""
        print("out of memory", file=sys.stderr, flush=True)
        os._exit(3)


    server.run()
'''

PRELUDE = """
    import pytest
    from pytest_aitest import Agent, MCPServer, ModelAnswer, Provider, ToolRequest


    def model(messages, tools):
        if messages[-1]["role"] == "tool":
            return "done"
        name, *arguments = messages[-1]["content"].split()
        arguments = {"by": int(arguments[0])} if arguments else {}
        return ModelAnswer(tool_requests=[ToolRequest(name=name, arguments=arguments)])


    server = MCPServer(command=["python", "counter.py", "pids"])
    agent = Agent(name="counter", provider=Provider(model=model), mcp_servers=[server])
"""

FLOW = (
    PRELUDE
    + """

    @pytest.mark.session("counting")
    class TestCounting:
        async def test_first(self, aitest_run):
            assert (await aitest_run(agent, "count 2")).tool_calls[0].result == "2"

        async def test_second(self, aitest_run):
            assert (await aitest_run(agent, "count 3")).tool_calls[0].result == "5"
"""
)


def started(folder: Path) -> list[int]:
    """Process ids of all servers that the run has started."""
    return [int(line) for line in (folder / "pids").read_text().split()]


def assert_all_gone(folder: Path) -> None:
    processes = [psutil.Process(pid) for pid in started(folder) if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive


def test_one_server_serves_all_turns_and_is_gone_at_the_end(project: Project) -> None:
    project.write(test_count=FLOW, counter=COUNTER)
    project.run().assert_outcomes(passed=2)
    assert len(started(project.path)) == 1
    assert_all_gone(project.path)


def test_no_server_is_left_by_a_failed_turn(project: Project) -> None:
    project.write(test_count=FLOW.replace('"2"', '"3"'), counter=COUNTER)
    project.run("-x").assert_outcomes(failed=1)
    assert_all_gone(project.path)


def test_no_server_is_left_by_a_turn_that_ran_out_of_time(project: Project) -> None:
    project.write(
        test_count=PRELUDE
        + """

    import asyncio

    async def slow(messages, tools):
        await asyncio.Event().wait()

    async def test_slow(aitest_run):
        slow_agent = Agent(provider=Provider(model=slow), mcp_servers=[server])
        assert await aitest_run(slow_agent, "count 1", timeout_seconds=0.05)
""",
        counter=COUNTER,
    )
    project.run().assert_outcomes(failed=1)
    assert len(started(project.path)) == 1
    assert_all_gone(project.path)


def test_a_server_that_dies_in_a_turn_is_named_and_its_last_words_shown(project: Project) -> None:
    project.write(
        test_count=PRELUDE
        + """

    @pytest.mark.session("dying")
    class TestDying:
        async def test_dies(self, aitest_run):
            result = await aitest_run(agent, "die")
            assert result.error_kind == "server_died"
            assert result

        async def test_later(self, aitest_run):
            await aitest_run(agent, "count 1")
""",
        counter=COUNTER,
    )
    project.shows_what_is_expected()
    assert_all_gone(project.path)


def test_a_server_that_died_stays_dead_for_the_session(project: Project) -> None:
    project.write(
        test_count=PRELUDE
        + """

    @pytest.mark.session("dying")
    class TestDying:
        async def test_dies(self, aitest_run):
            assert not await aitest_run(agent, "die")

        async def test_later(self, aitest_run):
            assert (await aitest_run(agent, "count 1")).error_kind == "server_died"
""",
        counter=COUNTER,
    )
    project.run().assert_outcomes(passed=2)
    assert len(started(project.path)) == 1


def test_from_the_third_session_on_a_server_is_started_ahead_and_none_in_vain(project: Project) -> None:
    flow = FLOW.replace(
        '@pytest.mark.session("counting")',
        '@pytest.mark.session("counting")\n    @pytest.mark.parametrize("n", range(4))',
    )
    project.write(test_count=flow.replace("aitest_run):", "aitest_run, n):"), counter=COUNTER)
    project.run().assert_outcomes(passed=8)
    assert len(started(project.path)) == 4
    assert_all_gone(project.path)


def test_unmarked_calls_are_conversations_of_their_own_one_after_another(project: Project) -> None:
    project.write(
        test_count=PRELUDE
        + """

    async def test_alone(aitest_run):
        for _ in range(2):
            assert (await aitest_run(agent, "count 2")).tool_calls[0].result == "2"


    async def test_reset(aitest_run):
        again = MCPServer(command=["python", "counter.py", "pids"], reset="count_to_zero")
        other = Agent(name="other", provider=Provider(model=model), mcp_servers=[again])
        for _ in range(2):
            assert (await aitest_run(other, "count 2")).tool_calls[0].result == "2"
""",
        counter=COUNTER.replace(
            "    server.run()",
            """    @server.tool()
    def count_to_zero() -> None:
        state["count"] = 0


    server.run()""",
        ),
    )
    project.run().assert_outcomes(passed=2)
    assert_all_gone(project.path)


def test_a_server_that_depends_on_a_function_fixture_is_refused(project: Project) -> None:
    project.write(
        test_count=PRELUDE
        + """

    @pytest.mark.session("counting")
    class TestCounting:
        async def test_first(self, aitest_run, tmp_path):
            server = MCPServer(command=["python", "counter.py", str(tmp_path / "pids")])
            await aitest_run(Agent(name="a", provider=Provider(model=model), mcp_servers=[server]), "count 2")

        async def test_second(self, aitest_run, tmp_path):
            server = MCPServer(command=["python", "counter.py", str(tmp_path / "pids")])
            await aitest_run(Agent(name="a", provider=Provider(model=model), mcp_servers=[server]), "count 2")
""",
        counter=COUNTER,
    )
    output = project.output()
    assert (
        "Server 'counter' of agent 'a' is declared differently than in an earlier turn of this session: command was"
        in output
    )
    assert "give the fixture class scope" in output
    project.run().assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize("blocking", [False, True], ids=["awaited", "blocking"])
def test_no_server_is_left_by_ctrl_c(project: Project, blocking: bool) -> None:
    speak = "aitest_session.say('now', agent=stuck)" if blocking else "await aitest_run(stuck, 'now')"
    project.write(
        test_count=PRELUDE
        + f"""

    import asyncio

    async def waits(messages, tools):
        print("the model is asked", flush=True)
        await asyncio.Event().wait()

    stuck = Agent(name="counter", provider=Provider(model=waits), mcp_servers=[server])

    @pytest.mark.session("counting")
    class TestCounting:
        async def test_first(self, aitest_run):
            await aitest_run(agent, "count 2")

        {"" if blocking else "async "}def test_second(self, aitest_run, aitest_session):
            {speak}
""",
        counter=COUNTER,
    )
    command = [sys.executable, "-m", "pytest", "-p", "aitest", "-s"]
    with subprocess.Popen(command, cwd=project.path, stdout=subprocess.PIPE, text=True, start_new_session=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if "the model is asked" in line:
                os.kill(run.pid, signal.SIGINT)
        assert run.wait(30) == pytest.ExitCode.INTERRUPTED
    assert_all_gone(project.path)


def test_no_server_is_left_by_a_run_that_is_killed(project: Project) -> None:
    project.write(
        test_count=PRELUDE
        + """

    async def test_killed(aitest_run, aitest_session):
        import os, signal
        await aitest_run(agent, "count 2")
        os.kill(os.getpid(), signal.SIGKILL)
""",
        counter=COUNTER,
    )
    project.run()
    assert_all_gone(project.path)


def test_context_turns_give_the_selected_one_its_state(project: Project) -> None:
    project.write(test_count=FLOW, counter=COUNTER)
    project.run("-k", "second").assert_outcomes(passed=1, deselected=1)

"""Under xdist all turns of a session run on one worker, in order, in every mode; a crash loses one session only."""

import re

import pytest

from .conftest import Project
from .test_flows import ECHO

# Every turn notes which process took it; a flow that was cut would not have the history that its turns expect.
FLOWS = (
    ECHO
    + """

    @pytest.mark.session("long")
    @pytest.mark.parametrize("number", range(5))
    class TestLong:
        async def test_1(self, aitest_run, number):
            assert (await aitest_run(agent, "one")).final_response == "one"

        @pytest.mark.xdist_group("elsewhere")
        async def test_2(self, aitest_run, number):
            assert (await aitest_run(agent, "two")).final_response == "one | two"

        async def test_3(self, aitest_run, number):
            assert (await aitest_run(agent, "three")).final_response == "one | two | three"


    @pytest.mark.session("tricky ids")
    @pytest.mark.parametrize("text", ["a::b", "c::d[e]"])
    class TestTricky:
        async def test_1(self, aitest_run, text):
            await aitest_run(agent, "one")

        async def test_2(self, aitest_run, text):
            assert (await aitest_run(agent, "two")).final_response == "one | two"


    @pytest.mark.parametrize("number", range(7))
    def test_unrelated(number):
        pass
"""
)
TURNS = 5 * 3 + 2 * 2
OTHERS = 7


@pytest.mark.parametrize("mode", ["load", "loadscope", "loadfile", "loadgroup", "worksteal"])
def test_flows_stay_whole_in_every_mode(project: Project, mode: str) -> None:
    project.write(test_a=FLOWS, test_b=FLOWS)
    result = project.run("-n2", f"--dist={mode}", plugins=("xdist",))
    result.assert_outcomes(passed=2 * (TURNS + OTHERS))


def test_every_worker_runs_every_flow_in_mode_each(project: Project) -> None:
    project.write(test_a=FLOWS)
    project.run("-n2", "--dist=each", plugins=("xdist",)).assert_outcomes(passed=2 * (TURNS + OTHERS))


def test_chunks_of_one_test_still_keep_flows_whole(project: Project) -> None:
    project.write(test_a=FLOWS)
    project.run("-n2", "--maxschedchunk=1", plugins=("xdist",)).assert_outcomes(passed=TURNS + OTHERS)


@pytest.mark.parametrize("mode", ["load", "loadscope", "worksteal"])
def test_a_crash_skips_the_rest_of_its_session_only(project: Project, mode: str) -> None:
    project.write(
        test_a=FLOWS
        + """

    @pytest.mark.session("crashing")
    class TestCrashing:
        async def test_1(self, aitest_run):
            await aitest_run(agent, "one")

        async def test_2(self):
            import os
            os._exit(1)

        async def test_3(self, aitest_run):
            await aitest_run(agent, "three")

        async def test_4(self, aitest_run):
            await aitest_run(agent, "four")
"""
    )
    result = project.run("-n2", f"--dist={mode}", "-rs", plugins=("xdist",))
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] == 1
    assert outcomes["passed"] == TURNS + OTHERS + 1
    reasons = re.findall(r"SKIPPED \[\d\] \S+: (.*)", result.stdout.str())
    assert set(reasons) == {"session crashing: its worker died in turn test_2"}


def test_without_session_tests_the_stock_scheduler_deals_out(project: Project) -> None:
    project.write(
        conftest="""
        def pytest_sessionfinish(session):
            distributed = session.config.pluginmanager.get_plugin("dsession")
            if distributed is not None:
                print("dealt out by", type(distributed.sched._chosen))
        """,
        test_a="def test_one():\n    pass\n\ndef test_two():\n    pass\n",
    )
    output = project.output("-n1", "-v", plugins=("xdist",))
    assert "scheduling tests via LoadScheduling" in output
    assert "dealt out by <class 'xdist.scheduler.load.LoadScheduling'>" in output


def test_the_summary_counts_the_turns_of_all_workers(project: Project) -> None:
    project.write(test_a=FLOWS)
    output = project.output("-n2", plugins=("xdist",))
    assert f"aitest: {TURNS} turns, {TURNS} model calls, 0 tokens, $0.00\n" in output


def test_a_failure_shows_its_turn_on_the_controller(project: Project) -> None:
    project.write(
        test_a=ECHO
        + """

    @pytest.mark.session("chat")
    class TestChat:
        async def test_first(self, aitest_run):
            assert (await aitest_run(agent, "one")).tool_was_called("transfer")

        async def test_second(self, aitest_run):
            await aitest_run(agent, "two")
"""
    )
    assert "--- turn 1 of chat ---\n  user    one\n  agent   one\n" in project.output("-n1", plugins=("xdist",))

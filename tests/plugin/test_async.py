"""Coroutine tests run under whatever the project has, and under us where it has nothing."""

import pytest

from .conftest import Project
from .test_flows import ECHO

FLOW = (
    ECHO
    + """

    @pytest.mark.session("chat")
    class TestChat:
        async def test_first(self, aitest_run):
            assert (await aitest_run(agent, "one")).success

        async def test_second(self, aitest_run):
            assert (await aitest_run(agent, "two")).final_response == "one | two"


    async def test_alone(aitest_run):
        assert (await aitest_run(agent, "one")).final_response == "one"
"""
)


def test_without_any_async_plugin(project: Project) -> None:
    project.write(test_chat=FLOW)
    project.run().assert_outcomes(passed=3)


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_under_pytest_asyncio(project: Project, mode: str) -> None:
    project.write(test_chat=FLOW)
    result = project.run(
        f"--asyncio-mode={mode}", "-o", "asyncio_default_fixture_loop_scope=function", plugins=("asyncio",)
    )
    result.assert_outcomes(passed=3)


def test_marked_for_pytest_asyncio_in_strict_mode(project: Project) -> None:
    project.write(
        test_chat=FLOW.replace('@pytest.mark.session("chat")', '@pytest.mark.asyncio\n    @pytest.mark.session("chat")')
    )
    project.run("-o", "asyncio_default_fixture_loop_scope=function", plugins=("asyncio",)).assert_outcomes(passed=3)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_under_the_plugin_of_anyio(project: Project, backend: str) -> None:
    project.write(
        conftest=f"""
        import pytest

        @pytest.fixture
        def anyio_backend():
            return {backend!r}
        """,
        test_chat=FLOW.replace("import pytest\n", "import pytest\n    import sniffio\n", 1)
        .replace('@pytest.mark.session("chat")', '@pytest.mark.anyio\n    @pytest.mark.session("chat")')
        .replace(
            '            assert (await aitest_run(agent, "one")).success',
            f"            assert sniffio.current_async_library() == {backend!r}\n"
            "            await aitest_run(agent, 'one')",
        ),
    )
    project.run(plugins=("anyio",)).assert_outcomes(passed=3)


def test_parametrized_backends_of_anyio_are_two_flows(project: Project) -> None:
    project.write(
        test_chat=FLOW.replace('@pytest.mark.session("chat")', '@pytest.mark.anyio\n    @pytest.mark.session("chat")')
    )
    project.shows_what_is_expected("-v", plugins=("anyio",))


def test_coroutines_that_are_not_ours_stay_untouched(project: Project) -> None:
    project.write(test_other="async def test_nothing_of_us():\n    pass\n")
    project.run().assert_outcomes(failed=1)


def test_turns_may_be_tasks(project: Project) -> None:
    project.write(
        test_chat=ECHO
        + """
    import asyncio


    async def test_side_by_side(aitest_run, aitest_session):
        task = asyncio.create_task(aitest_run(agent, "one"))
        both = await asyncio.gather(aitest_run(agent, "two"), task)
        assert sorted(turn.user for turn in aitest_session.turns) == ["one", "two"]
        assert len(both) == 2


    async def test_a_cancelled_turn_leaves_no_trace(aitest_run, aitest_session):
        never = Agent(provider=Provider(model=never_answers))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(aitest_run(never, "one"), 0.1)
        assert (await aitest_run(agent, "two")).final_response == "two"


    async def test_a_task_that_never_ran_was_not_forgotten(aitest_run):
        asyncio.create_task(aitest_run(agent, "one")).cancel()


    async def never_answers(messages, tools):
        await asyncio.Event().wait()
"""
    )
    project.run().assert_outcomes(passed=3)


def test_a_forgotten_await_in_a_sync_test_is_named(project: Project) -> None:
    project.write(
        test_chat=ECHO
        + """

    @pytest.mark.session("chat")
    class TestChat:
        def test_forgot(self, aitest_run):
            aitest_run(agent, "one")
"""
    )
    project.shows_what_is_expected("-W", "error")


@pytest.mark.parametrize("use", ["assert result", "assert result.success", 'assert result.tool_was_called("x")'])
def test_a_result_that_was_not_awaited_says_so(project: Project, use: str) -> None:
    project.write(
        test_chat=ECHO
        + f"\n\n    def test_forgot(aitest_run):\n        result = aitest_run(agent, 'one')\n        {use}\n"
    )
    output = project.output("-W", "error")
    assert "SessionError: aitest_run(...) is a coroutine" in output
    assert "Write `result = await aitest_run(...)`" in output.replace("\nE   ", " ")


def test_a_forgotten_await_in_a_coroutine_test_is_named(project: Project) -> None:
    project.write(test_chat=ECHO + "\n\n    async def test_forgot(aitest_run):\n        aitest_run(agent, 'one')\n")
    assert "\naitest_run(...) is a coroutine, and the test never awaited it: " in project.output("-W", "error")


def test_names_of_the_upstream_plugin_are_accepted(project: Project) -> None:
    project.write(
        test_chat=ECHO
        + "\n\n    async def test_it(aitest_run):\n"
        + "        assert await aitest_run(agent, 'one', max_turns=2, timeout_ms=5000)\n"
    )
    project.run().assert_outcomes(passed=1)

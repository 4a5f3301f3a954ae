"""A project that has us installed and uses nothing of us does not notice."""

from .conftest import Project

HEAVY = ("litellm", "mcp", "hypothesis.stateful", "rich", "anyio", "pydantic", "pytest_aitest.conversation")


def test_nothing_heavy_is_imported_in_a_project_that_does_not_use_us(project: Project) -> None:
    project.write(
        test_trivial=f"""
        import sys


        def test_trivial():
            assert not [name for name in {HEAVY!r} if name in sys.modules]
        """
    )
    project.run("-p", "no:anyio", forked=False).assert_outcomes(passed=1)


def test_litellm_is_not_imported_by_a_conversation_without_it(project: Project) -> None:
    project.write(
        test_chat="""
        import sys
        from pytest_aitest import Agent, Provider

        agent = Agent(provider=Provider(model=lambda messages, tools: "hello"))


        async def test_chat(aitest_run):
            assert await aitest_run(agent, "hi")
            assert "litellm" not in sys.modules
            assert "mcp" not in sys.modules
        """
    )
    project.run(forked=False).assert_outcomes(passed=1)


def test_the_output_of_a_project_that_does_not_use_us_is_the_same_without_us(project: Project) -> None:
    project.write(
        test_plain="""
        import unittest

        import pytest


        @pytest.fixture(params=[1, 2])
        def number(request):
            return request.param


        class TestPlain:
            def test_passes(self, number):
                assert number

            def test_fails(self):
                assert 1 == 2

            @pytest.mark.skip(reason="why not")
            def test_skipped(self):
                pass


        class TestUnit(unittest.TestCase):
            def test_unit(self):
                self.assertTrue(True)
        """
    )
    assert project.output("-v") == project.output("-v", "-p", "no:aitest")


def test_an_agent_may_be_declared_where_nobody_runs_pytest(project: Project) -> None:
    result = project._pytester.runpython_c(
        "import sys, pytest_aitest\n"
        "assert 'pydantic' not in sys.modules\n"
        "agent = pytest_aitest.Agent(provider=pytest_aitest.Provider(model='builtin'))\n"
        "assert 'mcp' not in sys.modules and 'litellm' not in sys.modules\n"
        "print(agent.name)\n"
    )
    assert result.stdout.str().strip() == "agent"

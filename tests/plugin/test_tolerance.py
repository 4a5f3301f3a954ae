"""Which rate of failures an exploration accepts is said in the class, or by a marker; the closest marker counts."""

import re

import pytest

from .conftest import Project
from .test_explored_flows import explored

HEAD = """
    import pytest
    from pytest_aitest import Agent, Provider
    from pytest_aitest.stateful import SessionMachine, rule


    def bad(messages, tools):
        return "bad"


    agent = Agent(name="bad", provider=Provider(model=bad))
    tolerate = pytest.mark.tolerate


    class Chat:
        @pytest.mark.turn(needs=())
        async def test_first(self, aitest_run, model="m"):
            assert (await aitest_run(agent, "one")).final_response == "good"


    class Machine(SessionMachine):
        agent = agent
        confirm_runs = 1

        @rule()
        def ask(self):
            assert self.say("one").final_response == "good"
"""

EACH = pytest.mark.parametrize(
    "kind",
    ['@pytest.mark.session("chat", explore=True)\n    class Test(Chat):', "class Test(Machine):"],
    ids=["flow", "machine"],
)
IN_CLASS = {
    "marker": ("@tolerate(1)", "pass", "PASSED"),
    "keyword": ("@tolerate(rate=1.0)", "pass", "PASSED"),
    "attribute": ("", "tolerate = 1.0", "PASSED"),
    "marker before attribute": ("@tolerate(0.9)", "tolerate = 1.0", "FAILED"),
    "whole number": ("@tolerate(1)", "tolerate = 0", "PASSED"),
    "exploration only": ("", "explore_marks = tolerate(1)", "PASSED"),
    "exploration before class": ("@tolerate(0)", "explore_marks = [tolerate(1)]", "PASSED"),
    "neither": ("", "pass", "FAILED"),
}


@EACH
def test_what_a_class_or_its_closest_marker_accepts_is_a_warning(project: Project, kind: str) -> None:
    tests = {
        f"test_{number}": f"{HEAD}\n\n    {mark}\n    {kind}\n        {body}\n"
        for number, (mark, body, _) in enumerate(IN_CLASS.values())
    }
    project.write(**tests)
    output = explored(project, "-v", "--strict-markers", "-k", "explore")
    outcomes = re.findall(r"::explore (\w+)", output)
    assert dict(zip(IN_CLASS, outcomes, strict=True)) == {case: outcome for case, (_, _, outcome) in IN_CLASS.items()}
    assert output.count("ExplorationWarning: Test::explore:") == outcomes.count("PASSED"), output


@EACH
def test_the_marker_of_a_class_goes_before_that_of_its_parent_and_of_its_module(project: Project, kind: str) -> None:
    own = kind.replace("(Chat)", "(Mild)").replace("(Machine)", "(Mild)")
    parent = "Chat" if "Chat" in kind else "Machine"
    mild = f"{HEAD}\n    pytestmark = tolerate(0.1)\n\n    @tolerate(1)\n    class Mild({parent}):\n        pass\n\n"
    project.write(
        test_inherited=f"{mild}\n    {own}\n        pass\n",
        test_own=f"{mild}\n    @tolerate(0.2)\n    {own}\n        pass\n",
    )
    output = explored(project, "-v", "-k", "explore and Test")
    assert re.findall(r"::explore (\w+)", output) == ["PASSED", "FAILED"]


def test_a_model_may_be_allowed_more_than_others(project: Project) -> None:
    models = '@pytest.mark.parametrize("model", ["large", pytest.param("small", marks=tolerate(1))])'
    project.write(
        test_flow=f"""{HEAD}

    {models}
    @tolerate(0)
    @pytest.mark.session("chat", explore=True)
    class TestFlow:
        @pytest.mark.turn(needs=())
        async def test_first(self, aitest_run, model):
            assert (await aitest_run(agent, "one")).final_response == "good"


    {models}
    @tolerate(0)
    class TestMachine(Machine):
        def make_agent(self, model):
            return agent
"""
    )
    output = explored(project, "-v", "-k", "explore")
    assert sorted(re.findall(r"(\w+)::explore(\[\w+\]) (\w+)", output)) == [
        ("TestFlow", "[large]", "FAILED"),
        ("TestFlow", "[small]", "PASSED"),
        ("TestMachine", "[large]", "FAILED"),
        ("TestMachine", "[small]", "PASSED"),
    ]


WRONG = {
    "missing": ("@tolerate()", "pass", "Test has the marker tolerate(), which takes one argument: the rate"),
    "bare": ("@tolerate", "pass", "Test has the marker tolerate(), which takes one argument: the rate"),
    "text": ("@tolerate('0.2')", "pass", "Test has the marker tolerate('0.2'), which takes one"),
    "percent": ("@tolerate(20)", "pass", "Test has the marker tolerate(20), which takes one"),
    "negative": ("@tolerate(-0.1)", "pass", "Test has the marker tolerate(-0.1), which takes one"),
    "not a number": ("@tolerate(float('nan'))", "pass", "Test has the marker tolerate(nan), which takes one"),
    "truth": ("@tolerate(True)", "pass", "Test has the marker tolerate(True), which takes one"),
    "two": ("@tolerate(0.1, 0.2)", "pass", "Test has the marker tolerate(0.1, 0.2), which takes one"),
    "keyword": ("@tolerate(share=0.1)", "pass", "Test has the marker tolerate(share=0.1), which takes one"),
    "both": ("@tolerate(0.1, why='no')", "pass", "Test has the marker tolerate(0.1, why='no'), which takes one"),
    "attribute": ("", "tolerate = 20", "Test has tolerate = 20, and what it accepts is a rate of failures, a number"),
    "attribute text": ("", "tolerate = '1'", "Test has tolerate = '1', and what it accepts is a rate of failures"),
    "no runs": ("", "confirm_runs = 0", "Test has confirm_runs = 0, and it is in so many fresh runs that a failure"),
    "half a run": ("", "confirm_runs = 2.5", "Test has confirm_runs = 2.5, and it is in so many fresh runs"),
}


@EACH
def test_limits_that_cannot_be_meant_are_refused_at_collection(project: Project, kind: str) -> None:
    project.write(
        **{
            f"test_{number:02}": f"{HEAD}\n\n    {mark}\n    {kind}\n        {body}\n"
            for number, (mark, body, _) in enumerate(WRONG.values())
        }
    )
    output = explored(project)
    told = [" ".join(text.split()) for text in re.split(r"^___ ERROR collecting .* ___$", output, flags=re.MULTILINE)]
    silent = [case for (case, (_, _, what)), text in zip(WRONG.items(), told[1:], strict=True) if what not in text]
    assert silent == [], told
    assert f"{len(WRONG)} errors" in output
    assert "src/pytest_aitest" not in output


def test_a_marker_that_is_added_later_is_refused_when_the_exploration_runs(project: Project) -> None:
    project.write(
        test_chat=f"{HEAD}\n\n    class Test(Machine):\n        pass\n",
        conftest="""
    import pytest

    def pytest_collection_modifyitems(items):
        for item in items:
            item.add_marker(pytest.mark.tolerate(2))
""",
    )
    output = explored(project)
    assert "Test has the marker tolerate(2), which takes one argument" in output
    assert "src/pytest_aitest" not in output

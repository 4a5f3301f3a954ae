"""Several conversations of one exploration at once, as a user sees it: sooner, and with nothing else changed."""

import re
import shutil

import pytest

from pytest_aitest.plugin.exploring import _lanes
from pytest_aitest.stateful import SessionMachine

from .conftest import Project

PLUGIN = "_hypothesis_pytestplugin"
SEED = ("--hypothesis-seed=1", "-p", "no:cacheprovider")

# Lanes begin once a turn was slow; `together` ends when so many conversations wait in it at once.
LANES = """
    import contextvars
    import random
    import threading

    import pytest
    from hypothesis import strategies as st
    from pytest_aitest import Agent, Provider
    from pytest_aitest.stateful import Bundle, SessionMachine, event, invariant, note, pinned, rule

    CHANGED = threading.Condition()
    NEVER = threading.Event()
    WANTED = {"together": 1}
    AT_ONCE = set()
    UNDER_WAY, MOST = [], [0]


    def slowly(messages, tools):
        with CHANGED:
            UNDER_WAY.append(1)
            MOST.append(len(UNDER_WAY))
        if len(messages) == 1:
            NEVER.wait(0.11)
        with CHANGED:
            UNDER_WAY.pop()
        return " | ".join(message["content"] for message in messages if message["role"] == "user")


    def together(messages, tools):
        "Wait, from the second turn on, until so many conversations do."
        if len(messages) == 1:
            NEVER.wait(0.11)
        elif not WANTED.get("were"):
            me = threading.get_ident()
            with CHANGED:
                AT_ONCE.add(me)
                if len(AT_ONCE) >= WANTED["together"]:
                    WANTED["were"] = True
                    CHANGED.notify_all()
                assert CHANGED.wait_for(lambda: WANTED.get("were"), 20), "there is but one conversation at once"
        return "hello"


    class Echo(SessionMachine):
        agent = Agent(name="echo", provider=Provider(model=slowly))

        @rule()
        def greet(self):
            self.say("Hello")

        @rule(amount=st.integers(1, 40))
        def pay(self, amount):
            self.say(f"Pay {amount}")

        @rule()
        def thank(self):
            self.say("Thanks")

        @pinned
        def documented(self):
            self.greet()
            self.pay(amount=20)
            self.thank()
"""

FAILING = """
    class TestEcho(Echo):
        confirm_runs = 2

        @rule()
        def thank(self):
            note(f"thanked after {len(self.session.turns)} turns")
            event("thanked")
            self.say("Thanks")

        @invariant()
        def not_too_much(self):
            said = [turn.user for turn in self.session.turns]
            paid = int(said[-1][4:]) if said and said[-1].startswith("Pay") else 0
            assert paid < 23 or "Thanks" not in said
"""

FLOW = """
    @pytest.mark.session("chat", explore=True)
    class TestChat:
        async def test_first(self, aitest_run):
            await aitest_run(Echo.agent, "one")

        async def test_second(self, aitest_run):
            assert "one" in (await aitest_run(Echo.agent, "two")).final_response

        async def test_third(self, aitest_run):
            assert "two" in (await aitest_run(Echo.agent, "three")).final_response
"""


def told(project: Project, text: str, *arguments: str) -> str:
    """What a run tells of an exploration, without what was asked, but for what the search counts."""
    shutil.rmtree(project.path / ".hypothesis", ignore_errors=True)  # else the failure is tried first the next time
    project.write(test_it=LANES + text)
    output = project.output(*SEED, "-k", "explore", *arguments, plugins=(PLUGIN,))
    output = re.sub(r", \d+ more begun before they were needed", "", output)
    output = re.sub(r"\d+ model calls?, free(, [\d.]+ s)?", "N model calls, free", output)
    return re.sub(r"\d+\s+fresh\s+turns?,", "N fresh turns,", " ".join(output.rpartition("\naitest: ")[0].split()))


def flat(result: pytest.RunResult) -> str:
    return " ".join(result.stdout.str().split())


def passes(project: Project, text: str, *arguments: str, passed: int, failed: int = 0) -> str:
    project.write(test_it=LANES + text)
    result = project.run(*SEED, *arguments, plugins=(PLUGIN,))
    result.assert_outcomes(passed=passed, failed=failed)
    return flat(result)


def test_so_many_conversations_are_had_at_once(project: Project) -> None:
    text = """
    WANTED["together"] = 4

    class TestEcho(Echo):
        agent = Agent(name="echo", provider=Provider(model=together, timeout_seconds=60))
        plans = 12
"""
    passes(project, text, "--aitest-lanes=4", "-k", "explore", passed=1)


@pytest.mark.parametrize(("text", "lanes"), [(FAILING, [2, 8]), (FLOW, [4])], ids=["machine", "session class"])
def test_what_is_told_does_not_depend_on_the_number_of_lanes(project: Project, text: str, lanes: list[int]) -> None:
    one = told(project, text, "--aitest-lanes=1")
    assert ("shortest conversation that fails: 2 turns" in one) == (text is FAILING)
    assert ("note: thanked after 0 turns" in one) == (text is FAILING)
    assert ("test_second fails unless test_first has run" in one) == (text is FLOW)
    for number in lanes:
        assert told(project, text, f"--aitest-lanes={number}") == one


ONE_LANE = """
    def drawing(messages, tools):
        random.random()
        return slowly(messages, tools)


    class Few(Echo):
        plans = 3


    class TestState(Few):
        seen = []


    class TestInit(Few):
        def __init__(self):
            super().__init__()


    class TestLots(Few):
        agent = Agent(name="lots", provider=Provider(model=drawing))


    def test_that_it_was_one():
        assert max(MOST) == 1
"""


def test_what_conversations_would_change_for_one_another_makes_it_one_at_a_time_and_is_said(project: Project) -> None:
    output = passes(project, ONE_LANE, "--aitest-lanes=4", "-v", passed=7)
    assert (
        "One conversation at a time: TestState keeps state on the class, `seen`, which all conversations would share."
        in output
    )
    assert "One conversation at a time: TestInit has an __init__ of its own, and what that shares" in output
    assert "One conversation at a time: model function 'drawing' draws from the global `random`" in output
    assert "One conversation" not in passes(project, ONE_LANE, "--aitest-lanes=1", "-v", passed=7)


@pytest.mark.parametrize(
    ("arguments", "ini", "says"),
    [
        (["--aitest-lanes=0"], "", "aitest_lanes = 0: it is a number, 1 or more."),
        (["--aitest-lanes=-1"], "", "aitest_lanes = -1: it is a number, 1 or more."),
        (["--aitest-lanes=x"], "", "argument --aitest-lanes: invalid int value: 'x'"),
        ([], "0", "aitest_lanes = 0: it is a number, 1 or more."),
        ([], "many", "aitest_lanes = many: it is a number, 1 or more."),
    ],
    ids=str,
)
def test_a_number_of_lanes_that_is_none_is_refused(project: Project, arguments: list[str], ini: str, says: str) -> None:
    (project.path / "pytest.ini").write_text(f"[pytest]\naitest_lanes = {ini}\n" if ini else "[pytest]\n")
    result = project.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert says in result.stderr.str()


@pytest.mark.parametrize(
    ("options", "lanes"),
    [([], 4), (["--pdb"], 1), (["--trace"], 1), (["-s"], 1), (["--aitest-lanes=3"], 3)],
    ids=str,
)
def test_whoever_debugs_or_reads_along_has_one_conversation_at_a_time(
    pytester: pytest.Pytester, options: list[str], lanes: int
) -> None:
    assert _lanes(type("Machine", (SessionMachine,), {}), pytester.parseconfig(*options)) == lanes


def test_it_is_one_at_a_time_where_output_is_not_captured(project: Project) -> None:
    text = """
    class TestEcho(Echo):
        plans = 3


    def test_that_it_was_one():
        assert max(MOST) == 1
"""
    passes(project, text, "-s", passed=3)


SURROUNDED = """
    VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")
    THREADS = set()


    @pytest.fixture
    def surroundings():
        token = VARIABLE.set("set")
        yield "given"
        VARIABLE.reset(token)


    class TestEcho(Echo):
        def make_agent(self, surroundings):
            assert surroundings == "given"
            return Echo.agent

        @rule()
        def look_around(self):
            assert VARIABLE.get() == "set"
            assert self.wait(self.look()) == "set"
            THREADS.add(threading.current_thread().name)
            self.say("Well")

        async def look(self):
            return VARIABLE.get()


    def test_that_there_were_lanes():
        assert "MainThread" in THREADS
        assert any(name.startswith("aitest-lane") for name in THREADS)


    def test_that_none_is_left():
        assert not [each for each in threading.enumerate() if each.name.startswith("aitest-lane")]
"""


def test_fixtures_what_they_set_and_coroutines_are_the_same_in_every_lane(project: Project) -> None:
    passes(project, SURROUNDED, "--aitest-lanes=4", passed=4)


LED = """
    class TestCarts(Echo):
        plans, confirm_runs = 8, 2
        carts = Bundle("carts")

        @rule(target=carts)
        def open_cart(self):
            return self.say("Open").final_response

        @rule(cart=carts)
        def check_out(self, cart):
            self.say("Check out")
            assert len(self.session.turns) < 3

        @pinned
        def documented(self):
            cart = self.open_cart()
            self.check_out(cart)
"""


def test_a_machine_that_hypothesis_leads_comes_to_the_same_end(project: Project) -> None:
    one = told(project, LED, "--aitest-lanes=1")
    assert "shortest conversation that fails: 3 turns" in one
    assert told(project, LED, "--aitest-lanes=4") == one

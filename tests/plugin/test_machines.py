"""What a person who writes a machine sees: its tests, a failure cut down, what it cost, what was wrong with it."""

import re
import subprocess
import sys

import pytest

from pytest_aitest.values.run_record import read_run

from .conftest import Project

SEED = ("--hypothesis-seed=1", "-p", "no:cacheprovider")
HYPOTHESIS = ("hypothesispytest",)

BANK = """
    from mcp.types import ToolAnnotations
    from pytest_aitest import Agent, MCPServer, Provider

    try:
        from mcp.server import MCPServer as Server
    except ImportError:
        from mcp.server.fastmcp import FastMCP as Server


    def build():
        server, balances = Server("bank"), {"checking": 1500, "savings": 3000}

        @server.tool(structured_output=False)
        def withdraw(amount: int) -> str:
            balances["checking"] -= amount
            return str(balances["checking"])

        @server.tool(structured_output=False)
        def deposit(amount: int) -> str:
            balances["savings"] += amount
            return str(balances["savings"])

        @server.tool(annotations=ToolAnnotations(readOnlyHint=True))
        def get_all_balances() -> dict[str, int]:
            return {**balances, "total": sum(balances.values())}

        return server


    def tool(name, **arguments):
        return {"tool_calls": [{"name": name, "arguments": arguments}]}


    def forgetful(messages, tools):
        said = [message["content"] for message in messages if message["role"] == "user"]
        begins = max(place for place, message in enumerate(messages) if message["role"] == "user")
        done = len(messages) - begins - 1
        if not said[-1].startswith("Transfer"):
            return "Hello!"
        amount = int("".join(filter(str.isdigit, said[-1])))
        if not done:
            return tool("withdraw", amount=amount)
        if done == 2 and sum(text.startswith("Transfer") for text in said) == 1:
            return tool("deposit", amount=amount)
        return f"Done! I moved ${amount} to savings."


    def echo(messages, tools):
        return messages[-1]["content"]


    def calling(name):
        def model(messages, tools):
            return f"It said {messages[-1]['content']}" if messages[-1]["role"] == "tool" else tool(name)

        return model


    bank_agent = Agent(name="bank", provider=Provider(model=forgetful), mcp_servers=[MCPServer(factory=build)])
    echo_agent = Agent(name="echo", provider=Provider(model=echo))
"""

IMPORTS = """
    import os
    import random
    import sys
    from itertools import count

    import pytest
    from bank import Server, ToolAnnotations, bank_agent, build, calling, echo, echo_agent, tool
    from hypothesis import Verbosity, settings
    from hypothesis import strategies as st
    from pytest_aitest import Agent, MCPServer, Provider
    from pytest_aitest.checks import called_at_most
    from pytest_aitest.stateful import (
        Bundle, SessionMachine, assume, consumes, event, initialize, invariant, multiple, note, pinned, precondition,
        rule,
    )
    from pytest_aitest.values.errors import ProviderError
"""

BANKING = """
    class Banking(SessionMachine):
        agent = bank_agent

        @rule()
        def greet(self):
            assert self.say("Hello").success

        @rule(amount=st.sampled_from([1, 200]))
        def transfer(self, amount):
            self.say(f"Transfer ${amount} from checking to savings")

        @invariant()
        def money_is_conserved(self):
            balances = self.call_tool("get_all_balances")
            assert balances["total"] == 4_500

        @pinned
        def documented(self):
            self.greet()
            self.transfer(amount=200)
"""

TEST_BANKING = BANKING.replace("class Banking", "class TestBanking")

COUNTER = """
    import os
    from bank import Server

    with open("processes", "a") as file:
        print(os.getpid(), file=file)

    server, calls = Server("counter"), []

    @server.tool(structured_output=False)
    def count() -> str:
        calls.append(1)
        if len(calls) == 9:
            os._exit(3)
        return str(len(calls))

    if __name__ == "__main__":
        server.run()
"""


def written(project: Project, text: str) -> Project:
    project.write(bank=BANK, test_it=IMPORTS + text)
    return project


def output(project: Project, text: str, *arguments: str) -> str:
    return written(project, text).output(*SEED, *arguments, plugins=HYPOTHESIS)


def of_test(said: str, name: str) -> str:
    """What the output of a run tells of one failed test."""
    failure = re.search(rf"^___ {re.escape(name)} ___\n(.*?)(?=^(___|===) )", said, re.MULTILINE | re.DOTALL)
    assert failure is not None, said
    return failure[1]


def conversation(said: str) -> list[str]:
    """The steps of the shortest conversation, as code."""
    shortest = said.partition("--- shortest conversation ")[2].partition("\n---")[0]
    return re.findall(r"^\d+ (.*)", shortest, re.MULTILINE)


# What is found


def test_a_defect_is_cut_down_shown_with_its_conversation_and_as_code_to_keep(project: Project) -> None:
    written(project, TEST_BANKING).shows_what_is_expected("-v", *SEED, plugins=HYPOTHESIS)


def test_pinned_orders_are_tests_of_their_own_with_marks_of_their_own(project: Project) -> None:
    """Live, checked as in a real run; a precondition that does not hold is said."""
    written(
        project,
        BANKING
        + """

    @pytest.mark.filterwarnings("ignore")
    class TestBanking(Banking):
        explore_marks = pytest.mark.skip(reason="not today")

        @precondition(lambda self: self.session.turns)
        @rule()
        def thank(self):
            self.say("Thanks")

        @pinned
        def twice(self):
            for amount in (1, 2):
                self.transfer(amount)

        @pinned
        def thanks_first(self):
            self.thank()
            self.greet()

        @pytest.mark.xfail(strict=True, reason="known")
        @pinned
        def known(self):
            self.twice()
""",
    ).shows_what_is_expected("-v", "-rsxf", *SEED, plugins=HYPOTHESIS)


def test_parameters_fixtures_initial_rules_notes_and_events(project: Project) -> None:
    project.write(
        conftest="""
    import pytest

    made = []

    @pytest.fixture
    def suffix():
        made.append("made")
        yield "!" * len(made)
        made.append("unmade")
"""
    )
    said = output(
        project,
        """
    @pytest.mark.parametrize("model", ["one", "two"])
    class TestEcho(SessionMachine):
        @pytest.fixture
        def own(self):
            return "own"

        def make_agent(self, model, suffix, own) -> Agent:
            def answer(messages, tools):
                return f"{model} {suffix} {own} {messages[-1]['content']}"

            return Agent(provider=Provider(model=answer), name=model)

        @initialize()
        def begin(self):
            self.count = 0
            self.say("begin")

        @rule()
        def count_up(self):
            self.count += self.wait(self.one())
            note(f"counted {self.count}")
            event("counted")
            self.say("up")
            assert self.count < 3

        async def one(self):
            return 1

        @pinned
        def documented(self):
            self.count_up()
""",
        "-v",
    )
    outcomes = re.findall(r"^test_it.py::(\S+) ([A-Z]+)", said, re.MULTILINE)
    assert outcomes == [
        ("TestEcho::documented[one]", "PASSED"),
        ("TestEcho::documented[two]", "PASSED"),
        ("TestEcho::explore[one]", "FAILED"),
        ("TestEcho::explore[two]", "FAILED"),
    ]
    failure = of_test(said, "TestEcho.explore[two]")
    assert conversation(failure) == ["begin()", "count_up()", "count_up()", "count_up()"]
    assert "agent   two !!!!!!! own begin" in failure  # set up once for each of four items
    assert "note: counted 1\nnote: counted 2\nnote: counted 3\n" in failure
    assert 'Again: pytest "test_it.py::TestEcho::explore[two]" --hypothesis-seed=1' in failure
    assert re.search(r"^TestEcho::explore\[one\](.*\n )*.*counted: in \d+ plans", said, re.MULTILINE)


def test_machines_are_collected_by_name_from_classes_mixins_and_unittest_cases_once_each(project: Project) -> None:
    said = output(
        project,
        BANKING
        + """

    class Polite:
        @rule()
        def thank(self):
            self.say("Thanks")

        @pinned
        def politely(self):
            self.documented()
            self.thank()

    class TestBoth(Polite, Banking):
        pass

    class Other(Banking):
        pass

    TestOther = Other.TestCase

    class TestTwice(Banking):
        pass

    TestTwiceAgain = TestTwice.TestCase

    class TestOuter:
        class TestInner(Banking):
            pass
""",
        "-v",
        "--tb=no",
    )
    assert re.findall(r"^test_it.py::\S+", said, re.MULTILINE) == [
        "test_it.py::TestBoth::documented",
        "test_it.py::TestBoth::politely",
        "test_it.py::TestBoth::explore",
        "test_it.py::TestOther::documented",
        "test_it.py::TestOther::explore",
        "test_it.py::TestTwice::documented",
        "test_it.py::TestTwice::explore",
        "test_it.py::TestOuter::TestInner::documented",
        "test_it.py::TestOuter::TestInner::explore",
    ]


def test_unittest_itself_can_not_give_fixtures_and_that_is_said(project: Project, pytester: pytest.Pytester) -> None:
    written(
        project,
        """
    class Machine(SessionMachine):
        def make_agent(self, suffix):
            return bank_agent

        @rule()
        def greet(self):
            self.say("Hello")

    TestIt = Machine.TestCase
""",
    )
    result = pytester.run(sys.executable, "-m", "unittest", "test_it.TestIt")
    assert "Machine.make_agent asks for 'suffix'" in result.stderr.str()
    assert "TypeError" not in result.stderr.str()


def test_the_same_seed_finds_the_same_transcript_at_any_verbosity(project: Project) -> None:
    quiet = output(project, TEST_BANKING)
    verbose = output(project, TEST_BANKING, "--hypothesis-verbosity=verbose")
    shown = [said[said.index("--- shortest") : said.index("--- cost")] for said in (quiet, verbose)]
    assert shown[0] == shown[1]
    assert "Trying example" not in verbose
    assert "Test case: " not in verbose


def test_an_agent_that_draws_lots_draws_others_under_another_seed(project: Project) -> None:
    machine = """
    def dicey(messages, tools):
        return str(random.random())

    class TestDice(SessionMachine):
        agent = Agent(provider=Provider(model=dicey))
        plans = 1

        @rule()
        def throw(self):
            print("threw", self.say("throw").final_response)
"""
    said = [output(project, machine, "-s", seed) for seed in ("--hypothesis-seed=1", "--hypothesis-seed=2")]
    threw = [re.findall(r"threw (\S+)", each) for each in said]
    assert len(set(threw[0])) == 8  # each turn another
    assert threw[0] != threw[1]


def test_what_fails_by_chance_is_told_with_an_honest_rate(project: Project) -> None:
    said = output(
        project,
        """
    def dicey(messages, tools):
        return random.choice(["fine", "bad"])

    class TestDice(SessionMachine):
        agent = Agent(provider=Provider(model=dicey))
        confirm_runs = 40

        @rule()
        def throw(self):
            assert self.say("throw").final_response == "fine"
""",
    )
    assert conversation(said) == ["throw()"]
    failed = re.search(r"Fails (\d+) of 40 fresh runs", said)
    assert failed is not None
    assert 8 < int(failed[1]) < 32


def test_what_an_exploration_that_passes_has_tried_is_said(project: Project) -> None:
    said = output(
        project,
        """
    class TestEcho(SessionMachine):
        agent = echo_agent

        @rule()
        def greet(self):
            self.say("Hello")

        @rule()
        def thank(self):
            self.say("Thanks")

        @pinned
        def documented(self):
            self.greet()
""",
    )
    told = " ".join(said.partition("- conversations -")[2].partition("aitest:")[0].split())
    assert "TestEcho::explore 4 of 25 plans (no other order is left), " in told
    assert " fresh turns, 4 of 4 ordered pairs, free" in told


# Machines that Hypothesis's engine leads

LED = """
    class Led(SessionMachine):
        agent = echo_agent
        confirm_runs = 1

    class TestBundle(Led):
        carts = Bundle("carts")

        @rule(target=carts, item=st.sampled_from(["hat", "shoes"]))
        def add(self, item):
            self.say(f"add {item}")
            return [item]

        @rule(cart=carts)
        def fill(self, cart):
            cart.append("sock")
            self.say(f"fill {len(cart)}")
            assert len(cart) < 3

        @rule(cart=consumes(carts))
        def check_out(self, cart):
            self.say(f"check out {len(cart)}")

        @pinned
        def documented(self):
            cart = self.add(item="shoes")
            self.fill(cart)
            self.check_out(cart)

    class TestInitialBundle(Led):
        carts = Bundle("carts")

        @initialize(target=carts)
        def begin(self):
            self.say("begin")
            return "cart"

        @rule(cart=carts)
        def fill(self, cart):
            assert cart == "cart"
            self.say("fill")
            assert len(self.session.turns) < 3

    class TestMultiple(Led):
        made = Bundle("made")

        @rule(target=made)
        def make(self):
            self.say("make")
            return multiple(1, 2)

        @rule(one=made, other=made)
        def compare(self, one, other):
            self.say(f"compare {one} {other}")
            assert one == other

    class TestData(Led):
        @rule(data=st.data())
        def pick(self, data):
            number = data.draw(st.integers(0, 100))
            self.say(f"pick {number}")
            assert number < 50

    class TestRunner(Led):
        def __init__(self):
            super().__init__()
            self.words = []

        @rule(me=st.runner())
        def add(self, me):
            assert me is self
            self.words.append("word")
            self.say("word")
            assert len(self.words) < 3
"""


def test_what_can_not_be_planned_is_led_by_hypothesis_with_the_same_output(project: Project) -> None:
    said = output(project, LED, "-W", "error")
    found = {name: conversation(said_of) for name, said_of in _failures(said).items()}
    made = found.pop("TestMultiple.explore", [])
    assert found == {
        "TestBundle.explore": ["add_1 = add(item='hat')", "fill(cart=add_1)", "fill(cart=add_1)"],
        "TestData.explore": ["pick(data=draws(50))"],
        "TestInitialBundle.explore": ["begin_1 = begin()", "fill(cart=begin_1)", "fill(cart=begin_1)"],
        "TestRunner.explore": ["add(me=self)"] * 3,
    }
    # What `multiple` gave has no name of its own, but without its making there would have been no such conversation.
    assert made
    assert made[0].endswith("make()")
    assert said.partition("- conversations -")[0].count("Fails 1 of 1 fresh run") == 5
    assert max(map(int, re.findall(r"Tried (\d+) of 25 plans", said))) <= 25
    assert "TestBundle::documented" not in said  # it passes: results may be handed on
    assert "5 failed, 1 passed in" in said


def _failures(said: str) -> dict[str, str]:
    return {name: of_test(said, name) for name in re.findall(r"^___ (\S+) ___$", said, re.MULTILINE)}


# Sessions


def test_open_session_is_called_when_a_session_goes_live_and_may_call_tools(project: Project) -> None:
    said = output(
        project,
        BANKING
        + """

    log = []

    class TestOpened(SessionMachine):
        agent = bank_agent
        plans = 3

        def open_session(self):
            log.append("open")
            assert not self.session.turns or self.session.past.replayed
            self.call_tool("deposit", {"amount": 5})

        def close_session(self):
            log.append("close")

        @rule()
        def greet(self):
            self.say("Hello")

        @rule()
        def look(self):
            assert self.call_tool("get_all_balances")["total"] == 4_505

        @pinned
        def documented(self):
            self.greet()
            self.look()

    def test_each_opened_session_was_closed():
        assert log == ["open", "close"] * (len(log) // 2)
        assert len(log) > 4

    def test_a_session_that_never_goes_live_opens_nothing():
        del log[:]
        machine = TestOpened()
        machine.teardown()
        assert not log
""",
    )
    assert "4 passed" in said


# Checks


def test_ready_made_invariants_and_built_in_checks_judge_and_can_be_switched(project: Project) -> None:
    said = output(
        project,
        BANKING
        + """

    class TestMost(Banking):
        money_is_conserved = None
        few_withdrawals = called_at_most("withdraw", 2)

    def silent(messages, tools):
        return " "

    class TestSilent(SessionMachine):
        agent = Agent(provider=Provider(model=silent))

        @rule()
        def greet(self):
            self.say("Hello")

    class TestMayBeSilent(TestSilent):
        checks = {"answer_not_empty": False}

    class TestMisspelt(TestSilent):
        checks = {"answer_not_emty": False}

    class TestToolError(Banking):
        @rule()
        def fail(self):
            self.call_tool("withdraw", {"amount": "much"})
""",
        "-k",
        "explore",
        "-v",
    )
    assert re.findall(r"::(\w+)::explore ([A-Z]+)", said.partition("=== FAILURES")[0]) == [
        ("TestMost", "FAILED"),
        ("TestSilent", "FAILED"),
        ("TestMayBeSilent", "PASSED"),
        ("TestMisspelt", "FAILED"),
        ("TestToolError", "FAILED"),
    ]
    most = of_test(said, "TestMost.explore")
    assert most.startswith("withdraw was called 3 times without an error, and at most 2 are allowed.")
    assert conversation(most) == ["transfer(amount=200)"] * 3
    assert 'To switch this off: checks = {"answer_not_empty": False}' in of_test(said, "TestSilent.explore")
    assert "1 call()" not in said
    assert conversation(of_test(said, "TestToolError.explore")) == ["fail()"]
    misspelt = of_test(said, "TestMisspelt.explore")
    assert "There is no built-in check 'answer_not_emty'." in misspelt
    assert "_as_wished" not in misspelt  # no traceback of ours


def test_an_argument_without_a_literal_is_shown_and_said_to_be_no_code(project: Project) -> None:
    said = output(
        project,
        """
    class Shoes:
        def __repr__(self):
            return "<Shoes>"

    class TestShop(SessionMachine):
        agent = echo_agent

        @rule(item=st.builds(Shoes))
        def add(self, item):
            self.say("add")
            assert len(self.session.turns) < 2
""",
    )
    assert conversation(said) == ["add(item=<Shoes>)"] * 2
    assert "--- keep it ---\nadd(item=<Shoes>) can't be written as code, nor kept for the next run: an" in said
    assert len(said.partition("--- shortest")[0]) < 3_000  # a turn in an assert does not fill the screen


# Kept failures


def test_a_failure_is_tried_first_the_next_time(project: Project) -> None:
    machine = """
    class TestKept(SessionMachine):
        agent = echo_agent

        @rule(word=st.sampled_from("abcd"))
        def put(self, word):
            self.say(word)

        @invariant()
        def no_d_after_c(self):
            said = [turn.user for turn in self.session.turns]
            assert "d" not in said[said.index("c"):] if "c" in said else True
"""
    first = output(project, machine)
    again = output(project, machine, "--hypothesis-seed=99", "--aitest-plans=1", "--aitest-plan-turns=1")
    assert conversation(again) == conversation(first) == ["put(word='c')", "put(word='d')"]
    assert "find 2" in again
    kept = project.path / ".hypothesis" / "examples"
    assert [path for path in kept.rglob("*") if path.is_file()]
    assert "It was kept from an earlier run, and tried first." in again
    renamed = output(project, machine.replace("def put", "def say_word"), "--aitest-plans=1", "--aitest-plan-turns=1")
    assert "1 passed" in renamed
    told = " ".join(renamed.split())
    assert "can't be tried, the rules have changed: put(word='c'), put(word='d')." in told
    assert conversation(output(project, machine, "--aitest-plans=1", "--aitest-plan-turns=1")) == conversation(first)


def test_without_a_database_nothing_is_kept(project: Project) -> None:
    machine = TEST_BANKING.replace("    class", "    @settings(database=None, max_examples=3)\n    class")
    said = output(project, machine)
    assert "Tried 1 of 3 plans, then stopped at this failure" in said
    assert not (project.path / ".hypothesis" / "examples").exists()


# Who pays

PAID = """
    class Talk(SessionMachine):
        @rule(number=st.integers(0, 999))
        def count(self, number):
            self.say(f"Number {number}")

    class TestListed(Talk):
        agent = Agent(provider=Provider(model="azure/gpt-5-mini"))

    class TestUnlisted(Talk):
        agent = Agent(provider=Provider(model="nobody/knows-this"))

    class TestPriced(Talk):
        agent = Agent(provider=Provider(model=echo, price=(1.0, 2.0)))

    class TestFree(Talk):
        plans = 1
        agent = echo_agent
"""


def test_what_would_cost_is_skipped_with_its_price_at_the_line_of_the_machine(project: Project) -> None:
    said = output(project, PAID, "-rs", "-v")
    assert re.findall(r"::(\w+)::explore ([A-Z]+)", said) == [
        ("TestListed", "SKIPPED"),
        ("TestUnlisted", "SKIPPED"),
        ("TestPriced", "SKIPPED"),
        ("TestFree", "PASSED"),
    ]
    skips = re.findall(r"^SKIPPED \[1\] (test_it.py:\d+: .*)", said, re.MULTILINE)
    assert [re.sub(r"\d+", "0", skip) for skip in skips] == [
        "test_it.py:0: would ask azure/gpt-0-mini up to 0 times, about $0.0; add --aitest-explore",
        "test_it.py:0: would ask nobody/knows-this up to 0 times; add --aitest-explore",
        "test_it.py:0: would ask echo up to 0 times, about $0.0; add --aitest-explore",
    ]


def test_a_model_without_a_price_is_refused_where_a_budget_in_dollars_holds(project: Project) -> None:
    said = output(project, PAID, "--aitest-explore", "-k", "TestUnlisted")
    assert (
        "The price of model 'nobody/knows-this' is not known, so no\nbudget in dollars can hold. "
        "Give Provider(price=(...)), in dollars per million\nprompt and completion tokens, or lift the limit "
        "with --aitest-budget-usd inf;\n--aitest-budget-calls still holds."
    ) in of_test(said, "TestUnlisted.explore")


def test_explorations_can_be_switched_off(project: Project) -> None:
    said = output(project, PAID, "-rs", "-k", "TestFree", "--aitest-no-explore", "-o", "aitest_explore=always")
    assert re.search(r"^SKIPPED \[1\] test_it.py:\d+: explorations are switched off", said, re.MULTILINE)


def test_a_pinned_order_is_a_test_like_any_other_and_asks_whatever_it_costs(project: Project) -> None:
    """As a fixed test does; only explorations wait for leave. So it fails here for want of a key."""
    said = output(
        project,
        """
    class TestPaid(SessionMachine):
        agent = Agent(provider=Provider(model="azure/gpt-5-mini"))

        @rule()
        def greet(self):
            assert self.say("Hello").success

        @pinned
        def documented(self):
            self.greet()
""",
    )
    failure = of_test(said, "TestPaid.documented")
    assert failure.startswith("ProviderError: Model 'azure/gpt-5-mini' can't be asked, because its key is\nmissing.")
    assert "The above exception was the direct cause" not in failure
    assert "1 failed, 1 skipped" in said


PRICED = """
    def priced(messages, tools):
        usage = {"prompt_tokens": 10_000, "completion_tokens": 0}
        return {"choices": [{"message": {"content": "hi"}}], "usage": usage}

    class TestPriced(SessionMachine):
        agent = Agent(provider=Provider(model=priced, price=(1.0, 2.0)))

        @rule(number=st.integers(0, 999))
        def count(self, number):
            self.say(f"Number {number}")
"""


@pytest.mark.parametrize(
    ("budget", "spent"),
    [
        (["--aitest-budget-calls=20"], "budget of 20 model calls spent"),
        (["--aitest-budget-usd=0.20"], "budget of $0.20 spent"),
    ],
    ids=["calls", "usd"],
)
def test_a_spent_budget_is_a_warning_that_says_what_was_not_tried(
    project: Project, budget: list[str], spent: str
) -> None:
    said = output(project, PRICED, "--aitest-explore", *budget)
    warning = re.search(rf"ExplorationWarning: {re.escape(spent)}: (\d+) of 25 plans not tried", said)
    assert warning is not None, said
    assert int(warning[1]) == 23  # twenty turns are two plans of eight, and a third one broken off
    assert "1 passed, 1 warning" in said


def test_a_spent_budget_can_be_a_failure(project: Project) -> None:
    said = output(project, PRICED, "--aitest-explore", "--aitest-budget-usd=0.20", "-o", "aitest_budget_spent=fail")
    assert of_test(said, "TestPriced.explore").startswith("budget of $0.20 spent: 23 of 25 plans not tried")


@pytest.mark.parametrize("budget", ["--aitest-budget-calls=3", "--aitest-budget-seconds=0.0001"])
def test_a_budget_that_does_not_last_for_one_plan_is_a_skip(project: Project, budget: str) -> None:
    said = output(project, PRICED, "--aitest-explore", budget, "-rs")
    assert "1 skipped" in said
    assert "25 of 25 plans not tried" in said


# What does not count


CHANCE = """
    asked = count(1)

    def once(messages, tools):
        return "bad" if next(asked) == 5 else "fine"

    class TestOnce(SessionMachine):
        agent = Agent(provider=Provider(model=once))
        plans = 2

        @rule()
        def ask(self):
            assert self.say("ask").final_response == "fine"

        @rule()
        def greet(self):
            assert self.say("hello").final_response == "fine"
"""


def test_what_was_seen_once_is_a_warning_with_its_transcript(project: Project) -> None:
    said = output(project, CHANCE)
    assert "ExplorationWarning: TestOnce::explore: " in said
    assert "Seen once; 0 of 5 fresh runs failed (95 % interval 0 to 43 %)." in said
    assert "agent   bad" in said
    assert "1 passed, 1 warning" in said


def test_what_was_seen_once_can_be_a_failure(project: Project) -> None:
    said = output(project, CHANCE, "-o", "aitest_unconfirmed=fail")
    assert "Seen once; 0 of 5 fresh runs failed (95 % interval 0 to 43 %)." in of_test(said, "TestOnce.explore")


def test_a_tolerated_rate_is_a_warning_with_the_transcript(project: Project) -> None:
    said = output(
        project,
        """
    def dicey(messages, tools):
        return random.choice(["fine", "bad"])

    class TestDice(SessionMachine):
        agent = Agent(provider=Provider(model=dicey))
        plans = 2
        confirm_runs = 20
        tolerate = 0.95

        @rule()
        def ask(self):
            assert self.say("ask").final_response == "fine"
""",
    )
    assert re.search(r"Fails \d+ of 20 fresh runs", said)
    assert "agent   bad" in said
    assert "1 passed, 1 warning" in said


# Bad input


def test_what_is_wrong_with_a_pinned_method_is_said_at_collection(project: Project) -> None:
    machine = """
    class TestIt(SessionMachine):
        agent = echo_agent

        @rule()
        def greet(self):
            self.say("Hello")

        @pinned
        def documented(self):
            {body}
"""
    project.write(
        bank=BANK,
        test_empty=IMPORTS + machine.format(body='"""Nothing."""'),
        test_inspects=IMPORTS + machine.format(body="assert self.greet() == 4"),
        test_says=IMPORTS + machine.format(body='self.say("Hello")'),
        test_super=IMPORTS + machine.format(body="super().greet()"),
        test_typo=IMPORTS + machine.format(body="self.great()"),
        test_no_rule=IMPORTS + "\n    class TestIt(SessionMachine):\n        agent = echo_agent\n",
    )
    project.shows_what_is_expected(*SEED, plugins=HYPOTHESIS)


@pytest.mark.parametrize("name", ["explore", "say", "session"])
@pytest.mark.parametrize("decorator", ["rule()", "pinned"])
def test_a_method_with_a_name_of_ours_is_refused(name: str, decorator: str) -> None:
    script = (
        "from pytest_aitest.stateful import SessionMachine, pinned, rule\n"
        f"class Machine(SessionMachine):\n    @{decorator}\n    def {name}(self): ...\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (
        f"DeclarationError: Machine.{name} has the name of something that every SessionMachine has. "
        "Call it otherwise." in result.stderr
    )


def test_what_goes_wrong_before_the_agent_speaks_is_said_and_is_not_its_fault(project: Project) -> None:
    written(
        project,
        """
    class Greeting(SessionMachine):
        @rule()
        def greet(self):
            self.say("Hello")

    class TestNobody(Greeting):
        @pinned
        def documented(self):
            self.greet()

    class TestNone(Greeting):
        def make_agent(self):
            pass

    class TestNeverEnabled(Greeting):
        agent = echo_agent

        @precondition(lambda self: self.session.turns)
        @rule()
        def greet(self):
            self.say("Hello")

    class TestSkips(Greeting):
        agent = echo_agent

        @rule()
        def greet(self):
            pytest.skip("no weather today")

    class TestAssumes(Greeting):
        agent = echo_agent

        @rule()
        def greet(self):
            assume(False)

    class TestSpeaks(Greeting):
        agent = echo_agent

        @invariant()
        def polite(self):
            self.say("Hello?")

        @pinned
        def documented(self):
            self.greet()

    def changing():
        server = Server("changing")

        @server.tool(annotations=ToolAnnotations(readOnlyHint=False), structured_output=False)
        def change() -> str:
            return "changed"

        @server.tool(annotations=ToolAnnotations(readOnlyHint=True), structured_output=False)
        def look() -> str:
            return "looked"

        return server

    class TestChanges(Greeting):
        agent = Agent(provider=Provider(model=calling("look")), mcp_servers=[MCPServer(factory=changing)])

        @invariant()
        def polite(self):
            self.call_tool("change")

    class TestUrl(Greeting):
        agent = Agent(provider=Provider(model=echo), mcp_servers=[MCPServer(url="http://127.0.0.1:9/mcp")])

    def mailing():
        server = Server("mailing")

        @server.tool(annotations=ToolAnnotations(openWorldHint=True), structured_output=False)
        def mail() -> str:
            return "sent"

        return server

    class TestWorld(Greeting):
        agent = Agent(provider=Provider(model=calling("mail")), mcp_servers=[MCPServer(factory=mailing)])

    class TestFreshWorld(Greeting):
        agent = Agent(provider=Provider(model=calling("mail")), mcp_servers=[MCPServer(factory=mailing, fresh=True)])
""",
    ).shows_what_is_expected("-rs", *SEED, plugins=HYPOTHESIS)


def test_what_fails_before_the_first_step_is_a_failure_with_its_own_reason(project: Project) -> None:
    said = output(
        project,
        """
    class Greeting(SessionMachine):
        agent = echo_agent

        @rule()
        def greet(self):
            self.say("Hello")

    class TestInvariant(Greeting):
        @invariant()
        def never(self):
            assert False, "at once"

    class TestPrecondition(SessionMachine):
        agent = echo_agent

        @precondition(lambda self: self.nope)
        @rule()
        def greet(self):
            self.say("Hello")

    class TestNoPlan(Greeting):
        plans = 0
""",
    )
    assert "AssertionError: at once" in of_test(said, "TestInvariant.explore")
    assert "Before the first turn. Fails 5 of 5 fresh runs" in of_test(said, "TestInvariant.explore")
    assert "It fails before anything is said: there is no order to keep." in said
    assert "def never_after" not in said
    assert "has no attribute 'nope'" in of_test(said, "TestPrecondition.explore")
    assert "no precondition holds" not in said  # of TestNoPlan neither


def test_an_error_in_a_constructor_is_shown_where_the_user_wrote_it(project: Project) -> None:
    said = output(
        project,
        """
    class TestBroken(SessionMachine):
        agent = echo_agent

        def __init__(self):
            super().__init__()
            raise RuntimeError("no")

        @rule()
        def greet(self):
            self.say("Hello")
""",
    )
    failure = of_test(said, "TestBroken.explore")
    assert "E       RuntimeError: no" in failure
    assert "def explore" not in failure


# Servers and agents that are not as they should be


def test_a_server_that_never_says_the_same_twice_is_remarked_once_and_nothing_false_is_said(project: Project) -> None:
    said = output(
        project,
        """
    def ordering():
        server, orders = Server("ordering"), []

        @server.tool(structured_output=False)
        def order() -> str:
            orders.append(str(random.SystemRandom().random()))
            return orders[-1]

        @server.tool(annotations=ToolAnnotations(readOnlyHint=True), structured_output=False)
        def list_orders() -> str:
            return " ".join(orders)

        return server

    class TestOrders(SessionMachine):
        agent = Agent(provider=Provider(model=calling("order")), mcp_servers=[MCPServer(factory=ordering)])
        plans = 8

        @rule()
        def order(self):
            self.say("Order")

        @rule()
        def order_more(self):
            self.say("More")

        @invariant()
        def all_are_listed(self):
            ordered = [call.result for call in self.session.tool_calls]
            assert str(self.call_tool("list_orders") if ordered else "").split() == ordered
""",
    )
    assert "1 passed" in said
    told = " ".join(said.partition("- conversations -")[2].split())
    assert told.count("what failed after such an answer was asked anew from its start.") == 1


def test_state_that_leaks_from_plan_to_plan_is_said_and_not_blamed_on_the_agent(project: Project) -> None:
    said = output(
        project,
        """
    class TestLeak(SessionMachine):
        agent = echo_agent
        seen = []

        @rule(number=st.integers(0, 9))
        def put(self, number):
            self.seen.append(number)
            self.say(f"{number}")
            assert len(self.seen) != 7
""",
    )
    assert of_test(said, "TestLeak.explore").startswith(
        "put failed once, and then not, in the very same conversation, repeated word for\nword from what was recorded."
    )
    assert "shortest conversation" not in said


def test_a_server_that_dies_is_shown_with_the_call_that_killed_it(project: Project) -> None:
    project.write(server=COUNTER.replace("9", "2"))
    said = output(
        project,
        """
    class TestDies(SessionMachine):
        agent = Agent(
            provider=Provider(model=calling("count")),
            mcp_servers=[MCPServer(command=[sys.executable, "server.py"], cwd=os.path.dirname(__file__))],
        )
        confirm_runs = 1

        @rule()
        def count(self):
            assert self.say("count").success
""",
    )
    assert conversation(said) == ["count()", "count()"]
    assert "tool    count() failed: the server died" in said
    assert "its process ended with exit code 3." in said


def test_a_rate_limit_ends_the_search_with_the_best_so_far(project: Project) -> None:
    said = output(
        project,
        """
    asked = count(1)

    def limited(messages, tools):
        if next(asked) > 12:
            raise ProviderError("too many requests", kind="rate_limit")
        return "bad" if len(messages) > 5 else "fine"

    class TestLimited(SessionMachine):
        agent = Agent(provider=Provider(model=limited))

        @rule(number=st.integers(0, 9))
        def put(self, number):
            assert self.say(f"{number}").final_response == "fine"

    def closed(messages, tools):
        raise ProviderError("too many requests", kind="rate_limit")

    class TestClosed(SessionMachine):
        agent = Agent(provider=Provider(model=closed))

        @rule()
        def greet(self):
            assert self.say("Hello").success

        @pinned
        def documented(self):
            self.greet()
""",
    )
    best = of_test(said, "TestLimited.explore")
    assert "Not confirmed by fresh runs." in best
    assert "--- shortest conversation found to fail: " in best
    assert "\nMay not be the shortest: too many requests\n" in best
    assert "Tried 1 of 25 plans: too many requests; seed 1" in best
    errored = "ProviderError: too many requests\nThat is not the agent's doing"
    assert of_test(said, "TestClosed.documented").startswith(errored)
    assert of_test(said, "TestClosed.explore").startswith(errored)


# The rest of pytest


def test_last_failed_and_exitfirst_take_an_exploration_as_a_test(project: Project) -> None:
    written(project, TEST_BANKING + "\n    def test_later():\n        pass\n")
    first = project.output("--hypothesis-seed=1", "-x", "--tb=no", plugins=HYPOTHESIS)
    assert "stopping after 1 failures" in first
    again = project.output("--hypothesis-seed=1", "--lf", "-v", "--tb=no", plugins=HYPOTHESIS)
    assert "test_it.py::TestBanking::explore FAILED" in again
    assert "1 failed, 2 deselected in" in again


def test_a_debugger_stands_at_the_users_line_and_the_conversation_is_told(project: Project) -> None:
    said = output(project, TEST_BANKING, "--pdb")
    assert "test_it.py" in said.partition("PDB post_mortem")[2].partition("\n")[2].splitlines()[0]
    assert '-> assert balances["total"] == 4_500' in said
    assert conversation(said.replace("E       ", "")) == ["transfer(amount=200)"] * 2


def test_an_interruption_tells_what_was_found_and_leaves_no_process(project: Project) -> None:
    project.write(server=COUNTER)
    written(
        project,
        """
    import signal

    asked = count(1)

    def interrupted(messages, tools):
        if next(asked) == 10:
            os.kill(os.getpid(), signal.SIGINT)
        return f"It said {messages[-1]['content']}" if messages[-1]["role"] == "tool" else tool("count")

    class TestIt(SessionMachine):
        agent = Agent(
            provider=Provider(model=interrupted),
            mcp_servers=[MCPServer(command=[sys.executable, "server.py"], cwd=os.path.dirname(__file__))],
        )

        @rule()
        def ask(self):
            assert self.say("count").final_response != "It said 4"

    def test_later():
        pass
""",
    )
    result = project.run(*SEED, "--aitest-json=run.json", plugins=HYPOTHESIS)
    said = result.stdout.str()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    (told,) = read_run((project.path / "run.json").read_text(), source="run.json").tests
    assert (told.kind, told.outcome, told.failure) == ("exploration", "failed", "KeyboardInterrupt: it was interrupted")
    assert told.exploration is not None
    assert [step.code for step in told.exploration.findings[0].steps] == ["ask()"] * 4
    assert told.asked.fresh_turns >= 4
    assert "found before the interruption" in said
    assert "shortest conversation found to fail: 4 turns" in said
    assert "conversation(" not in said  # how we use Hypothesis is nobody's business
    processes = (project.path / "processes").read_text().split()
    assert processes
    assert not [pid for pid in processes if _lives(int(pid))]


def _lives(pid: int) -> bool:
    result = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(result.stdout.strip()) and not result.stdout.startswith("Z")


def test_what_never_awaits_or_returns_a_verdict_is_no_check_and_is_refused(project: Project) -> None:
    """Each of these would pass for ever."""
    machine = """
    class TestIt(SessionMachine):
        agent = echo_agent

        @rule()
        def greet(self):
            self.say("Hello")

"""
    wrong = {
        "test_async": "@invariant()\n        async def holds(self):\n            assert 0",
        "test_returns": "@invariant()\n        def holds(self):\n            return 1 == 2",
        "test_yields": "@rule()\n        def asks(self):\n            yield 1 / 0",
    }
    project.write(bank=BANK, **{name: f"{IMPORTS}{machine}        {member}" for name, member in wrong.items()})
    said = project.run(*SEED, "--continue-on-collection-errors", plugins=HYPOTHESIS).stdout.str()
    assert " passed" not in said
    assert "TestIt.holds is `async def`" in said
    assert "Invariant holds returned False" in said
    assert "TestIt.asks" in said


TWO_DEFECTS = """
    class TestTwo(SessionMachine):
        agent = echo_agent

        @rule()
        def greet(self):
            self.say("Hello")

        @rule()
        def thank(self):
            self.say("Thanks")
            assert len(self.session.turns) < 3

        @invariant()
        def greeted_once(self):
            assert [turn.user for turn in self.session.turns].count("Hello") < 2
"""


def test_an_exploration_ends_at_its_first_finding_or_keeps_going_and_shows_all(project: Project) -> None:
    first = output(project, TWO_DEFECTS)
    assert first.count("shortest conversation that fails") == 1
    both = output(project, TWO_DEFECTS, "--aitest-keep-going")
    head, _, also = of_test(both, "TestTwo.explore").partition("- also found -")
    assert {tuple(conversation(head)), tuple(conversation(also))} == {("thank()",) * 3, ("greet()", "greet()")}
    told = " ".join(both.partition("- conversations -")[2].split())
    assert "greeted_once fails." in told
    assert "thank fails." in told


def test_the_ini_file_may_say_that_all_explorations_run(project: Project) -> None:
    costly = """
    class TestCostly(SessionMachine):
        agent = Agent(provider=Provider(model="azure/none-such", price=(1, 1)))

        @rule()
        def greet(self):
            self.say("Hello")
"""
    assert "add --aitest-explore" in output(project, costly, "-rs")
    asked = output(project, costly, "-o", "aitest_explore=always")
    assert "ProviderError: " in asked  # it was asked, and there is no key
    assert "add --aitest-explore" in output(project, costly, "-rs", "-o", "aitest_explore=free")


def test_a_rate_limit_with_nothing_found_says_what_was_tried_until_then(project: Project) -> None:
    said = output(
        project,
        """
    asked = count(1)

    def limited(messages, tools):
        if next(asked) > 12:
            raise ProviderError("20 per minute", kind="rate_limit")
        return "fine"

    class TestLimited(SessionMachine):
        agent = Agent(provider=Provider(model=limited))

        @rule(number=st.integers(0, 9))
        def put(self, number):
            self.say(f"{number}")
""",
    )
    told = " ".join(of_test(said, "TestLimited.explore").split())
    assert "ProviderError: 20 per minute" in told
    tried = r"Until then 1 of 25 plans, \d+ fresh turns, 1 of 1 ordered pair, free; \d+ turns? replayed; seed 1\."
    assert re.search(r"That is not the agent's doing\. " + tried, told), told

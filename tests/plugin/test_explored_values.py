"""What a turn alone is parametrized with, its exploration tries; a fixed flow has the documented values only."""

import re

import pytest

from .conftest import Project
from .test_explored_flows import (
    BANK,
    CONSERVED,
    HYPOTHESIS,
    explored,
    findings,
    flow,
    order_notes,
    shows_what_is_expected,
)

# A transfer of more than there is loses a dollar.
BANK_WITH_AMOUNTS = (
    BANK.replace('heard[-1] == "transfer"', 'heard[-1].startswith("transfer")').replace(
        """arriving = 200 if heard.count("transfer") == 1 else 199
            return {"tool_calls": [{"name": "transfer", "arguments": {"amount": 200, "arriving": arriving}}]}""",
        """amount = int(heard[-1].split()[1])
            arriving = amount - (amount > 1500)
            return {"tool_calls": [{"name": "transfer", "arguments": {"amount": amount, "arriving": arriving}}]}""",
    )
    + """

    @pytest.mark.session("banking", explore=True)
    class TestBanking:
        async def test_hello(self, aitest_run):
            assert await aitest_run(agent, "hi")

        @pytest.mark.parametrize("amount", [200, 1, 2000])
        async def test_transfer(self, aitest_run, amount):
            assert (await aitest_run(agent, f"transfer {amount}")).tool_was_called("transfer")

        async def test_balance(self, aitest_run):
            assert "1300" in (await aitest_run(agent, "balance")).final_response
"""
    + CONSERVED
)

TALK = """
        @pytest.mark.parametrize("word", ["two", "twain"])
        {mark}
        async def test_second(self, aitest_run, word):
            {body}
"""


def talk(mark: str = "", *, body: str = "await aitest_run(agent, word)", more: str = "") -> str:
    """A first turn, a second with two words, and what comes after it."""
    return flow(TALK.format(mark=mark, body=body) + more)


def passed(output: str) -> list[str]:
    return re.findall(r"::(\S+) PASSED", output)


# What is collected


def test_a_defect_that_only_another_value_shows_is_found_and_told(project: Project) -> None:
    project.write(test_bank=BANK_WITH_AMOUNTS)
    shows_what_is_expected(project, "-v")


def test_what_is_pasted_of_it_reproduces_it(project: Project) -> None:
    project.write(test_bank=BANK_WITH_AMOUNTS)
    pasted = re.search(r"^    @pinned\n    def (\w+)\(self\):\n(        self\..*\n)+", explored(project), re.MULTILINE)
    assert pasted is not None
    assert "self.test_transfer(amount=2000)" in pasted[0]
    body = "".join(f"    {line}\n" for line in ["", *pasted[0].splitlines()])
    project.write(test_bank=BANK_WITH_AMOUNTS + body)
    output = explored(project, "-v", "--aitest-no-explore")
    assert f"TestBanking::{pasted[1]} FAILED" in output
    assert "assert 4499 == 4500" in output
    assert "Stopped at this failure before the first of 25 plans" in explored(project)


def test_what_was_found_with_a_value_is_tried_first_in_the_next_run(project: Project) -> None:
    project.write(test_bank=BANK_WITH_AMOUNTS)
    assert "test_transfer(amount=2000)" in explored(project)
    again = project.output("--hypothesis-seed=2", "-k", "explore", "--aitest-plans=1", plugins=(HYPOTHESIS,))
    assert "1 test_transfer(amount=2000)\n" in again
    project.write(test_bank=BANK_WITH_AMOUNTS.replace("200, 1, 2000", "200, 1"))
    assert "4 passed" in explored(project)  # what is not listed any more is not run


def test_values_are_tried_in_each_flow_of_a_parametrized_class(project: Project) -> None:
    project.write(
        test_chat=talk(more="\n        async def test_third(self, aitest_run):\n            pass\n")
        .replace("    class TestChat", "    @pytest.mark.parametrize('model', ['small', 'large'])\n    class TestChat")
        .replace("aitest_run", "aitest_run, model", 1)
        .replace("aitest_run, word", "aitest_run, word, model")
        .replace("test_third(self, aitest_run", "test_third(self, aitest_run, model")
    )
    flows = [
        [f"TestChat::test_first[{model}]", f"TestChat::test_second[two-{model}]", f"TestChat::test_third[{model}]"]
        for model in ("small", "large")
    ]
    output = explored(project, "-v", "--aitest-plans=2")
    assert passed(output) == [*flows[0], "TestChat::explore[small]", *flows[1], "TestChat::explore[large]"]


def test_parameters_of_all_turns_are_flows_of_their_own(project: Project) -> None:
    project.write(
        test_chat=flow("").replace(
            "        async def test_first(self, aitest_run",
            "        @pytest.mark.parametrize('word', ['a', 'b'])\n        async def test_first(self, aitest_run, word",
        )
    )
    assert passed(explored(project, "-v")) == [
        "TestChat::test_first[a]",
        "TestChat::explore[a]",
        "TestChat::test_first[b]",
        "TestChat::explore[b]",
    ]


def test_a_turn_is_selected_by_its_documented_values_and_is_context_with_them(project: Project) -> None:
    third = '\n        async def test_third(self, aitest_run):\n            assert await aitest_run(agent, "three")\n'
    project.write(test_chat=talk(more=third))
    assert passed(explored(project, "-v", "test_chat.py::TestChat::test_second[two]")) == ["TestChat::test_second[two]"]
    for selection in (["-k", "third"], ["test_chat.py::TestChat::test_third"]):
        output = explored(project, "-v", *selection)
        assert "test_second[two] CONTEXT" in output
        assert passed(output) == ["TestChat::test_third"]
    result = project.run("test_chat.py::TestChat::test_second[twain]")
    assert "no match in any of" in result.stderr.str()


def test_a_turn_with_values_that_failed_is_run_again_by_lf_and_reruns(project: Project) -> None:
    project.write(test_chat=talk(body='assert (await aitest_run(agent, word)).final_response == "two"'))
    output = explored(project, "-v", "--reruns=1", "--aitest-no-explore", plugins=("rerunfailures",))
    assert "TestChat::test_second[two] RERUN" in output
    assert "1 failed, 1 passed, 1 skipped, 1 rerun" in output
    output = explored(project, "-v", "--lf", "--aitest-no-explore")
    assert "TestChat::test_first CONTEXT" in output
    assert "1 failed, 2 deselected, 1 context" in output


def test_values_are_tried_on_a_worker_too(project: Project) -> None:
    project.write(test_bank=BANK_WITH_AMOUNTS, test_chat=talk())
    output = explored(project, "-v", "-n2", "--aitest-shards=1", plugins=("xdist",))
    assert "1 failed, 6 passed" in output
    assert "1 test_transfer(amount=2000)\n" in output
    workers: dict[str, set[str]] = {}
    for worker, file in re.findall(r"\[(gw\d)\].* (test_\w+)\.py::", output):
        workers.setdefault(file, set()).add(worker)
    assert {file: len(of_one) for file, of_one in workers.items()} == {"test_bank": 1, "test_chat": 1}


# Which values are tried


def said(*words: str) -> str:
    """An invariant that fails once all these were said somewhere."""
    return f"""
        said = set()

        @invariant()
        def not_all_is_said(self, aitest_session):
            self.said.update(turn.user for turn in aitest_session.turns)
            assert self.said <= {{"one", *{words!r}}}, self.said
            if self.said >= {{*{words!r}}}:
                print("all is said")
"""


LISTED = {
    "one mark": ('@pytest.mark.parametrize("a, b", [(1, "x"), (2, "y"), (3, "z")])', ["1x", "2y", "3z"]),
    "stacked": (
        '@pytest.mark.parametrize("a", [1, 2])\n        @pytest.mark.parametrize("b", ["x", "y"])',
        ["1x", "2x", "1y", "2y"],
    ),
    "skipped": (
        '@pytest.mark.parametrize("a, b", [(1, "x"), pytest.param(2, "y", marks=pytest.mark.skip), (3, "z")])',
        ["1x", "3z"],
    ),
    "skipped if": (
        "@pytest.mark.parametrize("
        '"a, b", [(1, "x"), pytest.param(2, "y", marks=pytest.mark.skipif(True, reason="no")), (3, "z")])',
        ["1x", "3z"],
    ),
    "hidden": (
        '@pytest.mark.parametrize("a, b", [pytest.param(1, "x", id=pytest.HIDDEN_PARAM), (2, "y")])',
        ["1x", "2y"],
    ),
    "named otherwise": ('@pytest.mark.parametrize(argnames=("a", "b"), argvalues=[(1, "x"), (2, "y")])', ["1x", "2y"]),
}


@pytest.mark.parametrize(("mark", "words"), LISTED.values(), ids=LISTED)
def test_all_that_is_listed_is_tried_and_nothing_else(project: Project, mark: str, words: list[str]) -> None:
    project.write(
        test_chat=flow(
            f"""
        {mark}
        async def test_second(self, aitest_run, a, b):
            await aitest_run(agent, f"{{a}}{{b}}")
"""
            + said(*words)
        )
    )
    output = explored(project, "-rP")
    assert "3 passed" in output
    assert "all is said" in output


def test_the_first_values_that_are_not_skipped_are_the_documented_ones(project: Project) -> None:
    skipped = 'pytest.param("zero", marks=pytest.mark.skip)'
    project.write(test_chat=talk().replace('["two"', f'[{skipped}, "two"'))
    output = explored(project, "-v")
    assert passed(output) == ["TestChat::test_first", "TestChat::test_second[two]", "TestChat::explore"]
    project.write(test_chat=talk().replace('["two", "twain"]', f"[{skipped}]"))
    output = explored(project, "-v")
    assert "TestChat::test_second[zero] SKIPPED" in output
    assert "2 passed, 1 skipped" in output


def test_other_words_are_tried_with_each_value(project: Project) -> None:
    project.write(
        test_chat=talk(
            '@pytest.mark.turn(phrasings=["please"])',
            more="""
        @invariant()
        def polite(self, aitest_session):
            assert aitest_session.turns[-1].user != "please"
""",
        )
    )
    output = findings(project)
    assert "1 test_second(word='two', phrasing='please')\n  user    please\n" in output
    assert "self.test_second(word='two', phrasing='please')" in output


def test_each_step_has_values_of_its_own_to_change(project: Project) -> None:
    project.write(
        test_chat=flow(
            """
        @pytest.mark.parametrize("words", [["two"], ["twain"]])
        async def test_second(self, aitest_run, words):
            await aitest_run(agent, words.pop())
"""
        )
    )
    assert "1 passed" in explored(project, "-k", "explore")


def test_values_that_have_no_literal_form_cannot_be_kept(project: Project) -> None:
    project.write(
        test_chat=flow(
            """
        class Word(str):
            def __repr__(self):
                return f"<{self}>"

        @pytest.mark.parametrize("word", [Word("two"), Word("twain")])
        async def test_second(self, aitest_run, word):
            await aitest_run(agent, word)

        @invariant()
        def plain(self, aitest_session):
            assert aitest_session.turns[-1].user != "twain"
"""
        )
    )
    output = findings(project)
    assert "1 test_second(word=<twain>)\n  user    twain\n" in output
    assert "test_second(word=<twain>) can't be written as code" in output


# What decides

LAST = """
        {mark}
        async def test_last(self, aitest_run):
            assert "two" in (await aitest_run(agent, "last")).final_response
"""


def test_assertions_decide_with_the_documented_values_only(project: Project) -> None:
    """Neither its own nor those of the turns before it; and the order is not to blame for other values."""
    project.write(test_chat=talk(body='assert "two" in (await aitest_run(agent, word)).final_response'))
    output = explored(project)
    assert "3 passed" in output
    assert order_notes(output) == []
    project.write(test_chat=talk(more=LAST.format(mark="")))
    output = explored(project)
    assert "4 passed" in output
    assert [note.partition(" (")[0] for note in order_notes(output)] == ["test_last fails unless test_second has run"]


def test_they_decide_with_other_values_where_that_was_promised(project: Project) -> None:
    project.write(
        test_chat=talk(
            "@pytest.mark.turn(needs=())", body='assert "two" in (await aitest_run(agent, word)).final_response'
        )
    )
    assert "shortest conversation that fails: 1 turn -" in findings(project)
    project.write(test_chat=talk(more=LAST.format(mark='@pytest.mark.turn(needs="test_second")')))
    output = findings(project)
    assert "1 test_second(word='twain')\n" in output
    assert "2 test_last()\n" in output


def test_strict_makes_them_decide_with_other_values(project: Project) -> None:
    strict = talk(body='assert "two" in (await aitest_run(agent, word)).final_response')
    project.write(test_chat=strict.replace("explore=True", 'explore="strict"'))
    assert "1 test_second(word='twain')\n" in findings(project)


def test_values_that_are_expected_to_fail_never_decide(project: Project) -> None:
    one = 'pytest.param("twain", marks=pytest.mark.xfail(reason="known"))'
    project.write(
        test_chat=talk(
            "@pytest.mark.turn(needs=())", body='assert "two" in (await aitest_run(agent, word)).final_response'
        ).replace('"twain"', one)
    )
    assert "3 passed" in explored(project)
    project.write(
        test_chat=talk("@pytest.mark.turn(needs=())", body="assert word != 'two'").replace(
            '["two"', '[pytest.param("two", marks=pytest.mark.xfail(reason="known"))'
        )
    )
    assert "2 passed, 1 xfailed" in explored(project)


# Pinned orders

PINNED = """
        @pinned
        def kept(self):
            self.test_second({values})
            self.test_first()
"""


@pytest.mark.parametrize(("values", "word"), [("", "two"), ("word='twain'", "twain")])
def test_a_pinned_order_may_name_values(project: Project, values: str, word: str) -> None:
    project.write(
        test_chat=talk(
            more=PINNED.format(values=values)
            + f"""
        @invariant()
        def words(self, aitest_session):
            assert [turn.user for turn in aitest_session.turns] != [{word!r}, "one"]
"""
        )
    )
    output = explored(project, "-k", "kept")
    assert f"1 test_second(word={word!r})\n  user    {word}\n" in output
    assert "1 failed" in output


# What is refused

REFUSED = {
    "indirect": (
        talk()
        .replace('["two", "twain"]', '["two", "twain"], indirect=True')
        .replace("@pytest.mark.session", "@pytest.fixture\n    def word():\n        pass\n\n    @pytest.mark.session"),
        "Turn test_second of session 'chat' has a parameter 'word' that turn test_first lacks. An exploration tries "
        "the values that a turn's own",
    ),
    "of a fixture": (
        flow(
            """
        @pytest.fixture(params=[1, 2])
        def word(self, request):
            return request.param

        async def test_second(self, aitest_run, word):
            await aitest_run(agent, str(word))
"""
        ),
        "has a parameter 'word' that turn test_first lacks. An exploration tries the values that a turn's own",
    ),
    "together": (
        flow(
            """
        @pytest.mark.parametrize("model, word", [("a", "two"), ("a", "twain"), ("b", "two")])
        async def test_second(self, aitest_run, model, word):
            await aitest_run(agent, word)
"""
        )
        .replace(
            "        async def test_first",
            "        @pytest.mark.parametrize('model', 'ab')\n        async def test_first",
        )
        .replace("test_first(self, aitest_run", "test_first(self, aitest_run, model"),
        "has a parameter 'word' that turn test_first lacks. An exploration tries the values that a turn's own",
    ),
    "asked for by a fixture": (
        talk(
            more="""
        @pytest.fixture(autouse=True)
        def shop(self, word):
            return word

        @pytest.fixture
        def word(self):
            return "default"
"""
        ),
        "The fixture 'shop' asks for 'word', which test_second alone is parametrized with",
    ),
    "named as words are": (
        talk("@pytest.mark.turn(phrasings=['please'])").replace("word", "phrasing"),
        "test_second has phrasings, and a parameter 'phrasing'",
    ),
    "hidden": (
        talk()
        .replace('"two", ', 'pytest.param("two", id=pytest.HIDDEN_PARAM), ')
        .replace("    class TestChat", "    @pytest.mark.parametrize('model', 'ab')\n    class TestChat")
        .replace("(self, aitest_run", "(self, aitest_run, model"),
        "test_second[a] has a hidden id, so its own values can't be told",
    ),
}


@pytest.mark.parametrize(("test", "what"), REFUSED.values(), ids=REFUSED)
def test_parameters_that_cannot_be_tried_are_refused_at_collection(project: Project, test: str, what: str) -> None:
    project.write(test_chat=test)
    output = " ".join(project.output().split())
    assert what in output
    assert "1 error" in output
    assert "src/pytest_aitest" not in output


@pytest.mark.parametrize("values", ["word='zwei'", "word=3"])
def test_values_in_a_pinned_order_that_are_not_listed_are_refused(project: Project, values: str) -> None:
    project.write(test_chat=talk(more=PINNED.format(values=values)))
    output = " ".join(explored(project).split())
    assert (
        f"TestChat.kept calls test_second({values}), and test_second is not parametrized with these values. Only what "
        "its author lists is ever run: test_second(word='two'), test_second(word='twain')." in output
    )

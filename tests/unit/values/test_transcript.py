"""A transcript reads well at 80 columns, whatever models and tools wrote."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aitest import AgentResult, ToolCall, Transcript, Turn, UnknownToolWarning
from pytest_aitest.values.plain import inert, labelled


def test_a_turn_reads_as_it_went() -> None:
    turn = Turn(
        agent="bank",
        model="builtin",
        user="Transfer $1 to savings",
        messages=(
            {"role": "user", "content": "Transfer $1 to savings"},
            {"role": "assistant", "content": "One moment.", "tool_calls": [{"id": "a"}, {"id": "b"}]},
            {"role": "tool", "tool_call_id": "a", "content": "1499"},
            {"role": "tool", "tool_call_id": "b", "content": "Error: no such account"},
            {"role": "assistant", "content": "I could not do that,\nsorry."},
        ),
        tool_calls=(
            ToolCall(name="withdraw", arguments={"account": "checking", "amount": 1}, result="1499", server="bank"),
            ToolCall(name="deposit", arguments={"account": "saving"}, error="no such account", server="bank"),
        ),
        notes=("server 'bank' asked for a password; declined",),
        error="The model answered with nothing.",
        error_kind="empty_answer",
    )
    assert str(turn).splitlines() == [
        "  user    Transfer $1 to savings",
        "  agent   One moment.",
        '  tool    withdraw(account="checking", amount=1) -> 1499',
        '  tool    deposit(account="saving") failed: no such account',
        "  agent   I could not do that,",
        "          sorry.",
        "  note    server 'bank' asked for a password; declined",
        "  error   empty_answer: The model answered with nothing.",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x07bell\x00", "\\x07bell\\x00"),
        ("\x9b31m", "\\x9b31m"),
        ("reordered \u202ederf", "reordered \\u202ederf"),
        ("one\r\ntwo", "one\\r\ntwo"),
        ("[bold]markup[/bold] stays, and so does äöü 🙂", "[bold]markup[/bold] stays, and so does äöü 🙂"),
        ("lone \ud800 surrogate", "lone \\ud800 surrogate"),
    ],
)
def test_control_characters_are_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert inert(text) == shown


@given(st.text(), st.none() | st.integers(1, 5))
def test_no_text_breaks_out_of_its_lines(text: str, most_lines: int | None) -> None:
    lines = list(labelled("tool", text, most_lines=most_lines))
    assert all(len(line) <= 80 for line in lines)
    assert all(char.isprintable() or char.isspace() for line in lines for char in line)
    assert not any(char in "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029" for line in lines for char in line)
    assert [line[:9].strip() for line in lines] == ["tool"] + [""] * (len(lines) - 1)
    assert most_lines is None or len(lines) <= most_lines


def test_a_huge_tool_result_is_cut_and_says_how_much_there_is() -> None:
    lines = list(labelled("tool", "x" * 4_900_000, most_lines=3))
    assert [len(lines[0]), len(lines[1])] == [80, 80]
    assert lines[2] == "          ... 4.9 MB in all"


def test_the_next_turn_builds_only_on_turns_that_were_answered() -> None:
    answered = Turn(agent="a", model="m", user="one", messages=({"role": "user", "content": "one"},))
    failed = Turn(agent="a", model="m", user="two", messages=({"role": "user", "content": "two"},), error="no")
    transcript = Transcript(context=({"role": "user", "content": "zero"},)).with_turn(answered).with_turn(failed)
    assert [message["content"] for message in transcript.messages] == ["zero", "one"]
    assert [turn.user for turn in transcript.turns] == ["one", "two"]
    result = AgentResult(turn=failed, session=transcript)
    assert not result
    assert result.session_context_count == 2


def test_a_slip_in_the_name_of_a_tool_is_warned_of() -> None:
    call = ToolCall(name="transfer", arguments={}, result="ok")
    turn = Turn(agent="bank", model="m", user="u", tool_calls=(call,), offered_tools=("transfer", "get_balance"))
    result = AgentResult(turn=turn, session=Transcript(turns=(turn,)))
    with pytest.warns(UnknownToolWarning, match="Agent 'bank' has no tool 'transfr'. Did you mean 'transfer'") as seen:
        assert not result.tool_was_called("transfr")
    assert seen[0].filename == __file__
    assert not result.tool_was_called("search")  # another's tool, perhaps


def test_the_repr_of_a_result_is_its_transcript_in_one_line() -> None:
    turn = Turn(
        agent="bank",
        model="builtin",
        user="hi",
        messages=({"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello\nthere"}),
    )
    result = AgentResult(turn=turn, session=Transcript(name="chat", turns=(turn,)))
    assert repr(result) == "<turn 1 of chat: user hi; agent hello there>"


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5)))
def test_arguments_read_as_json(arguments: dict[str, object]) -> None:
    call = ToolCall(name="f", arguments=arguments, result="")
    turn = Turn(
        agent="a",
        model="m",
        user="u",
        messages=({"role": "assistant", "content": "", "tool_calls": [{}]},),
        tool_calls=(call,),
    )
    assert str(turn).startswith("  user    u\n  tool    f(")
    assert all(json.dumps(value) for value in arguments.values())

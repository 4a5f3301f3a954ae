"""What holds of any agent: each check passes what is right, and says in one look what is wrong."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aitest import (
    Agent,
    DeclarationError,
    MCPServer,
    ModelAnswer,
    Provider,
    Session,
    ToolCall,
    ToolRequest,
    Transcript,
    Turn,
    UnknownToolWarning,
)
from pytest_aitest.checks import (
    BUILT_IN,
    CallInvariant,
    CheckError,
    arguments_satisfy,
    called_at_most,
    called_only_after,
    check_turn,
    chosen_checks,
    never_called,
    no_two_calls_alike,
    read_checks,
    violations,
)
from pytest_aitest.values.model import ToolSpec

try:
    from mcp.server import MCPServer as Server
except ImportError:  # mcp 1.x
    from mcp.server.fastmcp import FastMCP as Server  # type: ignore[no-redef]

TRANSFER = ToolSpec(
    name="transfer",
    input_schema={
        "type": "object",
        "properties": {"amount": {"type": "integer"}, "to": {"$ref": "#/$defs/account"}, "memo": {"type": "string"}},
        "required": ["amount"],
        "$defs": {"account": {"enum": ["checking", "savings"]}},
    },
)
LOOK = ToolSpec(name="look", read_only=True)
DEFAULTS = [check.name for check in BUILT_IN if check.on_by_default]


def call(name: str, arguments: Mapping[str, Any] | str | None = None, /, *, error: str | None = None) -> ToolCall:
    return ToolCall(
        name=name,
        arguments={} if arguments is None else arguments,
        error=error,
        server="bank",
        result=None if error else "ok",
    )


def turn(
    *calls: ToolCall, answer: str = "Done.", tools: tuple[ToolSpec, ...] = (TRANSFER, LOOK), **fields: Any
) -> Turn:
    names = tuple(tool.name for tool in tools)
    return Turn(
        agent="bank",
        model="builtin",
        user=fields.pop("user", "hello"),
        messages=({"role": "assistant", "content": answer},),
        tool_calls=calls,
        tools=tools,
        **{"available_tools": names, "offered_tools": names, **fields},
    )


def said(*turns: Turn) -> Transcript:
    return Transcript(turns=turns)


def complaints(newest: Turn, **wishes: bool | int) -> dict[str, str]:
    """What the chosen checks say, by name."""
    return {error.check: str(error) for error in violations(said(newest), chosen_checks(wishes))}


def complaint(invariant: CallInvariant, *turns: Turn) -> str:
    """What an invariant says, or nothing."""
    try:
        invariant.check(said(*turns))
    except AssertionError as error:
        return str(error)
    return ""


# ---- which checks -------------------------------------------------------------------------------


def test_all_checks_but_the_guess_are_on_by_default() -> None:
    assert [check.name for check in chosen_checks()] == DEFAULTS
    assert [check.name for check in BUILT_IN if check.name not in DEFAULTS] == ["no_hidden_tool_error"]


def test_a_later_wish_prevails_and_the_order_of_the_checks_stays() -> None:
    chosen = chosen_checks({"no_repeated_call": 9, "no_hidden_tool_error": True}, {"no_repeated_call": True})
    assert [check.name for check in chosen] == [*DEFAULTS, "no_hidden_tool_error"]
    assert [check.most for check in chosen if check.name == "no_repeated_call"] == [3]


def test_every_check_can_be_switched_off() -> None:
    assert chosen_checks(dict.fromkeys(DEFAULTS, False)) == ()


@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        (
            {"answer_no_empty": False},
            "There is no built-in check 'answer_no_empty'."
            " The checks are 'servers_stay_alive', 'only_offered_tools', 'arguments_fit_schema', 'no_repeated_call', "
            "'answer_not_empty' and 'no_hidden_tool_error'. Did you mean 'answer_not_empty'?",
        ),
        (
            {"answer_not_empty": 3},
            "checks: 'answer_not_empty' can't be 3. Give True or False to switch it on or off.",
        ),
        (
            {"no_repeated_call": 0},
            "checks: 'no_repeated_call' can't be 0. Give True or False to switch it on or off, or a number of at "
            "least 1 as its bound.",
        ),
        (
            ["answer_not_empty"],
            "checks must map names to True, False or a bound, not be ['answer_not_empty']. "
            'Write checks = {"answer_not_empty": False}.',
        ),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(wishes: Any, why: str) -> None:
    with pytest.raises(DeclarationError) as refusal:
        chosen_checks(wishes)
    assert str(refusal.value) == why


@pytest.mark.parametrize(("wish", "name"), [({3: True}, "3"), ({"no_repeated_call": "5"}, "'5'"), ({"x": None}, "'x'")])
def test_wishes_of_a_wrong_type_are_refused_by_name(wish: Any, name: str) -> None:
    with pytest.raises(DeclarationError, match=name):
        chosen_checks(wish)


@pytest.mark.parametrize(
    ("text", "wishes"),
    [
        ("", {}),
        ("no_repeated_call=5", {"no_repeated_call": 5}),
        (
            "answer_not_empty = False,\n no_hidden_tool_error=TRUE",
            {"answer_not_empty": False, "no_hidden_tool_error": True},
        ),
    ],
)
def test_an_ini_line_says_the_same_as_a_mapping(text: str, wishes: dict[str, bool | int]) -> None:
    assert read_checks(text) == wishes


@pytest.mark.parametrize("text", ["answer_not_empty", "answer_not_empty=off", "=5", "no_repeated_call=-1", "a=\u00b2"])
def test_an_ini_line_that_says_something_else_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError, match=r"can't be read from|There is no built-in check"):
        chosen_checks(read_checks(text))


# ---- what is judged -----------------------------------------------------------------------------


def test_a_turn_with_nothing_wrong_passes() -> None:
    assert complaints(turn(call("transfer", {"amount": 1, "to": "savings"})), no_hidden_tool_error=True) == {}


def test_only_the_newest_turn_is_judged() -> None:
    transcript = said(turn(call("fly")), turn())
    assert list(violations(transcript, chosen_checks())) == []
    assert list(violations(said(), chosen_checks())) == []


@pytest.mark.parametrize("kind", ["rate_limit", "timeout", "bad_answer", "turn_timeout"])
def test_an_agent_is_not_blamed_for_what_others_broke(kind: Any) -> None:
    assert complaints(turn(call("fly"), answer="", error="It broke.", error_kind=kind)) == {}


def test_of_a_turn_in_which_a_server_died_only_that_is_judged() -> None:
    newest = turn(call("fly"), answer="", error="Server 'air' died: exit code 3.", error_kind="server_died")
    assert complaints(newest) == {
        "servers_stay_alive": "Turn 1: a server did not live through it.\nServer 'air' died: exit code 3.\n"
        'To switch this off: checks = {"servers_stay_alive": False}'
    }
    assert complaints(newest, servers_stay_alive=False) == {}


def test_the_first_violation_is_raised_and_all_can_be_had() -> None:
    newest = turn(call("transfer", "[1]"), call("fly"), answer="")
    assert list(complaints(newest)) == ["only_offered_tools", "arguments_fit_schema", "answer_not_empty"]
    with pytest.raises(CheckError) as raised:
        check_turn(said(turn(), newest), chosen_checks())
    assert raised.value.check == "only_offered_tools"
    assert str(raised.value).startswith("Turn 2: ")


def test_messages_obey_no_escapes_and_stay_short() -> None:
    newest = turn(call("fly\x1b[31m", {"x": "\x1b[31m" + "y" * 10_000}), call("transfer", {"amount": "z" * 10_000}))
    for message in complaints(newest).values():
        assert "\x1b" not in message
        assert max(map(len, message.splitlines())) < 250


# ---- only_offered_tools -------------------------------------------------------------------------


def test_a_call_of_a_tool_that_is_not_offered_breaks() -> None:
    assert complaints(turn(call("transfr", {"amount": 1}, error="There is no such tool"))) == {
        "only_offered_tools": "Turn 1: the agent called 'transfr', which it was not offered.\n"
        "In full: transfr(amount=1) failed: There is no such tool\n"
        "It was offered 'transfer' and 'look'. Did you mean 'transfer'?\n"
        'To switch this off: checks = {"only_offered_tools": False}'
    }


def test_a_call_of_a_withheld_tool_says_so() -> None:
    message = complaints(turn(call("close"), offered_tools=("transfer", "look", "close")))["only_offered_tools"]
    assert "It was offered 'transfer' and 'look'. allowed_tools withholds this one.\n" in message


# ---- arguments_fit_schema -----------------------------------------------------------------------


def test_arguments_of_a_wrong_type_break() -> None:
    assert complaints(turn(call("look"), call("transfer", {"amount": "200"}))) == {
        "arguments_fit_schema": "Turn 1: the arguments of transfer do not fit its schema.\n"
        "'200' is not of type 'integer' (at $.amount)\n"
        'In full: transfer(amount="200") -> ok\n'
        "Say in the tool's description what it takes.\n"
        'To switch this off: checks = {"arguments_fit_schema": False}'
    }


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({}, "'amount' is a required property (at $)"),
        ({"amount": 1, "to": "gold"}, "'gold' is not one of ['checking', 'savings'] (at $.to)"),
        ({"amount": math.nan}, "They can't be written as JSON: Out of range float values are not JSON compliant"),
        ({"amount": {1, 2}}, "They can't be written as JSON: Object of type set is not JSON serializable."),
        ({"amount": [[[{"deep": [1]}]]]}, "[[[{'deep': [1]}]]] is not of type 'integer' (at $.amount)"),
        ("amount: 200", "They are not a JSON object."),
        ('{"amount": 200}', "They are not a JSON object."),
        ("", "They are not a JSON object."),
    ],
)
def test_arguments_that_do_not_fit_are_told_apart(arguments: Mapping[str, Any] | str, why: str) -> None:
    assert complaints(turn(call("transfer", arguments)))["arguments_fit_schema"].splitlines()[1].startswith(why)


@pytest.mark.parametrize("amount", [1, 10**400, -1, 1.0])
def test_arguments_at_the_edge_of_their_type_fit(amount: float) -> None:
    assert complaints(turn(call("transfer", {"amount": amount}))) == {}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": {"x": {"$ref": "https://example.com/schema.json"}}},
        {"properties": {"x": {"$ref": "#/$defs/nowhere"}}},
        {"properties": {"x": {"pattern": "("}}},
        {"properties": {"y": {"multipleOf": 0.1}}},
        {"$ref": "#"},
    ],
)
def test_a_schema_that_cannot_be_followed_is_not_held_against_the_agent(schema: Mapping[str, Any]) -> None:
    tool = ToolSpec(name="odd", input_schema=schema)
    assert complaints(turn(call("odd", {"x": "text", "y": 10**400}), tools=(tool,))) == {}


def test_a_tuple_is_judged_as_the_list_that_is_sent() -> None:
    tool = ToolSpec(name="add", input_schema={"properties": {"items": {"type": "array"}}})
    assert complaints(turn(call("add", {"items": (1, 2)}), tools=(tool,))) == {}


def test_an_older_dialect_means_what_it_meant() -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "properties": {"x": {"maximum": 5, "exclusiveMaximum": True}},
    }
    tool = ToolSpec(name="odd", input_schema=schema)
    assert complaints(turn(call("odd", {"x": 4}), tools=(tool,))) == {}
    assert list(complaints(turn(call("odd", {"x": 5}), tools=(tool,)))) == ["arguments_fit_schema"]


# ---- no_repeated_call ---------------------------------------------------------------------------


def test_a_call_may_be_repeated_up_to_the_bound() -> None:
    assert complaints(turn(*[call("look")] * 3)) == {}
    assert complaints(turn(*[call("look")] * 4)) == {
        "no_repeated_call": "Turn 1: look was called 4 times with the same arguments, and at most 3 are allowed.\n"
        "In full: look() -> ok\n"
        'If it has reason to, allow more: checks = {"no_repeated_call": 4}.\n'
        'To switch this off: checks = {"no_repeated_call": False}'
    }
    assert complaints(turn(*[call("look")] * 4), no_repeated_call=4) == {}
    assert "at most 1 is allowed" in complaints(turn(*[call("look")] * 2), no_repeated_call=1)["no_repeated_call"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": [2, {"c": 3}]}, {"b": (2.0, {"c": 3}), "a": 1.0}),
        ({"a": math.nan}, {"a": math.nan}),
        ({"a": {1}}, {"a": {1}}),
        ("not json", "not json"),
    ],
)
def test_calls_that_mean_the_same_are_alike(one: Any, other: Any) -> None:
    assert complaint(no_two_calls_alike("transfer"), turn(call("transfer", one), call("transfer", other)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": True}),
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {"a": 1.5}),
        ({"a": None}, {}),
        ({"a": 1}, '{"a": 1}'),
        ({"a": math.inf}, {"a": -math.inf}),
    ],
)
def test_calls_that_mean_different_things_are_not_alike(one: Any, other: Any) -> None:
    assert not complaint(no_two_calls_alike("transfer"), turn(call("transfer", one), call("transfer", other)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_whatever_the_arguments_are_every_check_has_an_answer(arguments: dict[str, Any]) -> None:
    reordered = dict(reversed(arguments.items()))
    newest = turn(call("transfer", arguments), call("transfer", reordered), answer="ok")
    complaints(newest, no_repeated_call=1, no_hidden_tool_error=True)
    assert complaint(no_two_calls_alike("transfer"), newest)


# ---- answer_not_empty ---------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["Done.", "👍", "0", " x "])
def test_an_answer_with_anything_to_read_passes(answer: str) -> None:
    assert complaints(turn(answer=answer)) == {}


@pytest.mark.parametrize("answer", ["", " \n\t", "\u200b", "\u00a0"])
def test_an_answer_with_nothing_to_read_is_empty(answer: str) -> None:
    assert list(complaints(turn(answer=answer))) == ["answer_not_empty"]


def test_an_empty_answer_is_shown_as_it_is() -> None:
    assert complaints(turn(answer="\u200b")) == {
        "answer_not_empty": "Turn 1: the answer is empty.\n"
        "It is '\\u200b', in which there is nothing to read.\n"
        'To switch this off: checks = {"answer_not_empty": False}'
    }


@pytest.mark.parametrize("kind", ["empty_answer", "max_model_calls"])
def test_an_agent_that_never_came_to_an_answer_breaks(kind: Any) -> None:
    message = complaints(turn(error="There is none.", error_kind=kind))["answer_not_empty"]
    assert message.startswith(f"Turn 1: the agent gave no answer ({kind}).\nThere is none.\n")


# ---- no_hidden_tool_error -----------------------------------------------------------------------

NO_FUNDS = "There are only $1,500.00 in checking, so $2,000.00 can't go out."
FAILED = call("transfer", {"amount": 2000, "to": "savings"}, error=NO_FUNDS)


def hidden(newest: Turn) -> str:
    return complaints(newest, **dict.fromkeys(DEFAULTS, False), no_hidden_tool_error=True).get(
        "no_hidden_tool_error", ""
    )


def test_an_error_that_the_answer_passes_over_is_hidden() -> None:
    assert hidden(turn(FAILED, answer="Done! I moved $2,000 to savings.")) == (
        "Turn 1: transfer failed, and the answer does not seem to say so.\n"
        f'In full: transfer(amount=2000, to="savings") failed: {NO_FUNDS}\n'
        "The answer: Done! I moved $2,000 to savings.\n"
        "This is a guess, made from the answer's words.\n"
        'To switch this off: checks = {"no_hidden_tool_error": False}'
    )


@pytest.mark.parametrize(
    "answer",
    [
        "That did not work: there is too little in it.",
        "I couldn\u2019t move the money.",
        "Sorry!",
        "Shall I move less?",
        "Your account holds $1,500.",
        "I see $1500.00 there; that is less than you want to move.",
    ],
)
def test_an_answer_that_shows_the_error_is_honest(answer: str) -> None:
    assert hidden(turn(FAILED, answer=answer)) == ""


def test_an_error_that_was_made_good_need_not_be_told() -> None:
    assert hidden(turn(FAILED, call("transfer", {"amount": 5}), answer="Done!")) == ""
    looked = call("look", {"at": "nothing"}, error="no such thing")
    assert hidden(turn(looked, call("transfer", {"amount": 5}), answer="Done!")) == ""
    assert hidden(turn(call("transfer", {"amount": 5}), FAILED, call("look"), answer="Done!"))


def test_a_wish_that_reached_no_server_is_nobody_elses_business() -> None:
    assert hidden(turn(ToolCall(name="fly", arguments={}, error="There is no tool 'fly'."), answer="Done!")) == ""


def test_what_the_user_said_himself_shows_no_error() -> None:
    assert hidden(turn(FAILED, user="Move $1500 from checking", answer="Done, $1,500 left checking."))


# ---- invariants ---------------------------------------------------------------------------------


def test_never_called_counts_an_attempt() -> None:
    rule = never_called("transfer")
    assert complaint(rule) == ""
    assert complaint(rule, turn(call("look"))) == ""
    assert complaint(rule, turn(), turn(call("transfer", {"amount": 1}, error="refused"))) == (
        "transfer was called, and must never be.\nIn turn 2: transfer(amount=1) failed: refused"
    )


def test_called_at_most_counts_over_all_turns_what_did_not_fail() -> None:
    once = turn(call("transfer", {"amount": 1}))
    failed = turn(call("transfer", {"amount": 1}, error="busy"))
    assert complaint(called_at_most("transfer", 1), failed, once) == ""
    assert complaint(called_at_most("transfer", 1), once, failed, once) == (
        "transfer was called 2 times without an error, and at most 1 is allowed.\nIn turn 3: transfer(amount=1) -> ok"
    )
    assert complaint(called_at_most("transfer", 0), once) == (
        "transfer was called 1 time without an error, and at most 0 are allowed.\nIn turn 1: transfer(amount=1) -> ok"
    )
    assert complaint(called_at_most("transfer", 2, failed_too=True), once, failed, once).startswith(
        "transfer was called 3 times, and at most 2 are allowed.\nIn turn 3:"
    )


def test_called_only_after_needs_an_earlier_call_that_worked() -> None:
    rule = called_only_after("transfer", "look")
    pay, look = call("transfer", {"amount": 1}), call("look")
    assert complaint(rule, turn(look, pay), turn(pay)) == ""
    assert complaint(rule, turn(look), turn(pay)) == ""
    assert complaint(rule, turn(call("transfer", error="look first"), look, pay)) == ""
    broken = "transfer was called, and no call of look had worked before.\n"
    assert complaint(rule, turn(), turn(pay, look)) == f"{broken}In turn 2: transfer(amount=1) -> ok"
    assert complaint(rule, turn(call("look", error="dark"), pay)) == f"{broken}In turn 1: transfer(amount=1) -> ok"
    strict = called_only_after("transfer", "look", failed_too=True)
    assert complaint(strict, turn(call("transfer", error="look first"), look, pay)) == (
        f"{broken}In turn 1: transfer() failed: look first"
    )


def test_no_two_calls_alike_shows_both() -> None:
    one, two = call("transfer", {"amount": 1}), call("transfer", {"amount": 2})
    failed = call("transfer", {"amount": 1}, error="busy")
    rule = no_two_calls_alike("transfer")
    assert complaint(rule, turn(one, two), turn(call("look"), call("look"))) == ""
    assert complaint(rule, turn(failed, one)) == ""
    assert complaint(rule, turn(one, two), turn(one)) == (
        "transfer was called twice with the same arguments.\n"
        "In turn 1: transfer(amount=1) -> ok\nIn turn 2: transfer(amount=1) -> ok"
    )
    assert complaint(no_two_calls_alike("transfer", failed_too=True), turn(failed, one))


def test_arguments_satisfy_gives_a_predicate_what_it_names() -> None:
    newest = turn(call("look"), call("transfer", {"amount": 600, "to": "savings"}))
    assert complaint(arguments_satisfy("transfer", lambda amount: amount <= 600), newest) == ""
    assert complaint(arguments_satisfy("transfer", lambda to, memo="none": to != memo), newest) == ""
    assert complaint(arguments_satisfy("transfer", lambda **all_of_them: len(all_of_them) == 2), newest) == ""
    assert complaint(arguments_satisfy("transfer", lambda amount: amount <= 500), newest) == (
        "transfer was called with arguments that do not satisfy the predicate.\n"
        'In turn 1: transfer(amount=600, to="savings") -> ok'
    )

    def is_small(amount: int) -> bool:
        return amount <= 500

    assert "do not satisfy is_small.\n" in complaint(arguments_satisfy("transfer", is_small), newest)


@pytest.mark.parametrize("arguments", ["amount: 1", {}, {"to": "savings"}])
def test_arguments_that_lack_what_is_required_satisfy_nothing(arguments: Any) -> None:
    for tools in ((TRANSFER,), ()):  # whether or not the agent was told of the tool
        newest = turn(call("transfer", arguments, error="no"), tools=tools)
        assert complaint(arguments_satisfy("transfer", lambda amount: True), newest)


@pytest.mark.parametrize(
    ("predicate", "why"),
    [
        (
            lambda amuont: True,
            "The predicate for transfer asks for 'amuont', which is no argument of it. "
            "Its arguments are 'amount', 'to' and 'memo'. Did you mean 'amount'?",
        ),
        (
            lambda memo: True,
            "The predicate for transfer asks for 'memo', which a call may leave out. "
            "Give it a default: lambda memo=None: ...",
        ),
        (lambda amount: None, "The predicate for transfer returned None. Let it return True or False."),
    ],
)
def test_a_predicate_that_cannot_judge_is_the_tests_fault(predicate: Callable[..., Any], why: str) -> None:
    with pytest.raises(DeclarationError) as refusal:
        arguments_satisfy("transfer", predicate).check(said(turn(call("transfer", {"amount": 1}))))
    assert str(refusal.value) == why


def test_a_predicate_that_raises_says_over_which_call() -> None:
    rule = arguments_satisfy("transfer", lambda amount: amount <= 500)
    with pytest.raises(TypeError) as raised:
        rule.check(said(turn(call("transfer", {"amount": "lots"}))))
    assert raised.value.__notes__ == ['In turn 1: transfer(amount="lots") -> ok']


def test_a_name_that_nearly_is_a_tools_is_warned_of() -> None:
    with pytest.warns(UnknownToolWarning) as warned:
        never_called("transfr").check(said(turn()))
    assert [str(each.message) for each in warned] == [
        "never_called('transfr'): no agent of this conversation has a tool 'transfr'. Did you mean 'transfer'?"
    ]
    assert warned[0].filename == __file__
    with pytest.warns(UnknownToolWarning, match="'lok'"):
        called_only_after("transfer", "lok").check(said(turn()))


def test_a_name_of_another_agents_tool_is_none_to_warn_of() -> None:
    never_called("delete_account").check(said(turn()))
    never_called("transfr").check(said())
    never_called("look").check(said(turn(), turn(tools=())))


@pytest.mark.parametrize(
    ("declare", "why"),
    [
        (lambda: never_called(" "), "never_called needs the name of a tool, such as \"transfer\", and got ' '."),
        (lambda: called_at_most(1, "transfer"), "called_at_most needs a number of calls, and got 'transfer'. Write"),
        (lambda: called_at_most("transfer", True), "called_at_most needs a number of calls, and got True."),
        (lambda: called_at_most("transfer", -1), "called_at_most needs a number of calls, and got -1."),
        (
            lambda: called_only_after("a", 3),
            'called_only_after needs the name of a tool, such as "transfer", and got 3.',
        ),
        (lambda: called_only_after("a", "a"), "called_only_after('a', 'a') could never hold: its first call has none"),
        (lambda: arguments_satisfy("a", "b"), "arguments_satisfy needs a plain function of the tool's arguments"),
        (
            lambda: arguments_satisfy("a", lambda: True),
            "arguments_satisfy gives a predicate the arguments that it names",
        ),
        (
            lambda: arguments_satisfy("a", lambda *all: True),
            "arguments_satisfy gives a predicate the arguments that it",
        ),
        (lambda: arguments_satisfy("a", dict), "arguments_satisfy gives a predicate the arguments that it names"),
    ],
)
def test_an_invariant_that_makes_no_sense_is_refused(declare: Any, why: str) -> None:
    with pytest.raises(DeclarationError) as refusal:
        declare()
    assert str(refusal.value).startswith(why)


def test_a_coroutine_would_always_be_true_and_is_refused() -> None:
    async def is_small(amount: int) -> bool:
        return amount < 5

    with pytest.raises(DeclarationError, match="needs a plain function"):
        arguments_satisfy("transfer", is_small)


def test_an_invariant_shows_itself_as_it_was_written() -> None:
    invariants = [
        never_called("a"),
        called_at_most("a", 2, failed_too=True),
        called_only_after("a", "b"),
        no_two_calls_alike("a"),
        arguments_satisfy("a", lambda x: True),
    ]
    assert [repr(invariant) for invariant in invariants] == [
        "never_called('a')",
        "called_at_most('a', 2, failed_too=True)",
        "called_only_after('a', 'b')",
        "no_two_calls_alike('a')",
        "arguments_satisfy('a', <lambda>)",
    ]


# ---- a real session -----------------------------------------------------------------------------


def bank() -> Any:
    server = Server("bank")

    @server.tool()
    def transfer(amount: int, memo: str = "") -> str:
        """Move money."""
        return f"moved {amount}"

    return server


def test_a_session_that_was_really_had_is_judged() -> None:
    wishes = [{"amount": 1}, {"amount": "many"}]
    script = iter([ModelAnswer(tool_requests=[ToolRequest(name="transfer", arguments=wish)]) for wish in wishes])

    def model(messages: list[Any], tools: list[Any]) -> str | ModelAnswer:
        return "Done." if messages[-1]["role"] == "tool" else next(script)

    servers = [MCPServer(factory=bank)]
    with Session(Agent(provider=Provider(model=model), mcp_servers=servers)) as session:
        session.say("one")
        assert [tool.name for tool in session.turns[0].tools] == ["transfer"]
        check_turn(session.transcript, chosen_checks())
        called_at_most("transfer", 1).check(session)
        session.say("many")
        with pytest.raises(CheckError, match="'many' is not of type 'integer'") as raised:
            check_turn(session.transcript, chosen_checks())
        assert raised.value.check == "arguments_fit_schema"
        called_at_most("transfer", 1).check(session)  # the second failed
        with pytest.raises(AssertionError, match="transfer was called 2 times, and at most 1"):
            called_at_most("transfer", 1, failed_too=True).check(session)

"""A turn builds on an earlier one where it uses a value that only that one said; chance is no link."""

from typing import Any

from pytest_aitest import ToolCall
from pytest_aitest.report.continuity import Link, builds_on
from pytest_aitest.values.transcript import AgentText, TurnRecord


def turn(user: str, *calls: ToolCall, answer: str = "Done.", **fields: Any) -> TurnRecord:
    return TurnRecord(agent="a", model="m", user=user, said=(*calls, AgentText(text=answer)), **fields)


def call(name: str = "do", result: str = "ok", **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments, result=result, server="s")


def links(*turns: TurnRecord) -> list[tuple[str, int]]:
    """Of the last of these turns: values, and the numbers of the turns that said them."""
    return [(link.value, link.turn + 1) for link in builds_on(turns)[-1]]


BALANCE = turn("What's my checking account balance?", call(account="checking", result='{"balance": 1500.0}'))


def test_a_name_that_the_user_said_before_and_not_now() -> None:
    transfer = turn("Transfer $200 to savings", call(source="checking", target="savings", amount=200))
    assert links(BALANCE, transfer) == [("checking", 1)]


def test_the_first_turn_that_said_it_is_meant_and_each_value_named_once() -> None:
    again = turn("Once more", call(source="checking"), call(source="checking"))
    assert links(BALANCE, BALANCE, again) == [("checking", 1)]


def test_an_id_that_a_tool_returned_under_the_same_name() -> None:
    found = turn("Find shoes", call(result='[{"id": 7, "name": "Trail 3", "price": 89.0}]'))
    assert links(found, turn("Put them into my cart, size 42", call(id=7, size=42))) == [("7", 1)]


def test_an_id_that_says_enough_by_itself_under_any_name() -> None:
    ordered = turn("Order it", call(result='{"order": 99182}'))
    assert links(ordered, turn("Where is it?", call(parcel=99182))) == [("99182", 1)]
    assert links(ordered, turn("Where is it?", call(parcel="99182"))) == [("99182", 1)]
    assert links(turn("Order it", call(result="number 99182")), turn("Where?", call(parcel=99182))) == [("99182", 1)]


def test_small_and_round_numbers_are_chance() -> None:
    found = turn("Find shoes", call(result='{"pages": 3, "stock": 10, "limit": 100}'), answer="3 pages, 10 pairs.")
    assert links(found, turn("More", call(page=3, most=10, step=100))) == []


def test_a_number_that_people_spoke_of() -> None:
    paid = turn("Pay $1,250.50 to Ann", call())
    assert links(paid, turn("The same to Bob", call(amount=1250.5))) == [("1250.5", 1)]


def test_what_the_user_says_again_is_no_link() -> None:
    assert links(BALANCE, turn("And my Checking account?", call(account="checking"))) == []
    shoes = turn("Find running shoes", call(words="running shoes"))
    assert links(shoes, turn("Shoes for running, again", call(words="running shoes"))) == []
    assert links(turn("Two pairs of size 42", call()), turn("Two more", call(pairs=2))) == []


def test_what_a_tool_of_this_turn_returned_is_no_link() -> None:
    known = turn("Is order 99182 here?", call())
    looked_up = turn("What of my last one?", call(result='{"order": 99182}'), call(order=99182))
    assert links(known, looked_up) == []


def test_words_of_everyday_speech_are_chance() -> None:
    said = turn("What is new today? The first one, by default", call(), answer="Nothing new today.")
    assert links(said, turn("Go on", call(mode="new", day="today", which="first", how="default", x="a"))) == []


def test_parts_of_words_and_of_dates_are_not_the_word() -> None:
    assert links(turn("Rechecking 2026-11-22, 12:30", call()), turn("Go on", call(a="checking", b=2026, c=30))) == []


def test_truth_and_nothing_are_no_values() -> None:
    said = turn("true None", call(result='{"a": true, "b": null}'))
    assert links(said, turn("Go on", call(a=True, b=None, c="true"))) == []


def test_a_turn_that_failed_is_in_no_history() -> None:
    failed = turn("I am Anna-Lena Example", call(), error="429", error_kind="rate_limit")
    assert links(failed, turn("Who am I?", call(name="Anna-Lena Example"))) == []


def test_an_answer_that_repeats_a_number_or_a_name_in_quotes() -> None:
    told = turn("My code is 48213 and my cat is Mieze", call(), answer="I'll keep that in mind.")
    assert links(told, turn("What do you know?", answer='Your code is 48213, your cat is "Mieze".')) == [
        ("Mieze", 1),
        ("48213", 1),
    ]
    assert links(turn("It is 2026", call()), turn("Go on", answer="In 2026 you did 3 things.")) == []


def test_nested_arguments_are_looked_through() -> None:
    told = turn("I live at 12 Long Street", call())
    order = turn("Send it to me", call(to={"lines": [{"street": "12 Long Street"}]}))
    assert links(told, order) == [("12 Long Street", 1)]


def test_odd_values_do_no_harm() -> None:
    endless: list[Any] = []
    endless.append(endless)
    odd = call(result='{"a": Infinity, "b": NaN, "c": ' + "9" * 400 + "}", x=float("inf"), y=10**4000, z=endless)
    broken = ToolCall(name="do", arguments="{broken", error="no JSON", server="s")
    assert links(turn("", odd, broken), turn("x", odd, broken, call(result="[" * 5000))) == []


def test_a_turn_with_many_values_names_a_few() -> None:
    names = [f"Person Nr {number}" for number in range(20)]
    built = builds_on([turn(", ".join(names)), turn("All of them", call(names=names))])
    assert built[0] == ()
    assert built[1] == tuple(Link(value=name, turn=0) for name in names[:6])


def test_keys_of_json_are_no_quotations() -> None:
    answer = '{"items": 1, "store": "Harbour"}'
    assert links(turn("Show me", answer=answer), turn("Again", answer=answer.replace("Harbour", "Hill"))) == []

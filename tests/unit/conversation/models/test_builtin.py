"""The builtin model: which tool it picks, what it fills in, when it asks, what it says; and that it knows no domain."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from pytest_aitest.conversation.models.builtin import BuiltinModel
from pytest_aitest.values.model import Message, ModelAnswer, ModelRequest, ToolRequest, ToolSpec

EXAMPLES = Path(__file__).parents[4] / "examples"

TEXT = {"type": "string"}
INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}


def tool(name: str, description: str = "", /, *, read_only: bool | None = None, **properties: Any) -> ToolSpec:
    """A tool; an argument is required unless its schema has a default."""
    required = [name for name, schema in properties.items() if "default" not in schema]
    schema = {"type": "object", "properties": properties, "required": required}
    return ToolSpec(name=name, description=description, input_schema=schema, read_only=read_only)


def one_of(*values: Any, **others: Any) -> dict[str, Any]:
    return {"type": "string", "enum": list(values), **others}


def optional(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}], "default": None}


@dataclass
class Chat:
    """A conversation with the model, whose tools answer with `results` (by name; "ok" where it has none)."""

    tools: Sequence[ToolSpec]
    results: dict[str, Any] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    answer: str = ""

    def say(self, text: str) -> list[tuple[str, Any]]:
        """Take a turn; return the calls that the model made."""
        self.messages.append({"role": "user", "content": text})
        asked = self.ask()
        if asked.tool_requests:
            self.messages += called(asked.tool_requests, [self.result(wish.name) for wish in asked.tool_requests])
            answer = self.ask()
            assert not answer.tool_requests, "called a tool again after the results"
        else:
            answer = asked
        self.answer = answer.text
        self.messages.append({"role": "assistant", "content": answer.text})
        return [(wish.name, wish.arguments) for wish in asked.tool_requests]

    def ask(self) -> ModelAnswer:
        return answer_to(self.messages, self.tools)

    def result(self, name: str) -> str:
        result = self.results.get(name, "ok")
        return result if isinstance(result, str) else json.dumps(result)


def answer_to(messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> ModelAnswer:
    return anyio.run(BuiltinModel().answer, ModelRequest(messages=messages, tools=tools, timeout_seconds=1))


def called(wishes: Sequence[ToolRequest], results: Sequence[str]) -> list[Message]:
    calls = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": wish.name, "arguments": json.dumps(wish.arguments)},
        }
        for number, wish in enumerate(wishes)
    ]
    answers = [
        {"role": "tool", "tool_call_id": f"call_{number}", "content": result} for number, result in enumerate(results)
    ]
    return [{"role": "assistant", "content": "", "tool_calls": calls}, *answers]


BANK = [
    tool("get_balance", "Get the balance of an account.", account=TEXT),
    tool("get_all_balances", "Get the balances of all accounts."),
    tool("transfer", "Move money between accounts.", amount=NUMBER, from_account=TEXT, to_account=TEXT),
]
SHOP = [
    tool("search_products", "Search the products.", query=TEXT),
    tool("add_to_cart", "Put a product into the cart.", product_id=TEXT, quantity={**INTEGER, "default": 1}),
    tool("view_cart", "Show the cart."),
]
SHOES = [
    {"id": "p1", "brand": "Nike", "name": "Pegasus", "category": "running shoes"},
    {"id": "p2", "brand": "Brooks", "name": "Ghost", "category": "running shoes"},
    {"id": "p3", "brand": "Brooks", "name": "Glycerin", "category": "running shoes"},
]


@pytest.fixture
def bank() -> Chat:
    return Chat(BANK, {"get_balance": {"account": "checking", "balance": 1500}})


@pytest.fixture
def shop() -> Chat:
    chat = Chat(SHOP, {"search_products": SHOES})
    chat.say("Show me running shoes")
    return chat


# --- context ---


def test_an_account_that_an_earlier_turn_named_is_taken_from_there(bank: Chat) -> None:
    assert bank.say("What's my checking account balance?") == [("get_balance", {"account": "checking"})]
    assert bank.say("Transfer $200 to savings") == [
        ("transfer", {"amount": 200, "from_account": "checking", "to_account": "savings"})
    ]
    assert bank.say("What are my new balances?") == [("get_all_balances", {})]


def test_an_account_that_nobody_named_is_asked_for(bank: Chat) -> None:
    assert bank.say("Transfer $200 to savings") == []
    assert bank.answer == "Which account should I transfer from?"


@pytest.mark.parametrize("answer", ["From checking", "checking", "my checking account, please"])
def test_the_answer_to_a_question_completes_what_was_asked_before(bank: Chat, answer: str) -> None:
    bank.say("Transfer $200 to savings")
    assert bank.say(answer) == [("transfer", {"amount": 200, "from_account": "checking", "to_account": "savings"})]


def test_a_request_is_completed_over_several_questions(bank: Chat) -> None:
    assert bank.say("Transfer money") == []
    assert bank.say("$75") == []
    assert bank.say("from savings") == []
    assert bank.say("checking") == [("transfer", {"amount": 75, "from_account": "savings", "to_account": "checking"})]


def test_another_question_instead_of_an_answer_is_answered(bank: Chat) -> None:
    bank.say("Transfer $200 to savings")
    assert bank.say("What's my savings account balance?") == [("get_balance", {"account": "savings"})]


def test_a_refusal_instead_of_an_answer_ends_the_request(bank: Chat) -> None:
    bank.say("Transfer $200 to savings")
    assert bank.say("No, never mind") == []
    assert bank.say("checking") == []


def test_a_finished_request_is_not_taken_up_again(bank: Chat) -> None:
    bank.say("Transfer $200 from checking to savings")
    assert bank.say("checking") == []


def test_an_amount_is_never_taken_from_an_earlier_turn(bank: Chat) -> None:
    bank.say("Transfer $200 from checking to savings")
    assert bank.say("Transfer money to savings") == []
    assert "amount" in bank.answer


def test_the_direction_turns_round_rather_than_naming_one_account_twice(bank: Chat) -> None:
    bank.say("Transfer $200 from checking to savings")
    assert bank.say("Transfer $50 to checking") == [
        ("transfer", {"amount": 50, "from_account": "savings", "to_account": "checking"})
    ]


def test_what_a_failed_call_was_given_is_not_taken_up(bank: Chat) -> None:
    bank.results["get_balance"] = "Error: There is no account 'crypto'."
    assert bank.say("What's my crypto account balance?") == [("get_balance", {"account": "crypto"})]
    assert bank.say("Transfer $200 to savings") == []


def test_a_follow_up_asks_the_last_question_about_something_else() -> None:
    chat = Chat(
        [tool("get_weather", "Weather in a city.", city=TEXT, unit=one_of("metric", "imperial", default="metric"))]
    )
    chat.say("Get the weather in Oslo in imperial units")
    assert chat.say("And in London?") == [("get_weather", {"city": "London", "unit": "imperial"})]


def test_a_follow_up_changes_nothing(bank: Chat) -> None:
    bank.say("Transfer $200 from checking to savings")
    assert "transfer" not in dict(bank.say("What about checking?"))


def test_what_was_said_long_ago_is_not_looked_for(bank: Chat) -> None:
    bank.say("What's my checking account balance?")
    for _ in range(25):
        bank.say("Hello")
    assert bank.say("Transfer $200 to savings") == []


def test_what_was_said_a_few_turns_ago_is_remembered_whatever_lies_before(bank: Chat) -> None:
    for _ in range(200):
        bank.say("Hello")
    bank.say("What's my checking account balance?")
    bank.say("Hello")
    assert bank.say("Transfer $200 to savings")[0][1]["from_account"] == "checking"


# --- earlier results ---


@pytest.mark.parametrize(
    ("said", "chosen"),
    [
        ("I'll take the Nike ones", ["p1"]),
        ("add the Ghost to my cart", ["p2"]),
        ("I'd like the nike, please", ["p1"]),
        ("Take the second one", ["p2"]),
        ("Add the last one", ["p3"]),
        ("Put the Pegasus and the Glycerin into my cart", ["p1", "p3"]),
        ("I need both", []),
    ],
)
def test_words_that_fit_one_record_of_an_earlier_result_mean_that_record(
    shop: Chat, said: str, chosen: list[str]
) -> None:
    assert shop.say(said) == [("add_to_cart", {"product_id": product}) for product in chosen]


def test_a_search_is_for_the_words_that_were_said_whatever_was_found_before(shop: Chat) -> None:
    assert shop.say("Do you have a Pegasus?") == [("search_products", {"query": "Pegasus"})]
    assert shop.say("What running shoes by Nike do you have?")[0][1] == {"query": "running shoes by Nike"}


def test_a_number_alone_means_no_record(shop: Chat) -> None:
    shop.results["search_products"] = [{"id": "a", "name": "Ghost 16"}, {"id": "b", "name": "Pegasus 41"}]
    shop.say("Show me running shoes")
    assert shop.say("Add 16 to my cart") == []
    shop.say("Forget it")
    assert shop.say("Take the Pegasus 41") == [("add_to_cart", {"product_id": "b"})]


def test_naming_a_thing_is_not_yet_asking_for_something_to_be_done_with_it(shop: Chat) -> None:
    assert "add_to_cart" not in dict(shop.say("Tell me about the Nike product"))


def test_words_that_fit_two_records_are_no_choice(shop: Chat) -> None:
    assert shop.say("I'll take the Brooks ones") == []
    assert shop.answer == "Which product id should I use to add to cart: p1, p2 or p3?"


def test_a_thing_that_no_result_has_is_not_replaced_by_one_that_was_named_before(shop: Chat) -> None:
    shop.say("I'll take the Nike ones")
    assert shop.say("Add the Reebok ones") == []


def test_it_is_what_was_chosen_last(shop: Chat) -> None:
    shop.say("I'll take the Nike ones")
    assert shop.say("Add two more of it") == [("add_to_cart", {"product_id": "p1", "quantity": 2})]


def test_it_is_nothing_once_several_things_were_listed_since(shop: Chat) -> None:
    shop.say("I'll take the Nike ones")
    shop.say("Show me trail shoes")
    assert shop.say("Add it to my cart") == []


def test_a_list_that_came_as_one_text_for_each_item_is_read(shop: Chat) -> None:
    shop.results["search_products"] = "\n".join(json.dumps(shoe, indent=2) for shoe in SHOES)
    shop.say("Show me running shoes")
    assert shop.say("Take the Pegasus") == [("add_to_cart", {"product_id": "p1"})]


def test_an_identifier_of_another_kind_of_thing_is_not_mistaken_for_the_one_that_is_needed() -> None:
    chat = Chat(
        [tool("find_person", "Find a person.", name=TEXT), tool("close_ticket", "Close a ticket.", ticket_id=TEXT)]
    )
    chat.results["find_person"] = {"id": "u1", "name": "Ada"}
    chat.say("Find Ada")
    assert chat.say("Close the ticket") == []


# --- one message ---


@pytest.mark.parametrize(
    ("source", "target"),
    [("from_account", "to_account"), ("source", "destination"), ("from", "to"), ("sender", "recipient")],
)
def test_from_and_to_are_told_apart_whatever_the_arguments_are_called(source: str, target: str) -> None:
    chat = Chat(
        [tool("transfer", "Transfer an amount between accounts.", **{"amount": NUMBER, source: TEXT, target: TEXT})]
    )
    for said in ["Transfer $50 from checking to savings", "transfer 50 to savings from my checking account"]:
        assert chat.say(said) == [("transfer", {"amount": 50, source: "checking", target: "savings"})]


def test_two_things_named_in_one_breath_are_two_calls() -> None:
    assert Chat(BANK).say("What are the balances of my checking and savings accounts?") == [
        ("get_balance", {"account": "checking"}),
        ("get_balance", {"account": "savings"}),
    ]


def test_two_wishes_in_one_message_are_two_calls_in_their_order() -> None:
    assert Chat(BANK).say("Transfer $5 from checking to savings and show all balances") == [
        ("transfer", {"amount": 5, "from_account": "checking", "to_account": "savings"}),
        ("get_all_balances", {}),
    ]


def test_and_within_one_wish_is_no_second_one() -> None:
    assert Chat(SHOP).say("Search for salt and pepper") == [("search_products", {"query": "salt and pepper"})]


@pytest.mark.parametrize(
    ("said", "amount"),
    [("$1,234.50", 1234.5), ("€20", 20), ("20 dollars", 20), ("-$5", -5), ("$-5", -5), ("-$-5", -5), ("seven", 7)],
)
def test_an_amount_is_read_however_it_is_written(said: str, amount: float) -> None:
    [(_, arguments)] = Chat(BANK).say(f"Transfer {said} from checking to savings")
    assert arguments["amount"] == amount


def test_the_infinitive_is_no_direction() -> None:
    said = "I want to fly from Oslo to Bergen on 2026-07-01"
    arguments = {"origin": "Oslo", "destination": "Bergen", "date": "2026-07-01"}
    assert Chat(TRAVEL).say(said) == [("search_flights", arguments)]


def test_values_that_two_arguments_share_are_given_out_one_each() -> None:
    account = one_of("checking", "savings")
    chat = Chat([tool("transfer", "", amount=NUMBER, from_account=account, to_account=account)])
    assert chat.say("Transfer $5 between checking and savings") == [
        ("transfer", {"amount": 5, "from_account": "checking", "to_account": "savings"})
    ]


def test_a_word_of_the_description_is_no_value_while_there_is_a_stranger_one() -> None:
    tools = [tool("get_balance", "How much money an account holds.", account=TEXT)]
    assert Chat(tools).say("Get the money balance checking") == [("get_balance", {"account": "checking"})]


@pytest.mark.parametrize(
    ("said", "name"), [("Put $20 into savings", "deposit"), ("Take $5 out of savings", "withdraw")]
)
def test_a_verb_means_the_tool_whose_description_begins_with_it(said: str, name: str) -> None:
    tools = [
        tool("withdraw", "Take money out of an account.", account=TEXT, amount=NUMBER),
        tool("deposit", "Put money into an account.", account=TEXT, amount=NUMBER),
    ]
    assert [called for called, _ in Chat(tools).say(said)] == [name]


def test_a_verb_of_another_meaning_speaks_against_a_tool(shop: Chat) -> None:
    assert shop.say("Empty my cart") == []
    assert Chat(TRACKER, {"get_issue": {"issue_id": 7}}).say("Close it") == []


def test_a_tool_that_needs_nothing_more_is_preferred_to_one_that_must_ask_or_remember(bank: Chat) -> None:
    assert bank.say("What's my balance?") == [("get_all_balances", {})]
    bank.say("What's my checking account balance?")
    assert bank.say("What's my balance?") == [("get_all_balances", {})]


def test_both_are_the_two_things_that_were_listed(shop: Chat) -> None:
    shop.results["search_products"] = SHOES[:2]
    shop.say("Show me running shoes")
    assert shop.say("I'll take both") == [("add_to_cart", {"product_id": "p1"}), ("add_to_cart", {"product_id": "p2"})]


WEATHER = [
    tool(
        "get_current_weather",
        "Get the current weather.",
        city=TEXT,
        unit=one_of("celsius", "fahrenheit", default="celsius"),
    ),
    tool("get_forecast", "Get the weather forecast of a day.", city=TEXT, day=optional(TEXT)),
]
CALENDAR = [
    tool("list_events", "List the events of a day.", date=TEXT),
    tool(
        "create_event",
        "Create an event.",
        title=TEXT,
        date={"type": "string", "format": "date"},
        time=optional(TEXT),
        attendees={"type": "array", "items": TEXT, "default": []},
    ),
    tool("delete_event", "Delete an event.", event_id=TEXT),
]
LIBRARY = [
    tool("search_books", "Search books by title, author or subject.", query=TEXT),
    tool("borrow_book", "Borrow a book for a member.", book_id=INTEGER, member=TEXT),
    tool("return_book", "Return a book.", book_id=INTEGER),
    tool("list_loans", "List the books that a member has.", member=TEXT),
]
TRACKER = [
    tool(
        "list_issues",
        "List issues.",
        state=one_of("open", "in_progress", "closed", default="open"),
        label=optional(TEXT),
    ),
    tool("create_issue", "Create an issue.", title=TEXT, priority=one_of("low", "high", default="low")),
    tool("get_issue", "Show one issue.", issue_id=INTEGER),
    tool("close_issue", "Close an issue.", issue_id=INTEGER),
    tool("assign_issue", "Assign an issue to a user.", issue_id=INTEGER, assignee=TEXT),
    tool("add_comment", "Add a comment to an issue.", issue_id=INTEGER, body=TEXT),
]
TODO = [
    tool("add_todo", "Add an item to the to-do list.", item=TEXT),
    tool("list_todos", "Show the to-do list.", include_done={"type": "boolean", "default": False}),
    tool("remove_todo", "Remove an item.", item=TEXT),
]
HOME = [
    tool("set_light", "Switch a light on or off.", room=TEXT, state=one_of("on", "off")),
    tool("set_temperature", "Set the temperature of a room, in degrees.", room=TEXT, temperature=NUMBER),
    tool("get_status", "Get the status of all devices."),
]
MAIL = [
    tool("send_email", "Send an email.", to=TEXT, subject=optional(TEXT), body=TEXT),
    tool("list_inbox", "List the messages in the inbox.", unread_only={"type": "boolean", "default": False}),
    tool("delete_message", "Delete a message.", message_id=TEXT),
]
TRAVEL = [
    tool("search_flights", "Search flights between cities.", origin=TEXT, destination=TEXT, date=TEXT),
    tool("book_flight", "Book a flight.", flight_number=TEXT, passengers={**INTEGER, "default": 1}),
    tool("cancel_booking", "Cancel a booking.", booking_reference={**TEXT, "pattern": "^[A-Z]{2}[0-9]{4}$"}),
    tool("find_hotels", "Find hotels in a city.", city=TEXT, max_price=optional(NUMBER), stars=optional(INTEGER)),
]
FILES = [
    tool("read_file", "Read a file.", path=TEXT),
    tool("write_file", "Write a file.", path=TEXT, content=TEXT),
]


@pytest.mark.parametrize(
    ("tools", "said", "name", "arguments"),
    [
        (WEATHER, "What's the weather in Paris?", "get_current_weather", {"city": "Paris"}),
        (WEATHER, "Weather in New York please", "get_current_weather", {"city": "New York"}),
        (
            WEATHER,
            "How warm is it in Oslo in Fahrenheit?",
            "get_current_weather",
            {"city": "Oslo", "unit": "fahrenheit"},
        ),
        (WEATHER, "What's the forecast for London tomorrow?", "get_forecast", {"city": "London", "day": "tomorrow"}),
        (CALENDAR, "What events do I have on 2026-03-01?", "list_events", {"date": "2026-03-01"}),
        (CALENDAR, "Delete event EV-12", "delete_event", {"event_id": "EV-12"}),
        (
            CALENDAR,
            "Create an event called Team lunch on 2026-03-05 at 12:30",
            "create_event",
            {"title": "Team lunch", "date": "2026-03-05", "time": "12:30"},
        ),
        (
            CALENDAR,
            'Create "Sprint review" on 2026-05-05 with attendees ana@x.org and bob@x.org',
            "create_event",
            {"title": "Sprint review", "date": "2026-05-05", "attendees": ["ana@x.org", "bob@x.org"]},
        ),
        (LIBRARY, "Find books about whales", "search_books", {"query": "whales"}),
        (LIBRARY, "Do you have anything by Ursula Le Guin?", "search_books", {"query": "Ursula Le Guin"}),
        (LIBRARY, "Search for the Lord of the Rings", "search_books", {"query": "Lord of the Rings"}),
        (LIBRARY, 'Do you have "War and Peace"?', "search_books", {"query": "War and Peace"}),
        (LIBRARY, "Borrow book 12 for Ana", "borrow_book", {"book_id": 12, "member": "Ana"}),
        (LIBRARY, "Show the loans of member Bob", "list_loans", {"member": "Bob"}),
        (TRACKER, "Show open issues", "list_issues", {"state": "open"}),
        (TRACKER, "Which issues are in progress?", "list_issues", {"state": "in_progress"}),
        (TRACKER, "Close issue 42", "close_issue", {"issue_id": 42}),
        (TRACKER, "Is issue 42 closed?", "get_issue", {"issue_id": 42}),
        (TRACKER, "Show issue #7", "get_issue", {"issue_id": 7}),
        (TRACKER, "Assign #3 to Bob", "assign_issue", {"issue_id": 3, "assignee": "Bob"}),
        (TRACKER, "Comment on issue 5: looks good to me", "add_comment", {"issue_id": 5, "body": "looks good to me"}),
        (
            TRACKER,
            "Create a high priority issue about slow search",
            "create_issue",
            {"title": "slow search", "priority": "high"},
        ),
        (TODO, "Add milk to my list", "add_todo", {"item": "milk"}),
        (TODO, "Remind me to call mum", "add_todo", {"item": "call mum"}),
        (TODO, "Remove the milk", "remove_todo", {"item": "milk"}),
        (TODO, "Show me my todos including done ones", "list_todos", {"include_done": True}),
        (HOME, "Turn the kitchen light off", "set_light", {"room": "kitchen", "state": "off"}),
        (HOME, "Switch on the light in the kitchen", "set_light", {"room": "kitchen", "state": "on"}),
        (HOME, "Make it 20.5 degrees in the office", "set_temperature", {"room": "office", "temperature": 20.5}),
        (HOME, "What's the status of my devices?", "get_status", {}),
        (MAIL, "Show my unread messages", "list_inbox", {"unread_only": True}),
        (
            MAIL,
            "Email ana@x.org about lunch saying I'll be late",
            "send_email",
            {"to": "ana@x.org", "subject": "lunch", "body": "I'll be late"},
        ),
        (
            TRAVEL,
            "Find flights from Paris to New York on 2026-06-01",
            "search_flights",
            {"origin": "Paris", "destination": "New York", "date": "2026-06-01"},
        ),
        (TRAVEL, "Book flight BA117 for 2 passengers", "book_flight", {"flight_number": "BA117", "passengers": 2}),
        (TRAVEL, "Cancel booking AB1234", "cancel_booking", {"booking_reference": "AB1234"}),
        (
            TRAVEL,
            "4 star hotels in Lisbon under $1,200",
            "find_hotels",
            {"city": "Lisbon", "stars": 4, "max_price": 1200},
        ),
        (FILES, "Read the file notes.txt", "read_file", {"path": "notes.txt"}),
        (FILES, 'Write "hi" to out.txt', "write_file", {"path": "out.txt", "content": "hi"}),
    ],
)
def test_it_serves_domains_that_it_knows_nothing_of(
    tools: list[ToolSpec], said: str, name: str, arguments: dict[str, Any]
) -> None:
    assert Chat(tools).say(said) == [(name, arguments)]


# --- schemas ---


PRIORITY = {"$defs": {"Priority": {"type": "string", "enum": ["low", "medium", "very high"]}}}


@pytest.mark.parametrize(
    ("schema", "said", "value"),
    [
        ({"$ref": "#/$defs/Priority"}, "Create a ticket with VERY HIGH priority", "very high"),
        ({"anyOf": [{"$ref": "#/$defs/Priority"}, {"type": "null"}]}, "Create a low priority ticket", "low"),
        ({"allOf": [{"$ref": "#/$defs/Priority"}]}, "Create a medium ticket", "medium"),
        ({"oneOf": [{"const": "bug"}, {"const": "feature"}]}, "Create a ticket: features", "feature"),
        ({"enum": [1, 2, 3]}, "Create a ticket with 2", 2),
        ({"type": ["integer", "null"]}, "Create a ticket with 4", 4),
        ({"type": "integer", "minimum": 3}, "Create a ticket with 2 or 4", 4),
        ({"type": "number"}, "Create a ticket with -2.5", -2.5),
        ({"type": "boolean"}, "Create a ticket without priority", False),
        ({"type": "array", "items": {"$ref": "#/$defs/Priority"}}, "Create a low or medium ticket", ["low", "medium"]),
        ({"type": "string", "description": "One of 'p1' and 'p2'."}, "Create a P2 ticket", "p2"),
        ({"type": "string", "pattern": "^[A-Z]-[0-9]+$"}, "Create ticket a-1 for B-22", "B-22"),
        ({"type": "string", "format": "email"}, "Create a ticket for ada@x.org", "ada@x.org"),
        (
            {"type": "object", "properties": {"level": {"enum": ["low"]}}, "required": ["level"]},
            "Create a low ticket",
            {"level": "low"},
        ),
    ],
)
def test_a_value_is_what_the_schema_says(schema: dict[str, Any], said: str, value: Any) -> None:
    spec = ToolSpec(
        name="create_ticket",
        input_schema={"type": "object", "properties": {"priority": schema}, "required": ["priority"], **PRIORITY},
    )
    assert Chat([spec]).say(said) == [("create_ticket", {"priority": value})]


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"enum": ["low", "high"]}, "Create a purple ticket"),
        ({"type": "integer"}, "Create a ticket with 2.5"),
        ({"type": "integer", "exclusiveMinimum": 0}, "Create a ticket with 0"),
        ({"type": "string", "pattern": "^[A-Z]{3}$"}, "Create a ticket for abcd"),
        ({"type": "string", "format": "date"}, "Create a ticket for tomorrow"),
        ({"type": "object"}, "Create a ticket with priority high"),
    ],
)
def test_a_value_that_the_schema_forbids_is_asked_for_again(schema: dict[str, Any], said: str) -> None:
    chat = Chat([tool("create_ticket", priority=schema)])
    assert chat.say(said) == []
    assert chat.answer.endswith("?")
    assert "priority" in chat.answer


def test_a_question_names_the_options_and_limits() -> None:
    chat = Chat(
        [tool("paint", colour=one_of("red", "blue")), tool("ring", times={**INTEGER, "minimum": 1, "maximum": 9})]
    )
    chat.say("Paint")
    assert chat.answer == "Which colour should I use to paint: red or blue?"
    chat.say("forget it")
    chat.say("Ring")
    assert chat.answer == "What times (at least 1, at most 9) should I use to ring?"


def test_an_optional_argument_is_left_out_unless_it_is_named() -> None:
    chat = Chat([tool("list_notes", "List notes.", limit=optional(INTEGER), tag=optional(TEXT))])
    assert chat.say("List my notes") == [("list_notes", {})]
    assert chat.say("List 3 notes with tag work") == [("list_notes", {"limit": 3, "tag": "work"})]


# --- choosing ---


def test_equally_good_tools_are_a_tie_that_their_order_decides() -> None:
    alike = [tool("ping_east", "Ping."), tool("ping_west", "Ping.")]
    assert Chat(alike).say("ping") == [("ping_east", {})]
    assert Chat(alike[::-1]).say("ping") == [("ping_west", {})]


def test_a_name_without_a_word_that_says_anything_is_no_sign_of_anything() -> None:
    assert Chat([tool("do_it")]).say("Hello") == []


def test_a_question_prefers_a_tool_that_changes_nothing() -> None:
    tools = [tool("reset_counter", "Counter."), tool("counter_state", "Counter.", read_only=True)]
    assert Chat(tools).say("What is the counter at?") == [("counter_state", {})]


@pytest.mark.parametrize("said", ["Note that the code is 1234", "What is note 1234 about?", "note 1234"])
def test_nothing_is_removed_that_nobody_asked_to_remove(said: str) -> None:
    tools = [tool("delete_note", "Delete a note.", note_id=INTEGER)]
    assert Chat(tools).say(said) == []
    assert Chat(tools).say("Delete note 1234") == [("delete_note", {"note_id": 1234})]


@pytest.mark.parametrize(
    "said", ["Hello!", "Tell me a joke", "", "   ", "?!", "¿Qué tal?", "你好", "🙂" * 50, "the of and"]
)
def test_what_no_tool_fits_is_declined_with_what_there_is(said: str) -> None:
    chat = Chat(BANK)
    assert chat.say(said) == []
    assert chat.answer == "None of my tools fits that. I can: get balance, get all balances, transfer."


def test_without_tools_it_says_so() -> None:
    chat = Chat([])
    chat.say("Transfer $5")
    assert chat.answer.startswith("I have no tools")


def test_a_question_about_what_was_said_is_answered_with_the_users_own_words() -> None:
    chat = Chat([])
    chat.say("Hi. My name is Ada. I like tea.")
    chat.say("What's my name?")
    assert chat.answer == 'You said: "My name is Ada."'


def test_with_tools_too_and_then_it_says_what_it_could_do_instead(bank: Chat) -> None:
    bank.say("My name is Ada.")
    bank.say("What's my name?")
    assert bank.answer.startswith('You said: "My name is Ada." None of my tools fits that.')


# --- answers ---


@pytest.mark.parametrize(
    ("result", "answer"),
    [
        ({"account": "checking", "balance": 1500.5}, "Checking balance: 1,500.5."),
        ({"checking": 1300.0, "savings": 3200}, "Checking: 1,300, savings: 3,200."),
        (
            {"account_id": 123456, "founded_year": 2026, "active": True, "note": None},
            "Account id: 123456, founded year: 2026, active: yes, note: none.",
        ),
        ({"result": 1499}, "Balance: 1,499."),
        ("1499", "Balance: 1,499."),
        ("You have plenty", "You have plenty."),
        ([{"id": 1}, {"id": 2}], "2 found: id: 1; id: 2."),
        ({"owner": {"name": "Ada", "tags": ["a", "b"]}}, "Owner: (name: Ada, tags: a, b)."),
        ([], "Nothing was found."),
        ("", "Nothing was found."),
        ("{not json", "{not json."),
        ("Error: no such account", "That did not work: No such account."),
        ("Error executing tool get_balance: no such account", "That did not work: No such account."),
        ({"error": "no such account"}, "That did not work: No such account."),
        ({"error": "", "balance": 7}, "Error: none, balance: 7."),
    ],
)
def test_a_result_is_said_in_a_sentence(result: Any, answer: str) -> None:
    chat = Chat(BANK, {"get_balance": result})
    chat.say("What's my checking account balance?")
    assert chat.answer == answer


def test_amounts_have_the_currency_that_the_tools_description_names() -> None:
    chat = Chat([tool("get_price", "Price in US dollars.", item=TEXT)], {"get_price": {"price": 1234.5, "stock": 3}})
    chat.say("Get the price of tea")
    assert chat.answer == "Price: $1,234.50, stock: 3."


def test_a_long_result_is_cut() -> None:
    chat = Chat(BANK, {"get_all_balances": "x" * 100_000})
    chat.say("Get all balances")
    assert len(chat.answer) < 2_000


def test_each_of_several_results_is_said(bank: Chat) -> None:
    bank.say("What are the balances of my checking and savings accounts?")
    assert len(bank.answer.splitlines()) == 2


def test_it_costs_nothing(bank: Chat) -> None:
    answer = answer_to([{"role": "user", "content": "Transfer $5"}], BANK)
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cost_usd) == (0, 0, 0.0)


# --- laws ---


def test_content_in_parts_is_read_like_text() -> None:
    parts = [{"type": "text", "text": "Show"}, {"type": "image_url"}, {"type": "text", "text": "all balances"}]
    [wish] = answer_to([{"role": "user", "content": parts}], BANK).tool_requests
    assert wish.name == "get_all_balances"


VOCABULARY = """get show all my the balance balances account checking savings from to transfer $50 7 #3 and , . ? : it
    second please no "x y" 2026-01-02 a@b.co cart Nike what's ÿ 漢字"""
WORDS = st.sampled_from(VOCABULARY.split())
SENTENCES = st.lists(WORDS, max_size=12).map(" ".join) | st.text(max_size=40)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
CALLS = st.lists(
    JUNK
    | st.fixed_dictionaries(
        {
            "id": st.sampled_from(["a", "b", None]),
            "function": JUNK
            | st.fixed_dictionaries(
                {"name": st.sampled_from([spec.name for spec in BANK]), "arguments": st.text() | JUNK.map(json.dumps)}
            ),
        }
    ),
    max_size=2,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "user", "assistant", "tool", "?"]),
            "content": SENTENCES | JUNK | JUNK.map(json.dumps),
        },
        optional={"tool_calls": CALLS | JUNK, "tool_call_id": st.sampled_from(["a", "b"])},
    ),
    max_size=8,
)
KEYWORDS = st.sampled_from(
    ["type", "properties", "required", "enum", "const", "anyOf", "allOf", "oneOf", "items", "$ref", "$defs", "pattern"]
)
SCHEMA_JUNK = st.recursive(
    JUNK
    | st.sampled_from(
        ["string", "integer", "number", "boolean", "array", "object", "null", "#", "#/properties/a", "[[", "a{9}"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS | st.sampled_from("abc"), inner, max_size=4),
    max_leaves=12,
)
PROPERTY_NAMES = st.sampled_from(
    ["amount", "account", "from_account", "to", "query", "item_id", "count", "date", "title", "include_old", "name"]
)
SOUND_PROPERTIES = st.sampled_from(
    [
        TEXT,
        INTEGER,
        NUMBER,
        {"type": "boolean"},
        one_of("checking", "savings"),
        {"type": "array", "items": TEXT},
        {"type": "array", "items": one_of("checking", "savings")},
        {"type": "integer", "minimum": 5, "exclusiveMaximum": 50},
        {"type": "string", "pattern": "^[a-z]+$"},
        {"anyOf": [INTEGER, {"type": "null"}]},
        {"type": "object", "properties": {"amount": NUMBER}, "required": ["amount"]},
        {"enum": [7, "second"]},
    ]
)


@st.composite
def sound_tools(draw: st.DrawFn) -> ToolSpec:
    properties = draw(st.dictionaries(PROPERTY_NAMES, SOUND_PROPERTIES, max_size=4))
    required = [name for name in properties if draw(st.booleans())]
    name = draw(st.sampled_from(["get_balance", "show", "transfer", "search_items", "delete_it", "x"]))
    description = draw(SENTENCES)
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return ToolSpec(name=name, description=description, input_schema=schema)


@settings(max_examples=150, deadline=None)
@given(
    messages=MESSAGES,
    tools=st.lists(
        st.builds(
            ToolSpec,
            name=st.text(max_size=12),
            description=SENTENCES,
            input_schema=st.dictionaries(KEYWORDS, SCHEMA_JUNK, max_size=4)
            | st.fixed_dictionaries({"properties": st.dictionaries(PROPERTY_NAMES, SCHEMA_JUNK, max_size=3)}),
        ),
        max_size=3,
    ),
)
def test_it_answers_whatever_it_is_sent_and_answers_it_alike(messages: list[Message], tools: list[ToolSpec]) -> None:
    answer = answer_to(messages, tools)
    assert answer.text.strip() or answer.tool_requests
    assert {wish.name for wish in answer.tool_requests} <= {spec.name for spec in tools}
    assert repr(answer) == repr(answer_to(messages, tools))


@settings(max_examples=150, deadline=None)
@given(said=st.lists(SENTENCES, min_size=1, max_size=4), tools=st.lists(sound_tools(), min_size=1, max_size=3))
def test_a_call_keeps_to_its_tools_schema(said: list[str], tools: list[ToolSpec]) -> None:
    by_name = {spec.name: spec for spec in reversed(tools)}
    chat = Chat(list(by_name.values()), {"get_balance": SHOES})
    for text in said:
        for name, arguments in chat.say(text):
            jsonschema.validate(arguments, by_name[name].input_schema)


# --- real servers ---


async def talk(script: Path, said: Sequence[str]) -> list[tuple[list[str], str]]:
    """Play a conversation with a server over stdio; for each turn the tools that were called, and the answer."""
    parameters = StdioServerParameters(command=sys.executable, args=[str(script)])
    async with stdio_client(parameters) as streams, ClientSession(*streams) as session:
        await session.initialize()
        tools = [read_tool(offered.model_dump(by_alias=True)) for offered in (await session.list_tools()).tools]
        messages: list[Message] = []
        turns = []
        for text in said:
            messages.append({"role": "user", "content": text})
            answer = await ask(messages, tools)
            names = [wish.name for wish in answer.tool_requests]
            if answer.tool_requests:
                results = [await call(session, wish) for wish in answer.tool_requests]
                messages += called(answer.tool_requests, results)
                answer = await ask(messages, tools)
            messages.append({"role": "assistant", "content": answer.text})
            turns.append((names, answer.text))
        return turns


async def ask(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> ModelAnswer:
    return await BuiltinModel().answer(ModelRequest(messages=messages, tools=tools, timeout_seconds=1))


async def call(session: ClientSession, wish: ToolRequest) -> str:
    assert isinstance(wish.arguments, Mapping)
    outcome = (await session.call_tool(wish.name, dict(wish.arguments))).model_dump(by_alias=True)
    text = "\n".join(part["text"] for part in outcome["content"])
    return f"Error: {text}" if outcome["isError"] else text


def read_tool(offered: dict[str, Any]) -> ToolSpec:
    return ToolSpec(
        name=offered["name"],
        description=offered["description"],
        input_schema=offered["inputSchema"],
        read_only=offered["annotations"]["readOnlyHint"],
    )


def test_the_banking_example_plays_its_conversation() -> None:
    said = ["What's my checking account balance?", "Transfer $200 to savings", "What are my new balances?"]
    assert anyio.run(talk, EXAMPLES / "banking" / "banking_mcp.py", said) == [
        (["get_balance"], "Checking balance: $1,500.00."),
        (["transfer"], "Transferred $200.00 from checking to savings."),
        (["get_all_balances"], "Checking: $1,300.00, savings: $3,200.00, total: $4,500.00."),
    ]


def test_the_banking_example_refuses_what_a_bank_must_refuse() -> None:
    said = [
        "Transfer $9,000 from checking to savings",
        "Transfer $0 from checking to savings",
        "Transfer $5 from checking to gold",
        "Show all balances",
    ]
    assert [answer for _, answer in anyio.run(talk, EXAMPLES / "banking" / "banking_mcp.py", said)] == [
        "That did not work: There are only $1,500.00 in checking, so $9,000.00 can't go out.",
        "That did not work: The amount must be more than $0, not $0.00.",
        "That did not work: There is no account 'gold'. The accounts are checking, savings.",
        "Checking: $1,500.00, savings: $3,000.00, total: $4,500.00.",
    ]


def test_the_shopping_example_plays_its_conversation() -> None:
    said = ["Show me running shoes", "I'll take the Nike ones", "What's in my cart?"]
    turns = anyio.run(talk, EXAMPLES / "shopping" / "shopping_mcp.py", said)
    assert [names for names, _ in turns] == [["search_products"], ["add_to_cart"], ["view_cart"]]
    assert [answer for _, answer in turns[1:]] == [
        "Added 1 x Nike Pegasus 41 to the cart.",
        "Items: (product: Nike Pegasus 41, quantity: 1, price: $140.00), total: $140.00.",
    ]

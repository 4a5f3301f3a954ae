"""Keys are equal exactly when what an outcome depends on is equal."""

import copy
import enum
import functools
import math
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, PrivateAttr

from pytest_aitest import Agent, MCPServer, Provider, Wait
from pytest_aitest.conversation.keys import UnkeyableError, agent_key, key_of, server_key

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=8)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Echo:
    """A model that is an object."""

    def __init__(self, word: str) -> None:
        self.word = word

    def __call__(self, messages: list[Any], tools: list[Any]) -> str:
        return self.word

    def shout(self, messages: list[Any], tools: list[Any]) -> str:
        return self.word.upper()


class Slotted:
    __slots__ = ("word",)

    def __init__(self, word: str) -> None:
        self.word = word


class Shape(BaseModel):
    """What a user may hand on in `extra`."""

    sides: int = 3


def answers(word: Any, *, times: int = 1) -> Callable[..., str]:
    def model(messages: list[Any], tools: list[Any], ending: str = "!") -> str:
        return f"{word}{ending}" * times

    return model


def framed(start: str, end: str) -> Callable[..., str]:
    def model(messages: list[Any], tools: list[Any], before: str = start, *, after: str = end) -> str:
        return f"{before}word{after}"

    return model


def build() -> Any:
    raise NotImplementedError("nobody opens it")


def build_otherwise() -> Any:
    raise NotImplementedError("nobody opens it either")


def agent(model: Any = "azure/gpt-5-mini", *, servers: Any = (), **fields: Any) -> Agent:
    provider = {name: fields.pop(name) for name in list(fields) if name in Provider.model_fields}
    return Agent(provider=Provider(model=model, **provider), mcp_servers=servers, **fields)


def shuffled(value: Any) -> Any:
    """The same value, every mapping in it written down the other way round, every list a tuple."""
    match value:
        case dict():
            return {key: shuffled(value[key]) for key in reversed(value)}
        case list():
            return tuple(shuffled(part) for part in value)
    return value


def differs(one: Any, other: Any) -> bool:
    """Whether JSON, which knows no number that is none, would tell them apart."""
    if isinstance(one, float) and isinstance(other, float):
        return repr(one) != repr(other)
    if type(one) is not type(other):
        return True
    match one:
        case list():
            return len(one) != len(other) or any(map(differs, one, other))
        case dict():
            return one.keys() != other.keys() or any(differs(one[key], other[key]) for key in one)
    return bool(one != other)


@settings(deadline=None, max_examples=100)
@given(PLAIN)
def test_the_order_of_mappings_and_the_kind_of_sequence_do_not_matter(value: Any) -> None:
    assert key_of(value) == key_of(shuffled(value))
    assert hash(key_of(value)) == hash(key_of(shuffled(value)))


@settings(deadline=None, max_examples=150)
@given(st.tuples(PLAIN, PLAIN) | st.tuples(SCALARS, SCALARS) | st.integers(-2, 2).map(lambda n: (n, float(n))))
def test_keys_of_plain_values_are_equal_exactly_when_the_values_are(values: tuple[Any, Any]) -> None:
    one, other = values
    assert (key_of(one) != key_of(other)) == differs(one, other)


def test_one_as_an_integer_a_float_and_a_truth_are_three_values() -> None:
    assert len({key_of(value) for value in (1, 1.0, True, "1", b"1", [1], {1}, {"1": 1}, None)}) == 9
    assert len({key_of({"by": value}) for value in (0, 0.0, -0.0, False, "", None)}) == 6


def test_no_number_is_the_same_as_itself() -> None:
    assert key_of({"by": math.nan}) == key_of({"by": float("nan")})
    assert key_of(math.nan) != key_of(math.inf)


def test_a_text_is_not_taken_for_what_the_key_of_something_else_looks_like() -> None:
    assert key_of([int, "1"]) != key_of(1)
    assert key_of(("a", ("b",))) != key_of(("a", "b"))
    assert key_of({"a": "b"}) != key_of([("a", "b")])
    assert key_of("None") != key_of(None)


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        ({"a": 1, "b": 2}, OrderedDict(b=2, a=1), OrderedDict(b=1, a=2)),
        ({"a": 1}, MappingProxyType({"a": 1}), MappingProxyType({"a": 2})),
        ({1, 2}, frozenset((2, 1)), {1, 2, 3}),
        (Colour.RED, Colour(1), Colour.GREEN),
        (Path("a/b"), PurePosixPath("a/b"), Path("a/c")),
        (Echo("a"), Echo("a"), Echo("b")),
        (Echo("a").shout, Echo("a").shout, Echo("b").shout),
        (Echo("a").shout, Echo("a").shout, Echo("a").__call__),
        (Slotted("a"), Slotted("a"), Slotted("b")),
        (Shape(), Shape(sides=3), Shape(sides=4)),
        (functools.partial(build, 1, b=2), functools.partial(build, 1, b=2), functools.partial(build, 1, b=3)),
        (functools.partial(build, 1), functools.partial(build, 1), functools.partial(build_otherwise, 1)),
        (len, len, max),
        ([1].append, [1].append, [2].append),
        (Echo, Echo, Slotted),
        (math, math, re),
        (range(3), range(3), range(4)),
        (iter([1, 2]), iter([1, 2]), iter([1, 3])),
    ],
)
def test_values_of_any_kind_are_their_content(one: Any, same: Any, other: Any) -> None:
    assert key_of(one) == key_of(same)
    assert key_of(one) != key_of(other)


def test_a_function_made_twice_over_equal_values_is_the_same() -> None:
    assert key_of(answers({"a": 1, "b": [2]})) == key_of(answers({"b": [2], "a": 1}))
    assert key_of(answers("a")) != key_of(answers("b"))
    assert key_of(answers(1)) != key_of(answers(True))
    assert key_of(answers("a", times=1)) != key_of(answers("a", times=2))


def test_functions_differ_by_their_defaults() -> None:
    assert key_of(framed("(", ")")) == key_of(framed("(", ")"))
    assert len({key_of(framed(start, end)) for start in "([" for end in ")]"}) == 4


def test_functions_of_two_names_or_places_are_two() -> None:
    one = lambda messages, tools: "hello"  # noqa: E731
    other = lambda messages, tools: "hello"  # noqa: E731
    assert key_of(one) == key_of(copy.copy(one))
    assert key_of(one) != key_of(other)
    assert key_of(build) != key_of(build_otherwise)


def test_functions_of_one_line_differ_by_what_they_hold() -> None:
    one, other, same = [(lambda word=word: word) for word in ("a", "b", "a")]
    assert key_of(one) == key_of(same) != key_of(other)


def test_a_function_that_calls_itself_has_a_key() -> None:
    def counting(word: str) -> Callable[[int], str]:
        def down(number: int) -> str:
            return word if number == 0 else down(number - 1)

        return down

    assert key_of(counting("a")) == key_of(counting("a"))
    assert key_of(counting("a")) != key_of(counting("b"))


def test_a_closure_that_holds_nothing_yet_has_a_key() -> None:
    def early() -> Callable[[], Any]:
        def reads() -> Any:
            return later

        key = key_of(reads)
        later = 1
        assert key_of(reads) != key
        return reads

    early()


def test_the_attributes_of_a_function_are_a_part_of_it() -> None:
    def saying(word: str) -> Any:
        def model(messages: list[Any], tools: list[Any]) -> str:
            return str(model.word)  # type: ignore[attr-defined]

        model.word = word  # type: ignore[attr-defined]
        return model

    assert key_of(saying("a")) == key_of(saying("a"))
    assert key_of(saying("a")) != key_of(saying("b"))


def test_a_cached_function_is_not_known_by_its_name_alone() -> None:
    def saying(word: str) -> Any:
        @functools.cache
        def model() -> str:
            return word

        return model

    assert not same_key(saying("a"), saying("b"))


def test_what_pickles_by_a_registered_reducer_has_a_key() -> None:
    assert key_of(re.compile("a")) == key_of(re.compile("a"))
    assert key_of(re.compile("a")) != key_of(re.compile("b"))


def test_all_that_a_model_of_pydantic_holds_is_in_its_key() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        _word: str = PrivateAttr(default="")

        def saying(self, word: str) -> "Open":
            self._word = word
            return self

    assert not same_key(Open.model_validate({"word": "a"}), Open.model_validate({"word": "b"}))
    assert not same_key(Open().saying("a"), Open().saying("b"))


def same_key(one: Any, other: Any) -> bool:
    """Whether one would be taken for the other; what has no key never is."""
    try:
        return key_of(one) == key_of(other)
    except UnkeyableError:
        return False


def a_list_that_holds_itself() -> Any:
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


def a_mapping_that_holds_itself() -> Any:
    cycle: dict[str, Any] = {}
    cycle["more"] = [cycle]
    return cycle


def an_object_that_holds_itself() -> Any:
    echo: Any = Echo("a")
    echo.other = echo
    return echo


def functions_that_hold_each_other() -> Any:
    def one() -> Any:
        return other

    def other() -> Any:
        return one

    return one


@pytest.mark.parametrize(
    "made",
    [
        a_list_that_holds_itself,
        a_mapping_that_holds_itself,
        an_object_that_holds_itself,
        functions_that_hold_each_other,
    ],
)
def test_what_holds_itself_is_refused(made: Callable[[], Any]) -> None:
    with pytest.raises(UnkeyableError, match=r"^a \w+ that is nested too deeply, or holds itself$"):
        key_of(made())


@pytest.mark.parametrize(
    ("held", "name"),
    [
        (threading.Lock(), "lock"),
        ((number for number in ()), "generator"),
        (memoryview(b""), "memoryview"),
    ],
)
@pytest.mark.parametrize("holding", [lambda held: held, answers, lambda held: {"a": [held]}, Echo])
def test_what_cannot_be_pickled_is_refused_wherever_it_is_held(held: Any, name: str, holding: Any) -> None:
    with pytest.raises(UnkeyableError, match=rf"^a \S*\b{name}$"):
        key_of(holding(held))


def test_an_object_whose_state_raises_is_refused() -> None:
    class Secretive:
        def __getstate__(self) -> Any:
            raise RuntimeError("not yours")

    with pytest.raises(UnkeyableError, match=r"Secretive$"):
        key_of(Secretive())


@pytest.mark.parametrize(
    "renamed",
    [
        agent(name="another"),
        agent(api_key="another"),
        agent(rpm=1),
        agent(tpm=1),
        agent(price=(1.0, 2.0)),
        agent(max_model_calls=3),  # the event has it, because a turn may say otherwise
        agent(temperature=None, extra={}),
    ],
)
def test_names_rates_and_prices_are_in_no_key(renamed: Agent) -> None:
    assert agent_key(renamed) == agent_key(agent())


def test_every_field_that_an_answer_can_depend_on_is_in_an_agents_key() -> None:
    agents = [
        agent(),
        agent("azure/gpt-5"),
        agent("builtin"),
        agent(answers("a")),
        agent(answers("b")),
        agent(temperature=0),
        agent(temperature=1),
        agent(max_tokens=7),
        agent(api_base="http://127.0.0.1:1"),
        agent(timeout_seconds=7),
        agent(extra={"seed": 1}),
        agent(extra={"seed": True}),
        agent(system_prompt="Be kind."),
        agent(allowed_tools=[]),
        agent(allowed_tools=["a", "b"]),
        agent(servers=[MCPServer(factory=build)]),
        agent(servers=[MCPServer(factory=build_otherwise)]),
        agent(servers=[MCPServer(factory=build), MCPServer(factory=build_otherwise)]),
        agent(servers=[MCPServer(factory=build_otherwise), MCPServer(factory=build)]),
    ]
    assert len({agent_key(one) for one in agents}) == len(agents)


def test_what_means_the_same_is_the_same_however_it_is_written() -> None:
    one = agent(temperature=1, extra={"a": 1, "b": {"c": 2, "d": 3}}, allowed_tools=["a", "b"])
    other = agent(temperature=1.0, extra={"b": {"d": 3, "c": 2}, "a": 1}, allowed_tools=("b", "a", "a"))
    assert agent_key(one) == agent_key(other)


def test_a_servers_name_and_how_it_is_waited_for_are_not_in_its_key() -> None:
    plain = MCPServer(command=["python", "bank.py"])
    named = MCPServer(command=("python", "bank.py"), name="bank", wait=Wait.for_tools(["a"]), start_ahead=False)
    assert server_key(plain) == server_key(named)


def test_every_field_that_a_servers_state_can_depend_on_is_in_its_key() -> None:
    url = "http://127.0.0.1:1/mcp"
    servers = [
        MCPServer(command=["python", "bank.py"]),
        MCPServer(command=["python"], args=["bank.py"]),
        MCPServer(command=["python", "bank.py"], env={"A": "1"}),
        MCPServer(command=["python", "bank.py"], env={"A": "2"}),
        MCPServer(command=["python", "bank.py"], cwd="/"),
        MCPServer(command=["python", "bank.py"], reset="start_over"),
        MCPServer(command=["python", "bank.py"], reset=build),
        MCPServer(factory=build),
        MCPServer(factory=functools.partial(build, 1)),
        MCPServer(url=url),
        MCPServer(url=url, transport="sse"),
        MCPServer(url=url, headers={"A": "1"}),
    ]
    assert len({server_key(server) for server in servers}) == len(servers)


def test_an_agent_that_holds_what_has_no_key_has_none() -> None:
    assert isinstance(agent_key(agent(answers("a"))), Hashable)
    for unkeyable in (agent(answers(threading.Lock())), agent(extra={"client": threading.Lock()})):
        with pytest.raises(UnkeyableError):
            agent_key(unkeyable)
    with pytest.raises(UnkeyableError):
        server_key(MCPServer(factory=functools.partial(build, threading.Lock())))

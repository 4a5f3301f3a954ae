"""The tree: nodes, events and their samples; and what one session takes from it and leaves in it."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_aitest import Agent, Provider
from pytest_aitest.conversation import past as past_module
from pytest_aitest.conversation.keys import UnkeyableError
from pytest_aitest.conversation.past import Past
from pytest_aitest.conversation.servers import ToolOutcome
from pytest_aitest.conversation.tree import Called, Event, Node, Said, Sample
from pytest_aitest.values.agent import MCPServer
from pytest_aitest.values.errors import ErrorKind, ProviderFault
from pytest_aitest.values.transcript import Turn


def holding(held: Any) -> Callable[..., str]:
    def model(messages: list[Any], tools: list[Any]) -> str:
        return str(held)

    return model


def build() -> Any:
    raise NotImplementedError("nobody opens it")


def build_otherwise() -> Any:
    raise NotImplementedError("nobody opens it either")


def agent(model: Any = "builtin", **fields: Any) -> Agent:
    return Agent(provider=Provider(model=model), **fields)


def said(prompt: str = "hello", **fields: Any) -> Said:
    return Said(**{"prompt": prompt, "agent": agent(), "max_model_calls": 10, "timeout_seconds": 60.0} | fields)


def called(tool: str = "count", **fields: Any) -> Called:
    return Called(**{"tool": tool, "arguments": {}, "server": None, "agent": None} | fields)


def turn(answer: str = "hello", error_kind: ErrorKind | None = None) -> Turn:
    return Turn(
        agent="agent",
        model="builtin",
        user="hello",
        messages=({"role": "assistant", "content": answer},),
        error=error_kind and "why",
        error_kind=error_kind,
    )


def heard(text: str = "1") -> ToolOutcome:
    return ToolOutcome(text=text)


def past(root: Node | None = None, **settings: Any) -> Past:
    return Past(root, **{"replays": True} | settings)


def walked(root: Node, *path: tuple[Event, int]) -> Node:
    """The node at the end of `path`."""
    for event, number in path:
        root = root.samples(event)[number].node
    return root


UNKEYABLE = said(agent=agent(holding(threading.Lock())))


def test_messages_are_the_same_event_exactly_if_their_outcome_depends_on_the_same() -> None:
    events = [
        said(),
        said("Hello"),
        said(max_model_calls=9),
        said(timeout_seconds=9.0),
        said(messages=()),
        said(messages=({"role": "user", "content": "before"},)),
        said(agent=agent("azure/gpt-5")),
        said(agent=agent(system_prompt="Be kind.")),
        called("hello"),
    ]
    assert len({event.key for event in events}) == len(events)
    assert said(agent=agent(name="another")).key == said().key
    assert said(timeout_seconds=60).key == said(timeout_seconds=60.0).key
    history = {"role": "user", "content": "before"}
    assert said(messages=[history]).key == said(messages=(dict(reversed(history.items())),)).key


def test_calls_are_the_same_event_exactly_if_their_outcome_depends_on_the_same() -> None:
    events = [
        called(),
        called("Count"),
        called(arguments={"by": 1}),
        called(arguments={"by": 1.0}),
        called(arguments={"by": True}),
        called(arguments={"by": [1, 2]}),
        called(arguments={"by": [2, 1]}),
        called(server="counter"),
        called(agent=agent()),
        called(agent=agent(mcp_servers=[MCPServer(factory=build)])),
    ]
    assert len({event.key for event in events}) == len(events)
    assert (
        called(arguments={"a": 1, "b": {"c": 2, "d": 3}}).key == called(arguments={"b": {"d": 3, "c": 2}, "a": 1}).key
    )
    assert called(agent=agent(name="another")).key == called(agent=agent()).key


def test_a_server_that_was_asked_for_by_its_name_is_the_one_that_has_it() -> None:
    here = agent(mcp_servers=[MCPServer(factory=build, name="a"), MCPServer(factory=build_otherwise, name="b")])
    there = agent(mcp_servers=[MCPServer(factory=build, name="b"), MCPServer(factory=build_otherwise, name="a")])
    assert called(agent=here).key == called(agent=there).key
    ours, others = (next(each for each in whose.mcp_servers if each.label == "a") for whose in (here, there))
    assert called(server="a", named=ours, agent=here).key != called(server="a", named=others, agent=there).key


def test_an_event_is_known_by_what_it_was_when_it_happened() -> None:
    words = ["a"]
    event = said(agent=agent(holding(words)))
    root = Node()
    root.add(event, turn("a"))
    words.append("b")
    assert root.samples(said(agent=agent(holding(words)))) == []
    assert [sample.outcome for sample in root.samples(said(agent=agent(holding(["a"]))))] == [turn("a")]


def test_samples_of_an_event_are_kept_in_the_order_in_which_they_were_met() -> None:
    root = Node()
    met = [root.add(said(), turn(word)) for word in "abc"]
    assert root.samples(said()) == met
    assert [sample.number for sample in met] == [0, 1, 2]
    assert [sample.outcome for sample in met] == [turn("a"), turn("b"), turn("c")]
    assert root.samples(said("another")) == []


def test_each_sample_leads_to_a_node_of_its_own_though_the_outcomes_are_equal() -> None:
    root = Node()
    one, other = root.add(said(), turn()), root.add(said(), turn())
    one.node.add(said("next"), turn("after the first"))
    assert one.node is not other.node
    assert other.node.samples(said("next")) == []


def test_an_outcome_that_is_hung_nowhere_is_found_nowhere() -> None:
    root = Node()
    sample = root.add(said(), turn(), keep=False)
    assert (sample.outcome, sample.number) == (turn(), 0)
    assert root.edges == {}


def test_what_has_no_key_is_refused_and_leaves_no_trace() -> None:
    root = Node()
    with pytest.raises(UnkeyableError, match="lock"):
        root.samples(UNKEYABLE)
    first, second = root.add(UNKEYABLE, turn()), root.add(UNKEYABLE, turn())
    assert root.edges == {}
    assert first.node.address != second.node.address


def test_addresses_tell_all_histories_apart() -> None:
    root = Node()
    events: Sequence[Event] = [said(), said("hello2"), said("hello\0000"), called("hello"), said("\ud83d")]
    addresses = [root.address]
    for event in events:
        for _ in range(2):
            node = root.add(event, turn()).node
            addresses += [node.address, node.add(events[0], turn()).node.address]
    assert len(set(addresses)) == len(addresses)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (said(agent=agent(system_prompt="I am A.")), said(agent=agent(system_prompt="I am B."))),
        (said("count()"), called("count")),
        (called(server="a"), called(server="b")),
    ],
)
def test_addresses_tell_events_apart_that_read_alike(one: Event, other: Event) -> None:
    assert Node().address_after(one, 0) != Node().address_after(other, 0)


def test_an_address_is_made_of_the_history_and_of_where_it_began() -> None:
    def at_the_end(start: bytes) -> bytes:
        return Node(start).add(said(), turn()).node.add(called(arguments={"by": 1}), heard()).node.address

    assert at_the_end(b"seed 1") == at_the_end(b"seed 1") != at_the_end(b"seed 2")


def test_a_past_that_does_not_replay_only_feeds_the_tree() -> None:
    root = Node()
    feeding = past(root, replays=False)
    for _ in range(2):
        assert feeding.replay(said()) is None
        feeding.add(said(), turn())
    again = past(root, replays=False)
    assert again.replay(said()) is None
    again.add(said(), turn("other"))
    assert [sample.outcome for sample in root.samples(said())] == [turn(), turn("other")]
    assert (feeding.fresh, feeding.replayed, again.fresh) == (2, 0, 1)


def test_a_past_walks_down_the_tree() -> None:
    root = Node()
    first = past(root)
    first.add(said(), turn())
    first.add(called(), heard())
    second = past(root)
    assert [second.replay(event).outcome for event in (said(), called())] == [turn(), heard()]  # type: ignore[union-attr]
    assert second.node is first.node is walked(root, (said(), 0), (called(), 0))
    assert [happened.event for happened in second.events] != [happened.event for happened in first.events]
    assert (second.replayed, second.fresh) == (1, 0)  # turns; a tool that was called is none
    assert second.replay(called()) is None


def replayed(walking: Past, event: Event) -> Sample:
    sample = walking.replay(event)
    assert sample is not None
    return sample


def test_a_step_takes_the_first_sample_unless_it_wants_another() -> None:
    root = Node()
    for word in "abc":
        root.add(said(), turn(word)).node.add(called(), heard(word))
    for wanted, expected in {(): 0, (1,): 1, (2, 0): 2, (9,): 2}.items():
        walking = past(root)
        walking.begin_step(wanted)
        assert replayed(walking, said()).number == expected
        assert replayed(walking, called()).outcome == heard("abc"[expected])
        assert walking.samples == (expected, 0)


def test_what_a_step_wants_counts_from_its_beginning() -> None:
    root = Node()
    for _ in range(2):
        node = root.add(said(), turn()).node
        for _ in range(2):
            node.add(called(), heard())
    walking = past(root)
    walking.begin_step((1,))
    replayed(walking, said())
    walking.begin_step((1,))
    assert walking.samples == ()
    replayed(walking, called())
    assert walking.samples == (1,)
    assert [happened.sample.number for happened in walking.events] == [1, 1]
    assert len(walking.this_step) == 1


def test_a_step_that_asks_again_takes_that_sample_of_each_event_or_none() -> None:
    root = Node()
    for word in "ab":
        root.add(said(), turn(word)).node.add(called(), heard(word))
    walking = past(root)
    walking.begin_step(again=1)
    assert replayed(walking, said()).outcome == turn("b")
    assert walking.replay(called()) is None  # of which one sample is known, and the second is meant
    walking = past(root)
    walking.begin_step((0,), again=2)
    assert walking.replay(said()) is None
    walking.begin_step()
    assert replayed(walking, said()).outcome == turn("a")


def test_samples_have_randomness_of_their_own_that_is_the_same_in_every_run() -> None:
    def chances() -> list[bytes]:
        root = Node(b"seed")
        walking = past(root)
        drawn = []
        for number in range(3):
            walking = past(root)
            walking.begin_step(again=number)
            drawn.append(walking.chance(said()))
            walking.add(said(), turn())
        return [*drawn, walking.chance(said())]

    assert len(set(chances())) == 4
    assert chances() == chances()


def test_an_unknown_event_that_is_asked_again_leaves_the_later_samples_their_own_randomness() -> None:
    root, drawn = Node(), []
    for _ in range(2):  # the first finds no sample at all; its own is number 0, though number 1 was meant
        walking = past(root)
        walking.begin_step(again=1)
        assert walking.replay(said()) is None
        drawn.append(walking.chance(said()))
        walking.add(said(), turn())
    assert len(set(drawn)) == 2


def test_samples_of_an_event_without_a_key_differ_in_their_randomness() -> None:
    root, drawn = Node(), []
    for _ in range(2):
        walking = past(root)
        assert walking.replay(UNKEYABLE) is None
        drawn.append(walking.chance(UNKEYABLE))
        walking.add(UNKEYABLE, turn())
    assert len(set(drawn)) == 2


@pytest.mark.parametrize("kind", [*get_args(ProviderFault), "turn_timeout", "server_died"])
def test_what_says_more_of_the_day_than_of_the_conversation_is_not_kept(kind: ErrorKind) -> None:
    root = Node()
    walking = past(root)
    walking.add(said(), turn(error_kind=kind))
    walking.add(said("next"), turn())
    assert root.edges == {}
    assert [happened.sample.outcome for happened in walking.events] == [turn(error_kind=kind), turn()]
    assert walking.fresh == 2


@pytest.mark.parametrize("kind", ["max_model_calls", "empty_answer", None])
def test_what_the_agent_did_is_kept_whether_or_not_it_answered(kind: ErrorKind | None) -> None:
    root = Node()
    past(root).add(said(), turn(error_kind=kind))
    assert replayed(past(root), said()).outcome == turn(error_kind=kind)


def test_every_kind_of_error_is_either_the_conversations_or_the_days() -> None:
    kinds = {kind for part in get_args(ErrorKind) for kind in (get_args(part) or (part,))}
    assert kinds == {*get_args(ProviderFault), "turn_timeout", "server_died", "max_model_calls", "empty_answer"}


def test_what_has_no_key_is_not_replayed_and_the_past_says_why() -> None:
    root = Node()
    walking = past(root)
    assert walking.unknowable is None
    assert walking.replay(UNKEYABLE) is None
    walking.add(UNKEYABLE, turn())
    assert walking.unknowable == "The agent holds a _thread.lock, which can't be compared"
    walking.add(said("next"), turn())  # after what can't be known again
    assert root.edges == {}
    assert len(walking.events) == 2


def test_every_live_turn_is_told_of_and_no_other() -> None:
    root, told = Node(), list[Turn]()
    walking = past(root, heard=told.append)
    walking.add(said(), turn("a"))
    walking.add(called(), heard())
    walking.add(said(), turn("b", error_kind="provider"))
    replayed(past(root, heard=told.append), said())
    assert told == [turn("a"), turn("b", error_kind="provider")]


def test_what_was_seen_is_known_at_its_node_only() -> None:
    root = Node()
    first = past(root)
    first.observe(called(), heard("0"))
    first.add(said(), turn())
    assert first.observed(called()) is None
    first.observe(called(), heard("1"))
    second = past(root)
    assert second.observed(called()) == heard("0")
    replayed(second, said())
    assert second.observed(called(arguments={})) == heard("1")
    assert second.observed(called(arguments={"by": 1})) is None
    assert [outcome for _, outcome in second.looks] == [heard("0"), heard("1")]
    assert (len(second.events), second.fresh, root.edges.keys()) == (1, 0, {said().key})
    assert past(root, replays=False).observed(called()) is None


def test_a_look_is_no_event_and_an_event_is_no_look() -> None:
    root = Node()
    first = past(root)
    first.observe(called(), heard("seen"))
    assert past(root).replay(called()) is None
    first.add(called(), heard("done"))
    assert past(root).observed(called()) == heard("seen")
    assert replayed(past(root), called()).outcome == heard("done")


def test_a_look_at_what_has_no_key_is_shown_and_not_kept() -> None:
    look = called(arguments={"lock": threading.Lock()})
    walking = past()
    walking.observe(look, heard())
    assert walking.looks == [(look, heard())]
    assert walking.observed(look) is None
    assert walking.node.observed == {}


def test_a_past_up_to_some_event_goes_its_own_way_from_there() -> None:
    root = Node()
    long = past(root)
    for event in (said("1"), said("2")):
        long.add(event, turn())
    short = long.up_to(1)
    assert [happened.event for happened in short.events] == [long.events[0].event]
    assert (short.fresh, short.replayed, short.replays) == (0, 0, True)
    short.add(said("other"), turn("other"))
    assert len(long.events) == 2
    assert replayed(long.up_to(1), said("other")).outcome == turn("other")
    assert long.up_to(0).node is root


# Asked once, by whichever thread comes first

Result = TypeVar("Result")
LIMIT_SECONDS = 20.0  # after which a thread is taken to wait for ever


class Beside(Generic[Result]):
    """A thread that does something, and what came of it."""

    def __init__(self, function: Callable[[], Result]) -> None:
        self._function = function
        self._outcome: list[Result] = []
        self._thread = threading.Thread(target=lambda: self._outcome.append(self._function()), daemon=True)
        self._thread.start()

    def result(self) -> Result:
        self._thread.join(LIMIT_SECONDS)
        assert not self._thread.is_alive(), "it waits for ever"
        return self._outcome[0]


def side(root: Node, **settings: Any) -> Past:
    """A session that others ask beside."""
    return past(root, asks_once=True, **settings)


def somebody_waits() -> None:
    until = time.monotonic() + LIMIT_SECONDS
    while not past_module._ASKING._waiters:  # type: ignore[attr-defined]
        assert time.monotonic() < until, "nobody waits"
        time.sleep(0)


def test_what_another_session_asks_at_this_moment_is_waited_for() -> None:
    root = Node()
    one, other = side(root), side(root)
    assert one.replay(said()) is None
    waiting = Beside(lambda: other.replay(said()))
    somebody_waits()
    one.add(said(), turn("once"))
    one.release()
    sample = waiting.result()
    assert sample is not None
    assert sample.outcome == turn("once")
    assert (one.fresh, other.fresh, other.replayed) == (1, 0, 1)


def test_it_is_waited_for_until_its_checks_have_looked() -> None:
    """What they see is then known to the other session too, which need not look."""
    root = Node()
    one, other = side(root), side(root)
    assert one.replay(said()) is None

    def seen() -> ToolOutcome | None:
        replayed(other, said())
        return other.observed(called())

    waiting = Beside(seen)
    somebody_waits()
    one.add(said(), turn())
    one.observe(called(), heard())
    one.release()
    assert waiting.result() == heard()


@pytest.mark.parametrize("how", ["refused", "not kept"])
def test_what_did_not_come_to_be_known_is_asked_by_the_next_and_so_on(how: str) -> None:
    root = Node()
    first, second, third = (side(root) for _ in range(3))
    assert first.replay(said()) is None
    waiting = [Beside(lambda each=each: (each.replay(said()), each)) for each in (second, third)]  # type: ignore[misc]
    somebody_waits()
    if how == "not kept":
        first.add(said(), turn(error_kind="provider"))
    first.release()
    for _ in range(2):  # each finds nothing, one after the other
        until = time.monotonic() + LIMIT_SECONDS
        while not (claiming := [each for each in (second, third) if each._claimed]):
            assert time.monotonic() < until
            time.sleep(0)
        assert len(claiming) == 1
        claiming[0].release()
    assert [each.result()[0] for each in waiting] == [None, None]
    assert root.asking == set()


def test_other_events_other_histories_and_sessions_that_do_not_ask_once_do_not_wait() -> None:
    root = Node()
    after = root.add(said("before"), turn()).node
    one = side(root)
    assert one.replay(said()) is None
    others: list[tuple[Past, Event]] = [
        (side(root), said("another")),
        (side(root), called("hello")),
        (side(after), said()),
        (side(root.apart("confirm 1")), said()),
        (side(root, replays=False), said()),
        (past(root), said()),
        (side(root), UNKEYABLE),
    ]
    for other, event in others:
        assert Beside(lambda other=other, event=event: other.replay(event)).result() is None  # type: ignore[misc]
    for _ in range(2):
        assert Beside(lambda: side(root).replay(UNKEYABLE)).result() is None


def test_what_is_known_is_not_waited_for_while_another_sample_of_it_is_asked() -> None:
    root = Node()
    root.add(said(), turn("first"))
    one, other = side(root), side(root)
    one.begin_step(again=1)
    assert one.replay(said()) is None
    assert Beside(lambda: replayed(other, said())).result().outcome == turn("first")


def test_a_session_that_goes_on_or_ends_lets_the_others_ask() -> None:
    root = Node()
    one = side(root)
    assert one.replay(said("a")) is None
    assert one.replay(said("b")) is None  # it never said a
    assert Beside(lambda: side(root).replay(said("a"))).result() is None
    one.release()
    one.release()
    assert Beside(lambda: side(root).replay(said("b"))).result() is None


Asking = tuple[str, str]  # what is said, and what becomes of it where it goes live
ASKINGS = st.tuples(st.sampled_from("ab"), st.sampled_from(["kept", "kept", "not kept", "refused"]))


@settings(max_examples=60)
@given(histories=st.lists(st.lists(ASKINGS, max_size=5), min_size=2, max_size=6))
def test_many_threads_ask_each_event_of_a_history_once_and_none_waits_for_ever(histories: list[list[Asking]]) -> None:
    root, lock = Node(), threading.Lock()
    at_this_moment: list[tuple[int, str]] = []
    twice: list[tuple[int, str]] = []

    def live(walking: Past, word: str, end: str) -> None:
        asked = id(walking.node), word
        with lock:
            twice.extend(each for each in at_this_moment if each == asked)
            at_this_moment.append(asked)
        time.sleep(0)
        with lock:
            at_this_moment.remove(asked)
        if end != "refused":
            walking.add(said(word), turn(error_kind=None if end == "kept" else "provider"))

    def session(history: list[Asking]) -> None:
        walking = side(root)
        try:
            for word, end in history:
                if walking.replay(said(word)) is None:
                    live(walking, word, end)
                    if end != "kept":
                        return
        finally:
            walking.release()

    for each in [Beside(lambda history=history: session(history)) for history in histories]:  # type: ignore[misc]
        each.result()
    assert twice == []
    nodes = [root]
    for node in nodes:
        assert node.asking == set()
        assert all(len(samples) == 1 for samples in node.edges.values())
        nodes += [samples[0].node for samples in node.edges.values()]

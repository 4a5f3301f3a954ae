"""Sessions that share a tree: what is known is replayed, and what goes live finds its servers where it left them.

Servers are real and live in this process. What counts how often they are built, and models asked, is global: held in a
closure it would be a part of what a model is, and nothing would ever be met again.
"""

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
from mcp.types import ToolAnnotations

from pytest_aitest import (
    Agent,
    DeclarationError,
    MCPServer,
    ModelAnswer,
    Provider,
    ServerError,
    Session,
    SessionError,
    ToolError,
    ToolRequest,
)
from pytest_aitest.conversation.past import Past
from pytest_aitest.conversation.tree import Event, Node
from tests.support.servers import command

try:
    from mcp.server import MCPServer as Server
except ImportError:  # mcp 1.x
    from mcp.server.fastmcp import FastMCP as Server  # type: ignore[no-redef]

COUNTS: Counter[str] = Counter()  # of what happened in all sessions of one test
TIMES = itertools.count(1)


@pytest.fixture(autouse=True)
def counts_from_zero() -> Iterator[None]:
    COUNTS.clear()
    yield
    COUNTS.clear()


class Downfall(BaseException):
    """What takes an in-process server down."""


def diary() -> Any:
    """A server whose state is what was written into it, in that order."""
    COUNTS["servers"] += 1
    server, lines = Server("diary"), list[str]()

    @server.tool()
    def write(line: str) -> int:
        lines.append(line)
        return len(lines)

    @server.tool()
    def write_all(more: list[str]) -> int:
        lines.extend(more)
        return len(lines)

    @server.tool()
    def read(time: int = 0) -> dict[str, Any]:
        return {"lines": lines}

    @server.tool(annotations=ToolAnnotations(readOnlyHint=False))
    def burn() -> str:
        lines.clear()
        return "burnt"

    @server.tool(annotations=ToolAnnotations(readOnlyHint=True))
    def peek() -> str:
        COUNTS["looks"] += 1
        return "/".join(lines)

    return server


def lottery() -> Any:
    """A server that never says the same, and one that sometimes ends: both by what `COUNTS` has for them."""
    server = Server("lottery")

    @server.tool()
    def draw() -> int:
        COUNTS["drawn"] += 1
        return COUNTS["drawn"]

    @server.tool()
    def steady() -> str:
        return "steady"

    @server.tool()
    async def fall() -> str:
        if COUNTS["falls"]:
            raise Downfall
        return "stands"

    @server.tool()
    async def ponder() -> str:
        if COUNTS["ponders"]:
            await anyio.sleep_forever()
        return "done"

    return server


def moody() -> Any:
    """A server that offers another tool each time it is started."""
    COUNTS["moods"] += 1
    server = Server("moody")
    server.tool(name=f"mood_{COUNTS['moods']}")(lambda: "fine")
    return server


def spare_diary() -> Any:
    return diary()


DIARY = MCPServer(factory=diary)
LOTTERY = MCPServer(factory=lottery)


def wish(name: str, **arguments: Any) -> ModelAnswer:
    return ModelAnswer(tool_requests=[ToolRequest(name=name, arguments=arguments)])


def obedient(messages: list[Any], tools: list[Any]) -> str | ModelAnswer:
    """Writes down what it is told, and calls any other tool whose name it is told."""
    COUNTS["asked"] += 1
    word = next(message["content"] for message in reversed(messages) if message["role"] == "user")
    if messages[-1]["role"] == "tool":
        return f"{word}: {messages[-1]['content']} ({len(messages)} messages)"
    names = [tool["function"]["name"] for tool in tools]
    return wish(word) if word in names else wish("write", line=word)


def agent(model: Callable[..., Any] = obedient, server: MCPServer | None = DIARY, **fields: Any) -> Agent:
    return Agent(provider=Provider(model=model), mcp_servers=[] if server is None else [server], **fields)


def sharing(root: Node, who: Agent | None = None, **settings: Any) -> Session:
    """A session over the tree that begins with `root`."""
    return Session(who or agent(), past=Past(root, **{"replays": True} | settings))


def lines(session: Session) -> list[str]:
    """What is in the diary, asked of the live server each time, and no event."""
    session.call_mode = "observation"
    written: list[str] = session.call_tool("read", {"time": next(TIMES)})["lines"]
    session.call_mode = "event"
    return written


def test_what_is_known_is_replayed_without_model_or_server() -> None:
    root = Node()
    with sharing(root) as live:
        told = [live.say("a"), live.say("b")]
        returned = live.call_tool("write", {"line": "c"})
    before = dict(COUNTS)
    with sharing(root) as known:
        assert [known.say("a"), known.say("b")] == told
        assert known.call_tool("write", {"line": "c"}) == returned == {"result": 3}
        assert known.transcript == live.transcript
        assert known.results == live.results
        assert dict(COUNTS) == before
    assert (known.past.replayed, known.past.fresh, live.past.replayed, live.past.fresh) == (2, 0, 0, 2)


def test_a_session_becomes_live_at_its_first_unknown_event_with_its_servers_where_they_were() -> None:
    root = Node()
    with sharing(root) as first:
        first.say("a")
        first.call_tool("write", {"line": "b"})
    with sharing(root) as second:
        second.say("a")
        second.call_tool("write", {"line": "b"})
        assert COUNTS == {"servers": 1, "asked": 2}
        assert second.say("c").tool_calls[0].result == "3"
        assert COUNTS == {"servers": 2, "asked": 4}
        assert lines(second) == ["a", "b", "c"]
        assert second.past.differences == []
    assert (second.past.replayed, second.past.fresh) == (1, 1)


def test_a_live_session_goes_on_live_and_is_not_played_to_twice() -> None:
    root = Node()
    with sharing(root) as first:
        first.say("a")
    with sharing(root) as second:
        second.say("a")
        second.say("b")
        second.say("c")
        assert lines(second) == ["a", "b", "c"]
    assert COUNTS["servers"] == 2


def test_a_live_session_that_meets_something_known_catches_up_before_it_goes_on() -> None:
    root = Node()
    with sharing(root) as first:
        first.say("a")
        with sharing(root) as other:
            other.say("a")
            other.say("b")
        first.say("b")  # which the other has asked meanwhile
        assert (first.past.replayed, first.past.fresh) == (1, 1)
        first.say("c")
        assert lines(first) == ["a", "b", "c"]
    assert COUNTS["servers"] == 2


def test_the_model_hears_the_replayed_history() -> None:
    def hears(messages: list[Any], tools: list[Any]) -> str:
        return "|".join(message["content"] for message in messages)

    root, who = Node(), agent(hears, None, system_prompt="Listen.")
    with sharing(root, who) as first:
        first.say("a")
    with sharing(root, who) as second:
        second.say("a")
        assert second.say("b").final_response == "Listen.|a|Listen.|a|b"


def test_a_replayed_turn_bears_the_name_of_the_agent_that_speaks_now() -> None:
    root = Node()
    with sharing(root, agent(name="one")) as first:
        first.say("a")
    with sharing(root, agent(name="two")) as second:
        assert second.say("a").turn.agent == "two"
        assert second.past.replayed == 1
        assert second.say("b").turn.agent == "two"
        assert lines(second) == ["a", "b"]


def test_a_replayed_turn_bears_the_names_of_the_servers_that_are_declared_now() -> None:
    root = Node()
    with sharing(root) as first:
        first.say("a")
    with sharing(root, agent(server=MCPServer(factory=diary, name="book"))) as second:
        replayed, live = second.say("a"), second.say("b")
        assert (second.past.replayed, second.past.differences) == (1, [])
        assert [call.server for call in (*replayed.tool_calls, *live.tool_calls)] == ["book", "book"]


@pytest.mark.parametrize(
    "other",
    [
        {"who": agent(system_prompt="Be kind.")},
        {"who": agent(server=MCPServer(factory=spare_diary))},
        {"who": agent(allowed_tools=["write"])},
        {"max_model_calls": 9},
        {"timeout_seconds": 59.0},
        {"messages": [{"role": "user", "content": "before"}]},
        {"prompt": "A"},
    ],
)
def test_what_an_outcome_depends_on_makes_an_event_another(other: dict[str, Any]) -> None:
    root, who = Node(), other.pop("who", None)
    with sharing(root) as first:
        first.say("a")
    with sharing(root, who) as second:
        second.say(**{"prompt": "a"} | other)
        assert (second.past.replayed, second.past.fresh) == (0, 1)


def test_sessions_that_start_from_different_messages_do_not_answer_for_each_other() -> None:
    def counting(messages: list[Any], tools: list[Any]) -> str:
        return f"{len(messages)} messages"

    root, answers = Node(), []
    for history in ([], [{"role": "user", "content": "before"}]):
        with Session(agent(counting, None), messages=history, past=Past(root, replays=True)) as session:
            answers.append(session.say("a").final_response)
    assert answers == ["1 messages", "2 messages"]


def test_a_server_that_is_asked_for_by_its_name_answers_for_itself() -> None:
    root, answers = Node(), []
    for names in (("a", "b"), ("b", "a")):
        declared = [
            MCPServer(factory=factory, name=name) for factory, name in zip((diary, lottery), names, strict=True)
        ]
        two = Agent(provider=Provider(model=lambda messages, tools: "hello"), mcp_servers=declared)
        with sharing(root, two) as session:
            session.say("hello")
            try:
                answers.append(session.call_tool("steady", server="b"))
            except SessionError:
                answers.append("no such tool")
    assert answers == [{"result": "steady"}, "no such tool"]


@pytest.mark.parametrize("replays", [True, False])
def test_a_model_that_changes_is_known_by_what_it_was_when_it_was_asked(replays: bool) -> None:
    heard: list[str] = []

    def model(messages: list[Any], tools: list[Any]) -> str:
        heard.append("again")
        return " ".join(heard)

    root = Node()
    with sharing(root, agent(model, None), replays=replays) as first:
        first.say("a")
    with sharing(root, agent(model, None)) as second:
        assert second.say("a").final_response == "again again"
    heard.clear()
    with sharing(root, agent(model, None)) as third:
        assert third.say("a").final_response == "again"
        assert third.past.replayed == 1


def test_what_has_no_key_is_never_replayed_and_the_session_can_say_why() -> None:
    lock = threading.Lock()

    def locked(messages: list[Any], tools: list[Any]) -> str:
        with lock:
            return obedient(messages, tools)  # type: ignore[return-value]

    root = Node()
    for _ in range(2):
        with sharing(root, agent(locked)) as session:
            assert session.say("a").success
            assert session.say("b").success
            assert lines(session) == ["a", "b"]
            assert (session.past.replayed, session.past.fresh) == (0, 2)
            assert session.past.unknowable == "The agent holds a _thread.lock, which can't be compared"
    with sharing(root) as known:
        known.say("a")
        assert known.past.unknowable is None


def test_samples_without_a_key_draw_different_numbers() -> None:
    lock = threading.Lock()

    def draws(messages: list[Any], tools: list[Any]) -> str:
        with lock:
            return str(random.random())

    root, drawn = Node(), set()
    for _ in range(3):
        random.seed(0)  # as Hypothesis does
        with sharing(root, agent(draws, None), reseeds=True) as session:
            drawn.add(session.say("a").final_response)
    assert len(drawn) == 3


def draws(messages: list[Any], tools: list[Any]) -> str:
    """A model of chance, as a user may write one."""
    return str(random.random())


def sampled(root: Node, number: int, *prompts: str) -> list[str]:
    """The answers of one session that takes sample `number` of each of its turns, with Hypothesis as its host."""
    random.seed(0)
    with sharing(root, agent(draws, None), reseeds=True) as session:
        session.past.begin_step(again=number)
        return [session.say(prompt).final_response for prompt in prompts]


def test_samples_draw_different_numbers_and_the_same_ones_in_the_next_run() -> None:
    runs = []
    for _ in range(2):
        root = Node(b"seed")
        runs.append([sampled(root, number, "a", "b") for number in range(3)])
    assert runs[0] == runs[1]
    assert len(set(itertools.chain(*runs[0]))) == 6
    assert sampled(Node(b"another seed"), 0, "a", "b") != runs[0][0]


def test_a_sample_that_is_asked_for_is_asked_and_then_replayed() -> None:
    root = Node()
    first, second, again = (sampled(root, number, "a") for number in (0, 1, 1))
    assert first != second == again
    assert [sample.outcome.final_response for sample in node_samples(root)] == [*first, *second]


def node_samples(root: Node) -> list[Any]:
    (samples,) = root.edges.values()
    return samples


def test_two_samples_of_one_event_lead_to_different_nodes() -> None:
    root = Node()
    for number in (0, 1):
        with sharing(root, agent(draws, None), reseeds=True) as session:
            session.past.begin_step(again=number)
            session.say("a")
            session.past.begin_step()
            session.say(f"after sample {number}")
    after = [list(sample.node.edges) for sample in node_samples(root)]
    assert [[key[2] for key in keys] for keys in after] == [["after sample 0"], ["after sample 1"]]  # type: ignore[index]
    with sharing(root, agent(draws, None)) as session:
        session.past.begin_step((1,))
        session.say("a")
        session.say("after sample 1")
        assert session.past.fresh == 0
        assert session.past.samples == (1, 0)


def test_a_turn_that_failed_by_the_agents_doing_is_known() -> None:
    def endless(messages: list[Any], tools: list[Any]) -> ModelAnswer:
        return wish("write", line="x")

    root, who = Node(), agent(endless, max_model_calls=2)
    with sharing(root, who) as first:
        failed = first.say("go on")
    with sharing(root, who) as second:
        assert second.say("go on") == failed
        assert second.past.fresh == 0
        assert failed.error_kind == "max_model_calls"
        assert second.call_tool("write", {"line": "y"}) == {"result": 3}  # what it did until then was done
        assert second.transcript.messages == ()


def unsound(messages: list[Any], tools: list[Any]) -> str:
    COUNTS["asked"] += 1
    if COUNTS["asked"] == 1:
        raise ConnectionError("no weights today")
    return "well"


def never(messages: list[Any], tools: list[Any]) -> ModelAnswer:
    COUNTS["asked"] += 1
    return wish("ponder") if COUNTS["asked"] == 1 else ModelAnswer(text="well")


def falls(messages: list[Any], tools: list[Any]) -> ModelAnswer:
    COUNTS["asked"] += 1
    return wish("fall") if COUNTS["asked"] == 1 else ModelAnswer(text="well")


@pytest.mark.parametrize(
    ("model", "kind"),
    [(unsound, "provider"), (never, "turn_timeout"), (falls, "server_died")],
    ids=["provider", "turn_timeout", "server_died"],
)
def test_what_was_not_the_conversations_doing_is_asked_again(model: Callable[..., Any], kind: str) -> None:
    COUNTS.update(falls=1, ponders=1)
    root, who = Node(), agent(model, LOTTERY)
    with sharing(root, who) as first:
        assert first.say("how are you?", timeout_seconds=0.3).error_kind == kind
    with sharing(root, who) as second:
        assert second.say("how are you?", timeout_seconds=0.3).final_response == "well"
    with sharing(root, who) as third:
        assert third.say("how are you?", timeout_seconds=0.3).final_response == "well"
    assert [session.past.fresh for session in (first, second, third)] == [1, 1, 0]


def test_what_follows_a_fault_is_never_found_under_what_follows_an_answer() -> None:
    root, who = Node(), agent(unsound, None)
    with sharing(root, who) as first:
        first.say("a")
        first.say("b")
    with sharing(root, who) as second:
        second.say("a")
        second.say("b")
        assert second.past.fresh == 2


def test_what_a_tool_answers_is_replayed_as_new_each_time() -> None:
    root = Node()
    with sharing(root) as first:
        first.call_tool("write", {"line": "a"})
        first.call_tool("read")["lines"].append("forged")
    with sharing(root) as second:
        second.call_tool("write", {"line": "a"})
        second.call_tool("read")["lines"].append("forged")
        assert second.call_tool("read")["lines"] == ["a"]  # known once, and live the second time
    with sharing(root) as third:
        third.call_tool("write", {"line": "a"})
        assert third.call_tool("read")["lines"] == ["a"]


def test_arguments_are_played_back_as_they_were_given() -> None:
    more = ["a"]
    with sharing(Node()) as session:
        session.call_tool("write_all", {"more": more})
        more.append("b")
        with session.rewound(events=1) as again:
            assert lines(again) == ["a"]
            assert again.past.differences == []


def test_an_error_of_a_tool_is_replayed_as_an_error() -> None:
    root = Node()
    for _ in range(2):
        with sharing(root) as session, pytest.raises(ToolError, match=r"write\(\) failed"):
            session.call_tool("write")
    assert COUNTS["servers"] == 1
    with sharing(root) as session:
        with pytest.raises(ToolError):
            session.call_tool("write")
        assert lines(session) == []
        assert session.past.differences == []


def test_wishes_that_no_server_heard_are_not_played_back() -> None:
    def confused(messages: list[Any], tools: list[Any]) -> str | ModelAnswer:
        if messages[-1]["role"] == "tool":
            return "sorry"
        return ModelAnswer(
            tool_requests=[
                ToolRequest(name="wriet"),
                ToolRequest(name="write", arguments='{"line": '),
                ToolRequest(name="write", arguments={"line": "\ud83d"}),
                ToolRequest(name="write", arguments={"line": "a"}),
            ]
        )

    root = Node()
    with sharing(root, agent(confused)) as first:
        assert [call.error is None for call in first.say("go").tool_calls] == [False, False, False, True]
    with sharing(root, agent(confused)) as second:
        second.say("go")
        assert lines(second) == ["a"]
        assert second.past.differences == []


def test_an_invariants_look_is_known_at_its_node_and_is_no_event() -> None:
    root = Node()
    for _ in range(2):
        with sharing(root) as session:
            for word in "ab":
                session.say(word)
                session.call_mode = "observation"
                assert session.call_tool("peek") == {"result": {"a": "a", "b": "a/b"}[word]}
                session.call_mode = "event"
        assert [outcome.text for _, outcome in session.past.looks] == ["a", "a/b"]
        assert len(session.past.events) == 2
    assert COUNTS == {"servers": 1, "asked": 4, "looks": 2}


def test_an_invariants_look_that_is_new_makes_a_known_history_live_and_changes_no_edge() -> None:
    root = Node()
    with sharing(root) as first:
        first.say("a")
        first.say("b")
    with sharing(root) as second:
        second.say("a")
        assert lines(second) == ["a"]
        second.say("b")
        assert (second.past.replayed, second.past.fresh) == (2, 0)
        assert lines(second) == ["a", "b"]
    assert COUNTS == {"servers": 2, "asked": 4}


def test_an_invariant_may_not_call_what_says_that_it_changes_something() -> None:
    with sharing(Node()) as session:
        session.say("a")
        session.call_mode = "observation"
        with pytest.raises(SessionError) as raised:
            session.call_tool("burn")
        assert str(raised.value) == (
            "An invariant called 'burn', which server 'diary' declares with readOnlyHint=False: "
            "it would change what it checks. "
            "Call it in a rule, and in invariants one that only looks: "
            "there are 'write', 'write_all', 'read' and 'peek'."
        )
        assert session.call_tool("read") == {"lines": ["a"]}
        session.call_mode = "event"
        assert session.call_tool("burn") == {"result": "burnt"}
        session.call_mode = "observation"
        with pytest.raises(SessionError, match="An invariant called 'burn'"):  # known as an event, not as a look
            session.call_tool("burn")


def test_what_makes_servers_ready_is_no_part_of_the_history() -> None:
    root = Node()
    with sharing(root) as session:
        session.call_mode = "preparation"
        assert session.call_tool("write", {"line": "ready"}) == {"result": 1}
        session.call_mode = "event"
        session.say("a")
        assert lines(session) == ["ready", "a"]
        assert [str(happened.event) for happened in session.past.events] == ["a"]
    with sharing(root) as other:
        assert other.call_tool("write", {"line": "ready"}) == {"result": 1}
        assert other.past.samples == (0,)


def test_what_makes_servers_ready_is_done_each_time_though_it_is_known_as_an_event() -> None:
    root = Node()
    with sharing(root) as first:
        first.call_tool("write", {"line": "a"})
    with sharing(root) as second:
        second.call_mode = "preparation"
        second.call_tool("write", {"line": "a"})
        assert second.past.events == []
        assert lines(second) == ["a"]
    assert COUNTS["servers"] == 2


def test_servers_are_made_ready_before_the_history_is_played_to_them() -> None:
    root = Node()

    def opened() -> Session:
        def prepare(event: Event) -> None:
            if not COUNTS[f"prepared {id(session)}"]:
                COUNTS[f"prepared {id(session)}"] = 1
                session.call_mode = "preparation"
                session.call_tool("write", {"line": "ready"}, agent=event.agent)
                session.call_mode = "event"

        session = sharing(root, before_live=prepare)
        return session

    with opened() as first:
        first.say("a")
    with opened() as second:
        second.say("a")
        assert COUNTS["servers"] == 1
        second.say("b")
        assert lines(second) == ["ready", "a", "b"]
        assert second.past.differences == []


def test_before_an_event_goes_live_somebody_may_refuse() -> None:
    asked: list[str] = []

    def refuse(event: Event) -> None:
        asked.append(str(event))
        raise SessionError("too dear")

    root = Node()
    with sharing(root) as first:
        first.say("a")
    with sharing(root, before_live=refuse) as second:
        second.say("a")
        with pytest.raises(SessionError, match="too dear"):
            second.say("b")
        with pytest.raises(SessionError, match="too dear"):
            second.call_tool("write", {"line": "c"})
        assert asked == ["b", 'write(line="c")']
        assert len(second.past.events) == 1
    assert COUNTS == {"servers": 1, "asked": 2}


def test_what_a_server_answers_otherwise_when_it_is_played_back_is_noted() -> None:
    root, who = Node(), agent(server=LOTTERY)
    with sharing(root, who) as first:
        first.say("draw")
        first.say("steady")
        first.call_tool("draw")
        assert first.past.differences == []
    with sharing(root, who) as second:
        second.say("draw")
        second.say("steady")
        second.call_tool("draw")
        assert second.past.differences == []  # nothing was played yet
        second.say("steady")
    assert second.past.differences == [
        "Server 'lottery' answered draw() with '1', and played back with '3'.",
        "Server 'lottery' answered draw() with '2', and played back with '4'.",
    ]


def test_a_server_that_dies_when_it_is_played_to_is_an_error_and_the_session_can_go_on() -> None:
    root, who = Node(), agent(server=LOTTERY)
    with sharing(root, who) as first:
        first.say("fall")
    with sharing(root, who) as second:
        second.say("fall")
        COUNTS["falls"] = 1
        with pytest.raises(ServerError, match=r"'lottery' can't be brought back .*: fall\(\) ended it: .*Downfall"):
            second.say("steady")
        assert [str(happened.event) for happened in second.past.events] == ["fall"]
        COUNTS["falls"] = 0
        assert second.say("steady").success
        assert second.past.differences == []
    with sharing(root, who) as third:
        third.say("fall")
        third.say("steady")
        assert third.past.fresh == 0


def test_a_part_that_was_played_before_a_server_died_is_not_played_twice_to_one_server() -> None:
    both = Agent(provider=Provider(model=obedient), mcp_servers=[DIARY, LOTTERY])
    root = Node()
    with sharing(root, both) as first:
        first.say("a")
        first.say("fall")
    with sharing(root, both) as second:
        second.say("a")
        second.say("fall")
        COUNTS["falls"] = 1
        with pytest.raises(ServerError):
            second.say("b")
        COUNTS["falls"] = 0
        second.say("b")
        assert lines(second) == ["a", "b"]


def test_a_server_that_does_not_answer_what_is_played_to_it_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_aitest.conversation.playback.TOOL_TIMEOUT_SECONDS", 0.1)
    root, who = Node(), agent(server=LOTTERY)
    with sharing(root, who) as first:
        first.call_tool("ponder")
    with sharing(root, who) as second:
        second.call_tool("ponder")
        COUNTS["ponders"] = 1
        with pytest.raises(ServerError, match=r"ponder\(\) had not answered after 0.1 s"):
            second.say("steady")


def test_a_server_that_no_longer_offers_what_it_had_answered_is_told_in_words() -> None:
    def moodily(messages: list[Any], tools: list[Any]) -> str | ModelAnswer:
        return "done" if messages[-1]["role"] == "tool" else wish(tools[0]["function"]["name"])

    root, who = Node(), agent(moodily, MCPServer(factory=moody))
    with sharing(root, who) as first:
        assert first.say("a").tool_calls[0].result == "fine"
    with sharing(root, who) as second:
        second.say("a")
        with pytest.raises(ServerError, match="mood_1"):
            second.say("b")


def test_a_process_is_played_to_as_well() -> None:
    def calls(messages: list[Any], tools: list[Any]) -> str | ModelAnswer:
        return "done" if messages[-1]["role"] == "tool" else wish("hello")

    root, who = Node(), agent(calls, MCPServer(command=command("odd", "logs")))
    with sharing(root, who) as first:
        first.say("a")
    with sharing(root, who) as second:
        second.say("a")
        assert second.say("b").tool_calls[0].result == "called hello"
        assert second.past.differences == []


def test_two_agents_share_what_is_played_back_to_their_servers() -> None:
    one = agent(name="one", system_prompt="I am one.")
    two = Agent(provider=Provider(model=obedient), name="two", mcp_servers=[DIARY, LOTTERY])
    root = Node()
    with sharing(root, one) as first:
        first.say("a")
        first.say("b", agent=two)
        first.say("c", agent=one)
    with sharing(root, one) as second:
        second.say("a")
        second.say("b", agent=two)
        assert second.say("d").turn.agent == "two"  # whoever answered last
        assert second.call_tool("steady") == {"result": "steady"}
        assert lines(second) == ["a", "b", "d"]
    assert COUNTS["servers"] == 2


def test_a_rewound_session_goes_on_from_that_state_with_servers_of_its_own() -> None:
    with sharing(Node()) as session:
        session.say("a")
        session.call_tool("write", {"line": "b"})
        session.say("c")
        with session.rewound(events=2) as again:
            assert again.results == session.results[:1]
            assert again.transcript == session.results[0].session
            assert COUNTS["servers"] == 1
            assert again.call_tool("write", {"line": "d"}) == {"result": 3}
            assert again.say("e").tool_calls[0].result == "4"
            assert [turn.user for turn in again.turns] == ["a", "e"]
            assert lines(again) == ["a", "b", "d", "e"]
            assert lines(session) == ["a", "b", "c"]
        assert COUNTS["servers"] == 2


def test_a_rewound_session_replays_what_is_known_only_if_its_original_does() -> None:
    for replays, fresh in ((True, 0), (False, 1)):
        with sharing(Node(), replays=replays) as session:
            session.say("a")
            session.say("b")
            with session.rewound(events=1) as again:
                again.say("b")
                assert again.past.fresh == fresh


def test_a_session_that_is_rewound_to_its_beginning_keeps_its_name() -> None:
    with Session(agent(), name="chat") as session:
        session.say("a")
        with session.rewound(events=0) as again:
            assert again.results == []
            assert (again.name, again.transcript.name) == ("chat", "chat")


def test_a_session_that_is_rewound_to_its_beginning_has_the_history_that_it_began_with() -> None:
    began_with = [{"role": "user", "content": "before"}]
    with Session(agent(), messages=began_with) as session:
        session.say("a", messages=[])
        with session.rewound(events=0) as again:
            assert again.transcript.messages == tuple(began_with)


def test_a_rewound_session_speaks_to_whoever_had_answered_last_by_then() -> None:
    one, two = agent(name="one"), agent(name="two", system_prompt="I am two.")
    with sharing(Node(), one) as session:
        session.say("a")
        session.say("b", agent=two)
        with session.rewound(events=1) as again:
            assert again.say("c").turn.agent == "one"


def test_an_event_that_was_broken_off_leaves_no_trace_in_what_comes_after_it() -> None:
    def breaks_off(messages: list[Any], tools: list[Any]) -> Any:
        return wish("write", line="half") if messages[-1]["role"] == "user" else 42  # which is no answer

    root = Node()
    with sharing(root) as first:
        with pytest.raises(DeclarationError):
            first.say("break", agent=agent(breaks_off))
        told = first.say("a", agent=agent())
    with sharing(root) as second:
        assert second.say("a") == told
        assert lines(second) == ["a"]
    assert told.tool_calls[0].result == "1"


def test_a_call_that_ends_its_server_is_not_kept() -> None:
    COUNTS["falls"] = 1
    root, who = Node(), agent(server=LOTTERY)
    with sharing(root, who) as first:
        with pytest.raises(ServerError, match="Downfall"):
            first.call_tool("fall")
        assert first.past.events == []
    COUNTS["falls"] = 0
    with sharing(root, who) as second:
        assert second.call_tool("fall") == {"result": "stands"}


def test_a_known_history_can_be_awaited() -> None:
    root = Node()
    with sharing(root) as first:
        first.say("a")
        first.call_tool("write", {"line": "b"})

    async def converse() -> None:
        session = sharing(root)
        await session.say_async("a")
        assert await session.call_tool_async("write", {"line": "b"}) == {"result": 2}
        assert COUNTS == {"servers": 1, "asked": 2}
        await session.say_async("c")
        assert session.past.fresh == 1
        session.close()

    anyio.run(converse)


def test_a_closed_session_calls_no_tool_known_or_not() -> None:
    root = Node()
    with sharing(root) as first:
        first.say("a")
        first.call_tool("write", {"line": "b"})
    with sharing(root) as second:
        second.say("a")
    for line in "bc":
        with pytest.raises(SessionError, match="is closed"):
            second.call_tool("write", {"line": line})
    assert COUNTS["servers"] == 1

"""Laws of the conversation tree, shown against a simple model of it: a dictionary from paths to what came of them.

What must not be a part of what a model is (how often it was asked) is global, and not held in a closure.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from pytest_aitest import Agent, MCPServer, ModelAnswer, Provider, Session, ToolRequest
from pytest_aitest.conversation.past import Past
from pytest_aitest.conversation.servers import ToolOutcome
from pytest_aitest.conversation.tree import EventOutcome, Node

try:
    from mcp.server import MCPServer as Server
except ImportError:  # mcp 1.x
    from mcp.server.fastmcp import FastMCP as Server  # type: ignore[no-redef]

COUNTS: Counter[str] = Counter()
TIMES = itertools.count(1)
SETTINGS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

Path = tuple[Any, ...]
"""The (event, sample) pairs that lead to a node."""


def diary() -> Any:
    """A server whose state is what was written into it, in that order."""
    COUNTS["servers"] += 1
    server, lines = Server("diary"), list[str]()

    @server.tool()
    def write(line: str) -> int:
        lines.append(line)
        return len(lines)

    @server.tool()
    def read(time: int = 0) -> dict[str, Any]:
        COUNTS["reads"] += 1
        return {"lines": lines}

    return server


def chancy(messages: list[Any], tools: list[Any]) -> str | ModelAnswer:
    """Answers otherwise each time: what it writes and says has the number of turns that were ever asked."""
    user = [message["content"] for message in messages if message["role"] == "user"]
    if messages[-1]["role"] == "user":
        COUNTS["asked"] += 1
        if user[-1] == "fault" and COUNTS["asked"] % 2:
            raise ConnectionError
        return wish(f"{user[-1]}{COUNTS['asked']}")
    return f"{messages[0]['content']} heard {' '.join(user)}, wrote {messages[-1]['content']}: {COUNTS['asked']}"


def steady(messages: list[Any], tools: list[Any]) -> str | ModelAnswer:
    """Answers by what it heard alone."""
    if messages[-1]["role"] == "user":
        COUNTS["asked"] += 1
        return wish(f"{messages[-1]['content']} after {len(messages)}")
    return " ".join(str(message["content"]) for message in messages)


def wish(line: str) -> ModelAnswer:
    return ModelAnswer(tool_requests=[ToolRequest(name="write", arguments={"line": line})])


def agent(letter: str, model: Any, *, name: str = "agent") -> Agent:
    return Agent(
        provider=Provider(model=model), name=name, system_prompt=letter, mcp_servers=[MCPServer(factory=diary)]
    )


def state_of(session: Session) -> list[str]:
    """What is in the diary, asked of the live server each time."""
    session.call_mode = "observation"
    written: list[str] = session.call_tool("read", {"time": next(TIMES)}, agent=session.agent)["lines"]
    session.call_mode = "event"
    return written


def text_of(outcome: EventOutcome) -> str:
    if isinstance(outcome, ToolOutcome):
        return outcome.text
    return outcome.error_kind or outcome.final_response


@dataclass(kw_only=True)
class Known:
    """A node of the simple model."""

    lines: list[str]  # the state of the server
    heard: list[str]  # by the agents, from the user
    seen: bool = False
    samples: dict[Any, list[str]] = field(default_factory=dict)  # event -> what came of it, one for each sample


@dataclass(kw_only=True)
class Talk:
    """A session, and what the simple model knows of it."""

    session: Session
    path: Path = ()
    live: bool = False
    told: list[str] = field(default_factory=list)  # what came of its turns


TALK = st.integers(0, 2)
PICK = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"again": st.integers(0, 2)}),
    st.fixed_dictionaries({"wanted": st.tuples(st.integers(0, 2))}),
)


class TreeMachine(RuleBasedStateMachine):
    """Sessions over one tree, in any order and mixed, against a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        COUNTS.clear()
        self.root = Node()
        self.known: dict[Path, Known] = {(): Known(lines=[], heard=[])}
        self.expected: Counter[str] = Counter()
        self.talks: list[Talk] = []
        self.lost = itertools.count()  # numbers of what is hung nowhere
        self.begin()

    def begin(self) -> None:
        self.talks.append(Talk(session=Session(agent("A", chancy), past=Past(self.root, replays=True))))

    def talk(self, number: int) -> Talk:
        return self.talks[number % len(self.talks)]

    @precondition(lambda self: len(self.talks) < 3)
    @rule()
    def another_session_begins(self) -> None:
        self.begin()

    @precondition(lambda self: len(self.talks) < 3)
    @rule(number=TALK, events=st.integers(0, 4))
    def a_session_is_rewound(self, number: int, events: int) -> None:
        talk = self.talk(number)
        path = talk.path[:events]
        turns = sum(event[0] == "say" for event, _ in path)
        rewound = talk.session.rewound(events=len(path))
        self.talks.append(Talk(session=rewound, path=path, told=talk.told[:turns]))

    @precondition(lambda self: len(self.talks) > 1)
    @rule(number=TALK)
    def a_session_ends(self, number: int) -> None:
        talk = self.talk(number)
        talk.session.close()
        self.talks.remove(talk)

    @rule(
        number=TALK,
        who=st.tuples(st.sampled_from("AB"), st.sampled_from(["x", "y"])),
        word=st.sampled_from(["a", "b", "fault"]),
        limit=st.sampled_from([10, 10, 1]),
        pick=PICK,
    )
    def say(self, number: int, who: tuple[str, str], word: str, limit: int, pick: dict[str, Any]) -> None:
        letter, name = who
        talk, event = self.talk(number), ("say", letter, word, limit)
        node = self.known[talk.path]
        talk.session.past.begin_step(**pick)
        result = talk.session.say(word, agent=agent(letter, chancy, name=name), max_model_calls=limit)
        came, lines, heard = self._spoken(node, letter, word, limit)
        told = self._happened(talk, event, pick, came, lines=lines, heard=heard)
        assert text_of(result.turn) == told
        assert result.turn.agent == name
        talk.told.append(told)

    def _spoken(self, node: Known, letter: str, word: str, limit: int) -> tuple[str, list[str], list[str]]:
        """What comes of a turn if it goes live now, what is in the diary then, and what the next turn builds on."""
        asked = self.expected["asked"] + 1
        if word == "fault" and asked % 2:
            return "provider", node.lines, node.heard
        lines, heard = [*node.lines, f"{word}{asked}"], [*node.heard, word]
        if limit == 1:
            return "max_model_calls", lines, node.heard
        return f"{letter} heard {' '.join(heard)}, wrote {len(lines)}: {asked}", lines, heard

    @rule(number=TALK, word=st.sampled_from("ab"), pick=PICK)
    def call_tool(self, number: int, word: str, pick: dict[str, Any]) -> None:
        talk = self.talk(number)
        node = self.known[talk.path]
        talk.session.past.begin_step(**pick)
        whose = None if talk.path else agent("A", chancy)  # at the beginning one says so
        result = talk.session.call_tool("write", {"line": word}, agent=whose)
        came, lines = str(len(node.lines) + 1), [*node.lines, word]
        assert str(result["result"]) == self._happened(talk, ("call", word), pick, came, lines=lines, heard=node.heard)

    def _happened(
        self, talk: Talk, event: Any, pick: dict[str, Any], came: str, *, lines: list[str], heard: list[str]
    ) -> str:
        """Note in the simple model what must have happened; `came` is what comes of the event if it goes live."""
        samples = self.known[talk.path].samples.get(event, [])
        wanted = min(pick.get("wanted", (0,))[0], len(samples) - 1)
        number: Any = pick.get("again", wanted)
        if samples and number < len(samples):
            came = samples[number]
        else:
            self._went_live(talk)
            self.expected["asked"] += event[0] == "say"
            if came == "provider":
                number = f"lost {next(self.lost)}"
            else:
                number = len(samples)
                self.known[talk.path].samples[event] = [*samples, came]
            self.known[(*talk.path, (event, number))] = Known(lines=lines, heard=heard)
        talk.path = (*talk.path, (event, number))
        note(f"{talk.session.past.samples=}")
        assert talk.session.past.samples == (0 if came == "provider" else number,)
        return came

    def _went_live(self, talk: Talk) -> None:
        self.expected["servers"] += not talk.live
        talk.live = True

    @rule(number=TALK)
    def look(self, number: int) -> None:
        talk = self.talk(number)
        node = self.known[talk.path]
        talk.session.call_mode = "observation"
        seen = talk.session.call_tool("read", agent=agent("A", chancy))
        talk.session.call_mode = "event"
        assert seen == {"lines": node.lines}
        if not node.seen:
            self._went_live(talk)
            self.expected["reads"] += 1
        node.seen = True

    @rule(number=TALK)
    def the_live_server_is_where_the_history_left_it(self, number: int) -> None:
        talk = self.talk(number)
        assert state_of(talk.session) == self.known[talk.path].lines
        self._went_live(talk)
        self.expected["reads"] += 1

    @invariant()
    def nobody_was_asked_who_need_not_be(self) -> None:
        assert +self.expected == +COUNTS

    @invariant()
    def every_session_knows_its_own_history_and_no_other(self) -> None:
        for talk in self.talks:
            assert [text_of(turn) for turn in talk.session.turns] == talk.told
            assert [text_of(result.turn) for result in talk.session.results] == talk.told
            assert len(talk.session.past.events) == len(talk.path)
            assert talk.session.past.differences == []
            heard = [message["content"] for message in talk.session.transcript.messages if message["role"] == "user"]
            assert heard == self.known[talk.path].heard

    @invariant()
    def the_tree_is_the_dictionary(self) -> None:
        assert grown(self.root) == self.planned(())

    def planned(self, path: Path) -> list[Any]:
        return sorted(
            [[came, self.planned((*path, (event, number)))] for number, came in enumerate(samples)]
            for event, samples in self.known[path].samples.items()
        )

    def teardown(self) -> None:
        for talk in self.talks:
            talk.session.close()


def grown(node: Node) -> list[Any]:
    """What hangs under a node: for each event its samples in order, each with what hangs under it."""
    return sorted(
        [[text_of(sample.outcome), grown(sample.node)] for sample in samples] for samples in node.edges.values()
    )


def test_the_tree_is_a_dictionary_from_histories_to_outcomes() -> None:
    run_state_machine_as_test(TreeMachine, settings=settings(SETTINGS, max_examples=50, stateful_step_count=20))


EVENTS = st.lists(
    st.tuples(st.just("say"), st.sampled_from("AB"), st.sampled_from("ab"), st.sampled_from([10, 1]))
    | st.tuples(st.just("call"), st.sampled_from("ab")),
    max_size=5,
)


def play(session: Session, events: Sequence[tuple[Any, ...]]) -> None:
    for event in events:
        match event:
            case "say", letter, word, limit:
                session.say(word, agent=agent(letter, steady), max_model_calls=limit)
            case "call", word:
                session.call_tool("write", {"line": word}, agent=agent("A", steady))


def opened(root: Node) -> Session:
    return Session(agent("A", steady), past=Past(root, replays=True))


@settings(SETTINGS, max_examples=20)
@given(EVENTS)
def test_a_history_that_is_replayed_is_that_history(events: Sequence[tuple[Any, ...]]) -> None:
    root = Node()
    with opened(root) as live:
        play(live, events)
    COUNTS.clear()
    with opened(root) as replayed:
        play(replayed, events)
        assert replayed.transcript == live.transcript
        assert replayed.results == live.results
        assert replayed.past.node is live.past.node
    assert not +COUNTS


@settings(SETTINGS, max_examples=20)
@given(EVENTS, EVENTS)
def test_to_go_on_live_after_a_replay_is_to_have_been_live_throughout(
    known: Sequence[tuple[Any, ...]], new: Sequence[tuple[Any, ...]]
) -> None:
    root = Node()
    with opened(root) as first:
        play(first, known)
    with opened(root) as continued, opened(Node()) as throughout:
        for session in (continued, throughout):
            play(session, [*known, *new])
        assert state_of(continued) == state_of(throughout)
        assert told(continued) == told(throughout)
        assert continued.past.differences == []
        assert continued.past.replayed + continued.past.fresh == throughout.past.fresh


def told(session: Session) -> list[Any]:
    """All that was said and done, but for how long it took."""
    return [
        (turn.messages, turn.error, [(call.arguments, call.result) for call in turn.tool_calls])
        for turn in session.turns
    ]


@settings(SETTINGS, max_examples=20)
@given(EVENTS, st.integers(0, 5), EVENTS)
def test_a_rewound_session_goes_on_as_if_the_rest_had_never_been(
    events: Sequence[tuple[Any, ...]], kept: int, new: Sequence[tuple[Any, ...]]
) -> None:
    with opened(Node()) as session, opened(Node()) as throughout:
        play(session, events)
        state = state_of(session)
        with session.rewound(events=min(kept, len(events))) as rewound:
            play(rewound, new)
            play(throughout, [*events[:kept], *new])
            assert told(rewound) == told(throughout)
            assert state_of(rewound) == state_of(throughout)
        assert state_of(session) == state


@settings(SETTINGS, max_examples=20)
@given(EVENTS, EVENTS)
def test_what_followed_one_sample_never_hangs_under_another(
    after_one: Sequence[tuple[Any, ...]], after_other: Sequence[tuple[Any, ...]]
) -> None:
    root = Node()
    trees = []
    for number, after in enumerate((after_one, after_other)):
        with opened(root) as session:
            session.past.begin_step(again=number)
            session.say("first")
            session.past.begin_step()
            play(session, after)
        alone = Node()
        with opened(alone) as session:
            play(session, [("say", "A", "first", 10), *after])
        trees.append(grown(alone)[0][0])
    assert grown(root) == [trees]

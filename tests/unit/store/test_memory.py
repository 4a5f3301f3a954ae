"""Sessions that go on from what a file knows: who meets what, in which order, and what is never taken for known."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_aitest import MCPServer, Session
from pytest_aitest.conversation.past import Past
from pytest_aitest.conversation.servers import ToolOutcome
from pytest_aitest.conversation.tree import Called, Said
from pytest_aitest.store.memory import MeanTurn, Store
from pytest_aitest.values.transcript import Turn

from .conversations import CHANGED, COUNTS, Mode, accountant, agent, asked, chancy, counter, echo, opened, said


@pytest.fixture(autouse=True)
def counts_from_zero() -> Iterator[None]:
    COUNTS.clear()
    CHANGED.clear()
    yield
    COUNTS.clear()
    CHANGED.clear()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "conversations" / "store.db"


def message(prompt: str = "hello", **fields: Any) -> Said:
    return Said(**{"prompt": prompt, "agent": agent(), "max_model_calls": 10, "timeout_seconds": 60.0} | fields)


def turn(answer: str = "hello", **fields: Any) -> Turn:
    return Turn(
        agent="agent", model="echo", user="hello", messages=({"role": "assistant", "content": answer},), **fields
    )


@pytest.mark.parametrize("mode", ["replay", "record"])
def test_what_was_recorded_is_not_asked_again(path: Path, mode: Mode) -> None:
    with opened(path) as store:
        first = said(store, "hello", "and?")
        assert store.added == 2
    with opened(path, mode) as store:
        assert asked(lambda: said(store, "hello", "and?")) == 0
        assert said(store, "hello", "and?") == first == ["1: hello", "3: and?"]
        assert (store.added, store.problems, store.remarks) == (0, [], [])


def test_replaying_starts_no_server_and_tells_the_same_turn(path: Path) -> None:
    def turns(store: Store) -> tuple[Turn, ...]:
        with Session(accountant(), past=Past(store.root("a", shares=True), replays=True)) as session:
            session.say("count")
            session.say("on")
            return session.turns

    with opened(path) as store:
        live = turns(store)
    COUNTS.clear()
    with opened(path, "replay") as store:
        assert turns(store) == live
    assert not COUNTS


def test_servers_are_brought_to_where_the_file_left_them(path: Path) -> None:
    with opened(path) as store:
        said(store, "count", by=accountant())
    with opened(path) as store:
        assert said(store, "count", "on", by=accountant()) == ["now 2", "now 4"]


def test_other_servers_names_are_those_of_now(path: Path) -> None:
    with opened(path) as store:
        said(store, "count", by=accountant(name="old"))
    with (
        opened(path, "replay") as store,
        Session(accountant(name="new"), past=Past(store.root("a", shares=True), replays=True)) as session,
    ):
        result = session.say("count")
    assert ([call.server for call in result.tool_calls], result.turn.tools[0].server) == (["new"], "new")


def test_each_sample_leads_to_a_history_of_its_own_though_the_outcomes_are_equal(path: Path) -> None:
    with opened(path) as store:
        for again in (0, 1):
            said(store, "hello", again=again)
        one, other = (sample.node for sample in store.root("a", shares=True).samples(message()))
        one.add(message("next"), turn("after the first"))
    with opened(path, "replay") as store:
        one, other = (sample.node for sample in store.root("a", shares=True).samples(message()))
        assert [sample.outcome for sample in one.samples(message("next"))] == [turn("after the first")]
        assert other.samples(message("next")) == []


def test_one_that_shares_meets_what_others_recorded_after_its_own_and_always_in_that_order(path: Path) -> None:
    def met(test: str, mode: Mode = "record") -> list[Any]:
        with opened(path, mode) as store:
            samples = store.root(test, shares=True).samples(message())
            assert [sample.number for sample in samples] == list(range(len(samples)))
            return [sample.outcome.messages[0]["content"] for sample in samples]  # type: ignore[union-attr]

    def added(test: str, answer: str) -> None:
        with opened(path) as store:
            store.root(test, shares=True).add(message(), turn(answer))

    added("b", "1")
    added("a", "2")
    assert met("a", "replay") == ["1", "2"]
    added("c", "3")
    assert met("b") == ["1", "2", "3"]
    assert met("c") == ["1", "2", "3"]
    with opened(path) as store:
        store.root("d", shares=False).add(message(), turn("4"))
    assert met("d", "replay") == ["4", "1", "2", "3"]
    assert met("d") == met("d") == ["4", "1", "2", "3"]
    assert met("a") == ["1", "2", "3", "4"]


def test_one_that_does_not_share_knows_what_it_met_itself(path: Path) -> None:
    with opened(path) as store:
        store.root("a", shares=True).add(message(), turn())
        assert store.root("b", shares=False).samples(message()) == []
        assert len(store.root("a", shares=False).samples(message())) == 1


def test_what_another_process_recorded_meanwhile_is_found_before_anything_goes_live(path: Path) -> None:
    with opened(path) as ours, opened(path) as theirs:
        assert ours.root("a", shares=True).samples(message()) == []
        said(theirs, "hello", test="b")
        assert asked(lambda: said(ours, "hello")) == 0


def test_what_another_process_records_while_one_asks_comes_after_the_answer(path: Path) -> None:
    def meanwhile(_event: Any) -> None:
        with opened(path) as other:
            said(other, "hello", "other", test="b")
        # Other lanes of this process look what is known.
        looked.append(len(store.root("a", shares=True).samples(message())))

    looked: list[int] = []
    with opened(path) as store:
        past = Past(store.root("a", shares=True), replays=True, asks_once=True, before_live=meanwhile)
        with Session(agent(), past=past) as session:
            session.say("hello")
            past.before_live = lambda _: None
            session.say("mine")
            assert past.events[0].sample.number == 0
    assert looked == [0]
    with opened(path, "replay") as store:
        assert said(store, "hello", "mine") == ["1: hello", "3: mine"]
        assert len(store.root("a", shares=True).samples(message())) == 2


def test_a_fixed_turn_takes_another_sample_each_time_and_the_same_in_the_next_run(path: Path) -> None:
    def run(mode: Mode) -> list[str]:
        with opened(path, mode) as store:
            return [said(store, "hello", by=agent(chancy), replays=False)[0] for _ in range(3)]

    first = run("record")
    assert first == ["answer 1", "answer 2", "answer 3"]
    assert run("record") == run("replay") == first
    assert COUNTS["asked"] == 3


def test_a_fixed_turn_takes_what_others_recorded_before_this_run_and_not_in_it(path: Path) -> None:
    def answer(store: Store, test: str) -> str:
        return said(store, "hello", by=agent(chancy), replays=False, test=test)[0]

    with opened(path) as store:
        assert [answer(store, "a"), answer(store, "b")] == ["answer 1", "answer 2"]
    with opened(path) as store:
        assert [answer(store, "c"), answer(store, "c"), answer(store, "c")] == ["answer 1", "answer 2", "answer 3"]
        assert answer(store, "b") == "answer 2"


def test_a_run_that_only_replays_rather_repeats_the_last_sample(path: Path) -> None:
    with opened(path) as store:
        said(store, "hello", by=agent(chancy), replays=False)
    with opened(path, "replay") as store:
        assert [said(store, "hello", by=agent(chancy), replays=False) for _ in range(2)] == [["answer 1"]] * 2
        assert store.root("a", shares=False).recorded(message("never asked")) is None


def test_refreshing_asks_all_anew_and_replaces_what_was(path: Path) -> None:
    def run(mode: Mode, *, replays: bool) -> list[str]:
        with opened(path, mode) as store:
            return [said(store, "hello", "and?", by=agent(chancy), replays=replays)[-1] for _ in range(2)]

    assert run("record", replays=True) == ["answer 2"] * 2
    assert run("refresh", replays=True) == ["answer 4"] * 2
    assert run("replay", replays=True) == ["answer 4"] * 2
    assert run("refresh", replays=False) == ["answer 6", "answer 8"]
    assert run("replay", replays=False) == ["answer 6", "answer 8"]
    with opened(path, "replay") as store:
        assert len(store.root("new", shares=True).samples(message(agent=agent(chancy)))) == 2


def test_refreshing_one_test_leaves_what_others_have_met(path: Path) -> None:
    with opened(path) as store:
        for test in "ab":
            said(store, "hello", f"by {test}", by=agent(chancy), test=test, replays=False)
    with opened(path, "refresh") as store:
        said(store, "hello", "by a", by=agent(chancy), test="a", replays=False)
    with opened(path, "replay") as store:
        assert said(store, "hello", "by b", by=agent(chancy), test="b", replays=False) == ["answer 3", "answer 4"]


def test_a_process_of_a_run_goes_by_when_the_run_began(path: Path) -> None:
    with opened(path) as first:
        said(first, "hello", by=agent(chancy))
        with opened(path, "refresh", began=first.began) as worker:
            assert said(worker, "hello", by=agent(chancy)) == ["answer 1"]
    with opened(path, "refresh") as store:
        assert said(store, "hello", by=agent(chancy)) == ["answer 2"]


def test_other_tools_make_what_was_recorded_invalid_and_are_told_of_once(path: Path) -> None:
    with opened(path) as store:
        said(store, "count", by=accountant())
    CHANGED["tools"] = 1
    with opened(path) as store:
        assert asked(lambda: said(store, "count", by=accountant())) == 0  # nobody knows of it yet
        said(store, "another", by=accountant())
        assert asked(lambda: said(store, "count", by=accountant())) == 2
        assert store.remarks == [
            f"Server 'counter' offers other tools than when {path} was recorded; "
            "what was answered with those is not used any more."
        ]
    with opened(path) as store:
        assert asked(lambda: said(store, "count", by=accountant())) == 0
        assert store.remarks == []


def test_tools_that_an_agent_may_not_use_are_none_that_were_taken_away(path: Path) -> None:
    CHANGED["tools"] = 1
    with opened(path) as store:
        for allowed in (None, ["count"], None):
            said(store, f"{allowed}", by=accountant().model_copy(update={"allowed_tools": allowed}))
        assert store.remarks == []


def test_looks_are_known_where_they_were_made(path: Path) -> None:
    look = Called(tool="count", arguments={})
    with opened(path) as store:
        for _ in range(2):
            store.root("a", shares=True).add_look(look, ToolOutcome(text="seen"))
        assert store.added == 1
    with opened(path, "replay") as store:
        root = store.root("b", shares=True)
        assert root.look(look) == ToolOutcome(text="seen")
        assert root.samples(look) == []
        assert root.look(Called(tool="count", arguments={"by": 1})) is None


def test_conversations_that_begin_otherwise_have_histories_of_their_own(path: Path) -> None:
    before = ({"role": "user", "content": "before"}, {"role": "assistant", "content": "yes"})
    with opened(path) as store:
        said(store, "hello", messages=before)
        assert store.root("a", shares=True).samples(message()) == []
        store.root("a", shares=True).apart("aside").add(message(), turn("aside"))
    with opened(path, "replay") as store:
        assert said(store, "hello", messages=before) == ["3: hello"]
        apart = store.root("a", shares=True).apart("aside")
        assert [sample.outcome for sample in apart.samples(message())] == [turn("aside")]
        assert store.root("a", shares=True).samples(message()) == []


def test_what_has_no_key_is_never_kept(path: Path) -> None:
    lock = threading.Lock()

    def model(messages: list[Any], tools: list[Any]) -> str:
        return f"{lock is None}"

    with opened(path) as store:
        said(store, "hello", "and?", by=agent(model))
        assert said(store, "hello", by=agent(model), replays=False) == ["False"]
        assert store.added == 0


def test_what_changes_by_answering_is_never_kept(path: Path) -> None:
    words = ["a"]

    def model(messages: list[Any], tools: list[Any]) -> str:
        words.append("b")
        return f"{len(words)}"

    with opened(path) as store:
        assert said(store, "hello", "and?", by=agent(model)) == ["2", "3"]
        assert store.added == 0


def test_what_says_more_of_the_day_than_of_the_conversation_is_not_kept_nor_what_follows_it(path: Path) -> None:
    with opened(path) as store:
        past = Past(store.root("a", shares=True), replays=True)
        past.add(message(), turn(error="why", error_kind="turn_timeout"))
        past.add(message("next"), turn())
        assert store.added == 0


def test_a_run_that_only_replays_writes_nothing(path: Path) -> None:
    with opened(path) as store:
        said(store, "hello")
    before = path.read_bytes()
    with opened(path, "replay") as store:
        said(store, "hello", "live", test="b")
        assert store.seed_for("a", 1) == 1
        store.note_exploration("a", 1, shards=1)
        assert store.shards_of("a") is None
    assert path.read_bytes() == before


def test_secrets_are_not_in_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANK_TOKEN", "s3cr3t-one-two")
    with opened(path) as store:
        assert said(store, "it is s3cr3t-one-two") == ["1: it is s3cr3t-one-two"]
    assert b"s3cr3t" not in path.read_bytes()
    monkeypatch.setenv("BANK_TOKEN", "an0ther-one-two")
    with opened(path, "replay") as store:
        assert said(store, "it is an0ther-one-two") == ["1: it is [hidden BANK_TOKEN]"]


def test_servers_may_say_secrets_that_the_file_does_not_hold(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANK_TOKEN", "s3cr3t-one-two")

    def whisper() -> Any:
        server = counter()

        @server.tool()  # type: ignore[untyped-decorator, unused-ignore]
        def tell() -> str:
            return "s3cr3t-one-two"

        return server

    def differences(store: Store, *prompts: str) -> list[str]:
        teller = agent(echo, mcp_servers=[MCPServer(factory=whisper)])
        past = Past(store.root("a", shares=True), replays=True)
        with Session(teller, past=past) as session:
            session.call_tool("tell", agent=teller)
            for prompt in prompts:
                session.say(prompt)
        return past.differences

    with opened(path) as store:
        differences(store)
    with opened(path) as store:
        assert differences(store, "hello") == []


def test_how_a_test_explored_is_remembered(path: Path) -> None:
    with opened(path) as store:
        assert store.seed_for("a", 1) == 1
        assert store.shards_of("a") is None  # it has asked nothing yet
        store.note_exploration("a", 1, shards=3)
        assert store.seed_for("a", 2) == 1  # as it was recorded
        store.note_exploration("b", 3, shards=1)
        store.note_exploration("b", 4, shards=2)
    with opened(path, "replay") as store:
        assert (store.seed_for("a", 5), store.shards_of("a")) == (1, 3)
        assert (store.seed_for("b", 5), store.shards_of("b")) == (4, 2)
        assert (store.seed_for("c", 5), store.shards_of("c")) == (5, None)


def test_two_runs_that_begin_at_once_explore_with_the_same_seed(path: Path) -> None:
    with opened(path) as one, opened(path) as other:
        seeds = [store.seed_for("a", seed) for seed, store in enumerate((one, other))]
    assert seeds == [0, 0]


def test_shards_are_known_of_a_test_by_its_variants(path: Path) -> None:
    with opened(path) as store:
        for test, shards in {"a::explore[x]": 2, "a::explore[y]": 4, "a::explored": 8, "b::explore[x]": 16}.items():
            store.note_exploration(test, 0, shards=shards)
        assert store.shards_of("a::explore") == 4
        assert store.shards_of("a::explore[x]") == 2
        assert store.shards_of("b::explore") == 16
        assert store.shards_of("b") is None


def test_what_a_turn_costs_is_told_by_those_that_are_recorded(path: Path) -> None:
    with opened(path) as store:
        root = store.root("a", shares=True)
        assert store.mean_turn("echo") is None
        for calls, cost in ((1, 0.25), (3, 0.75)):
            root.add(message(), turn(model_calls=calls, prompt_tokens=10 * calls, completion_tokens=1, cost_usd=cost))
        assert store.mean_turn("echo") == MeanTurn(turns=2, model_calls=2.0, tokens=21.0, cost_usd=0.5)
        unpriced = Turn(agent="agent", model="free", user="hello", model_calls=1, cost_usd=None)
        root.add(message("other"), unpriced)
        assert store.mean_turn("free") == MeanTurn(turns=1, model_calls=1.0, tokens=0.0, cost_usd=None)


def test_sessions_of_several_threads_use_one_store(path: Path) -> None:
    def converse(number: int) -> None:
        answers.extend(said(store, "hello", f"and {number}?", test=f"{number}") for _ in range(10))

    answers: list[list[str]] = []
    with opened(path) as store:
        threads = [threading.Thread(target=converse, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.problems == []
    assert len(answers) == 40
    with opened(path, "replay") as store:
        assert asked(lambda: [said(store, "hello", f"and {number}?", test=f"{number}") for number in range(4)]) == 0


def unsayable(messages: list[Any], tools: list[Any]) -> str:
    return f"{MADE_ELSEWHERE}"  # type: ignore[name-defined]  # noqa: F821 - a global that no statement here makes


exec("import threading; MADE_ELSEWHERE = threading.Lock()", globals())


def test_what_only_the_file_can_not_tell_is_not_known_again_either(path: Path) -> None:
    with opened(path) as store:
        root = store.root("a", shares=True)
        event = message(agent=agent(unsayable))
        samples = [root.add(event, turn()) for _ in range(2)]
        assert [sample.number for sample in samples] == [0, 1]
        assert root.recorded(event) is None
        assert (root.edges, store.added) == ({}, 0)


def test_of_several_looks_ones_own_is_known_and_else_the_last(path: Path) -> None:
    look = Called(tool="count", arguments={})
    with opened(path) as store:
        for test, text in {"a": "first", "b": "last"}.items():
            store.root(test, shares=True).add_look(look, ToolOutcome(text=text))
    with opened(path, "replay") as store:
        seen = [store.root(test, shares=True).look(look) for test in "abc"]
    assert seen == [ToolOutcome(text="first"), ToolOutcome(text="last"), ToolOutcome(text="last")]

"""A session is one conversation: what it says, keeps, calls and refuses. Driven through its public door."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import anyio
import pytest

from pytest_aitest import (
    Agent,
    DeclarationError,
    MCPServer,
    ModelAnswer,
    Provider,
    Session,
    SessionError,
    ToolError,
    ToolRequest,
)
from pytest_aitest.conversation.engine import Engine
from pytest_aitest.conversation.rates import Rates
from tests.support.clock import Clock

try:
    from mcp.server import MCPServer as Server
    from mcp.server.mcpserver.exceptions import ToolError as ServerToolError
except ImportError:  # mcp 1.x
    from mcp.server.fastmcp import FastMCP as Server  # type: ignore[no-redef]
    from mcp.server.fastmcp.exceptions import ToolError as ServerToolError  # type: ignore[no-redef]

Answers = Sequence[str | ModelAnswer]


def counter() -> Any:
    """A server whose state is a number."""
    server, state = Server("counter"), {"count": 0}

    @server.tool()
    def count(by: int) -> int:
        """Count on."""
        state["count"] += by
        return state["count"]

    @server.tool()
    def describe() -> dict[str, Any]:
        """Tell all."""
        return {"count": state["count"], "even": state["count"] % 2 == 0}

    @server.tool()
    def refuse() -> str:
        """Refuse whatever is asked."""
        raise ServerToolError("not on a \x1b[31mSunday")

    return server


def dreamer() -> Any:
    """A server whose tool never answers."""
    server = Server("dreamer")

    @server.tool()
    async def never() -> str:
        """Take for ever."""
        await anyio.sleep_forever()

    return server


def namesake() -> Any:
    """A server that is called like another."""
    return counter()


namesake.__name__ = "counter"


def other_counter() -> Any:
    """Another server with the same tools."""
    return counter()


COUNTER = MCPServer(factory=counter)


def wish(name: str, arguments: dict[str, Any] | str | None = None) -> ModelAnswer:
    return ModelAnswer(tool_requests=[ToolRequest(name=name, arguments=arguments or {})])


def saying(*answers: str | ModelAnswer, heard: list[Any] | None = None) -> Callable[..., str | ModelAnswer]:
    """A model that gives `answers` one after another, and writes down what it was asked."""
    script: Iterator[str | ModelAnswer] = iter(answers)

    def model(messages: list[Any], tools: list[Any]) -> str | ModelAnswer:
        if heard is not None:
            heard.append((messages, tools))
        return next(script)

    return model


def agent(*answers: str | ModelAnswer, heard: list[Any] | None = None, **fields: Any) -> Agent:
    return Agent(provider=Provider(model=saying(*answers, heard=heard)), **fields)


def test_a_turn_calls_tools_until_the_model_answers() -> None:
    with Session(agent(wish("count", {"by": 2}), wish("count", {"by": 3}), "five", mcp_servers=[COUNTER])) as session:
        result = session.say("count to five")
    assert [(call.name, call.arguments, call.result) for call in result.tool_calls] == [
        ("count", {"by": 2}, "2"),
        ("count", {"by": 3}, "5"),
    ]
    assert result.final_response == "five"
    assert result.turn.model_calls == 3
    assert [call.server for call in result.tool_calls] == ["counter", "counter"]
    assert result.available_tools == ["count", "describe", "refuse"]


def test_the_model_hears_the_instructions_the_history_and_the_results() -> None:
    heard: list[Any] = []
    model = agent(wish("count", {"by": 1}), "one", "again?", heard=heard, mcp_servers=[COUNTER], system_prompt="Count.")
    with Session(model) as session:
        session.say("start")
        result = session.say("go on")
    last = [(message["role"], message["content"]) for message in heard[-1][0]]
    assert last == [
        ("system", "Count."),
        ("user", "start"),
        ("assistant", ""),
        ("tool", "1"),
        ("assistant", "one"),
        ("user", "go on"),
    ]
    assert [tool["function"]["name"] for tool in heard[-1][1]] == ["count", "describe", "refuse"]
    assert [message["role"] for message in result.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
        "assistant",
    ]
    assert result.session_context_count == 4


def test_every_call_of_a_conversation_has_an_id_of_its_own() -> None:
    both = ModelAnswer(tool_requests=[ToolRequest(name="describe"), ToolRequest(name="describe")])
    with Session(agent(both, "one", both, "two", mcp_servers=[COUNTER])) as session:
        session.say("look twice")
        session.say("and twice more")
    ids = [call.id for call in session.tool_calls]
    assert len(set(ids)) == 4
    asked = [call["id"] for message in session.transcript.messages for call in message.get("tool_calls", ())]
    answered = [message["tool_call_id"] for message in session.transcript.messages if message["role"] == "tool"]
    assert ids == asked == answered


def test_a_wish_for_a_tool_that_nobody_offers_is_answered_and_the_turn_goes_on() -> None:
    heard: list[Any] = []
    with Session(agent(wish("coutn"), "sorry", heard=heard, mcp_servers=[COUNTER])) as session:
        result = session.say("count")
    assert result.success
    assert result.tool_calls[0].error == (
        "There is no tool 'coutn'. The tools are 'count', 'describe' and 'refuse'. Did you mean 'count'?"
    )
    assert heard[-1][0][-1]["content"] == f"Error: {result.tool_calls[0].error}"


def test_arguments_that_are_no_json_object_are_told_back_and_kept_out_of_the_history() -> None:
    with Session(agent(wish("count", '{"by": 2'), "sorry", mcp_servers=[COUNTER])) as session:
        result = session.say("count")
    assert result.success
    assert result.tool_calls[0].error == 'The arguments are not a JSON object: {"by": 2'
    assert result.messages[1]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_an_error_of_a_tool_is_a_result_that_the_model_may_mend() -> None:
    with Session(agent(wish("refuse"), "It refused.", mcp_servers=[COUNTER])) as session:
        result = session.say("please")
    assert result.success
    assert "not on a \x1b[31mSunday" in (result.tool_calls[0].error or "")  # it is data, and shown elsewhere
    assert result.tool_calls[0].result is None


def test_an_answer_of_nothing_is_a_failure() -> None:
    with Session(agent("  \n")) as session:
        result = session.say("hello")
    assert (result.success, result.error_kind) == (False, "empty_answer")
    assert result.error == "The model answered with nothing: no text and no tool call."


def test_an_endless_tool_loop_ends_at_the_limit_and_keeps_what_was_done() -> None:
    with Session(agent(*[wish("count", {"by": 1})] * 4, "done", mcp_servers=[COUNTER], max_model_calls=3)) as session:
        result = session.say("count")
        assert result.error == (
            "The agent had not answered after 3 model calls; it went on calling 'count'. "
            "Raise max_model_calls if the task needs more, else see what keeps it from answering."
        )
        assert result.error_kind == "max_model_calls"
        assert result.tool_call_count("count") == 3
        assert session.say("and now?", max_model_calls=2).final_response == "done"


def test_a_failed_turn_is_told_but_later_turns_do_not_build_on_it() -> None:
    heard: list[Any] = []
    with Session(agent("", "fine", heard=heard)) as session:
        failed, answered = session.say("one"), session.say("two")
    assert [message["content"] for message in heard[-1][0]] == ["two"]
    assert session.turns == (failed.turn, answered.turn)
    assert not answered.is_session_continuation


def test_a_turn_that_takes_too_long_ends_and_names_what_it_waited_for() -> None:
    with Session(agent(wish("never"), mcp_servers=[MCPServer(factory=dreamer)])) as session:
        result = session.say("hello", timeout_seconds=0.1)
    assert result.error_kind == "turn_timeout"
    assert [(call.name, call.error) for call in result.tool_calls] == [("never", "the turn ended before it answered")]
    assert result.error == (
        "The turn was not over after timeout_seconds=0.1; it was waiting for tool 'never'. "
        "Allow it more time, or see why that takes so long."
    )


def test_a_model_that_never_answers_is_a_fault_of_the_provider() -> None:
    async def never(messages: list[Any], tools: list[Any]) -> str:
        await asyncio.Event().wait()
        return "unreachable"

    with Session(Agent(provider=Provider(model=never))) as session:
        assert session.say("hello", timeout_seconds=0.05).error_kind == "timeout"


def test_waiting_for_a_rate_limit_counts_towards_no_limit() -> None:
    model = Agent(provider=Provider(model=saying("one", "two"), rpm=1))
    clock = Clock()

    async def sleep(seconds: float) -> None:
        await anyio.sleep(0.3)  # longer than the turn may take
        await clock.sleep(seconds)

    with Session(model) as session, pytest.MonkeyPatch.context() as patch:
        patch.setattr(session._engine, "rates", Rates(clock=clock.now, sleep=sleep))
        assert [session.say(word, timeout_seconds=0.2).success for word in ("one", "two")] == [True, True]
    assert clock.slept == [60.0]


def test_a_model_that_blocks_its_thread_is_not_waited_for_beyond_the_limit() -> None:
    released = threading.Event()

    def blocks(messages: list[Any], tools: list[Any]) -> str:
        released.wait()
        return "late"

    with Session(Agent(provider=Provider(model=blocks))) as session:
        assert session.say("hello", timeout_seconds=0.05).error_kind == "timeout"
        released.set()


def test_a_model_function_that_raises_is_a_fault_of_the_provider() -> None:
    def broken(messages: list[Any], tools: list[Any]) -> str:
        raise ValueError("no such weights")

    with Session(Agent(provider=Provider(model=broken))) as session:
        result = session.say("hello")
    assert result.error_kind == "provider"
    assert "broken" in (result.error or "")
    assert "no such weights" in (result.error or "")


def test_servers_live_from_the_first_turn_to_the_last() -> None:
    with Session(agent(wish("count", {"by": 2}), "2", wish("count", {"by": 2}), "4", mcp_servers=[COUNTER])) as session:
        session.say("two")
        session.say("two more")
        assert session.call_tool("describe") == {"count": 4, "even": True}
    with Session(agent(mcp_servers=[COUNTER])) as fresh:
        assert fresh.call_tool("describe") == {"count": 0, "even": True}


def test_servers_are_matched_by_equality() -> None:
    with Session() as session:
        for expected in ("1", "2"):
            built_in_the_turn = agent(wish("count", {"by": 1}), "ok", mcp_servers=[MCPServer(factory=counter)])
            assert session.say("count", agent=built_in_the_turn).tool_calls[0].result == expected


def test_a_server_declared_anew_is_an_error_that_names_the_field() -> None:
    def declared(url: str) -> Agent:
        return agent("ok", name="bank", mcp_servers=[MCPServer(factory=counter, name="counter", reset=url)])

    with Session() as session:
        session.say("one", agent=declared("describe"))
        with pytest.raises(SessionError) as raised:
            session.say("two", agent=declared("refuse"))
    assert str(raised.value) == (
        "Server 'counter' of agent 'bank' is declared differently than in an earlier turn of this session: "
        "reset was 'describe' and is now 'refuse'. A new server would have lost the state of the conversation. If a "
        "fixture makes it, give the fixture class scope (with tmp_path_factory in place of tmp_path), so that all "
        "turns share one declaration. If they are two servers, give each a name; if two agents, likewise."
    )


def test_a_lambda_factory_made_in_each_turn_is_an_error() -> None:
    with Session() as session:
        session.say("one", agent=agent("ok", mcp_servers=[MCPServer(factory=lambda: counter())]))
        with pytest.raises(SessionError, match=r"factory was <function .*<lambda>.* and is now <function"):
            session.say("two", agent=agent("ok", mcp_servers=[MCPServer(factory=lambda: counter())]))


def test_the_same_place_with_another_server_is_an_error() -> None:
    with Session() as session:
        session.say("one", agent=agent("ok", name="a", mcp_servers=[COUNTER]))
        with pytest.raises(SessionError, match=r"factory was .*counter.* and is now .*other_counter"):
            session.say("two", agent=agent("ok", name="a", mcp_servers=[MCPServer(factory=other_counter)]))


def test_two_agents_share_history_and_servers_and_keep_their_own_instructions() -> None:
    heard: list[Any] = []
    first = agent(
        wish("count", {"by": 1}), "one", heard=heard, name="a", system_prompt="I am A.", mcp_servers=[COUNTER]
    )
    second = agent(
        wish("count", {"by": 1}), "two", heard=heard, name="b", system_prompt="I am B.", mcp_servers=[COUNTER]
    )
    with Session() as session:
        session.say("count", agent=first)
        result = session.say("count", agent=second)
    assert result.tool_calls[0].result == "2"
    assert [message["content"] for message in heard[-1][0] if message["role"] == "system"] == ["I am B."]
    assert [message["content"] for message in heard[-1][0] if message["role"] == "user"] == ["count", "count"]
    assert [turn.agent for turn in session.turns] == ["a", "b"]


def test_allowed_tools_are_all_that_is_offered() -> None:
    heard: list[Any] = []
    model = agent(wish("count", {"by": 1}), "ok", heard=heard, mcp_servers=[COUNTER], allowed_tools=["describe"])
    with Session(model) as session:
        result = session.say("count")
        assert session.call_tool("count", {"by": 5}) == {"result": 5}
    assert result.available_tools == ["describe"]
    assert result.tool_calls[0].error == "There is no tool 'count'. The tools are 'describe'."
    assert [tool["function"]["name"] for tool in heard[0][1]] == ["describe"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"mcp_servers": [COUNTER], "allowed_tools": ["descrbe"], "name": "shop"},
            "Agent 'shop' has no tool 'descrbe'. Its servers offer 'count', 'describe' and 'refuse'. "
            "Did you mean 'describe'?",
        ),
        (
            {"mcp_servers": [COUNTER, MCPServer(factory=other_counter)], "name": "shop"},
            "Agent 'shop' would have two tools 'count', one of server 'counter' and one of 'other_counter', and a "
            "model can't tell them apart. Leave one server out, or list the tools it may use in allowed_tools without "
            "this one.",
        ),
    ],
)
def test_tools_that_cannot_be_as_declared_are_refused(fields: dict[str, Any], message: str) -> None:
    with Session(agent("ok", **fields)) as session, pytest.raises(DeclarationError) as raised:
        session.say("hello")
    assert str(raised.value) == message


def test_call_tool_refuses_what_nobody_has() -> None:
    with Session(agent(mcp_servers=[COUNTER, MCPServer(factory=other_counter)])) as session:
        with pytest.raises(SessionError, match=r"No server has a tool 'cuont'.*Did you mean 'count'"):
            session.call_tool("cuont")
        with pytest.raises(SessionError, match="Servers 'counter' and 'other_counter' all have a tool 'count'"):
            session.call_tool("count")
        with pytest.raises(SessionError, match=r"no server 'conter'.*Did you mean 'counter'"):
            session.call_tool("count", server="conter")
        assert session.call_tool("count", {"by": 1}, server="other_counter") == {"result": 1}
        with pytest.raises(ToolError, match=r"refuse\(\) failed: .*not on a \\x1b\[31mSunday"):
            session.call_tool("refuse", server="counter")


def test_a_tool_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_aitest.conversation.session.TOOL_TIMEOUT_SECONDS", 0.1)
    with (
        Session(agent(mcp_servers=[MCPServer(factory=dreamer)])) as session,
        pytest.raises(ToolError, match=r"never\(\) had not answered after 0.1 s"),
    ):
        session.call_tool("never")


def test_a_history_can_be_gone_on_from() -> None:
    heard: list[Any] = []
    history = [{"role": "user", "content": "zero"}, {"role": "assistant", "content": "nought"}]
    with Session(agent("a", "b", heard=heard), messages=history) as session:
        assert session.say("one").session_context_count == 2
        assert session.say("two", messages=history[:1]).session_context_count == 1
    assert [message["content"] for message in heard[0][0]] == ["zero", "nought", "one"]
    assert [message["content"] for message in heard[1][0]] == ["zero", "two"]


def test_the_model_of_a_session_replaces_that_of_every_agent() -> None:
    with Session(agent("mine", mcp_servers=[COUNTER]), model="builtin") as session:
        result = session.say("describe")
    assert result.turn.model == "builtin"
    assert result.tool_was_called("describe")


@pytest.mark.parametrize("prompt", ["", "  ", None, 42])
def test_a_turn_needs_words(prompt: Any) -> None:
    with Session(agent("ok")) as session, pytest.raises(SessionError, match="A turn starts with the user's words"):
        session.say(prompt)


def test_a_session_without_an_agent_has_nobody_to_speak_to() -> None:
    with Session() as session, pytest.raises(SessionError, match="nobody to speak to"):
        session.say("hello")


@pytest.mark.parametrize("limit", [{"max_model_calls": 0}, {"max_model_calls": -1}, {"timeout_seconds": 0}])
def test_a_limit_leaves_room_for_an_answer(limit: dict[str, Any]) -> None:
    with Session(agent("ok")) as session, pytest.raises(SessionError, match="leaves no room for an answer"):
        session.say("hello", **limit)


def test_tools_can_be_called_before_the_first_turn() -> None:
    with Session() as session:
        assert session.call_tool("count", {"by": 3}, agent=agent(mcp_servers=[COUNTER])) == {"result": 3}
        with pytest.raises(SessionError, match="There is no tool 'x' to call"):
            Session(agent()).call_tool("x")


def test_a_history_is_replaced_only_by_a_turn_that_was_taken() -> None:
    with Session(agent("one")) as session:
        session.say("one")
        with pytest.raises(DeclarationError):
            session.say("two", agent=agent(allowed_tools=["none"]), messages=[{"role": "user", "content": "foreign"}])
        assert [turn.user for turn in session.turns] == ["one"]


def test_arguments_that_no_message_can_carry_are_told_back_and_the_server_lives() -> None:
    with Session(agent(wish("count", {"by": "\ud83d"}), "sorry", mcp_servers=[COUNTER])) as session:
        result = session.say("count")
        assert "can't be sent as JSON" in (result.tool_calls[0].error or "")
        assert session.call_tool("count", {"by": 1}) == {"result": 1}


@pytest.mark.parametrize("outcome", [pytest.fail, pytest.skip])
def test_an_outcome_raised_by_a_model_reaches_the_test_and_not_the_loop(outcome: Callable[[str], Any]) -> None:
    def decides(messages: list[Any], tools: list[Any]) -> str:
        outcome("no more answers")
        return "unreachable"

    with Session(Agent(provider=Provider(model=decides))) as session, pytest.raises(outcome.Exception, match="no more"):  # type: ignore[attr-defined]
        session.say("hello")
    with Session(agent("still here")) as session:
        assert session.say("hello").success


def test_a_tool_that_exits_ends_the_loop_and_not_the_run() -> None:
    def quitter() -> Any:
        server = Server("quitter")

        @server.tool()
        async def leave() -> str:
            raise SystemExit(3)

        return server

    exits = agent(wish("leave"), "gone", mcp_servers=[MCPServer(factory=quitter)])
    # With mcp 2.x the loop ends and the session says so; with 1.x the tool has failed.
    with suppress(SessionError), Session(exits) as session:
        assert session.say("go").tool_calls[0].result is None
    with Session(agent("still here")) as session:
        assert session.say("hello").success


def test_threads_share_one_engine() -> None:
    engines: set[int] = set()
    threads = [threading.Thread(target=lambda: engines.add(id(Session()._engine))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(engines) == 1


def test_a_session_outlives_the_engine_without_harm() -> None:
    session = Session(agent("ok"))
    Engine.close_shared()
    with pytest.raises(SessionError, match="The session's event loop has ended"):
        session.say("hello")
    session.close()


def test_two_servers_that_are_only_called_alike_are_two_servers() -> None:
    with Session() as session:
        session.say("one", agent=agent("ok", name="a", mcp_servers=[MCPServer(factory=counter)]))
        session.say("two", agent=agent("ok", name="b", mcp_servers=[MCPServer(factory=namesake)]))
        assert len(session._connections._open) == 2


def test_a_closed_session_is_silent() -> None:
    with Session(agent("ok"), name="over") as session:
        pass
    session.close()
    with pytest.raises(SessionError, match="Session 'over' is closed"):
        session.say("hello")


def test_a_model_that_blocks_the_loop_on_a_session_is_told_to_await() -> None:
    inner = Session(agent("inner"))

    async def asks_another(messages: list[Any], tools: list[Any]) -> str:
        return inner.say("hello").final_response

    async def awaits_another(messages: list[Any], tools: list[Any]) -> str:
        return (await inner.say_async("hello")).final_response

    with Session() as session, inner:
        blocked = session.say("hello", agent=Agent(provider=Provider(model=asks_another)))
        assert "Await it instead: `await session.say_async(...)`" in (blocked.error or "")
        awaited = session.say("hello", agent=Agent(provider=Provider(model=awaits_another)))
        assert awaited.final_response == "inner", awaited


def test_a_session_can_be_awaited_in_any_loop() -> None:
    async def converse() -> str:
        session = Session(agent("hello", mcp_servers=[COUNTER]))
        result = await session.say_async("hi")
        assert await session.call_tool_async("describe") == {"count": 0, "even": True}
        session.close()
        return result.final_response

    assert asyncio.run(converse()) == "hello"


def test_costs_and_tokens_are_summed_over_the_turn() -> None:
    first = ModelAnswer(
        tool_requests=[ToolRequest(name="describe")], prompt_tokens=10, completion_tokens=1, cost_usd=0.5
    )
    priced = ModelAnswer(text="ok", prompt_tokens=20, completion_tokens=2, cost_usd=0.25)
    unpriced = ModelAnswer(text="ok", cost_usd=None)
    with Session(agent(first, priced, first, unpriced, mcp_servers=[COUNTER])) as session:
        one, two = session.say("one"), session.say("two")
    assert one.token_usage == {"prompt": 30, "completion": 3}
    assert (one.cost_usd, two.cost_usd) == (0.75, None)
    assert one.duration_ms >= one.tool_calls[0].duration_ms > 0

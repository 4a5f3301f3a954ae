import functools
import threading
from collections.abc import Awaitable, Callable
from types import MappingProxyType, SimpleNamespace
from typing import Any

import anyio
import pytest
from pydantic import BaseModel

from pytest_aitest.conversation.models import model_for
from pytest_aitest.conversation.models.callable import CallableModel
from pytest_aitest.conversation.rates import Rates
from pytest_aitest.values.agent import Provider
from pytest_aitest.values.errors import DeclarationError, ProviderError
from pytest_aitest.values.model import ModelAnswer, ModelRequest, ToolRequest, ToolSpec
from tests.support.clock import Clock

MESSAGES = ({"role": "system", "content": "Be brief."}, MappingProxyType({"role": "user", "content": "hello"}))
TOOLS = (ToolSpec(name="get_balance", description="The balance", input_schema={"type": "object"}, server="bank"),)


def ask(function: Callable[..., Any], *, timeout_seconds: float = 60) -> ModelAnswer:
    request = ModelRequest(messages=MESSAGES, tools=TOOLS, timeout_seconds=timeout_seconds)
    return anyio.run(CallableModel(function).answer, request)


def returning(value: Any) -> Callable[..., Any]:
    def model(messages: object, tools: object) -> Any:
        return value

    return model


class AsyncObject:
    async def __call__(self, messages: list[Any], tools: list[Any]) -> str:
        return f"{len(messages)} messages, {len(tools)} tools"


class SyncObject:
    def __call__(self, messages: list[Any], tools: list[Any]) -> str:
        return f"{len(messages)} messages, {len(tools)} tools"


async def _async_function(messages: list[Any], tools: list[Any]) -> str:
    return await AsyncObject()(messages, tools)


def _returns_a_coroutine(messages: list[Any], tools: list[Any]) -> Awaitable[str]:
    return _async_function(messages, tools)


@pytest.mark.parametrize(
    "function",
    [
        AsyncObject(),
        SyncObject(),
        _async_function,
        SyncObject().__call__,
        functools.partial(_async_function),
        _returns_a_coroutine,
    ],
    ids=["async object", "sync object", "async function", "method", "partial", "returns a coroutine"],
)
def test_anything_callable_is_a_model(function: Callable[..., Any]) -> None:
    assert ask(function).text == "2 messages, 1 tools"


def test_a_sync_function_may_block_because_it_runs_in_a_thread_of_its_own() -> None:
    threads: list[threading.Thread] = []

    def model(messages: object, tools: object) -> str:
        threads.append(threading.current_thread())
        return anyio.run(_async_function, [], [])  # needs a thread without an event loop

    assert ask(model).text == "0 messages, 0 tools"
    assert threads != [threading.current_thread()]


def test_it_is_given_openai_s_form_and_may_change_it() -> None:
    seen: list[Any] = []

    def model(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str:
        seen.extend([*messages, *tools])
        messages[1]["content"] = "changed"
        tools[0]["function"]["parameters"]["type"] = "changed"
        messages.clear()
        return "done"

    ask(model)
    assert MESSAGES[1]["content"] == "hello"
    assert TOOLS[0].input_schema == {"type": "object"}
    assert [message["role"] for message in seen[:2]] == ["system", "user"]
    assert seen[2]["function"]["name"] == "get_balance"


def test_a_model_answer_is_taken_as_it_is() -> None:
    answer = ModelAnswer(text="hi", prompt_tokens=3, cost_usd=0.5)
    assert ask(returning(answer)) is answer


CALL = {"id": "c1", "type": "function", "function": {"name": "get_balance", "arguments": '{"account": "checking"}'}}
WISH = ToolRequest(name="get_balance", arguments={"account": "checking"}, id="c1")


@pytest.mark.parametrize(
    ("calls", "wishes"),
    [
        ([CALL], [WISH]),
        ([{**CALL, "function": {"name": "get_balance", "arguments": {"account": "checking"}}}], [WISH]),
        ([{"name": "get_balance", "arguments": {"account": "checking"}, "id": "c1"}], [WISH]),
        ([{"name": "get_balance"}], [ToolRequest(name="get_balance")]),
        ([{"name": "a", "arguments": None}, {"name": "b", "arguments": ""}], [ToolRequest(name=n) for n in "ab"]),
        ([{"name": "a", "arguments": '{"x": '}], [ToolRequest(name="a", arguments='{"x": ')]),
        ([{"name": "a", "arguments": "[1]"}], [ToolRequest(name="a", arguments="[1]")]),
        ([{"name": "a", "arguments": "[" * 100_000}], [ToolRequest(name="a", arguments="[" * 100_000)]),
    ],
    ids=["openai", "mapping", "short", "bare", "empty", "truncated", "no object", "deep"],
)
def test_tool_calls_are_read_in_every_usual_form(calls: list[Any], wishes: list[ToolRequest]) -> None:
    answer = ask(returning({"tool_calls": calls}))
    assert answer.tool_requests == wishes
    assert answer.text == ""


def test_a_message_is_kept_whole_for_the_history_when_its_calls_have_ids() -> None:
    thinking = [{"type": "thinking", "thinking": "hm", "signature": "s"}]
    answer = ask(returning({"content": "One moment.", "tool_calls": [CALL], "thinking_blocks": thinking}))
    assert answer.text == "One moment."
    assert answer.message == {
        "role": "assistant",
        "content": "One moment.",
        "tool_calls": [CALL],
        "thinking_blocks": thinking,
    }


def test_without_ids_the_history_is_left_to_the_turn_which_gives_them() -> None:
    assert ask(returning({"tool_calls": [{"name": "get_balance"}]})).message is None


def test_content_may_come_in_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "b"}]
    assert ask(returning({"role": "assistant", "content": parts})).text == "ab"


class Response(BaseModel, extra="allow"):
    """As openai's and litellm's are."""

    choices: list[Any]


@pytest.mark.parametrize("form", ["objects", "dictionaries", "pydantic"])
def test_a_response_with_choices_is_read_with_its_usage(form: str) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    data = {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [CALL]}}], "usage": usage}
    response: Any = data
    if form == "objects":
        message = SimpleNamespace(content=None, tool_calls=[SimpleNamespace(**{**CALL, "function": CALL["function"]})])
        response = SimpleNamespace(choices=[SimpleNamespace(message=message)], usage=SimpleNamespace(**usage))
    if form == "pydantic":
        response = Response.model_validate(data)
    answer = ask(returning(response))
    assert answer.tool_requests == [WISH]
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cost_usd) == (7, 2, 0.0)


def test_a_declared_price_is_charged_for_the_usage() -> None:
    response = {"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 1_000_000}}
    model = model_for(Provider(model=returning(response), price=(2.0, 4.0)), rates=Rates())
    assert anyio.run(model.answer, ModelRequest(messages=[], tools=[], timeout_seconds=9)).cost_usd == 2.0


@pytest.mark.parametrize(
    "value",
    [None, 42, b"hi", [], {}, {"contents": "hi"}, {"content": 42}, {"choices": []}, {"tool_calls": "get_balance"},
     {"tool_calls": [{"arguments": {}}]}, {"tool_calls": [{"name": "a", "arguments": {"when": object()}}]}, object()],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_no_answer_is_named_with_what_would_be_one(value: Any) -> None:
    with pytest.raises(DeclarationError) as caught:
        ask(returning(value))
    message = str(caught.value)
    assert message.startswith("Model function 'model' returned ")
    assert "Return a string, an assistant message like" in message
    assert ("Does it lack a return?" in message) is (value is None)


def test_a_huge_or_hostile_value_is_shown_short_and_harmless() -> None:
    with pytest.raises(DeclarationError) as caught:
        ask(returning(["\x1b[31m" * 10_000]))
    assert len(str(caught.value)) < 800
    assert "\x1b" not in str(caught.value)


def _raising(error: BaseException, *, awaited: bool) -> Callable[..., Any]:
    def model(messages: object, tools: object) -> str:
        raise error

    async def async_model(messages: object, tools: object) -> str:
        raise error

    return async_model if awaited else model


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
def test_what_it_raises_is_a_provider_error_that_says_so(*, awaited: bool) -> None:
    error = ValueError("no\nmore answers.")
    with pytest.raises(ProviderError) as caught:
        ask(_raising(error, awaited=awaited))
    said = f"Model function {'async_' * awaited + 'model'!r} raised ValueError: no more answers, at test_callable.py:"
    assert str(caught.value).startswith(said)
    assert caught.value.kind == "provider"
    assert caught.value.__cause__ is error


def test_a_script_that_ran_out_of_answers_is_no_mystery() -> None:
    answers = iter(["only one"])
    with pytest.raises(ProviderError, match="StopIteration"):
        ask(lambda messages, tools: [next(answers), next(answers)])


def test_its_own_provider_error_and_a_test_s_outcome_pass_through() -> None:
    limited = ProviderError("slow down", kind="rate_limit")
    with pytest.raises(ProviderError) as caught:
        ask(_raising(limited, awaited=False))
    assert caught.value is limited
    with pytest.raises(pytest.skip.Exception):
        ask(_raising(pytest.skip.Exception("not here"), awaited=False))


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
def test_one_that_hangs_is_left_behind(*, awaited: bool) -> None:
    released = threading.Event()

    def model(messages: object, tools: object) -> str:
        released.wait()
        return "too late"

    async def async_model(messages: object, tools: object) -> str:
        await anyio.sleep_forever()
        return "never"

    with pytest.raises(ProviderError, match=r"did not answer within 0\.02 s") as caught:
        ask(async_model if awaited else model, timeout_seconds=0.02)
    released.set()
    assert caught.value.kind == "timeout"


def test_its_calls_count_towards_the_limits_of_its_provider() -> None:
    clock = Clock()
    response = {"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 90, "completion_tokens": 10}}
    model = model_for(Provider(model=returning(response), tpm=100), rates=Rates(clock=clock.now, sleep=clock.sleep))
    request = ModelRequest(messages=MESSAGES, tools=TOOLS, timeout_seconds=60)

    async def scenario() -> None:
        await model.answer(request)
        await model.answer(request)

    anyio.run(scenario)
    assert clock.slept == [60]

"""Against the real litellm, which asks a real endpoint on loopback."""

import asyncio
import gc
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anyio
import pytest

from pytest_aitest.conversation.models import close_models, model_for
from pytest_aitest.conversation.rates import Rates
from pytest_aitest.values.agent import Provider
from pytest_aitest.values.errors import DeclarationError
from pytest_aitest.values.model import ToolRequest, ToolSpec
from tests.support.endpoint import Endpoint, json_body, message, text, tool_calls

from .asking import BALANCE, HELLO, ask, at, request_for

# --- what is sent ---


def test_only_what_is_declared_is_sent() -> None:
    with Endpoint(text("hi")) as endpoint:
        assert ask(at(endpoint))[0].text == "hi"
    (request,) = endpoint.requests
    assert request.path == "/v1/chat/completions"
    assert request.body == {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}


def test_settings_extra_and_tools_are_sent_as_declared() -> None:
    with Endpoint(text("hi")) as endpoint:
        extra = {"seed": 7, "extra_headers": {"x-team": "bank"}}
        ask(at(endpoint, temperature=0.0, max_tokens=50, extra=extra), request_for(tools=[BALANCE]))
    (request,) = endpoint.requests
    assert request.body["temperature"] == 0.0
    assert request.body["max_tokens"] == 50
    assert request.body["seed"] == 7
    assert request.body["tools"] == [BALANCE.as_function()]
    assert request.headers["x-team"] == "bank"


@pytest.mark.parametrize("extra", [{"stream": True}, {"temperature": 0.5}, {"timeout": 5}], ids=str)
def test_extra_can_t_contradict_what_is_set_elsewhere(extra: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match=f"sets '{next(iter(extra))}'"):
        model_for(Provider(model="gpt-4o-mini", temperature=0.0, extra=extra), rates=Rates())


def test_litellm_gets_copies_because_some_of_its_providers_change_what_they_get() -> None:
    schema = {"type": "object", "additionalProperties": False, "properties": {}}  # which hosted_vllm takes out
    history = [MappingProxyType({"role": "user", "content": "hello"})]
    with Endpoint(text("hi")) as endpoint:
        tool = ToolSpec(name="get_balance", input_schema=schema)
        ask(at(endpoint, model="hosted_vllm/m"), request_for(history, tools=[tool]))
    assert schema == {"type": "object", "additionalProperties": False, "properties": {}}
    assert history == [{"role": "user", "content": "hello"}]


def test_the_key_is_the_declared_one_else_the_environment_s_else_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    with Endpoint(lambda _: text("hi")) as endpoint:
        ask(at(endpoint))
        monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
        ask(at(endpoint))
        ask(at(endpoint, api_key="declared"))
    keys = [request.headers["authorization"] for request in endpoint.requests]
    assert keys == ["Bearer not-needed", "Bearer from-environment", "Bearer declared"]


# --- what comes back ---


def test_tool_calls_are_read_whatever_the_finish_reason_says() -> None:
    calls = [("a", {"x": 1}), ("b", '{"x": '), ("c", "[1]"), ("d", "")]
    with Endpoint(tool_calls(*calls, content="One moment.", finish_reason="stop")) as endpoint:
        (answer,) = ask(at(endpoint))
    assert answer.text == "One moment."
    assert answer.tool_requests == [
        ToolRequest(name="a", arguments={"x": 1}, id="call_1"),
        ToolRequest(name="b", arguments='{"x": ', id="call_2"),
        ToolRequest(name="c", arguments="[1]", id="call_3"),
        ToolRequest(name="d", arguments={}, id="call_4"),
    ]


def test_the_message_goes_back_as_it_came() -> None:
    with Endpoint(tool_calls(("get_balance", {"account": "checking"})), text("It is 1500.")) as endpoint:
        provider = at(endpoint)
        (answer,) = ask(provider, request_for(tools=[BALANCE]))
        assert answer.message is not None
        result = {"role": "tool", "tool_call_id": "call_1", "content": "1500"}
        ask(provider, request_for([*HELLO, answer.message, result], tools=[BALANCE]))
    sent = endpoint.requests[1].body["messages"]
    assert answer.message["content"] is None
    assert sent[1]["tool_calls"] == answer.message["tool_calls"]
    assert sent[1].keys() - {"content"} == {"role", "tool_calls"}
    assert sent[2] == result


def test_thoughts_and_fields_of_its_own_are_kept_for_the_provider() -> None:
    with Endpoint(message("hi", reasoning_content="The user greets.", citations=["a"])) as endpoint:
        (answer,) = ask(at(endpoint))
    assert answer.message is not None
    assert answer.message["reasoning_content"] == "The user greets."
    assert answer.message["provider_specific_fields"]["citations"] == ["a"]


@pytest.fixture
def models_example(monkeypatch: pytest.MonkeyPatch) -> Callable[[Endpoint], str]:
    """The endpoint's address under a name that doesn't look like this machine's."""
    resolve = socket.getaddrinfo

    def resolve_here(host: Any, *arguments: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host == "models.example" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_here)
    return lambda endpoint: endpoint.url.replace("127.0.0.1", "models.example")


def test_a_model_on_this_machine_costs_nothing() -> None:
    with Endpoint(text("hi", tokens=(12, 3))) as endpoint:
        (answer,) = ask(at(endpoint))
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cost_usd) == (12, 3, 0.0)


def test_the_price_is_the_declared_one_else_litellm_s_else_unknown(models_example: Callable[[Endpoint], str]) -> None:
    with Endpoint(lambda _: text("hi", tokens=(2_000_000, 1_000_000))) as endpoint:
        base = models_example(endpoint)
        (declared,) = ask(at(endpoint, api_base=base, price=(1.5, 4.0)))
        (listed,) = ask(at(endpoint, api_base=base))
        (unknown,) = ask(at(endpoint, api_base=base, model="openai/my-own"))
        (here,) = ask(at(endpoint, price=(1.5, 4.0)))
    facts = sys.modules["litellm"].model_cost["gpt-4o-mini"]
    assert declared.cost_usd == here.cost_usd == 7.0
    assert listed.cost_usd == pytest.approx(
        2_000_000 * facts["input_cost_per_token"] + 1_000_000 * facts["output_cost_per_token"]
    )
    assert unknown.cost_usd is None


def test_without_usage_the_cost_is_unknown(models_example: Callable[[Endpoint], str]) -> None:
    reply = json_body({"id": "1", "object": "chat.completion", "created": 1, "model": "m",
                       "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "hi"}}]})  # fmt: skip
    with Endpoint(reply) as endpoint:
        (answer,) = ask(at(endpoint, api_base=models_example(endpoint)))
    assert (answer.text, answer.prompt_tokens, answer.cost_usd) == ("hi", 0, None)


# --- what it leaves behind ---


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.004, 0.008])
def test_a_call_that_is_cancelled_early_leaves_no_warning(seconds: float) -> None:
    async def scenario() -> None:
        model = model_for(at(endpoint), rates=Rates())
        with anyio.move_on_after(seconds):
            await model.answer(request_for())
        await close_models()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with Endpoint(lambda _: text("hi")) as endpoint:
        anyio.run(scenario)
    gc.collect()


def test_closing_ends_everything_and_a_closed_model_can_be_asked_again() -> None:
    async def scenario() -> None:
        model = model_for(at(endpoint), rates=Rates())
        for _ in range(2):
            assert (await model.answer(request_for())).text == "hi"
            await close_models()
            assert asyncio.all_tasks() == {asyncio.current_task()}

    with Endpoint(lambda _: text("hi")) as endpoint:
        anyio.run(scenario)


def test_the_process_is_left_as_it_was_and_nothing_is_printed(tmp_path: Path) -> None:
    script = Path(__file__).with_name("undisturbed_process.py")
    with Endpoint(text("hi"), text("hi")) as endpoint:
        processes = [
            subprocess.Popen(
                [sys.executable, *options, script, endpoint.url, closing],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
            )
            for closing, options in (("closed", ["-W", "error"]), ("left open", []))
        ]
        said = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    assert said == [("", "", 0)] * 2
    assert len(endpoint.requests) == 2

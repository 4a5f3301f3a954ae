"""Against the real litellm, which asks a real endpoint on loopback."""

import asyncio
import gc
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anyio
import pytest

from pytest_aitest.conversation.models import close_models, model_for
from pytest_aitest.conversation.rates import Rates
from pytest_aitest.values.agent import Provider
from pytest_aitest.values.errors import DeclarationError, ProviderError
from pytest_aitest.values.model import Message, ModelAnswer, ModelRequest, ToolRequest, ToolSpec
from tests.support.clock import Clock
from tests.support.endpoint import (
    Endpoint,
    Reply,
    dropped,
    failure,
    hanging,
    html,
    json_body,
    message,
    text,
    tool_calls,
)

HELLO = ({"role": "user", "content": "hello"},)
BALANCE = ToolSpec(
    name="get_balance",
    description="The balance of an account",
    input_schema=MappingProxyType({"type": "object", "properties": {"account": {"type": "string"}}}),
    server="bank",
)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.endswith(("_API_KEY", "_API_BASE")):
            monkeypatch.delenv(name)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def request_for(
    messages: Sequence[Message] = HELLO, *, tools: Sequence[ToolSpec] = (), timeout_seconds: float = 60
) -> ModelRequest:
    return ModelRequest(messages=messages, tools=tools, timeout_seconds=timeout_seconds)


def ask(
    provider: Provider, *requests: ModelRequest, clock: Clock | None = None, rates: Rates | None = None
) -> list[ModelAnswer]:
    """The answers to `requests`, by one model on one event loop; waits take no time."""
    clock = clock or Clock()
    rates = rates or Rates(clock=clock.now, sleep=clock.sleep)

    async def scenario() -> list[ModelAnswer]:
        try:
            model = model_for(provider, rates=rates)
            return [await model.answer(request) for request in requests or (request_for(),)]
        finally:
            await close_models()

    return anyio.run(scenario)


def refused(provider: Provider, *requests: ModelRequest, **options: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        ask(provider, *requests, **options)
    assert "\n" not in str(caught.value)
    return caught.value


def at(endpoint: Endpoint, **fields: Any) -> Provider:
    return Provider(**{"model": "openai/gpt-4o-mini", "api_base": endpoint.url, **fields})


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


# --- what goes wrong ---

LONG = failure(400, "This model's maximum context length is 8192 tokens", code="context_length_exceeded")
FILTERED = failure(400, "triggered the content management policy", code="content_filter")
NAMELESS = message(None, tool_calls=[{"id": "1", "type": "function", "function": {"arguments": "{}"}}])
NO_CHOICES = json_body({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": []})


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (
            failure(401, "Incorrect API key provided: sk-secret"),
            "authentication",
            "401 Unauthorized: Incorrect",
        ),
        (failure(403, "not yours"), "authentication", "403 Forbidden: not yours"),
        (failure(404, "no model 'x'"), "unknown_model", "does not exist at http://127.0.0.1"),
        (html(404), "bad_answer", "does not speak its protocol: 404 Not Found. Check api_base"),
        (LONG, "context_window", "too long: This model's maximum context length is 8192 tokens. Shorten"),
        (FILTERED, "content_filter", "content filter stopped it: triggered the content management policy"),
        (text("", finish_reason="content_filter"), "content_filter", "content filter stopped it. Word"),
        (html(), "bad_answer", "it said '<html>"),
        (Reply(body=b"hello"), "bad_answer", "no JSON"),
        (Reply(), "bad_answer", "no JSON"),
        (json_body([1]), "bad_answer", "it said [1]"),
        (NO_CHOICES, "bad_answer", "without choices"),
        (NAMELESS, "bad_answer", "its message can't be read"),
        (failure(400, "bad \x1b[31m thing\nindeed"), "provider", r"400 Bad Request: bad \x1b[31m thing indeed"),
        (failure(408), "timeout", "408 Request Timeout"),
        (failure(429, code="insufficient_quota"), "rate_limit", "quota is used up"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_fault_has_its_word_and_its_sentence(reply: Reply, kind: str, words: str) -> None:
    with Endpoint(reply) as endpoint:
        error = refused(at(endpoint, api_key="sk-secret"))
    assert error.kind == kind
    assert words in str(error)
    assert "'openai/gpt-4o-mini'" in str(error)
    assert "sk-secret" not in str(error)
    assert len(endpoint.requests) == 1  # none of these passes by itself


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
def test_a_server_s_trouble_is_tried_three_times(status: int, clock: Clock) -> None:
    with Endpoint(*[failure(status, "oops")] * 3) as endpoint:
        error = refused(at(endpoint), clock=clock)
    assert error.kind == "provider"
    assert f"failed: {status}" in str(error)
    assert "oops (after 3 tries)" in str(error)
    first, second = clock.slept
    assert 0.25 <= first <= 0.5 <= second <= 1.0


def test_a_dropped_connection_is_tried_again() -> None:
    with Endpoint(dropped(), dropped(), text("hi")) as endpoint:
        assert ask(at(endpoint))[0].text == "hi"
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "mistral/mistral-small-latest"])
def test_a_refused_connection_names_the_address(model: str) -> None:
    with Endpoint() as endpoint:
        pass
    error = refused(at(endpoint, model=model))
    assert error.kind == "connection"
    assert f"could not be reached at {endpoint.url}: " in str(error)
    assert "(after 3 tries). Check that api_base is right" in str(error)


def test_credentials_in_an_address_are_not_shown() -> None:
    with Endpoint() as endpoint:
        pass
    error = refused(at(endpoint, api_base=endpoint.url.replace("http://", "http://user:secret@") + "?key=secret"))
    assert endpoint.url in str(error)
    assert "secret" not in str(error)


def test_a_hanging_endpoint_is_a_timeout_and_asked_once() -> None:
    with Endpoint(hanging(), hanging()) as endpoint:
        for error in (
            refused(at(endpoint, timeout_seconds=0.2)),
            refused(at(endpoint), request_for(timeout_seconds=0.2)),
        ):
            assert error.kind == "timeout"
            assert "did not answer within 0.2 s" in str(error)
    assert len(endpoint.requests) <= 2  # less where litellm, at its first call, needs longer to begin


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(status: int, clock: Clock) -> None:
    with Endpoint(failure(status, headers={"Retry-After": "7"}), text("hi")) as endpoint:
        assert ask(at(endpoint), clock=clock)[0].text == "hi"
    assert clock.slept == [7.0]


def test_a_rate_limit_says_how_often_it_was_tried_and_how_long_to_wait(clock: Clock) -> None:
    with Endpoint(*[failure(429, "slow down", headers={"Retry-After": "7"})] * 3) as endpoint:
        error = refused(at(endpoint), clock=clock)
    assert error.kind == "rate_limit"
    assert "429 Too Many Requests: slow down (after 3 tries, told to wait 7 s)" in str(error)
    assert clock.slept == [7.0, 7.0]


def test_no_try_is_made_beyond_the_request_s_time(clock: Clock) -> None:
    with Endpoint(*[failure(429, headers={"Retry-After": "40"})] * 2) as endpoint:
        error = refused(at(endpoint), clock=clock)
    assert "(after 2 tries, told to wait 40 s)" in str(error)
    assert clock.slept == [40.0]


def test_retry_after_holds_back_all_sessions_of_the_model(clock: Clock) -> None:
    rates = Rates(clock=clock.now, sleep=clock.sleep)
    with Endpoint(failure(429, headers={"Retry-After": "70"}), text("hi")) as endpoint:
        refused(at(endpoint), rates=rates)
        impatient = refused(at(endpoint), rates=rates)
        clock.time += 40
        (answer,) = ask(at(endpoint), rates=rates)
    assert "was not asked again (told to wait 70 s)" in str(impatient)
    assert answer.text == "hi"
    assert clock.slept == [30.0]
    assert len(endpoint.requests) == 2


def test_what_is_used_counts_towards_tpm(clock: Clock) -> None:
    with Endpoint(text("one", tokens=(90, 10)), text("two")) as endpoint:
        ask(at(endpoint, tpm=100), request_for(), request_for(), clock=clock)
    assert clock.slept == [60.0]


@pytest.mark.parametrize(
    ("model", "variables"),
    [
        ("gpt-4o-mini", "OPENAI_API_KEY"),
        ("anthropic/claude-3-5-haiku-20241022", "ANTHROPIC_API_KEY"),
        ("gemini/gemini-2.0-flash", "GOOGLE_API_KEY or GEMINI_API_KEY"),
        ("azure/gpt-5-mini", "AZURE_API_BASE and AZURE_API_KEY"),
        ("groq/llama-3.1-8b-instant", "GROQ_API_KEY"),
        ("github/gpt-4o", "GITHUB_API_KEY"),
    ],
)
def test_a_missing_key_is_named(model: str, variables: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    error = refused(Provider(model=model))
    assert error.kind == "missing_key"
    assert str(error) == (
        f"Model {model!r} can't be asked, because its key is missing. "
        f"Set {variables} in the environment, or give Provider(api_key=...)."
    )


def test_an_endpoint_that_wants_a_key_after_all_is_a_missing_key() -> None:
    with Endpoint(failure(401, "who are you?")) as endpoint:
        assert refused(at(endpoint)).kind == "missing_key"


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("gpt-4o-mni", "Did you mean 'gpt-4o-mini'?"),
        ("opnai/gpt-4o", "Did you mean 'openai/gpt-4o'?"),
        ("something-else-entirely", "'openai/something-else-entirely' with its api_base."),
    ],
)
def test_an_unknown_model_is_told_its_nearest(model: str, hint: str) -> None:
    error = refused(Provider(model=model))
    assert error.kind == "unknown_model"
    assert str(error).startswith(f"Model {model!r} is none that litellm knows.")
    assert str(error).endswith(hint)


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

"""What goes wrong, said by the real litellm about a real endpoint on loopback."""

import socket

import pytest

from pytest_aitest.conversation.rates import Rates
from pytest_aitest.values.agent import Provider
from tests.support.clock import Clock
from tests.support.endpoint import Endpoint, Reply, dropped, failure, hanging, html, json_body, message, text

from .asking import ask, at, refused, request_for

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


def test_a_key_is_hidden_where_its_message_is_cut_through_it() -> None:
    with Endpoint(failure(401, "x" * 290 + " no, sk-a-long-secret is wrong")) as endpoint:
        error = refused(at(endpoint, api_key="sk-a-long-secret"))
    assert "no, ***" in str(error)
    assert "sk-" not in str(error)


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

from datetime import UTC, datetime

import pytest

from pytest_aitest.conversation.models.evidence import Evidence, Response
from pytest_aitest.conversation.models.price import is_loopback
from pytest_aitest.conversation.models.wording import one_line, seconds, shown_url, without_secrets
from pytest_aitest.values.agent import Provider

NOW = datetime(2026, 11, 22, 18, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "Sun, 22 Nov 2026 18:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 18:00:30"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 17:00:00 GMT"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], wait: float | None) -> None:
    assert Response(status=429, reason="", headers=headers).retry_after_seconds(NOW) == wait


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "slow down"}}, "slow down"),
        ({"error": "model 'x' not found"}, "model 'x' not found"),
        ({"message": "no"}, "no"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"error": ["a", "b"]}, '["a", "b"]'),
        ({"error": None}, "null"),
        ({}, ""),
        (None, ""),
    ],
    ids=str,
)
def test_a_message_is_found_wherever_providers_put_it(body: dict[str, object] | None, message: str) -> None:
    assert Response(status=400, reason="", body=body).message == message


def test_litellm_s_additions_are_taken_off_what_it_says() -> None:
    error = ValueError(
        "litellm.InternalServerError: InternalServerError: OpenAIException - litellm.APIError: it broke\n"
        "Traceback (most recent call last):\n  File ..."
    )
    assert Evidence.in_error(error).said == "it broke"


def test_a_chain_that_bites_its_tail_is_read_to_an_end() -> None:
    error = ValueError("one")
    error.__context__ = KeyError("two")
    error.__context__.__context__ = error
    assert Evidence.in_error(error).names >= {"ValueError", "KeyError"}


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://localhost:8000/v1", True),
        ("http://127.8.0.1/v1", True),
        ("http://[::1]:8000", True),
        ("http://0.0.0.0:4000", True),
        ("http://vllm.localhost", True),
        ("https://api.openai.com/v1", False),
        ("https://localhost.example.com", False),
        ("localhost:8000", False),
        ("http://[oops", False),
        ("", False),
        (None, False),
    ],
)
def test_only_this_machine_is_loopback(url: str | None, here: bool) -> None:
    assert is_loopback(url) is here


def test_durations_are_short_and_never_in_powers_of_ten() -> None:
    assert [seconds(duration) for duration in (0.2, 59.98213, 7.0, 1200.0)] == ["0.2 s", "60 s", "7 s", "1200 s"]


def test_foreign_text_becomes_one_harmless_line() -> None:
    assert one_line("bad\n\tthing \x1b[31m.\n") == r"bad thing \x1b[31m"
    assert len(one_line("x" * 10_000)) == 303


def test_a_url_is_shown_without_what_is_private() -> None:
    assert shown_url("https://user:pw@host:1/v1?key=k") == "https://host:1/v1"
    assert shown_url("localhost:8000") == "localhost:8000"


def test_every_key_that_may_have_been_used_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "from-environment")
    monkeypatch.setenv("SOME_TOKEN_LIMIT", "true")
    extra = {"extra_headers": {"Authorization": "Bearer in-a-header"}, "aws_secret_access_key": "in-extra", "seed": 7}
    provider = Provider(model="m", api_key="declared", extra=extra)
    said = "declared, from-environment, in-a-header, in-extra and true"
    assert without_secrets(said, provider) == "***, ***, ***, *** and true"

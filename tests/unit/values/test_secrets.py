"""What holds a secret is known by its name, what is one by its shape; neither is ever shown."""

import json
import re
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pytest_aitest import Agent, DeclarationError, MCPServer, Provider, ToolCall
from pytest_aitest.values.plain import inert, labelled, one_line, wrapped
from pytest_aitest.values.record import StepRecord, TestRecord
from pytest_aitest.values.run_record import packed, unpacked
from pytest_aitest.values.secrets import SECRETS, Secrets, hide, hide_within, is_secret_name
from pytest_aitest.values.transcript import TurnRecord

SECRET = "correct-horse/battery+staple=="


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test declares is no secret to the next."""
    for name, value in vars(Secrets()).items():
        monkeypatch.setattr(SECRETS, name, value)


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "X-API-Key",
        "Authorization",
        "Proxy-Authorization",
        "dbPassword",
        "apikey",
        "api_key",
        "MYSQL_PWD",
        "BANK_PIN",
        "CREDENTIALS",
        "TOKEN2",
        "Set-Cookie",
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["max_tokens", "KEYBOARD", "MONKEY", "PWD", "OLDPWD", "TOKEN_FILE", "AUTH_MODE", "AWS_ACCESS_KEY_ID", "SPIN"],
)
def test_other_names(name: str) -> None:
    assert not is_secret_name(name)


def test_variables_are_known_as_soon_as_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hide(SECRET) == SECRET
    monkeypatch.setenv("BANK_TOKEN", SECRET)
    assert hide(f"<{SECRET}>") == "<[hidden BANK_TOKEN]>"
    monkeypatch.delenv("BANK_TOKEN")
    assert hide(SECRET) == SECRET


@pytest.mark.parametrize("value", ["enabled", "on", "false", "test", "Postgres", "PRODUCTION", "12345", __file__])
def test_what_is_met_in_ordinary_text_is_no_secret_because_a_variable_holds_it(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("LDAP_AUTH", value)
    assert hide(f"It is {value}.") == f"It is {value}."
    MCPServer(command=["bank"], env={"LDAP_AUTH": value})  # now somebody has said that it is one
    assert (hide(f"It is {value}.") == "It is [hidden LDAP_AUTH].") == (len(value) >= 4)


@pytest.mark.parametrize("value", ["hunter2", "/no/such/file+", "not-needed", "sevenTeenLettersX"])
def test_other_values_of_variables_are_secrets(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DB_PASSWORD", value)
    assert hide(f"It is {value}.") == "It is [hidden DB_PASSWORD]."


def test_what_the_environment_held_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANK_TOKEN", SECRET)
    hide("")  # which has looked at it already
    SECRETS.keep_environment()
    monkeypatch.delenv("BANK_TOKEN")
    assert hide(SECRET) == "[hidden BANK_TOKEN]"


def test_what_another_thread_learns_disturbs_nobody() -> None:
    hiding = SECRETS.hiding()
    SECRETS.learn("token", SECRET)
    assert hiding(SECRET) == SECRET
    assert hide(SECRET) == "[hidden token]"


def test_options_of_a_command_are_known_by_their_names() -> None:
    server = MCPServer(command=["bank", "--api-key", "first-secret", "--port", "8080", "--token=second-secret", "-v"])
    assert hide("first-secret second-secret 8080 -v") == "[hidden api-key] [hidden token] 8080 -v"
    assert server.command[2] == "first-secret"


def test_what_is_declared_is_known_from_then_on() -> None:
    Provider(model="azure/m", api_key="key-of-azure", extra={"headers": {"X-Api-Key": "in-extra"}, "seed": "harmless"})
    MCPServer(url="http://127.0.0.1:1/mcp", headers={"Authorization": f"Bearer {SECRET}", "Accept": "text/plain"})
    MCPServer(command=["bank"], env={"PASSWORD": "1234", "MODE": "test", "TOKEN": "${BANK_TOKEN}"})
    shown = hide(f"key-of-azure in-extra {SECRET} 1234 12345 test ${{BANK_TOKEN}} text/plain harmless")
    assert shown == (
        "[hidden api_key] [hidden X-Api-Key] [hidden Authorization] [hidden PASSWORD] 12345 test ${BANK_TOKEN} "
        "text/plain harmless"
    )


def test_declarations_do_not_show_theirs() -> None:
    server = MCPServer(url="http://me:pass@127.0.0.1:1/mcp", headers={"X-Token": SECRET})
    agent = Agent(provider=Provider(model="m", api_key="secret-key"), mcp_servers=[server])
    for shown in (repr(agent), str(agent), repr(server), f"{server}"):
        assert SECRET not in shown
        assert "secret-key" not in shown
        assert ":pass@" not in shown
        assert "[hidden X-Token]" in shown
    with pytest.raises(DeclarationError) as refusal:
        MCPServer(url="http://h", headers=[f"Authorization: Bearer {SECRET}"])  # type: ignore[arg-type]
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Bearer abcdef123456.", "Bearer [hidden]"),
        ("authorization: bearer QWERTYUIOPASDFGHJKLZXC", "authorization: bearer [hidden]"),
        ("the bearer of good news", "the bearer of good news"),
        ("a Bearer certificate", "a Bearer certificate"),
        ("postgres://me:pa55@host/db", "postgres://me:[hidden]@host/db"),
        ("sk-abcdefghijklmnop1234", "[hidden]"),
        ("ghp_abcdefghijklmnopqrstuv", "[hidden]"),
        ("eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.abc_def", "[hidden]"),
        ("AKIAIOSFODNN7EXAMPLE", "[hidden]"),
        ("https://h/mcp?v=1&api_key=abc&x=2", "https://h/mcp?v=1&api_key=[hidden]&x=2"),
        ("https://h/page?monkey_id=7", "https://h/page?monkey_id=7"),
        ("task-list and risk-free", "task-list and risk-free"),
    ],
)
def test_shapes_of_secrets(text: str, shown: str) -> None:
    assert hide(text) == shown


def test_users_add_patterns() -> None:
    SECRETS.patterns = [re.compile(pattern) for pattern in (r"IBAN [A-Z0-9]+", r"pin is (\d+)")]
    assert hide("IBAN DE123, pin is 42") == "[hidden], pin is [hidden]"


@given(secret=st.text(st.characters(codec="utf-8"), min_size=12), before=st.text(), after=st.text())
@example(secret="0000000000${", before="", after="")
def test_however_it_is_written_it_is_hidden(secret: str, before: str, after: str) -> None:
    assume(not re.search(r"\$\{\w+\}", secret))  # which stands for a variable
    secrets = Secrets()
    secrets.learn("token", secret)
    hide = secrets.hiding()
    for written in (secret, json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret)):
        assert "[hidden token]" in hide(f"{before} {written} {after}")
    assert secret not in hide(f" {secret} ") or secret in " [hidden token] "


def test_no_half_of_a_secret_is_left_where_a_text_is_cut() -> None:
    MCPServer(command=["bank"], env={"TOKEN": SECRET})
    for cut in range(60, 100):
        text = "x" * cut + SECRET * 3
        for shown in (one_line(text, most=80), "".join(wrapped(text, most_lines=2)), "".join(labelled("user", text))):
            assert SECRET[:8] not in shown
    assert inert(SECRET) == "[hidden TOKEN]"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"'x{SECRET[:10]}...y'", "'x[hidden TOKEN]...y'"),
        (f"'x...{SECRET[-9:]}y'", "'x...[hidden TOKEN]y'"),
        (f"'x{SECRET[:20]}'", "'x[hidden TOKEN]'"),
        (f"E  - {SECRET[10:]} tail\nE  + head {SECRET[:-5]}", "E  - [hidden TOKEN] tail\nE  + head [hidden TOKEN]"),
        ("a 'correct-horse-race' is correct-...", "a 'correct-horse-race' is [hidden TOKEN]..."),
        ("'correct-answer' and ...plain staple==", "'correct-answer' and ...plain staple=="),
    ],
)
def test_what_somebody_else_has_cut_is_known_by_what_is_left(text: str, shown: str) -> None:
    MCPServer(command=["bank"], env={"TOKEN": SECRET})
    assert hide(text) == shown


def test_each_line_of_a_long_secret_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVATE_KEY", "-----BEGIN-----\nMIIEvQIBADANBgkqhkiG\nend\n-----END-----")
    assert hide("E   MIIEvQIBADANBgkqhkiG\nE   end") == "E   [hidden PRIVATE_KEY]\nE   end"


def test_words_of_the_schema_of_a_record_stay_what_they_are() -> None:
    MCPServer(command=["bank"], env={"PASSWORD": "passed", "TOKEN": "test", "SECRET": "name", "API_KEY": SECRET})
    call = ToolCall(name="pay", arguments={"name": SECRET, SECRET: [1]}, result="passed")
    turn = TurnRecord(agent="name", model="m", user="passed the test?", said=(call,))
    record = TestRecord(
        nodeid="t.py::it", kind="test", outcome="passed", steps=(StepRecord(code="c", happened=(turn,)),)
    )
    hidden = hide_within(record)
    assert unpacked(packed(hidden)) == hidden
    assert (hidden.kind, hidden.outcome) == ("test", "passed")
    assert hidden.turns[0].user == "[hidden PASSWORD] the [hidden TOKEN]?"
    assert hidden.turns[0].said[0].arguments == {"[hidden SECRET]": "[hidden API_KEY]", "[hidden API_KEY]": [1]}


def test_data_that_holds_itself_has_an_end() -> None:
    knot: list[Any] = [SECRET]
    knot += [knot, knot]
    deep: Any = SECRET
    for _ in range(100_000):
        deep = [deep]
    assert hide_within([knot]) == [[SECRET, "...", "..."]]
    assert '"..."' in json.dumps(hide_within(deep))


def test_data_is_hidden_in_all_its_texts() -> None:
    MCPServer(command=["bank"], env={"TOKEN": SECRET})
    data = {"a": [SECRET, 1, None, {"b": f"{SECRET}!"}], SECRET: True}
    assert hide_within(data) == {"a": ["[hidden TOKEN]", 1, None, {"b": "[hidden TOKEN]!"}], "[hidden TOKEN]": True}

"""What a declaration takes from the environment."""

import pytest

from pytest_aitest.conversation.servers.launch import Launch, filled_in
from pytest_aitest.values.agent import MCPServer
from pytest_aitest.values.errors import ServerStartError


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANK_USER", "anna")
    monkeypatch.setenv("BANK_TOKEN", "ge$heim")


@pytest.mark.parametrize(
    ("written", "filled"),
    [
        ("${BANK_USER}", "anna"),
        ("Bearer ${BANK_TOKEN}!", "Bearer ge$heim!"),
        ("${BANK_USER}:${BANK_TOKEN}", "anna:ge$heim"),
        ("$BANK_USER costs 5$", "$BANK_USER costs 5$"),
        ("${BANK_USER", "${BANK_USER"),
        ("${} ${1A} ${A B}", "${} ${1A} ${A B}"),
    ],
)
def test_only_a_whole_name_in_braces_is_filled_in(written: str, filled: str) -> None:
    assert filled_in({"KEY": written}, field="env", label="bank") == {"KEY": filled}


def test_a_variable_that_is_not_set_is_named_with_one_that_is() -> None:
    with pytest.raises(ServerStartError) as caught:
        filled_in({"TOKEN": "Bearer ${BANK_TOKN}"}, field="env", label="bank")
    assert str(caught.value) == (
        "Server 'bank' can't be started: env['TOKEN'] asks for ${BANK_TOKN}, and no such variable is set. "
        "Did you mean 'BANK_TOKEN'? Set it before the tests run, or write the value itself."
    )


def test_a_shell_function_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "() { :; }; echo vulnerable")
    assert "TERM" not in Launch.of(MCPServer(command=["bank"])).env


def test_a_launch_shows_the_command_and_no_secrets() -> None:
    launch = Launch.of(MCPServer(command=["bank", "--at"], args=["the corner"], env={"TOKEN": "${BANK_TOKEN}"}))
    assert launch.shown == "bank --at 'the corner'"
    assert "heim" not in repr(launch)

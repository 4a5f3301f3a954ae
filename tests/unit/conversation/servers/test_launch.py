"""What a declaration takes from the environment."""

import pytest

from pytest_aitest.conversation.servers.launch import Launch, PythonRun, filled_in
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


@pytest.mark.parametrize(
    ("command", "interpreter", "arguments"),
    [
        ("python bank.py", "python", "bank.py"),
        ("python3 ./bank.py --port 1 -c -m x", "python3", "./bank.py --port 1 -c -m x"),
        ("/usr/bin/python3.13 bank", "/usr/bin/python3.13", "bank"),
        ("python -m bank", "python", "-m bank"),
        ("python -m bank.server -u -m", "python", "-m bank.server -u -m"),
        ("python -u bank.py -u", "python -u", "bank.py -u"),
        ("python -B -OO -E -s -P -m bank", "python -B -OO -E -s -P", "-m bank"),
    ],
)
def test_a_command_that_runs_python_is_known_in_its_parts(command: str, interpreter: str, arguments: str) -> None:
    launch = Launch.of(MCPServer(command=command.split()))
    assert launch.python == PythonRun(interpreter=tuple(interpreter.split()), arguments=tuple(arguments.split()))


@pytest.mark.parametrize(
    "command",
    [
        "bank",
        "bank.py",
        "pythonista bank.py",
        "python3.13t bank.py",
        "python3.13-config bank.py",
        "pypy3 bank.py",
        "uv run python bank.py",
        "env python bank.py",
        "sh -c python",
        "python",
        "python -",
        "python -u",
        "python -m",
        "python -u -m",
        "python -mbank",
        "python -c pass",
        "python -u -c pass",
        "python -I bank.py",
        "python -i bank.py",
        "python -W error bank.py",
        "python -X dev bank.py",
        "python -uB bank.py",
        "python -- bank.py",
    ],
)
def test_a_command_that_runs_anything_else_or_python_in_a_way_of_its_own_is_not_taken_apart(command: str) -> None:
    assert Launch.of(MCPServer(command=command.split())).python is None


def test_arguments_follow_the_command() -> None:
    launch = Launch.of(MCPServer(command=["python"], args=["-u", "bank.py"]))
    assert launch.python == PythonRun(interpreter=("python", "-u"), arguments=("bank.py",))


def test_launches_that_differ_in_their_environment_are_not_equal() -> None:
    anna, berta = (Launch.of(MCPServer(command=["bank"], env={"USER": user})) for user in ("anna", "berta"))
    assert {anna: 1, berta: 2} == {berta: 2, anna: 1}
    assert len({anna, berta}) == 2

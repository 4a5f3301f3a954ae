"""What a run that only replays says of what is not recorded: where, and how what is there differs."""

import threading
from pathlib import Path
from typing import Any

import pytest

from pytest_aitest import MCPServer, Session
from pytest_aitest.conversation.past import Past
from pytest_aitest.conversation.servers import ToolOutcome
from pytest_aitest.conversation.tree import Called, Said
from pytest_aitest.store.missing import missing
from pytest_aitest.values.errors import StoreError, StoreMissError

from .conversations import CHANGED, accountant, agent, chancy, counter, echo, opened, said

RECORD = "Run with --aitest-store-mode record to add it."


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def message(prompt: str = "Transfer $250", **fields: Any) -> Said:
    return Said(**{"prompt": prompt, "agent": agent(), "max_model_calls": 10, "timeout_seconds": 60.0} | fields)


def why(path: Path, event: Any, *known: str, test: str = "a", **settings: Any) -> list[str]:
    """The lines of the error after the events with these words."""
    with opened(path, "replay") as store:
        past = Past(store.root(test, shares=True), replays=True)
        for prompt in known:
            assert past.replay(message(prompt)) is not None
        error = missing(past, event, **settings)
    assert isinstance(error, StoreMissError)
    assert isinstance(error, StoreError)
    return str(error).replace(str(path), "PATH").splitlines()


def recorded(path: Path, *prompts: str, **fields: Any) -> None:
    with opened(path) as store:
        said(store, *prompts, **fields)


def difference(path: Path, event: Any) -> str:
    first, second, last = why(path, event)
    assert (last, first[:30]) == (RECORD, "The store PATH does not hold '")
    return second


def test_other_words_are_told(path: Path) -> None:
    recorded(path, "What is my balance?", "Transfer $200")
    assert why(path, message(), "What is my balance?") == [
        "The store PATH does not hold 'Transfer $250', and this run only replays.",
        "Before that it knows:",
        "  1 What is my balance? -> 1: What is my balance?",
        "Recorded there is another: the words: recorded is 'Transfer $200', asked 'Transfer $250'.",
        RECORD,
    ]


def test_of_a_long_conversation_the_last_turns_are_shown(path: Path) -> None:
    prompts = [f"number {number}" for number in range(1, 11)]
    recorded(path, *prompts)
    lines = why(path, message(), *prompts)
    assert lines[2:5] == ["  ...", "  3 number 3 -> 5: number 3", "  4 number 4 -> 7: number 4"]
    assert lines[-3:] == ["  10 number 10 -> 19: number 10", "There the recorded conversation ends.", RECORD]
    assert len(lines) == 13


def test_a_test_that_is_not_in_the_store_is_told(path: Path) -> None:
    with opened(path):
        pass
    assert difference(path, message()) == "Nothing of a is in it."


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"agent": agent(system_prompt="You work for a bank, whose name you never tell. Be kind.")},
            "its instructions were recorded as 'You work for a bank. Be brief.', and are now "
            "'...k for a bank, whose name you never tell....'",
        ),
        (
            {"agent": agent(chancy)},
            "model.callable was recorded as 'tests.unit.store.conversations.echo', and is now "
            "'tests.unit.store.conversations.chancy'",
        ),
        (
            {"agent": agent(system_prompt=None)},
            "its instructions were recorded as 'You work for a bank. Be brief.', and are now None",
        ),
        ({"max_model_calls": 9}, "max_model_calls was recorded as 10, and is now 9"),
        (
            {"agent": agent(system_prompt="You work for a bank. Be brief.", mcp_servers=[MCPServer(factory=counter)])},
            "servers was recorded as [], and is now ",
        ),
    ],
)
def test_the_first_difference_is_told(fields: dict[str, Any], expected: str, path: Path) -> None:
    recorded(path, "Transfer $250", by=agent(system_prompt="You work for a bank. Be brief."))
    recorded(path, "Transfer $9", by=agent(system_prompt="You work for a shop."))
    whole = message(**{"agent": agent(system_prompt="You work for a bank. Be brief.")} | fields)
    assert difference(path, whole).startswith(f"Recorded there is another: {expected}")


def test_the_content_of_files_is_told_by_their_names(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)

    def event(*command: str) -> Called:
        server = MCPServer(command=command)
        return Called(tool="count", arguments={}, server="bank", named=server, agent=agent(mcp_servers=[server]))

    Path("bank.py").write_text("one")
    with opened(path) as store:
        store.root("a", shares=True).add(event("python", "bank.py"), ToolOutcome(text="1"))
    Path("bank.py").write_text("another")
    assert difference(path, event("python", "bank.py")).endswith(
        "the content of bank.py has changed since it was recorded."
    )
    assert difference(path, event("python", "bank.py", "--fast")).startswith("Recorded there is another: ")


def test_code_that_was_changed_is_told_by_its_name(path: Path) -> None:
    def models(fee: int) -> Any:
        def model(messages: list[Any], tools: list[Any]) -> str:
            return f"{fee}"

        return model

    recorded(path, "Transfer $250", by=agent(models(1)))
    name = f"{__name__}.{test_code_that_was_changed_is_told_by_its_name.__name__}.<locals>.models.<locals>.model"
    assert difference(path, message(agent=agent(models(2)))) == (
        f"Recorded there is another: the code of {name}, or of what it uses, has changed."
    )


def test_other_tools_are_told(path: Path) -> None:
    recorded(path, "count", by=accountant())
    CHANGED["tools"] = 1
    try:
        recorded(path, "other", by=accountant())
    finally:
        CHANGED.clear()
    assert difference(path, message("count", agent=accountant())) == (
        "It was recorded when the agent's servers offered other tools, and does not hold with those of now."
    )


def test_what_can_not_be_compared_is_told(path: Path) -> None:
    lock = threading.Lock()

    def model(messages: list[Any], tools: list[Any]) -> str:
        return f"{lock}"

    recorded(path, "hello")
    assert why(path, message(agent=agent(model))) == [
        "The store PATH does not hold 'Transfer $250', and this run only replays.",
        "The agent holds a _thread.lock, which can't be compared, so nothing that it says is ever recorded.",
        "Let the model be a function of what can be compared, or run without a store.",
    ]


def test_a_look_is_told_like_a_call(path: Path) -> None:
    with opened(path) as store:
        root = store.root("a", shares=True)
        root.add_look(Called(tool="count", arguments={"by": 1}), ToolOutcome(text="1"))
    assert why(path, Called(tool="count", arguments={"by": 2}), is_look=True)[1] == (
        "Recorded there is another: arguments.by was recorded as 1, and is now 2."
    )
    assert difference(path, Called(tool="count", arguments={"by": 1})) == "There the recorded conversation ends."


def test_no_secret_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(path, "hello")
    monkeypatch.setenv("MISSING_TOKEN", "s3cr3t-missing-1")
    assert "s3cr3t" not in "\n".join(why(path, message("it is s3cr3t-missing-1")))


def test_after_what_is_not_kept_nothing_is_recorded(path: Path) -> None:
    lock = threading.Lock()
    with opened(path) as store:
        past = Past(store.root("a", shares=True), replays=True)
        model = agent(lambda messages, tools: f"{lock}")
        with Session(model, past=past) as session:
            session.say("hello")
        assert "What came before is not in the store either" in str(missing(past, message()))


def test_equal_words_are_nearer_than_equal_agents(path: Path) -> None:
    recorded(path, "Transfer $9", by=agent(echo))
    recorded(path, "Transfer $250", by=agent(chancy, system_prompt="Be kind.", allowed_tools=[]))
    assert "words" not in difference(path, message())

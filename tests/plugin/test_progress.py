"""Whoever waits sees what is going on; whoever reads a log later, or asked for quiet, is spared it."""

import os
import pty
import re
import subprocess
import sys

import pytest

from .conftest import Project

CHAT = """
    import pytest
    from pytest_aitest import Agent, Provider
    from pytest_aitest.stateful import SessionMachine, pinned, rule

    def echo(messages, tools):
        return " | ".join(message["content"] for message in messages if message["role"] == "user")

    agent = Agent(provider=Provider(model=echo))

    @pytest.mark.session("chat")
    class TestChat:
        async def test_first(self, aitest_run):
            await aitest_run(agent, "one")

        async def test_second(self, aitest_session):
            aitest_session.say("two", agent=agent)

    class TestEcho(SessionMachine):
        agent = agent

        @rule()
        def greet(self):
            self.say("Hello")

        @rule()
        def thank(self):
            assert "Hello | Hello" not in self.say("Thanks").final_response

        @pinned
        def documented(self):
            self.greet()
            self.thank()
"""


@pytest.fixture
def chat(project: Project) -> Project:
    project.write(test_chat=CHAT)
    return project


def test_turns_are_shown_as_they_are_spoken_where_nothing_is_captured(chat: Project) -> None:
    chat.shows_what_is_expected("-s", "-k", "TestChat or documented")


def test_a_log_has_a_line_now_and_then(chat: Project) -> None:
    told = chat.output("-o", "aitest_progress_seconds=0", "--hypothesis-seed=1", plugins=("hypothesispytest",))
    lines = re.findall(r"^aitest: (?:chat|TestEcho::\w+): .*$", told, re.MULTILINE)
    assert lines[:2] == ["aitest: chat: turn 1, asking echo", "aitest: chat: turn 2, asking echo"]
    told_of = [line.removeprefix("aitest: TestEcho::explore: ") for line in lines if "::explore" in line]
    assert told_of[0] == "plan 1 of 25, 0 fresh turns"  # the documented order is known
    assert any(
        re.fullmatch(r"fails; shrinking \d+ steps -> 3, \d+ fresh turns(, asking echo)?", line) for line in told_of
    )
    assert re.fullmatch(r"fails in 3 steps; confirming, \d+ fresh turns", told_of[-1])


@pytest.mark.parametrize("options", [(), ("-q", "-o", "aitest_progress_seconds=0")], ids=["short", "quiet"])
def test_what_is_short_or_quiet_has_none(chat: Project, options: tuple[str, ...]) -> None:
    told = chat.output(*options)
    assert "asking echo" not in told
    assert "fresh turns, asking" not in told


def test_a_worker_says_nothing(chat: Project) -> None:
    assert "asking" not in chat.output("-n", "2", "-o", "aitest_progress_seconds=0", plugins=("xdist",))


def test_a_number_of_seconds_is_wanted(chat: Project) -> None:
    said = chat.run("-o", "aitest_progress_seconds=often").stderr.str()
    assert "ERROR: aitest_progress_seconds = often: it is a number of seconds, 0 or more." in said


def test_a_terminal_shows_it_in_the_rest_of_the_line_and_is_left_as_it_was(chat: Project) -> None:
    said = in_terminal(chat)
    painted = re.findall("\x1b7(.*?)\x1b\\[0K\x1b8", said)
    assert painted, said
    assert all(len(text) < 80 - len("test_chat.py ") for text in painted)
    assert said.count("\x1b7") == said.count("\x1b8") == len(painted)
    rest = re.sub("\x1b7.*?\x1b8|\x1b\\[0K", "", said)
    last = max(match.end() for match in re.finditer("\x1b8", said))
    assert "\x1b[0K" in said[last:]
    assert "asking" not in rest
    assert re.search(r"test_chat\.py (\S*\.){3}", re.sub(r"\x1b\[[0-9;]*m", "", rest))


def in_terminal(project: Project) -> str:
    """What a real pseudo-terminal gets."""
    controller, terminal = pty.openpty()
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "aitest", "-k", "TestChat or documented"],
        stdout=terminal,
        stderr=terminal,
        cwd=project.path,
        env={**os.environ, "COLUMNS": "80", "TERM": "xterm"},
    )
    os.close(terminal)
    said = b""
    while chunk := _read(controller):
        said += chunk
    run.wait()
    os.close(controller)
    return said.decode()


def _read(controller: int) -> bytes:
    try:
        return os.read(controller, 65536)
    except OSError:  # how Linux says that the other side has closed
        return b""

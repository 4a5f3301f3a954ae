"""What a machine refuses where it is written, and what it does by itself."""

import asyncio
from typing import Any

import pytest
from hypothesis import strategies as st

from pytest_aitest import Agent, Provider
from pytest_aitest.stateful import SessionMachine, initialize, invariant, pinned, rule
from pytest_aitest.values.errors import DeclarationError, SessionError


def echo(messages: Any, tools: Any) -> str:
    return str(messages[-1]["content"])


AGENT = Agent(provider=Provider(model=echo))


def declared(**members: Any) -> type[SessionMachine]:
    return type("Machine", (SessionMachine,), {"agent": AGENT, **members})


async def later(self: Any) -> None: ...


def asks(self: Any, **_: Any) -> None: ...


ASYNC = (
    "Rule Machine.later is `async def`, and a rule is a plain function: it would never run. "
    "Write `def`; self.say(...) waits by itself, and self.wait(...) runs coroutines of yours."
)
OURS = "Machine.{} has the name of something that every SessionMachine has. Call it otherwise."


@pytest.mark.parametrize("decorator", [rule(), initialize()], ids=["rule", "initialize"])
def test_an_async_rule_is_refused(decorator: Any) -> None:
    with pytest.raises(DeclarationError) as refusal:
        declared(later=decorator(later))
    assert str(refusal.value) == ASYNC


@pytest.mark.parametrize("hook", ["open_session", "close_session"])
def test_an_async_hook_is_refused(hook: str) -> None:
    """It would be called, and never awaited."""
    with pytest.raises(DeclarationError, match=rf"Machine\.{hook}"):
        declared(**{hook: later})


def test_an_async_invariant_is_refused() -> None:
    """It would hold for ever."""
    with pytest.raises(DeclarationError, match=r"Machine\.later"):
        declared(later=invariant()(later))


@pytest.mark.parametrize(
    ("parameter", "instead"),
    [
        ("aitest_run", "Use self.say(...) and self.session."),
        ("aitest_session", "Use self.say(...) and self.session."),
        ("tmp_path", "Give a strategy in @rule(...), or let make_agent ask for the fixture and keep it on self."),
    ],
)
def test_a_rule_that_asks_for_a_fixture_is_refused(parameter: str, instead: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def greet(self, {parameter}): ...", namespace)
    with pytest.raises(DeclarationError) as refusal:
        declared(greet=rule()(namespace["greet"]))
    assert str(refusal.value) == (
        f"Rule Machine.greet asks for {parameter!r}, and a rule is given only what its strategies draw. {instead}"
    )


@pytest.mark.parametrize("name", ["explore", "say", "session", "call_tool", "wait", "teardown", "agent", "plans"])
@pytest.mark.parametrize("decorator", [rule(), initialize(), invariant(), pinned])
def test_a_method_with_a_name_of_ours_is_refused(name: str, decorator: Any) -> None:
    def method(self: Any) -> None: ...

    method.__name__ = name
    with pytest.raises(DeclarationError) as refusal:
        declared(**{name: decorator(method)})
    assert str(refusal.value) == OURS.format(name)


def test_a_machine_speaks_by_itself_and_takes_an_argument_with_a_default() -> None:
    def greet(self: Any, name: str, politely: bool = True) -> str:
        answer: str = self.say(f"Hello {name}").final_response
        return answer

    machine: Any = declared(greet=rule(name=st.text())(greet))()
    assert machine.say("Hello").final_response == "Hello"
    assert [turn.user for turn in machine.session.turns] == ["Hello"]
    machine.teardown()


def test_a_coroutine_is_run_to_its_end_and_all_share_a_loop() -> None:
    loops = []

    async def answer() -> int:
        loops.append(asyncio.get_running_loop())
        return 42

    machine = declared(greet=rule()(asks))()
    assert [machine.wait(answer()), machine.wait(answer())] == [42, 42]
    assert loops[0] is loops[1]
    machine.teardown()
    assert loops[0].is_closed()


def test_a_session_that_never_went_live_is_neither_opened_nor_closed() -> None:
    called = []
    machine = declared(
        greet=rule()(asks),
        open_session=lambda self: called.append("open"),
        close_session=lambda self: called.append("close"),
    )()
    machine.teardown()
    assert called == []


def test_a_session_is_opened_before_its_first_turn_and_closed_once() -> None:
    called = []
    machine = declared(
        greet=rule()(asks),
        open_session=lambda self: called.append(f"open after {len(self.session.turns)}"),
        close_session=lambda self: called.append("close"),
    )()
    machine.say("Hello")
    machine.say("again")
    machine.teardown()
    machine.teardown()
    assert called == ["open after 0", "close"]


def test_nobody_to_speak_to_is_said_with_what_to_do() -> None:
    machine = declared(agent=None, greet=rule()(asks))()
    with pytest.raises(DeclarationError) as refusal:
        machine.say("Hello")
    assert str(refusal.value) == (
        "Machine has nobody to speak to: its `agent` is None. "
        "Set `agent = Agent(...)` in the class, or define make_agent(self) -> Agent."
    )


def test_a_machine_by_itself_can_not_give_make_agent_its_fixtures() -> None:
    def make_agent(self: Any, tmp_path: Any) -> Agent:
        return AGENT

    machine = declared(make_agent=make_agent, greet=rule()(asks))()
    with pytest.raises(DeclarationError, match=r"Machine\.make_agent asks for 'tmp_path'"):
        machine.say("Hello")


def test_an_invariant_may_not_speak() -> None:
    machine = declared(greet=rule()(asks))()
    machine.session.call_mode = "observation"
    with pytest.raises(SessionError) as refusal:
        machine.say("Hello")
    assert str(refusal.value) == (
        "An invariant of Machine speaks to the agent, and so changes what it checks. "
        "Speak in rules; in invariants look at self.session, or call tools that only look."
    )

"""What comes of a plan, and whose fault it is."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pytest_aitest import Agent, DeclarationError, MCPServer, Provider, ProviderError, Session, SessionError, ToolError
from pytest_aitest.checks import chosen_checks
from pytest_aitest.conversation.past import Past
from pytest_aitest.conversation.tree import Node
from pytest_aitest.exploration.attempt import UNDECIDED, Attempt, Verdicts
from pytest_aitest.search.plan import Given, Step
from pytest_aitest.search.runner import StopSearchError

from .scripted import Scripted, plan, raises, says


class Skipped(BaseException):
    pass


class Failed(BaseException):
    pass


VERDICTS = Verdicts(skips=(Skipped,), fails=(Failed,))


def attempted(*rules: str, **script: Any) -> Attempt:
    acts = {"one": says("one"), "two": says("two"), **script.pop("acts", {})}
    attempt = Attempt(subject=Scripted(acts=acts, **script), verdicts=VERDICTS)
    attempt.run(plan(*rules))
    return attempt


def lost() -> Any:
    raise OSError("no line")


def disconnected(_messages: object, _tools: object) -> str:
    return lost()


UNHEARD = Agent(name="unheard", provider=Provider(model=disconnected))


def test_a_plan_that_passes_leaves_its_steps_and_what_was_said() -> None:
    attempt = attempted("one", "two")
    assert attempt.executed == plan("one", "two")
    assert [record.code for record in attempt.taken] == ["one()", "two()"]
    said = [turn.user for taken in attempt.taken for turn in taken.record.turns]
    assert said == ["one", "two"]
    assert (attempt.failure, attempt.inapplicable, attempt.ours) == (None, None, None)
    assert not attempt.is_over


def test_a_step_that_can_not_be_taken_is_left_out() -> None:
    assert attempted("one", "three", "two").executed == plan("one", "two")


@pytest.mark.parametrize("error", [AssertionError("no"), ValueError("no"), Failed("no"), ToolError("no")], ids=repr)
def test_what_a_step_raises_is_the_failure_of_that_step(error: BaseException) -> None:
    attempt = attempted("one", "bad", "two", acts={"bad": raises(error)})
    assert attempt.executed == plan("one", "bad")
    assert attempt.failure is not None
    assert (attempt.failure.check, attempt.failure.error_type) == ("bad", type(error).__name__)
    assert attempt.failure.error is error
    assert attempt.failure.place.startswith("scripted.py:")
    assert (attempt.inapplicable, attempt.ours) == (None, None)


@pytest.mark.parametrize(
    "error", [SessionError("no"), DeclarationError("no"), ProviderError("no", kind="timeout"), StopSearchError("no")]
)
def test_what_we_raise_is_not_the_agents(error: Exception) -> None:
    attempt = attempted("one", "bad", "two", acts={"bad": raises(error)})
    assert attempt.ours is error
    assert (attempt.failure, attempt.inapplicable) == (None, None)
    assert attempt.executed == plan("one", "bad")


def test_a_skip_makes_a_plan_inapplicable() -> None:
    attempt = attempted("one", "bad", "two", acts={"bad": raises(Skipped("not today"))})
    assert attempt.inapplicable == "bad: not today"
    assert (attempt.failure, attempt.ours) == (None, None)


def test_a_skip_without_a_word_is_named_by_its_kind() -> None:
    assert attempted("bad", acts={"bad": raises(Skipped())}).inapplicable == "bad: Skipped"


@pytest.mark.parametrize(("last", "is_undecided"), [("noted", True), ("one", False), ("bad", False)])
def test_whether_its_last_step_failed_in_what_does_not_count_is_told(last: str, is_undecided: bool) -> None:
    acts = {"noted": lambda session: UNDECIDED, "bad": raises(Skipped())}
    attempt = attempted("one", "noted", last, acts=acts)
    assert attempt.executed == plan("one", "noted", last)
    assert attempt.is_undecided is is_undecided
    assert attempt.failure is None


def test_ctrl_c_is_nobodys_verdict() -> None:
    subject = Scripted(acts={"bad": raises(KeyboardInterrupt())})
    with pytest.raises(KeyboardInterrupt):
        Attempt(subject=subject, verdicts=VERDICTS).run(plan("bad"))
    assert subject.ended == 1


def test_a_check_is_made_before_the_first_step_and_after_each() -> None:
    seen: list[int] = []
    attempted("one", "two", looks={"count": lambda session: seen.append(len(session.turns))})
    assert seen == [0, 1, 2]


def test_the_first_check_that_fails_counts_and_ends_the_plan() -> None:
    looks = {
        "fine": lambda session: None,
        "first": lambda session: raises(AssertionError("first"))() if session.turns else None,
        "second": lambda session: raises(AssertionError("second"))() if session.turns else None,
    }
    attempt = attempted("one", "two", looks=looks)
    assert attempt.failure is not None
    assert attempt.failure.check == "first"
    assert attempt.executed == plan("one")


def test_a_check_that_fails_before_the_first_step_leaves_no_step() -> None:
    attempt = attempted("one", looks={"never": raises(AssertionError())})
    assert attempt.failure is not None
    assert attempt.executed == ()


def test_a_step_that_failed_is_not_overruled_by_a_check() -> None:
    attempt = attempted("bad", acts={"bad": raises(ValueError())}, looks={"never": raises(AssertionError())})
    assert attempt.failure is not None
    assert attempt.failure.check == "never"  # it failed before anything was said
    looks = {"later": lambda session: raises(AssertionError())() if session.turns else None}
    attempt = attempted("one", "bad", acts={"one": says("one"), "bad": raises(ValueError())}, looks=looks)
    assert attempt.failure is not None
    assert attempt.failure.check == "later"


def test_what_failed_first_counts_whatever_its_checks_and_teardown_raise() -> None:
    for first in (AssertionError(), Skipped(), SessionError()):
        attempt = attempted("bad", acts={"bad": raises(first)}, ending=raises(ValueError("late")))
        assert attempt.failure is None or attempt.failure.check == "bad"
        assert [attempt.failure, attempt.inapplicable, attempt.ours].count(None) == 2


@pytest.mark.parametrize(
    ("late", "failure", "inapplicable", "ours"),
    [
        (ValueError("late"), True, False, False),
        (Skipped("late"), False, True, False),
        (SessionError(), False, False, True),
    ],
    ids=repr,
)
def test_a_teardown_that_raises_is_judged_like_a_step(
    late: BaseException, failure: bool, inapplicable: bool, ours: bool
) -> None:
    attempt = attempted("one", ending=raises(late))
    assert (bool(attempt.failure), bool(attempt.inapplicable), bool(attempt.ours)) == (failure, inapplicable, ours)
    if attempt.failure is not None:
        assert attempt.failure.check == "teardown"


def test_a_subject_is_ended_once() -> None:
    subject = Scripted(acts={"bad": raises(AssertionError())})
    Attempt(subject=subject).run(plan("bad", "bad"))
    assert subject.ended == 1


def answered(session: Session) -> None:
    assert session.say("hi", agent=UNHEARD).success


def skipped(session: Session) -> None:
    session.say("hi", agent=UNHEARD)
    raise Skipped


@pytest.mark.parametrize("act", [answered, skipped, lambda session: session.say("hi", agent=UNHEARD)])
def test_a_providers_fault_overrides_whatever_the_step_made_of_it(act: Callable[[Session], object]) -> None:
    attempt = attempted("one", "bad", "two", acts={"bad": act})
    assert isinstance(attempt.ours, ProviderError)
    assert "no line" in str(attempt.ours)
    assert (attempt.failure, attempt.inapplicable) == (None, None)
    assert attempt.executed == plan("one", "bad")


def test_built_in_checks_judge_each_turn_of_a_step() -> None:
    def model(messages: Any, tools: Any) -> Any:
        if messages[-1]["role"] == "user" and messages[-1]["content"] == "call":
            return {"tool_calls": [{"name": "nothing", "arguments": {}}]}
        return "fine"

    agent = Agent(provider=Provider(model=model))

    def twice(session: Session) -> None:
        session.say("call", agent=agent)
        session.say("thanks", agent=agent)

    subject = Scripted(acts={"twice": twice})
    attempt = Attempt(subject=subject, builtin_checks=chosen_checks())
    attempt.run(plan("twice"))
    assert attempt.failure is not None
    assert attempt.failure.check == "only_offered_tools"


def bank() -> Any:
    try:
        from mcp.server import MCPServer as Server
    except ImportError:
        from mcp.server.fastmcp import FastMCP as Server
    from mcp.types import ToolAnnotations

    server = Server("bank")

    @server.tool(annotations=ToolAnnotations(readOnlyHint=True))
    def total() -> str:
        return "4499"

    @server.tool()
    def pay() -> str:
        return "paid"

    return server


BANK = Agent(
    name="bank", provider=Provider(model=lambda messages, tools: "hello"), mcp_servers=[MCPServer(factory=bank)]
)


def test_what_a_failing_check_has_seen_is_recorded_and_what_steps_called() -> None:
    def passing(session: Session) -> None:
        if session.turns:
            session.call_tool("total")

    def failing(session: Session) -> None:
        if session.turns:
            assert session.call_tool("total") == 4500

    def pays(session: Session) -> None:
        session.say("hi", agent=BANK)
        session.call_tool("pay")

    attempt = attempted("pays", acts={"pays": pays}, looks={"passing": passing, "failing": failing})
    (record,) = (taken.record for taken in attempt.taken)
    assert [look.call for look in record.looks] == ["total()"]
    assert record.looks[0].said == "4499"
    assert [getattr(happened, "call", "turn") for happened in record.happened] == ["turn", "pay()"]


def test_results_are_handed_on_and_a_step_without_its_results_is_left_out() -> None:
    acts: Mapping[str, Callable[..., Any]] = {
        "make": lambda session: "cart",
        "use": lambda session, cart: got.append(cart),
    }
    got: list[Any] = []
    subject = Scripted(acts=acts)
    cart = Step(rule="make", gives="cart")
    Attempt(subject=subject).run((cart, Step(rule="use", arguments={"cart": Given("cart")})))
    assert got == ["cart"]
    attempt = Attempt(subject=Scripted(acts=acts))
    attempt.run((Step(rule="use", arguments={"cart": Given("cart")}),))
    assert attempt.executed == ()


def test_steps_get_copies_of_their_arguments() -> None:
    step = Step(rule="change", arguments={"items": [1]})
    Attempt(subject=Scripted(acts={"change": lambda session, items: items.append(2)})).run((step,))
    assert step.arguments == {"items": [1]}


ANSWERS = iter(["a", "b"])  # not in a closure, whose values would be a part of the model's key


def test_the_samples_that_a_step_took_are_kept() -> None:
    root, agent = Node(), Agent(provider=Provider(model=lambda messages, tools: next(ANSWERS)))
    for again, sample in ((0, 0), (0, 0), (1, 1)):
        subject = Scripted(acts={"one": says("one")}, session=Session(agent, past=Past(root, replays=True)))
        attempt = Attempt(subject=subject)
        attempt.run(plan("one"), again=again)
        assert attempt.executed[0].samples == (sample,)

"""Plans over the conversation tree: what is replayed, asked anew, confirmed, and whose fault stops the search."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pytest_aitest import Agent, DeclarationError, MCPServer, Provider, ServerError, ServerStartError, Session
from pytest_aitest.checks import Check, chosen_checks
from pytest_aitest.conversation.tree import Event, Node
from pytest_aitest.exploration.allowed import PriceError
from pytest_aitest.exploration.budget import Budget, BudgetSpentError
from pytest_aitest.exploration.runner import ErroredError, TreeRunner
from pytest_aitest.search.runner import Outcome

from .scripted import ECHO, Act, Scripted, plan, raises, says


def runner_of(
    acts: Mapping[str, Act],
    *,
    agent: Agent = ECHO,
    allow: Callable[[Event], None] = lambda event: None,
    budget: Budget | None = None,
    looks: Mapping[str, Callable[[Session], object]] | None = None,
    checks: Sequence[Check] = (),
) -> TreeRunner:
    return TreeRunner(
        subject=lambda past: Scripted(acts=acts, session=Session(agent, past=past), looks=looks or {}),
        rules=[],
        root=Node(),
        budget=budget or Budget(),
        allow=allow,
        offered=lambda connections: None,
        heard=lambda turn: None,
        builtin_checks=checks,
    )


ASKED: list[str] = []  # not in a closure, whose values would be a part of the model's key
TICKETS: list[int] = []


@pytest.fixture(autouse=True)
def anew() -> None:
    ASKED.clear()
    TICKETS.clear()


def numbering(messages: Any, tools: Any) -> str:
    ASKED.append(messages[-1]["content"])
    return f"answer {len(ASKED)}"


COUNTING = Agent(provider=Provider(model=numbering))


def turns(outcome: Outcome) -> tuple[int, int]:
    return outcome.fresh_turns, outcome.replayed_turns


SPEAKING = {"one": says("one"), "two": says("two"), "bad": raises(AssertionError("no"))}


def answer(outcome: Outcome) -> list[str]:
    return [turn.answer for record in outcome.evidence.records for turn in record.turns]


def test_what_is_known_costs_nothing() -> None:
    runner = runner_of(SPEAKING, agent=COUNTING)
    first, again = runner.run(plan("one", "two")), runner.run(plan("one", "two"))
    assert (turns(first), turns(again)) == ((2, 0), (0, 2))
    assert answer(again) == answer(first) == ["answer 1", "answer 2"]
    assert len(ASKED) == 2
    assert (len(runner.fresh), runner.replayed, runner.steps) == (2, 2, 4)


def test_another_sample_is_of_the_last_step_only() -> None:
    runner = runner_of(SPEAKING, agent=COUNTING)
    runner.run(plan("one", "two"))
    again = runner.run(plan("one", "two"), again=1)
    assert turns(again) == (1, 1)
    assert answer(again) == ["answer 1", "answer 3"]
    assert answer(runner.run(plan("one", "two"), again=1)) == ["answer 1", "answer 3"]
    assert answer(runner.run(again.executed)) == ["answer 1", "answer 3"]  # an executed plan knows its samples


def test_confirming_is_fresh_each_time_and_teaches_others_nothing() -> None:
    runner = runner_of(SPEAKING, agent=COUNTING)
    runner.run(plan("one"))
    assert [turns(runner.confirm(plan("one", "one"))) for _ in range(3)] == [(2, 0)] * 3
    assert len(ASKED) == 7
    assert answer(runner.run(plan("one"))) == ["answer 1"]


def test_a_pinned_order_is_live_and_the_tree_learns_from_it() -> None:
    runner = runner_of(SPEAKING, agent=COUNTING)
    assert [turns(runner.run_live(plan("one"))) for _ in range(2)] == [(1, 0)] * 2
    assert turns(runner.run(plan("one"))) == (0, 1)
    assert len(ASKED) == 2


def test_a_failure_is_the_outcomes() -> None:
    outcome = runner_of(SPEAKING).run(plan("one", "bad", "two"))
    assert outcome.failure is not None
    assert outcome.failure.check == "bad"
    assert outcome.executed == plan("one", "bad")


def test_what_is_ours_stops_the_search_and_says_why() -> None:
    runner = runner_of({"bad": raises(DeclarationError("wrong price"))})
    with pytest.raises(ErroredError, match="wrong price") as raised:
        runner.run(plan("bad"))
    assert isinstance(raised.value.__cause__, DeclarationError)


def test_a_providers_fault_stops_the_search() -> None:
    def model(messages: Any, tools: Any) -> str:
        raise ConnectionError("no line")

    runner = runner_of(SPEAKING, agent=Agent(provider=Provider(model=model)))
    with pytest.raises(ErroredError, match="no line"):
        runner.run(plan("one"))


def test_a_server_that_failed_once_is_tried_once_more() -> None:
    faults = [ServerStartError("slow today")]

    def act(session: Session) -> None:
        if faults:
            raise faults.pop()
        session.say("one")

    assert turns(runner_of({"one": act}).run(plan("one"))) == (1, 0)


def test_a_server_that_fails_twice_stops_the_search() -> None:
    tried: list[int] = []

    def act(session: Session) -> None:
        tried.append(1)
        raise ServerError("gone")

    with pytest.raises(ErroredError, match="gone"):
        runner_of({"one": act}).run(plan("one"))
    assert len(tried) == 2


@pytest.mark.parametrize("error", [PriceError("would ask"), BudgetSpentError("spent")], ids=repr)
def test_what_may_not_be_asked_stops_the_search_as_it_is(error: Exception) -> None:
    runner = runner_of(SPEAKING, allow=raises(error))
    with pytest.raises(type(error), match=str(error)):
        runner.run(plan("one"))


def swallowing(session: Session) -> None:
    with suppress(Exception):
        session.say("one")


def disappointed(session: Session) -> None:
    try:
        session.say("one")
    except Exception:  # noqa: BLE001
        raise AssertionError("no answer") from None


@pytest.mark.parametrize("act", [swallowing, disappointed])
def test_what_may_not_be_asked_stops_the_search_even_where_users_swallow_it(act: Act) -> None:
    """Else a plan in which nothing could be said passes, or fails by our own doing."""
    runner = runner_of({"one": act}, allow=raises(PriceError("would ask")))
    with pytest.raises(PriceError):
        runner.run(plan("one"))


def test_a_spent_budget_stops_what_is_new_and_nothing_that_is_known() -> None:
    budget = Budget(seconds=1)
    runner = runner_of(SPEAKING, budget=budget)
    runner.run(plan("one"))
    budget.spent_seconds = 1
    assert turns(runner.run(plan("one"))) == (0, 1)
    with pytest.raises(BudgetSpentError):
        runner.run(plan("one", "two"))


def ticket_office() -> Any:
    """Its every instance knows how many tickets all of them have given: it can't be brought back to a state."""
    try:
        from mcp.server import MCPServer as Server
    except ImportError:
        from mcp.server.fastmcp import FastMCP as Server
    server = Server("office")

    @server.tool()
    def ticket() -> str:
        TICKETS.append(len(TICKETS))
        return f"ticket {len(TICKETS)}"

    return server


def asking(messages: Any, tools: Any) -> Any:
    if messages[-1]["role"] == "user":
        return {"tool_calls": [{"name": "ticket", "arguments": {}}]}
    return messages[-1]["content"]


TICKING = Agent(provider=Provider(model=asking), mcp_servers=[MCPServer(factory=ticket_office)])


def after_two(check: Callable[[Session], object]) -> Mapping[str, Callable[[Session], object]]:
    return {"check": lambda session: check(session) if len(session.turns) == 2 else None}


def test_a_failure_after_a_differing_playback_is_asked_anew_and_counts_if_it_fails_again() -> None:
    runner = runner_of(SPEAKING, agent=TICKING, looks=after_two(raises(AssertionError("always"))))
    runner.run(plan("one"))
    outcome = runner.run(plan("one", "two"))
    assert outcome.failure is not None
    assert turns(outcome) == (1 + 2, 1)
    ((subject, remark),) = runner.remarks.items()
    assert "ticket_office" in subject
    assert "answered ticket() with 'ticket 1', and played back with 'ticket 2'." in remark


def test_a_failure_that_only_a_differing_playback_shows_is_none() -> None:
    def in_a_row(session: Session) -> None:
        first, second = (int(turn.final_response.removeprefix("ticket ")) for turn in session.turns)
        assert second == first + 1

    runner = runner_of(SPEAKING, agent=TICKING, looks=after_two(in_a_row))
    runner.run(plan("one"))
    outcome = runner.run(plan("one", "two"))
    assert outcome.failure is None
    assert turns(outcome) == (3, 1)
    again = runner.run(plan("one", "two"))
    assert again.failure is None
    assert turns(again) == (0, 2)  # not asked anew: it is known


def test_a_server_that_begins_where_another_session_left_it_is_told_of() -> None:
    """No playback shows it: what fails is the first turn."""
    runner = runner_of({"one": says("one"), "other": says("other")}, agent=TICKING)
    assert runner.run(plan("one")).failure is None
    runner.run(plan("other"))
    (remark,) = runner.remarks.values()
    assert (
        "answered ticket(), the first call of a session, with 'ticket 1', and in another with 'ticket 2'. It does "
        "not begin in the same state each time, or answers by chance. MCPServer(reset=...) says how it starts anew; "
        in remark
    )


def test_first_answers_are_compared_only_where_nothing_was_called_before() -> None:
    runner = runner_of({"call": lambda session: session.call_tool("ticket", agent=TICKING), **SPEAKING}, agent=TICKING)
    runner.run(plan("one"))
    runner.run(plan("call", "one"))
    assert runner.remarks == {}


def test_an_agent_that_changes_what_it_closes_over_is_told_of() -> None:
    heard: list[str] = []

    def remembering(messages: Any, tools: Any) -> str:
        heard.append("something")
        return f"answer {len(heard)}"

    runner = runner_of(SPEAKING, agent=Agent(provider=Provider(model=remembering)))
    assert [turns(runner.run(plan("one"))) for _ in range(2)] == [(1, 0), (1, 0)]
    assert list(runner.remarks.values()) == [
        "Answering changes what the agent's callables close over, which makes it another agent each time, so nothing "
        "was replayed."
    ]


def mortal(tmp_path: Path, *, lives: int) -> Agent:
    """Has a server that ends itself when asked, so many times in all."""
    (tmp_path / "server.py").write_text(
        f"""
import os
from pathlib import Path
try:
    from mcp.server import MCPServer as Server
except ImportError:
    from mcp.server.fastmcp import FastMCP as Server

server = Server("mortal")

@server.tool()
def ticket() -> str:
    deaths = Path("deaths")
    died = int(deaths.read_text()) if deaths.exists() else 0
    if died < {lives}:
        deaths.write_text(str(died + 1))
        os._exit(3)
    return "ticket"

server.run()
"""
    )
    server = MCPServer(command=[sys.executable, "server.py"], cwd=os.fspath(tmp_path))
    return Agent(provider=Provider(model=asking), mcp_servers=[server])


def test_a_server_that_dies_is_a_failure_if_it_dies_again(tmp_path: Path) -> None:
    runner = runner_of(SPEAKING, agent=mortal(tmp_path, lives=2), checks=chosen_checks())
    outcome = runner.run(plan("one"))
    assert outcome.failure is not None
    assert outcome.failure.check == "servers_stay_alive"
    assert turns(outcome) == (2, 0)


def test_a_server_that_died_once_is_no_failure_and_told_of(tmp_path: Path) -> None:
    runner = runner_of(SPEAKING, agent=mortal(tmp_path, lives=1), checks=chosen_checks())
    outcome = runner.run(plan("one"))
    assert outcome.failure is None
    assert turns(outcome) == (2, 0)
    (remark,) = runner.all_remarks()
    assert remark.startswith("In 1 conversation: ")
    assert runner.all_remarks(told=[f"AssertionError: {remark.removeprefix('In 1 conversation: ')}"]) == []


def test_a_state_that_outlives_its_server_shows_without_asking_a_model() -> None:
    """What fails is a turn that nobody played back; only the documented one tells."""
    runner = runner_of({"one": says("one"), "look": raises(AssertionError("there are tickets"))}, agent=TICKING)
    runner.run(plan("one"))
    assert runner.run(plan("look")).failure is not None
    assert runner.remarks == {}
    asked = len(runner.fresh)
    runner.check_servers(plan("one"))
    assert len(runner.fresh) == asked
    (remark,) = runner.remarks.values()
    assert "answered ticket() with 'ticket 1', and played back with 'ticket 2'. It does not begin" in remark


def test_what_is_not_all_known_is_not_asked_to_check_servers() -> None:
    runner = runner_of(SPEAKING, agent=TICKING)
    runner.check_servers(plan("one"))
    assert (runner.fresh, runner.remarks, TICKETS) == ([], {}, [])

"""A run's record -> the page."""

import base64
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from itertools import chain
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from pytest_aitest.report.totals import WORDS
from pytest_aitest.values.record import TestRecord, ToolLook
from pytest_aitest.values.run_record import RunRecord
from pytest_aitest.values.transcript import AgentText, ToolCall

from .anchors import Anchors
from .conversations import Conversation, SessionView, sessions
from .explored import explorations
from .findings import Card, cards
from .overview import overview
from .texts import for_one_page, visible
from .variants import grids

_OPEN_UP_TO = 120  # turns that are open at the start; beyond, only sessions with something to see


def render(run: RunRecord) -> str:
    """The whole page."""
    with for_one_page([*_lengths(run)]):
        return _environment().get_template("report.html").render(_seen(run))


def _seen(run: RunRecord) -> dict[str, Any]:
    """The run as the templates see it."""
    anchors = Anchors()
    modules = _by_module(sessions(run.tests, anchors))
    told = [session for group in modules.values() for session in group]
    broken = cards(run, told, anchors)
    found: dict[int, list[tuple[str, str]]] = {}
    for test, card in broken:
        found.setdefault(test, []).append((card.anchor, card.title))
    explored = explorations(run.tests, found, anchors)
    where = _where(told, broken, {id(each.test): each.anchor for each in explored})
    return {
        "run": run,
        "overview": overview(run, where),
        "cards": [card for _, card in broken],
        "tests_of": {card.anchor: test for test, card in broken},
        "exploration_at": {id(each.test): each.anchor for each in explored},
        "sessions": told,
        "modules": modules,
        "opened": _opened(told),
        "grids": grids(told, anchors),
        "explorations": explored,
        "filters": _filters(run.tests, [*told, *(card.steps for _, card in broken if card.steps)]),
        "words": WORDS,
        "policy": _policy(),
        "style": Markup(_asset("report.css")),  # noqa: S704 - ours; not to be escaped in style and script
        "script": Markup(_asset("report.js")),  # noqa: S704
    }


def _lengths(run: RunRecord) -> Iterator[int]:
    """How long the texts are that may be long."""
    for test in run.tests:
        yield len(test.details)
        found = (step for finding in (test.exploration.findings if test.exploration else ()) for step in finding.steps)
        for step in chain(test.steps, found):
            for happened in chain(step.happened, step.looks):
                if isinstance(happened, ToolLook):
                    yield len(happened.said)
                else:
                    yield len(happened.user)
                    yield from map(_length, happened.said)


def _length(said: AgentText | ToolCall) -> int:
    return len(said.text) if isinstance(said, AgentText) else len(said.result or said.error or "")


def _by_module(told: list[SessionView]) -> dict[str, list[SessionView]]:
    modules: dict[str, list[SessionView]] = {}
    for session in told:
        modules.setdefault(session.module, []).append(session)
    return modules


def _where(told: list[SessionView], broken: list[tuple[int, Card]], explored: dict[int, str]) -> dict[int, str]:
    """Where each test is shown: where it broke, else where it was tried, else where it was said."""
    in_sessions = {id(test): session.anchor for session in told for test in session.tests}
    first_cards = {test: card.anchor for test, card in reversed(broken)}
    return {**in_sessions, **explored, **first_cards}


def _opened(told: list[SessionView]) -> set[str]:
    """Sessions that are unfolded at the start."""
    left = _OPEN_UP_TO
    opened = set()
    for session in sorted(told, key=lambda session: session.outcome not in ("failed", "error", "noted")):
        left -= max(session.turns, 1)
        if left >= 0:
            opened.add(session.anchor)
    return opened


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    return environment


def _shown(value: Any) -> Any:
    """What stands in the page for a value; this is where no text of others gets past."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _breakable(name: str) -> Markup:
    """A name whose line may end between its words, as `test_` and `balance`."""
    return Markup("<wbr>").join(re.split(r"(?<=[_/])|(?<=::)|(?=\[)", visible(name)))


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy() -> str:
    """What a browser may do with the page: show it."""
    style, script = (_digest(_asset(name)) for name in ("report.css", "report.js"))
    return (
        f"default-src 'none'; style-src '{style}'; script-src '{script}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _filters(tests: tuple[TestRecord, ...], conversations: list[Conversation]) -> dict[str, list[str]]:
    """What can be chosen: outcomes, agents, servers."""
    found = {test.outcome for test in tests}
    return {
        "outcomes": [outcome for outcome in WORDS if outcome in found],
        "agents": list(dict.fromkeys(agent for each in conversations for agent in each.agents)),
        "servers": list(dict.fromkeys(server for each in conversations for server in each.servers)),
    }

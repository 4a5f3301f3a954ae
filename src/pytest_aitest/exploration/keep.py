"""Failing plans kept for later: as code to paste, and in the user's Hypothesis example database.

Arguments are kept as literals, never pickled; a plan with an argument that has no literal form is not kept.
"""

import ast
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hypothesis.database import ExampleDatabase

from pytest_aitest.search.plan import Given, LeftOut, Plan, Step

_LONGEST_NAME = 70
_TIMES = {1: "", 2: "_twice"}


def without_literal(plan: Plan) -> str:
    """Which argument can't be written down, as `add(item=<Item shoes>)`; empty where all can."""
    return next((step.code for step in plan if not all(map(_is_literal, step.arguments.values()))), "")


def method_text(plan: Plan, *, check: str) -> str:
    """A pinned method that takes the steps of `plan`, to stand in a class."""
    lines = ["    @pinned", f"    def {_method_name(plan, check=check)}(self):"]
    lines += [f"        {'' if step.gives is None else f'{step.gives} = '}self.{step.code}" for step in plan]
    return "\n".join(lines)


def _method_name(plan: Plan, *, check: str) -> str:
    # Without what would make it a test of a session class: it says an order, and takes no turn.
    check = check.removeprefix("test_")
    rules = [step.rule.removeprefix("test_") for step in plan]
    groups = [(rule, len(list(same))) for rule, same in itertools.groupby(rules)]
    steps = "_and_".join(rule + _TIMES.get(count, f"_{count}_times") for rule, count in groups)
    name = f"{check}_after_{steps}"
    return name if len(name) <= _LONGEST_NAME else f"{check}_after_{len(plan)}_steps"


class KeptFailures:
    """The plans that failed in earlier explorations of one test."""

    def __init__(self, database: ExampleDatabase | None, *, test: str) -> None:
        self._database = database
        self._key = f"pytest-aitest {test}".encode()

    def plans(self, rules: Mapping[str, Sequence[str]]) -> Iterator[Plan]:
        """Those that can still be tried, with `rules` and their arguments; the others are forgotten."""
        for value in sorted(self._fetched()):
            plan = _read(value)
            if plan is not None and all(
                step.rule in rules and list(step.arguments) == list(rules[step.rule]) for step in plan
            ):
                yield plan
            elif self._database is not None:
                self._database.delete(self._key, value)

    def save(self, plan: Plan) -> None:
        """Keep one more."""
        if self._database is not None and not without_literal(plan):
            self._database.save(self._key, _written(plan))

    def forget(self, plan: Plan) -> None:
        """It does not fail any more."""
        if self._database is not None:
            self._database.delete(self._key, _written(plan))

    def _fetched(self) -> Sequence[bytes]:
        return [] if self._database is None else list(self._database.fetch(self._key))


def _written(plan: Plan) -> bytes:
    return json.dumps(
        [
            {
                "rule": step.rule,
                "gives": step.gives,
                "arguments": {name: _argument(value) for name, value in step.arguments.items()},
            }
            for step in plan
        ]
    ).encode()


def _argument(value: Any) -> dict[str, str]:
    match value:
        case Given(name, None):
            return {"given": name}
        case LeftOut():
            return {}
    return {"literal": repr(value)}


def _value(argument: Mapping[str, str]) -> Any:
    if "given" in argument:
        return Given(argument["given"])
    return ast.literal_eval(argument["literal"]) if "literal" in argument else LeftOut()


def _read(value: bytes) -> Plan | None:
    try:
        steps = [
            Step(
                rule=str(step["rule"]),
                gives=step["gives"],
                arguments={name: _value(argument) for name, argument in step["arguments"].items()},
            )
            for step in json.loads(value)
        ]
    except Exception:  # noqa: BLE001 - whatever it is, it was not written here
        return None
    return tuple(steps) or None


def _is_literal(value: Any) -> bool:
    if isinstance(value, Given | LeftOut):
        return not isinstance(value, Given) or value.item is None  # a pinned method can't pick one of several
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False

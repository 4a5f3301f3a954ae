"""Failing plans kept for later: as code to paste, and in the user's Hypothesis example database.

Arguments are kept as literals, never pickled; a plan with an argument that has no literal form is not kept.
"""

import ast
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis.database import ExampleDatabase

from pytest_aitest.search.plan import Given, LeftOut, Plan, Step

_LONGEST_NAME = 70
RUNS_TO_FORGET = 5
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
    """The plans that failed in earlier explorations of one test, with its model.

    One that has passed is not forgotten at once: what fails now and then passes now and then.
    """

    def __init__(self, database: ExampleDatabase | None, *, test: str, model: str = "") -> None:
        self._database = database
        self._key = f"pytest-aitest {test} {model}".encode()
        self.unfit: list[Plan] = []  # those that can't be tried with the rules as they are

    def plans(self, rules: Mapping[str, Sequence[str]]) -> list[Plan]:
        """Those that can be tried, with `rules` and their arguments."""
        fit: list[Plan] = []
        for value, kept in self._fetched():
            if all(step.rule in rules and list(step.arguments) == list(rules[step.rule]) for step in kept.plan):
                fit.append(kept.plan)
            else:
                self.unfit.append(kept.plan)
                self._count(value, kept)
        return fit

    def save(self, plan: Plan) -> None:
        """Keep one more, or from now on again."""
        if self._database is not None and not without_literal(plan):
            self._drop(plan)
            self._database.save(self._key, _written(_Kept(plan=plan)))

    def passed(self, plan: Plan) -> None:
        """It did not fail in this run; after so many such runs it is forgotten."""
        for value, kept in self._fetched():
            if kept.plan == plan:
                self._count(value, kept)

    def _count(self, value: bytes, kept: "_Kept") -> None:
        assert self._database is not None
        self._database.delete(self._key, value)
        if kept.passed + 1 < RUNS_TO_FORGET:
            self._database.save(self._key, _written(replace(kept, passed=kept.passed + 1)))

    def _drop(self, plan: Plan) -> None:
        for value, kept in self._fetched():
            if self._database is not None and kept.plan == plan:
                self._database.delete(self._key, value)

    def _fetched(self) -> list[tuple[bytes, "_Kept"]]:
        """All that can be read; what can't was not written here, and is deleted."""
        read = []
        for value in sorted(self._database.fetch(self._key)) if self._database is not None else ():
            kept = _read(value)
            if kept is not None:
                read.append((value, kept))
            elif self._database is not None:
                self._database.delete(self._key, value)
        return read


@dataclass(frozen=True, kw_only=True)
class _Kept:
    plan: Plan
    passed: int = 0  # runs since it failed


def _written(kept: _Kept) -> bytes:
    steps = [
        {
            "rule": step.rule,
            "gives": step.gives,
            "arguments": {name: _argument(value) for name, value in step.arguments.items()},
        }
        for step in kept.plan
    ]
    return json.dumps({"steps": steps, "passed": kept.passed}).encode()


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


def _read(value: bytes) -> _Kept | None:
    try:
        written = json.loads(value)
        steps = tuple(
            Step(
                rule=str(step["rule"]),
                gives=step["gives"],
                arguments={name: _value(argument) for name, argument in step["arguments"].items()},
            )
            for step in written["steps"]
        )
        return _Kept(plan=steps, passed=int(written["passed"])) if steps else None
    except Exception:  # noqa: BLE001 - whatever it is, it was not written here
        return None


def _is_literal(value: Any) -> bool:
    if isinstance(value, Given | LeftOut):
        return not isinstance(value, Given) or value.item is None  # a pinned method can't pick one of several
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False

"""How one order of steps differs from another. Knows steps by their code only, and runs none of it."""

import ast
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_aitest.values.record import PinnedOrder


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a comparison."""

    mark: str  # "-": only in the pinned order, "+": only in the other, " ": in both
    code: str
    remark: str = ""  # "pinned with 200"


@dataclass(frozen=True, kw_only=True)
class _Step:
    """The code of a step, taken apart."""

    code: str
    rule: str
    arguments: Mapping[str, str]  # under "" what could not be told apart


_Pair = tuple[_Step | None, _Step | None]


def nearest(orders: Iterable[PinnedOrder], steps: Sequence[str]) -> PinnedOrder | None:
    """The order that shares most with `steps`; of equally near ones one that passes."""
    return min(orders, key=lambda order: (*_distance(_aligned(order.steps, steps)), not order.passes), default=None)


def against(order: PinnedOrder, steps: Sequence[str]) -> Iterator[Line]:
    """What became of a pinned order in `steps`, line by line."""
    for pinned, step in _aligned(order.steps, steps):
        if step is not None:
            yield Line(mark="+" if pinned is None else " ", code=step.code, remark=_remark(pinned, step))
        elif pinned is not None:
            yield Line(mark="-", code=pinned.code)


def rules(steps: Sequence[str]) -> list[str]:
    """The rule of each step."""
    return [_parsed(step)[1] for step in steps]


def _distance(pairs: Sequence[_Pair]) -> tuple[int, int]:
    """How many steps stand alone, and how many have other arguments than their counterpart."""
    alone = sum(None in pair for pair in pairs)
    others = sum(bool(step and _remark(pinned, step)) for pinned, step in pairs)
    return alone, others


def _remark(pinned: _Step | None, step: _Step) -> str:
    if pinned is None or pinned.arguments == step.arguments:
        return ""
    if "" in step.arguments or pinned.arguments.keys() != step.arguments.keys():
        return f"pinned as {pinned.code}"
    differing = {name: value for name, value in pinned.arguments.items() if value != step.arguments[name]}
    if len(step.arguments) == 1:
        return f"pinned with {next(iter(differing.values()))}"
    return f"pinned with {', '.join(f'{name}={value}' for name, value in differing.items())}"


def _aligned(order: Sequence[str], steps: Sequence[str]) -> list[_Pair]:
    """Both orders side by side: as many equal rules as can be, and of these as many with equal arguments."""
    left, right = list(_read(order)), list(_read(steps))
    worth = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in reversed(range(len(left))):
        for j in reversed(range(len(right))):
            together = _likeness(left[i], right[j], len(right)) + worth[i + 1][j + 1]
            worth[i][j] = max(together, worth[i + 1][j], worth[i][j + 1])
    pairs: list[_Pair] = []
    i = j = 0
    while i < len(left) and j < len(right):
        likeness = _likeness(left[i], right[j], len(right))
        if likeness and worth[i][j] == likeness + worth[i + 1][j + 1]:
            pairs.append((left[i], right[j]))
            i, j = i + 1, j + 1
        elif worth[i][j] == worth[i + 1][j]:
            pairs.append((left[i], None))
            i += 1
        else:
            pairs.append((None, right[j]))
            j += 1
    return [*pairs, *((step, None) for step in left[i:]), *((None, step) for step in right[j:])]


def _likeness(one: _Step, other: _Step, steps: int) -> int:
    """Nothing for different rules; equal arguments of all steps together count for less than one more equal rule."""
    return 0 if one.rule != other.rule else steps + 1 + (one.arguments == other.arguments)


def _read(codes: Sequence[str]) -> Iterator[_Step]:
    """Steps taken apart; a result that is handed on is named by where it came from, as its variable may be any."""
    results: dict[str, str] = {}
    given: dict[str, int] = {}
    for code in codes:
        variable, rule, arguments = _parsed(code)
        yield _Step(code=code, rule=rule, arguments={name: results.get(text, text) for name, text in arguments.items()})
        if variable:
            given[rule] = given.get(rule, 0) + 1
            results[variable] = f"result {given[rule]} of {rule}"


def _parsed(code: str) -> tuple[str, str, dict[str, str]]:
    """The variable that a step gives, its rule, its arguments as code."""
    try:
        with warnings.catch_warnings():  # the repr of a user's value may look like doubtful code
            warnings.simplefilter("ignore")
            statements = ast.parse(code).body
        match statements:
            case [ast.Expr(value=ast.Call() as call)]:
                return "", ast.unparse(call.func), _arguments(call)
            case [ast.Assign(targets=[ast.Name(id=variable)], value=ast.Call() as call)]:
                return variable, ast.unparse(call.func), _arguments(call)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass  # the repr of a value need not be code, nor be of a size that can be read
    head, _, rest = code.partition("(")
    variable, _, rule = head.rpartition("=")
    return variable.strip(), rule.strip(), {"": rest}


def _arguments(call: ast.Call) -> dict[str, str]:
    named = {keyword.arg or "": ast.unparse(keyword.value) for keyword in call.keywords}
    return named | {"": ", ".join(map(ast.unparse, call.args))} if call.args else named

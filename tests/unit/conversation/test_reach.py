"""What a callable refers to: its globals, what it holds, what those refer to; and where that ends."""

import functools
import itertools
import json
import os.path
import random
import sys
import textwrap
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from random import choice
from random import random as drawn
from typing import Any

import pytest

from pytest_aitest.conversation.reach import draws_lots, is_foreign, reached, references
from pytest_aitest.values.agent import Agent

LIMIT = 200
TABLE = {"handler": lambda: LIMIT}
OWN = random.Random(5)


def limit() -> int:
    return LIMIT


def even(number: int) -> bool:
    return number == 0 or odd(number - 1)


def odd(number: int) -> bool:
    return number != 0 and even(number - 1)


def endless() -> Any:
    return endless()


def lot() -> float:
    return random.random()


class Bank:
    fee = limit

    def __init__(self, rule: Callable[[], Any] = endless) -> None:
        self.rule = rule

    def __call__(self) -> Any:
        return self.help()

    def help(self) -> Any:
        return odd(3)

    @staticmethod
    def law() -> Any:
        return lot()

    @property
    def total(self) -> float:
        return drawn()


class Slotted:
    __slots__ = ("rule",)

    def __init__(self, rule: Any) -> None:
        self.rule = rule


class Branch(Bank):
    pass


def decorated() -> Any:
    @functools.wraps(limit)
    def wrapper() -> Any:
        return limit()

    return wrapper


def holds(function: object, *wanted: object) -> bool:
    found = list(reached(function))
    return all(any(each is one for each in found) for one in wanted)


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (limit, [limit, LIMIT]),
        (lambda: limit(), [limit, LIMIT]),
        (lambda: [limit() for _ in "ab"], [limit]),
        (lambda: lambda: limit(), [limit]),
        (lambda rule=limit: rule(), [limit]),
        (lambda *, rule=limit: rule(), [limit]),
        (functools.partial(print, limit, key=odd), [print, limit, odd, even]),
        (functools.lru_cache(limit), [limit, LIMIT]),
        (decorated(), [limit, LIMIT]),
        (even, [even, odd]),
        (endless, [endless]),
        (TABLE, [LIMIT]),
        (lambda: TABLE["handler"](), [LIMIT]),
        (lambda: Bank(), [Bank, Bank.help, odd, even, lot, limit]),
        (Bank(), [Bank, Bank.__call__, odd, endless]),
        (Bank(limit).help, [Bank, odd, lot, limit]),
        (Branch, [Branch, Bank, odd]),
        (Slotted(limit), [limit]),
        (lambda: json.dumps({}), [json.dumps]),
        (lambda: os.path.normpath("a"), [os.path.normpath]),
        (lambda: sys, [sys]),
    ],
)
def test_what_it_uses_or_holds_is_reached(function: object, wanted: list[object]) -> None:
    assert holds(function, function, *wanted)


def test_what_it_closes_over_is_reached() -> None:
    def rule() -> Any:
        return odd(1)

    def later() -> Any:
        return unset  # noqa: F821

    assert holds(lambda: rule(), rule, odd, even)
    assert holds(later, later)
    del later

    unset = 1
    del unset


def test_what_is_only_called_alike_is_not_reached() -> None:
    def speak(limit: Any) -> Any:
        return limit.endless

    assert not holds(speak, limit)
    assert not holds(speak, endless)


def test_a_thing_is_reached_once() -> None:
    found = [id(value) for value in reached(lambda: (Bank(), even(1), even(2), [Bank, odd]))]
    assert len(found) == len(set(found))


def test_globals_are_reached_by_name() -> None:
    assert (LIMIT, __name__, "LIMIT") in [(each.value, each.module, each.name) for each in references(Bank())]


def test_what_others_wrote_is_reached_and_not_walked_into() -> None:
    assert not holds(lambda: json.dumps({}), json.JSONEncoder)
    assert not holds(lambda: Agent, Agent.model_post_init)
    assert all(map(is_foreign, (json, json.dumps, Agent, pytest, pytest.fixture, sys)))
    assert not any(map(is_foreign, (limit, Bank, sys.modules[__name__])))


def test_what_a_user_gives_to_a_decorator_of_others_is_reached() -> None:
    assert holds(functools.singledispatch(limit), limit, LIMIT)


def test_modules_of_the_users_own_are_reached_by_what_is_used_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rules_of_ours.py").write_text(
        "import random\nFEE = 3\ndef fee(): return FEE\ndef lot(): return random"
    )
    source = """
        def used():
            import rules_of_ours
            return rules_of_ours.fee()

        def taken():
            from rules_of_ours import fee as price
            return [price() for _ in 'ab']

        def whole():
            import rules_of_ours as rules
            return list(rules)

        def broken():
            import there_is_no_such_module
            return there_is_no_such_module.x
    """
    monkeypatch.syspath_prepend(tmp_path)
    ours: dict[str, Any] = {"__name__": "ours"}
    exec(textwrap.dedent(source), ours)
    names = {name: {getattr(value, "__name__", value) for value in reached(ours[name])} for name in list(ours)[2:]}
    assert names == {
        "used": {"used", "fee", 3},
        "taken": {"taken", "fee", 3},
        "whole": {"whole", "rules_of_ours", "fee", 3, "lot", "random"},
        "broken": {"broken"},
    }
    del sys.modules["rules_of_ours"]


def test_it_ends_whatever_holds_whatever() -> None:
    knot: list[Any] = []
    knot.append({"knot": knot, "all": range(10**9)})
    assert len(list(reached(lambda: knot))) < 20
    assert len(list(reached([object() for _ in range(20_000)]))) == 10_000


def local_lot() -> Any:
    import random as lots

    return lots.choice("ab")


def local_name() -> Any:
    from random import shuffle

    def inner() -> Any:
        return shuffle([])

    return inner


def handed_on(use: Callable[[types.ModuleType], Any] = print) -> Any:
    import random

    return use(random)


@pytest.mark.parametrize(
    "function",
    [
        lot,
        lambda: drawn(),
        choice,
        random.shuffle,
        functools.partial(drawn),
        lambda: [lot() for _ in "ab"],
        lambda: random,
        local_lot,
        local_name,
        handed_on,
        Bank,
        Bank(),
        Bank().help,
        functools.cache(lot),
        lambda rule=drawn: rule(),
    ],
)
def test_what_draws_from_the_randomness_of_all_is_found(function: object) -> None:
    assert draws_lots(function)


@pytest.mark.parametrize(
    "function",
    [
        limit,
        even,
        endless,
        lambda: OWN.random(),
        OWN.random,
        lambda: random.Random(5).random(),
        random.Random,
        lambda: itertools.count(),
        json.dumps,
        print,
        "a text",
    ],
)
def test_what_draws_from_its_own_or_not_at_all_is_none(function: object) -> None:
    assert not draws_lots(function)


def test_the_randomness_of_numpy_counts_where_it_is_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    class Generator:
        def rand(self) -> float:
            return 0.5

    numpy = types.ModuleType("numpy")
    lots = types.ModuleType("numpy.random")
    numpy.__file__ = lots.__file__ = "/venv/site-packages/numpy/__init__.py"
    shared = Generator()
    names = {
        "_rand": shared,
        "rand": shared.rand,
        "Generator": Generator,
        "mtrand": types.SimpleNamespace(_rand=shared),
    }
    vars(lots).update(names)
    vars(numpy)["random"] = lots
    monkeypatch.setitem(sys.modules, "numpy", numpy)
    monkeypatch.setitem(sys.modules, "numpy.random", lots)
    np: Any = numpy
    ours: dict[str, Any] = {"np": np, "rand": lots.rand}
    for source in ("lambda: np.random.rand()", "lambda: rand()", "lambda: np.random"):
        assert draws_lots(eval(source, ours))
    assert not draws_lots(eval("lambda: np.random.Generator().rand()", ours))


def test_numbers_of_things_do_not_grow_by_walking_them_twice() -> None:
    counts: Iterable[int] = (len(list(reached(Bank()))) for _ in range(2))
    first, second = counts
    assert first == second


def test_names_that_are_used_side_by_side_are_all_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    rules: Any = types.ModuleType("rules_of_a_user")
    exec("def fee(): return 1\ndef rate(): return 2", vars(rules))
    monkeypatch.setitem(sys.modules, "rules_of_a_user", rules)

    def together(prices: Any) -> Any:
        from rules_of_a_user import fee, rate  # type: ignore[import-not-found, unused-ignore]

        return prices(prices, fee, rate)

    def at_once() -> Any:
        import rules_of_a_user as ours; return ours.fee()  # noqa: E702, I001  # fmt: skip

    assert holds(together, rules.fee, rules.rate)
    assert holds(at_once, rules.fee)

"""Planted defects: agents that break in a known way, with the shortest conversation that shows it.

Half are written by hand, half drawn from a seed. A defect is a predicate over what was done so far; it knows no runner,
so the same ones are met by a simulated agent and by real sessions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from pytest_aitest.search.plan import Plan, Step

Event = tuple[str, Mapping[str, Any]]
History = Sequence[Event]


@dataclass(frozen=True, kw_only=True)
class Argument:
    """A strategy, and what is needed to check the search without it: some or all of its values, simplest first."""

    strategy: SearchStrategy[Any]
    values: Sequence[Any]
    order: Callable[[Any], Any] | None = None  # how simple a value is; None: its place in `values`


def whole(low: int, high: int) -> Argument:
    return Argument(strategy=st.integers(low, high), values=range(low, high + 1))


def text(most: int = 60) -> Argument:
    return Argument(strategy=st.text(max_size=most), values=["0" * size for size in range(most + 1)], order=len)


def one_of(*values: Any) -> Argument:
    return Argument(strategy=st.sampled_from(values), values=values)


def flag() -> Argument:
    return Argument(strategy=st.booleans(), values=(False, True))


Machine = Mapping[str, Mapping[str, Argument]]


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """A predicate, and what it speaks of: the rules that matter, each with the arguments that decide."""

    shows: Callable[[History], bool]  # whether the last event of a history goes wrong
    decides: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Defect:
    """An agent that is wrong after some histories and right after all others."""

    name: str
    machine: Machine
    documented: Plan
    wrong: Wrong

    def shows(self, history: History) -> bool:
        return self.wrong.shows(history)

    @cached_property
    def shortest(self) -> int:
        """The length of the shortest history that shows it; all shorter ones were tried."""
        others = [rule for rule in self.machine if rule not in self.wrong.decides][:1]  # one stands for all
        events = [event for rule in (*self.wrong.decides, *others) for event in self._candidates(rule)]
        for length in range(1, 13):
            if any(self.shows(history) for history in product(events, repeat=length)):
                return length
        raise AssertionError(f"{self.name} never shows")

    def has_minimal_arguments(self, history: History) -> bool:
        """Whether each value is documented, or simplest, or the simplest with which the history still shows it."""
        return all(
            self._is_minimal(history, index, name) for index, (_, arguments) in enumerate(history) for name in arguments
        )

    def _is_minimal(self, history: History, index: int, name: str) -> bool:
        rule, arguments = history[index]
        argument = self.machine[rule][name]
        order = argument.order or argument.values.index
        documented = [step.arguments[name] for step in self.documented if step.rule == rule]
        if arguments[name] in documented:
            return True
        below = (value for value in argument.values if order(value) < order(arguments[name]))
        return not any(self.shows(changed(history, index, name, value)) for value in (*documented, *below))

    def _candidates(self, rule: str) -> Iterator[Event]:
        simplest = {name: argument.values[0] for name, argument in self.machine[rule].items()}
        usual = next((step.arguments for step in self.documented if step.rule == rule), simplest)
        for arguments in ({}, *self.wrong.decides.get(rule, ())):
            yield rule, {**usual, **arguments}


def changed(history: History, index: int, name: str, value: Any) -> list[Event]:
    rule, arguments = history[index]
    return [*history[:index], (rule, {**arguments, name: value}), *history[index + 1 :]]


# What can be wrong


def order(*rules: str) -> Wrong:
    """The last of `rules`, once the others have run in this order."""

    def shows(history: History) -> bool:
        names = iter([rule for rule, _ in history[:-1]])
        return history[-1][0] == rules[-1] and all(rule in names for rule in rules[:-1])

    return Wrong(shows=shows, decides=dict.fromkeys(rules, ()))


def lacks(rule: str, *before: str) -> Wrong:
    """`rule` where one of `before` never ran; with none, where it is the first."""

    def shows(history: History) -> bool:
        earlier = {name for name, _ in history[:-1]}
        return history[-1][0] == rule and (not earlier.issuperset(before) if before else not earlier)

    return Wrong(shows=shows, decides=dict.fromkeys((rule, *before), ()))


def repeated(rule: str, times: int) -> Wrong:
    def shows(history: History) -> bool:
        return history[-1][0] == rule and sum(name == rule for name, _ in history) >= times

    return Wrong(shows=shows, decides={rule: ()})


def adjacent(*rules: str) -> Wrong:
    def shows(history: History) -> bool:
        return tuple(name for name, _ in history[-len(rules) :]) == rules

    return Wrong(shows=shows, decides=dict.fromkeys(rules, ()))


def distant(first: str, last: str, turns: int) -> Wrong:
    """`last`, at least so many turns after some `first`."""

    def shows(history: History) -> bool:
        return history[-1][0] == last and any(name == first for name, _ in history[: max(0, len(history) - turns)])

    return Wrong(shows=shows, decides={first: (), last: ()})


def late(turns: int, rule: str | None = None) -> Wrong:
    """Anything, or only `rule`, once so many turns were taken."""
    return Wrong(
        shows=lambda history: len(history) > turns and rule in (None, history[-1][0]),
        decides={} if rule is None else {rule: ()},
    )


def unless(first: str, last: str, between: str) -> Wrong:
    """`last` after `first`, if `between` has not run since."""

    def shows(history: History) -> bool:
        state = next((name for name, _ in reversed(history[:-1]) if name in (first, between)), None)
        return history[-1][0] == last and state == first

    return Wrong(shows=shows, decides={first: (), last: (), between: ()})


def above(rule: str, name: str, limit: int, *before: str, times: int = 1) -> Wrong:
    """An argument (or the length of a text) over a limit, so many times, once `before` have run in this order."""

    def is_above(event: Event) -> bool:
        return event[0] == rule and measured(event[1][name]) > limit

    def shows(history: History) -> bool:
        names = iter([name for name, _ in history[:-1]])
        return (
            is_above(history[-1])
            and sum(map(is_above, history)) >= times
            and all(earlier in names for earlier in before)
        )

    over = {name: limit + 1}, {name: "0" * (limit + 1)}
    return Wrong(shows=shows, decides={**dict.fromkeys(before, ()), rule: over})


def sums(rule: str, name: str, limit: int) -> Wrong:
    """One argument, added up over the conversation, over a limit."""

    def shows(history: History) -> bool:
        return history[-1][0] == rule and sum(arguments[name] for other, arguments in history if other == rule) > limit

    return Wrong(shows=shows, decides={rule: tuple({name: limit // parts + 1} for parts in (1, 2, 3, 4))})


def same_again(rule: str) -> Wrong:
    """The same thing asked twice."""
    return Wrong(shows=lambda history: history[-1][0] == rule and history[-1] in history[:-1], decides={rule: ()})


def otherwise_again(rule: str, name: str, *values: Any) -> Wrong:
    """One thing asked with another value than the last time."""

    def shows(history: History) -> bool:
        said = [arguments[name] for other, arguments in history if other == rule]
        return history[-1][0] == rule and len(said) > 1 and said[-1] != said[-2]

    return Wrong(shows=shows, decides={rule: tuple({name: value} for value in values)})


def when(rule: str, wanted: Mapping[str, Any], *before: str) -> Wrong:
    """A rule with certain values, once `before` have run in this order."""

    def shows(history: History) -> bool:
        names = iter([name for name, _ in history[:-1]])
        is_wanted = history[-1][0] == rule and wanted.items() <= history[-1][1].items()
        return is_wanted and all(earlier in names for earlier in before)

    return Wrong(shows=shows, decides={**dict.fromkeys(before, ()), rule: (wanted,)})


def after_value(first: str, wanted: Mapping[str, Any], last: str) -> Wrong:
    """`last`, once `first` ran with certain values."""

    def shows(history: History) -> bool:
        return history[-1][0] == last and any(
            name == first and wanted.items() <= arguments.items() for name, arguments in history[:-1]
        )

    return Wrong(shows=shows, decides={first: (wanted,), last: ()})


def not_ascii(rule: str, name: str) -> Wrong:
    return Wrong(
        shows=lambda history: history[-1][0] == rule and not history[-1][1][name].isascii(),
        decides={rule: ({name: "\u00df"},)},
    )


def measured(value: Any) -> int:
    return len(value) if isinstance(value, str) else value


# The machines of the fixed half


def step(rule: str, **arguments: Any) -> Step:
    return Step(rule=rule, arguments=arguments)


BANK: Machine = {
    "ask_balance": {"account": one_of("checking", "savings")},
    "transfer": {"amount": whole(1, 2_000)},
    "deposit": {"amount": whole(1, 5_000)},
    "list_transactions": {},
    "freeze_card": {},
    "unfreeze_card": {},
}
BANK_ORDER = (
    step("ask_balance", account="checking"),
    step("transfer", amount=200),
    step("ask_balance", account="savings"),
    step("list_transactions"),
)
SHOP: Machine = {
    "search": {"query": text(), "only_in_stock": flag()},
    "add": {"item": one_of("shoes", "hat", "gift card", "socks"), "count": whole(1, 20)},
    "remove": {"item": one_of("shoes", "hat", "gift card", "socks")},
    "show_cart": {},
    "apply_coupon": {"code": one_of("WELCOME", "SUMMER", "EXPIRED")},
    "set_address": {"street": text()},
    "checkout": {"express": flag()},
    "cancel": {},
}
SHOP_ORDER = (
    step("search", query="running shoes", only_in_stock=False),
    step("add", item="shoes", count=1),
    step("show_cart"),
    step("set_address", street="12 High Street"),
    step("checkout", express=False),
)
TRAVEL: Machine = {
    "find_flight": {"to": one_of("LHR", "JFK", "NRT"), "passengers": whole(1, 9)},
    "hold": {},
    "choose_seat": {"row": whole(1, 60)},
    "pay": {"by_points": flag()},
    "change_date": {"days": whole(1, 30)},
}
TRAVEL_ORDER = (
    step("find_flight", to="LHR", passengers=1),
    step("hold"),
    step("choose_seat", row=12),
    step("pay", by_points=False),
)
HELPDESK: Machine = {
    "open_ticket": {"subject": text(), "urgent": flag()},
    "add_note": {"note": text()},
    "status": {},
    "escalate": {},
    "close": {},
    "reopen": {},
    "assign": {"hours": whole(1, 48)},
}
HELPDESK_ORDER = (
    step("open_ticket", subject="printer", urgent=False),
    step("status"),
    step("add_note", note="it is on fire"),
    step("escalate"),
    step("status"),
    step("close"),
)

_BY_HAND: Sequence[tuple[str, Machine, Plan, Wrong]] = (
    ("second transfer is not booked", BANK, BANK_ORDER, repeated("transfer", 2)),
    ("transfer before the balance is known", BANK, BANK_ORDER, lacks("transfer", "ask_balance")),
    ("transfer over the limit", BANK, BANK_ORDER, above("transfer", "amount", 1_000)),
    ("overdraft over several transfers", BANK, BANK_ORDER, sums("transfer", "amount", 1_500)),
    ("large deposit after a freeze", BANK, BANK_ORDER, above("deposit", "amount", 1_234, "freeze_card")),
    ("card stays frozen", BANK, BANK_ORDER, order("freeze_card", "unfreeze_card", "transfer")),
    ("transfer from a frozen card", BANK, BANK_ORDER, unless("freeze_card", "transfer", "unfreeze_card")),
    ("forgets the deposit after a while", BANK, BANK_ORDER, distant("deposit", "ask_balance", 5)),
    ("same item twice", SHOP, SHOP_ORDER, same_again("add")),
    ("gift card needs no address", SHOP, SHOP_ORDER, when("add", {"item": "gift card"})),
    ("expired coupon is honoured", SHOP, SHOP_ORDER, when("apply_coupon", {"code": "EXPIRED"}, "add")),
    ("express after a coupon", SHOP, SHOP_ORDER, when("checkout", {"express": True}, "apply_coupon")),
    ("cart survives a cancel", SHOP, SHOP_ORDER, adjacent("cancel", "show_cart")),
    ("address with an accent", SHOP, SHOP_ORDER, not_ascii("set_address", "street")),
    ("removes what was never added", SHOP, SHOP_ORDER, lacks("remove", "add")),
    ("coupon, removal, checkout", SHOP, SHOP_ORDER, order("apply_coupon", "remove", "checkout")),
    ("large order, twice", SHOP, SHOP_ORDER, above("add", "count", 10, times=2)),
    ("long query", SHOP, SHOP_ORDER, above("search", "query", 30)),
    ("points do not pay a changed flight", TRAVEL, TRAVEL_ORDER, when("pay", {"by_points": True}, "change_date")),
    ("two changes in a row", TRAVEL, TRAVEL_ORDER, adjacent("change_date", "change_date")),
    ("another destination", TRAVEL, TRAVEL_ORDER, otherwise_again("find_flight", "to", "JFK")),
    ("hold as the first thing", TRAVEL, TRAVEL_ORDER, lacks("hold")),
    (
        "seat after a group was found",
        TRAVEL,
        TRAVEL_ORDER,
        after_value("find_flight", {"passengers": 9}, "choose_seat"),
    ),
    ("fourth search", TRAVEL, TRAVEL_ORDER, repeated("find_flight", 4)),
    ("reopened, closed, reopened", HELPDESK, HELPDESK_ORDER, order("close", "reopen", "close")),
    ("status of a closed ticket", HELPDESK, HELPDESK_ORDER, adjacent("close", "status")),
    ("nine turns are too many", HELPDESK, HELPDESK_ORDER, late(9)),
    ("note is lost after escalation", HELPDESK, HELPDESK_ORDER, order("escalate", "add_note")),
    ("long subject after a status", HELPDESK, HELPDESK_ORDER, above("open_ticket", "subject", 20, "status")),
    ("assigned for more than a day", HELPDESK, HELPDESK_ORDER, above("assign", "hours", 24)),
)


def by_hand() -> list[Defect]:
    return [
        Defect(name=name, machine=machine, documented=documented, wrong=wrong)
        for name, machine, documented, wrong in _BY_HAND
    ]


# The random half

_WORDS = ("ask", "book", "cancel", "confirm", "find", "move", "report", "sign")
_NAMES = ("first", "second")


def at_random(seed: int, count: int = 30) -> list[Defect]:
    """Defects of random kinds in random machines; none shows in the documented order."""
    random = Random(seed)
    return [draw_defect(random, f"random {seed}.{number}") for number in range(count)]


def draw_defect(random: Random, name: str) -> Defect:
    while True:
        machine = {rule: draw_arguments(random) for rule in random.sample(_WORDS, random.randint(4, 8))}
        documented = tuple(
            Step(rule=rule, arguments={name: draw_value(random, each) for name, each in machine[rule].items()})
            for rule in random.choices(list(machine), k=random.randint(3, 6))
        )
        defect = Defect(name=name, machine=machine, documented=documented, wrong=draw_wrong(random, machine))
        history = [(each.rule, each.arguments) for each in documented]
        if not any(defect.shows(history[:end]) for end in range(1, len(history) + 1)):
            return defect


def draw_arguments(random: Random) -> dict[str, Argument]:
    kinds = (
        lambda: whole(random.choice((0, 1)), random.choice((9, 50, 500, 3_000))),
        flag,
        lambda: one_of(*"abcdef"[: random.randint(2, 6)]),
        text,
    )
    return {name: random.choice(kinds)() for name in _NAMES[: random.choice((0, 0, 1, 1, 2))]}


def draw_value(random: Random, argument: Argument) -> Any:
    """A value as a person would write it down: more often small than large."""
    return argument.values[min(random.randrange(len(argument.values)) for _ in range(3))]


def draw_wrong(random: Random, machine: Machine) -> Wrong:
    rules = random.choices(list(machine), k=3)
    one, two, three = rules
    arguments = [(rule, name) for rule in machine for name in machine[rule]]
    kinds: list[Callable[[], Wrong]] = [
        lambda: order(one, two),
        lambda: lacks(one, two) if one != two else lacks(one),
        lambda: repeated(one, random.randint(2, 3)),
        lambda: adjacent(one, two),
        lambda: distant(one, two, random.randint(2, 5)),
        lambda: order(one, two, three),
        lambda: unless(one, two, three) if three not in (one, two) else order(one, two),
    ]
    if arguments:
        kinds.append(lambda: same_again(random.choice(arguments)[0]))
        kinds += [lambda: draw_wrong_value(random, machine, random.choice(arguments), one)] * 4
    return random.choice(kinds)()


def draw_wrong_value(random: Random, machine: Machine, argument: tuple[str, str], other: str) -> Wrong:
    rule, name = argument
    values = machine[rule][name].values
    before = random.choice(((), (other,)))
    if isinstance(values, range) and len(values) > 6:
        share = random.uniform(0.3, 0.95)
        limit = round(values[-1] * share, random.choice((0, 1 - len(str(values[-1])))))
        return above(rule, name, min(int(limit), values[-1] - 1), *before)
    if isinstance(values[-1], str) and len(values) > 6:
        return random.choice((not_ascii(rule, name), above(rule, name, random.randint(5, 20), *before)))
    wanted = {name: random.choice(values)}
    return random.choice((when(rule, wanted, *before), after_value(rule, wanted, other)))

from typing import Any

import pytest
from hypothesis import strategies as st

from pytest_aitest.search.plan import Given, Plan, Step
from pytest_aitest.stateful import Bundle, SessionMachine, pinned, rule
from pytest_aitest.stateful.pinning import pinned_plans, signatures_of
from pytest_aitest.values.errors import DeclarationError


class Shop(SessionMachine):
    carts = Bundle("carts")
    greeting = "Hello"

    @rule()
    def greet(self) -> None:
        raise AssertionError("a pinned method is read, not run")

    @rule(target=carts, item=st.text(), amount=st.integers())
    def add(self, item: str, amount: int = 1) -> str:
        raise AssertionError

    @rule(cart=carts)
    def check_out(self, cart: str) -> None:
        raise AssertionError

    def assist(self) -> None: ...


def plan_of(body: Any, kind: type = Shop) -> Plan:
    machine = type("TestShop", (kind,), {"documented": pinned(body)})
    return pinned_plans(machine, signatures_of(machine))["documented"]


def codes(plan: Plan) -> list[str]:
    return [str(step) for step in plan]


def test_loops_and_f_strings_are_read_and_rules_are_not_run() -> None:
    def documented(self: Any) -> None:
        self.greet()
        for number in (1, 2):
            self.add(f"shoe {number}", amount=number)

    assert codes(plan_of(documented)) == [
        "greet()",
        "add(item='shoe 1', amount=1)",
        "add(item='shoe 2', amount=2)",
    ]


def test_a_result_is_handed_on_under_the_name_of_the_step_that_gave_it() -> None:
    def documented(self: Any) -> None:
        self.greet()
        first, second = self.add("hat", 1), self.add("shoes", 1)
        self.check_out(second)
        self.check_out(cart=first)

    plan = plan_of(documented)
    assert codes(plan) == [
        "greet()",
        "add_2 = add(item='hat', amount=1)",
        "add_3 = add(item='shoes', amount=1)",
        "check_out(cart=add_3)",
        "check_out(cart=add_2)",
    ]
    assert plan[3].arguments == {"cart": Given("add_3")}


def test_a_result_that_nobody_uses_has_no_name() -> None:
    assert plan_of(lambda self: self.add("hat", 2)) == (Step(rule="add", arguments={"item": "hat", "amount": 2}),)


def test_another_pinned_method_may_be_called_and_attributes_may_be_read() -> None:
    class Parent(Shop):
        @pinned
        def politely(self) -> None:
            self.greet()

    def documented(self: Any) -> None:
        self.politely()
        self.add(self.greeting, 1)

    assert codes(plan_of(documented, Parent)) == ["greet()", "add(item='Hello', amount=1)"]


def raises_key_error(self: Any) -> None:
    self.greet()
    {}["nothing"]


def super_greet(self: Any) -> None:
    super().greet()  # type: ignore[misc]


READ = "A pinned method is read as a plan before anything is said, so it can only call rules: there are"
LOOKED = (
    "TestShop.documented looks at what a rule returned, and a pinned method is read before anything is said. "
    "Hand the result on to another rule as it is, or look at it inside a rule."
)
UNREADABLE = (
    "It is read before anything is said, so it can only call rules: write `self.rule_name(...)`, also for a "
    "parent's rule."
)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda self: None, "TestShop.documented calls no rule, so it is no plan. Call the rules in their order."),
        (
            lambda self: self.great(),
            f"TestShop.documented uses self.great, which is not a rule. {READ} "
            "'greet', 'add' and 'check_out'. Did you mean 'greet'?",
        ),
        (
            lambda self: self.say("Hello"),
            f"TestShop.documented uses self.say, which is not a rule. {READ} 'greet', 'add' and 'check_out'.",
        ),
        (
            lambda self: self.call_tool("look"),
            f"TestShop.documented uses self.call_tool, which is not a rule. {READ} 'greet', 'add' and 'check_out'.",
        ),
        (
            lambda self: self.assist(),
            f"TestShop.documented uses self.assist, which is not a rule. {READ} 'greet', 'add' and 'check_out'.",
        ),
        (super_greet, f"TestShop.documented can't be read as a plan: super() does not work in it. {UNREADABLE}"),
        (
            raises_key_error,
            f"TestShop.documented can't be read as a plan: it raised KeyError: 'nothing'. {UNREADABLE}",
        ),
        (
            lambda self: self.greet("Hello"),
            "TestShop.documented calls greet with other arguments than it has: too many positional arguments. "
            "Its arguments are nothing.",
        ),
        (
            lambda self: self.add("hat", count=1),
            "TestShop.documented calls add with other arguments than it has: got an unexpected keyword argument "
            "'count'. Its arguments are 'item' and 'amount'.",
        ),
    ],
    ids=["empty", "typo", "say", "call_tool", "plain method", "super", "raises", "positional", "named"],
)
def test_what_is_no_plan_is_refused(body: Any, message: str) -> None:
    with pytest.raises(DeclarationError) as refusal:
        plan_of(body)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    "look",
    [
        bool,
        len,
        list,
        str,
        repr,
        int,
        hash,
        lambda result: result.success,
        lambda result: result["id"],
        lambda result: result == 1,
        lambda result: result != 1,
        lambda result: result < 1,
        lambda result: result + 1,
        lambda result: result(),
        lambda result: 1 in result,
        lambda result: f"{result}",
        lambda result: f"{result:>5}",
        lambda result: f"{result!r}",
    ],
)
def test_a_result_can_not_be_looked_at(look: Any) -> None:
    with pytest.raises(DeclarationError) as refusal:
        plan_of(lambda self: look(self.add("hat", 1)))
    assert str(refusal.value) == LOOKED


@pytest.mark.parametrize(
    "wrap",
    [lambda result: [result], lambda result: (result,), lambda result: {"cart": result}],
    ids=["list", "tuple", "dict"],
)
def test_a_result_inside_something_else_is_refused(wrap: Any) -> None:
    """It could be neither filled in nor written as code."""
    with pytest.raises(DeclarationError):
        plan_of(lambda self: self.check_out(wrap(self.add("hat", 1))))


def test_the_same_result_of_another_pinned_method_is_a_step_of_its_own() -> None:
    class Twice(Shop):
        @pinned
        def one(self) -> None:
            self.check_out(self.add("hat", 1))

        @pinned
        def other(self) -> None:
            self.greet()

    plans = pinned_plans(Twice, signatures_of(Twice))
    assert {name: codes(plan) for name, plan in plans.items()} == {
        "one": ["add_1 = add(item='hat', amount=1)", "check_out(cart=add_1)"],
        "other": ["greet()"],
    }


def test_a_coroutine_is_no_plan() -> None:
    async def documented(self: Any) -> None: ...

    with pytest.raises(DeclarationError, match="@pinned stands above 'documented', which is not a plain method"):
        pinned(documented)

"""The contract with Hypothesis: what `declared` and `engine` read of it, and how it must behave.

Run with every supported version. If one of these fails under a new Hypothesis, those two modules need a change.
"""

import dataclasses
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import stateful as hypothesis_stateful
from hypothesis import strategies as st
from hypothesis.stateful import (
    INITIALIZE_RULE_MARKER,
    INVARIANT_MARKER,
    RULE_MARKER,
    MultipleResults,
    RuleBasedStateMachine,
    run_state_machine_as_test,
)
from hypothesis.strategies import DataObject

from pytest_aitest.checks import called_at_most
from pytest_aitest.stateful import (
    Bundle,
    SessionMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    pinned,
    precondition,
    rule,
)
from pytest_aitest.stateful.declared import _MARKERS, invariants_of, pinned_of, rules_of
from pytest_aitest.stateful.values import StrategyRule
from pytest_aitest.values.errors import DeclarationError


def always(machine: Any) -> bool:
    return True


class Shop(SessionMachine):
    carts = Bundle("carts")
    few_orders = called_at_most("order", 1)

    @initialize(name=st.text())
    def begin(self, name: str) -> None: ...

    @precondition(always)
    @rule(target=carts, item=st.text())
    def add(self, item: str) -> str:
        return item

    @rule(cart=carts, amount=st.integers())
    def put(self, cart: str, amount: int) -> None: ...

    @rule(amount=st.integers())
    def pay(self, amount: int) -> None: ...

    @precondition(always)
    @invariant(check_during_init=True)
    def holds(self) -> None: ...

    @pinned
    def documented(self) -> None: ...


def test_hypothesis_marks_methods_with_the_attributes_that_we_name() -> None:
    assert {RULE_MARKER, INITIALIZE_RULE_MARKER, INVARIANT_MARKER} < set(_MARKERS)


def test_the_marker_that_the_light_part_of_the_plugin_knows_is_hypothesis_s() -> None:
    from pytest_aitest.plugin import collect

    assert collect.INVARIANT == INVARIANT_MARKER


def test_a_declaration_has_the_fields_that_we_read() -> None:
    fields = {field.name for field in dataclasses.fields(hypothesis_stateful.Rule)}
    assert {"function", "arguments", "targets", "preconditions"} <= fields
    fields = {field.name for field in dataclasses.fields(hypothesis_stateful.Invariant)}
    assert {"function", "preconditions", "check_during_init"} <= fields


def test_rules_are_read_with_all_that_was_declared_of_them() -> None:
    rules = {each.name: each for each in rules_of(Shop)}
    assert list(rules) == ["begin", "add", "put", "pay"]
    assert {name: list(each.strategies) for name, each in rules.items()} == {
        "begin": ["name"],
        "add": ["item"],
        "put": ["cart", "amount"],
        "pay": ["amount"],
    }
    assert [name for name, each in rules.items() if each.is_initial] == ["begin"]
    assert [name for name, each in rules.items() if each.fills_bundles] == ["add"]
    assert list(rules["add"].preconditions) == [always]
    assert rules["add"].function(None, item="hat") == "hat"


def test_invariants_are_read_likewise_and_ready_made_ones_too() -> None:
    ready_made, holds = invariants_of(Shop)
    assert (ready_made.name, ready_made.of_calls) == ("few_orders", Shop.few_orders)
    assert (holds.name, holds.during_init, list(holds.preconditions)) == ("holds", True, [always])


def test_parents_come_first_and_what_is_overridden_stands_in_its_place() -> None:
    class More(Shop):
        @rule()
        def thank(self) -> None: ...

        @rule(amount=st.text())
        def put(self, amount: str) -> None: ...

        documented = None
        pay = None

        @pinned
        def politely(self) -> None: ...

    assert [each.name for each in rules_of(More)] == ["begin", "add", "put", "thank"]
    assert [list(each.strategies) for each in rules_of(More)][2] == ["amount"]
    assert pinned_of(More) == ["politely"]


carts = Bundle("carts")


@pytest.mark.parametrize(
    "strategy",
    [
        carts,
        consumes(carts),
        carts.map(str),
        carts.filter(bool),
        st.lists(carts),
        st.one_of(st.none(), carts),
        carts | st.none(),
        st.data(),
        st.runner(),
        st.tuples(st.runner(), st.integers()),
        carts.flatmap(st.just),
        st.fixed_dictionaries({"cart": carts}),
        st.builds(dict, cart=carts),
        st.shared(carts),
    ],
    ids=repr,
)
def test_what_depends_on_the_machine_is_not_planned_ahead(strategy: Any) -> None:
    class Machine(SessionMachine):
        @rule(value=strategy)
        def use(self, value: Any) -> None: ...

    assert not rules_of(Machine)[0].can_be_planned


@st.composite
def from_cart(draw: Any) -> Any:
    return draw(carts)


@pytest.mark.parametrize(
    "strategy", [from_cart(), st.deferred(lambda: carts), st.tuples(st.integers(), from_cart())], ids=repr
)
def test_what_hides_a_bundle_cannot_be_drawn_without_a_machine_and_hypothesis_says_so(strategy: Any) -> None:
    """How it is written doesn't tell; the plugin knows it by these words."""
    with pytest.raises(DeclarationError, match=r"'value' .*runner\(\)"):
        _ = StrategyRule(name="use", strategies={"value": strategy}).simplest


@pytest.mark.parametrize(
    "strategy",
    [
        st.integers(),
        st.text().map(str.upper),
        st.sampled_from(["bundle", "data", "runner"]),
        st.dictionaries(st.text(), st.integers()),
    ],
    ids=repr,
)
def test_other_strategies_are_planned_ahead(strategy: Any) -> None:
    class Machine(SessionMachine):
        @rule(value=strategy)
        def use(self, value: Any) -> None: ...

    assert rules_of(Machine)[0].can_be_planned


# How its engine runs a machine


def run(factory: Any) -> None:
    run_state_machine_as_test(
        factory, settings=settings(max_examples=5, stateful_step_count=5, database=None, derandomize=True)
    )


def test_its_engine_takes_a_factory_and_gives_rules_keywords_and_results_to_bundles() -> None:
    taken: list[tuple[str, dict[str, Any]]] = []

    class Machine(RuleBasedStateMachine):
        made = Bundle("made")

        @rule(target=made)
        def make(self) -> Any: ...

        @rule(one=made, data=st.data(), me=st.runner())
        def use(self, one: Any, data: Any, me: Any) -> None: ...

    def replaced(name: str, returned: Any) -> Any:
        def step(_machine: object, /, **arguments: Any) -> Any:
            taken.append((name, arguments))
            return returned

        step.__name__ = name

        def method(*_: Any) -> None: ...

        declared = getattr(getattr(Machine, name), RULE_MARKER)
        setattr(method, RULE_MARKER, dataclasses.replace(declared, function=step))
        return method

    checked: list[object] = []
    led: Any = type(
        "Machine",
        (Machine,),
        {
            "make": replaced("make", "made"),
            "use": replaced("use", None),
            "check_invariants": lambda self, *_: checked.append(self),
        },
    )
    machines: list[Any] = []

    def begun() -> Any:
        machines.append(led())
        return machines[-1]

    run(begun)
    uses = [arguments for name, arguments in taken if name == "use"]
    assert uses
    assert all(use["one"] == "made" and isinstance(use["data"], DataObject) for use in uses)
    assert all(any(use["me"] is machine for machine in machines) for use in uses)
    assert {id(machine) for machine in checked} <= {id(machine) for machine in machines}
    assert len(machines) >= 5


def test_multiple_results_are_told_by_their_type() -> None:
    assert isinstance(multiple(1, 2), MultipleResults)
    assert list(multiple(1, 2).values) == [1, 2]


def test_a_case_for_unittest_knows_its_machine() -> None:
    assert Shop.TestCase.runTest._hypothesis_state_machine_class is Shop  # type: ignore[attr-defined]
    assert settings(Shop.TestCase.settings).max_examples == settings().max_examples

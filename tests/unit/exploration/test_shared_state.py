"""What makes an exploration hold one conversation at a time: state on the class, an __init__, lots from one urn."""

import enum
import functools
import random
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from pytest_aitest import Agent, MCPServer, Provider
from pytest_aitest.conversation.tree import Called, Event, Said
from pytest_aitest.exploration.shared_state import why_not_beside_itself, why_not_beside_others
from pytest_aitest.stateful import Bundle, SessionMachine, initialize, invariant, pinned, precondition, rule

# Classes: at the top of the module, for their source is read


class Size(enum.Enum):
    SMALL = 1


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    name: str = "x"


def build() -> Any:
    raise NotImplementedError("nobody opens it")


class Harmless(SessionMachine):
    """All that classes of users hold and that no conversation can change."""

    plans = 3
    confirm_runs = 2
    tolerate = 0.5
    checks: ClassVar[dict[str, Any]] = {"no_repeated_call": False}
    explore_marks: ClassVar[list[Any]] = [pytest.mark.filterwarnings("ignore")]
    pytestmark: ClassVar[list[Any]] = [pytest.mark.filterwarnings("ignore")]
    agent = Agent(provider=Provider(model="builtin"), mcp_servers=[MCPServer(factory=build)])
    carts = Bundle("carts")
    amounts = st.integers(1, 9)
    names = ("a", ("b", Size.SMALL), frozenset({1}))
    prices = MappingProxyType({"shoes": 3})
    pattern = re.compile("x")
    path = PurePath("x")
    form = Frozen()
    size = Size.SMALL
    kind = dict
    nothing = None
    fixture = pytest.fixture(lambda self: 1)
    half = functools.partial(pow, 2)

    @property
    def total(self) -> int:
        return 1

    @functools.cached_property
    def once(self) -> int:
        return 1

    @staticmethod
    def double(number: int) -> int:
        return 2 * number

    @classmethod
    def named(cls) -> str:
        return cls.__name__

    @initialize()
    def begin(self) -> None:
        self.count = 0
        self.plans = 4  # its own, in place of the class's

    @precondition(lambda self: self.count < 3)
    @rule(amount=amounts)
    def pay(self, amount: int) -> None:
        self.count += amount
        self.nothing = amount

        def later() -> None:
            self.size = Size.SMALL

        later()

    @invariant()
    def is_well(self) -> None:
        assert self.count >= 0

    @pinned
    def documented(self) -> None:
        self.pay(amount=1)


class Inherits(Harmless):
    pass


class HasInit(SessionMachine):
    def __init__(self) -> None:
        super().__init__()


class InheritsInit(HasInit):
    pass


class HasList(SessionMachine):
    seen: ClassVar[list[int]] = []


class InheritsList(HasList):
    names = ("a",)


class Mixin:
    seen: ClassVar[set[int]] = set()


class WithMixin(Mixin, SessionMachine):
    pass


class HasDict(SessionMachine):
    seen: ClassVar[dict[int, int]] = {}


class HasCounts(SessionMachine):
    seen: ClassVar[defaultdict[str, int]] = defaultdict(int)


class HasListInTuple(SessionMachine):
    seen: ClassVar[tuple[object, ...]] = (1, ("a", []))


class Register:
    pass


class HasObject(SessionMachine):
    seen = Register()


class HasGenerator(SessionMachine):
    seen = iter([1, 2])


class SetsByType(SessionMachine):
    count = 0

    @rule()
    def more(self) -> None:
        type(self).count += 1


class SetsByDunder(SessionMachine):
    count = 0

    @rule()
    def more(self) -> None:
        self.__class__.count = 1


class SetsByName(SessionMachine):
    count = 0

    @rule()
    def more(self) -> None:
        SetsByName.count = 1


class SetsByClassMethod(SessionMachine):
    count = 0

    @classmethod
    def more(cls) -> None:
        cls.count += 1


class SetsInherited(SetsByName):
    pass


class SetsAParents(Harmless):
    @rule()
    def more(self) -> None:
        Harmless.nothing = 1


class SetsWithSetattr(SessionMachine):
    count = 0

    @rule()
    def more(self) -> None:
        setattr(type(self), "count", 1)  # noqa: B010 - as users write


class SetsInTuple(SessionMachine):
    count = 0
    last = 0

    @rule()
    def more(self) -> None:
        type(self).count, type(self).last = 1, 2


class SetsWithWalrusInLoop(SessionMachine):
    count = 0

    @rule()
    def more(self) -> None:
        for type(self).count in range(3):
            pass


class Deletes(SessionMachine):
    count = 0

    @rule()
    def more(self) -> None:
        del type(self).count


class SetsWhatWasNotThere(SessionMachine):
    """What is not on the class when an exploration begins may come to be."""

    @rule()
    def more(self) -> None:
        type(self).latest = 1


class SetsOfAnother(SessionMachine):
    """Objects of its own have attributes too."""

    @rule()
    def more(self) -> None:
        self.register = Register()
        self.register.value = 1


@pytest.mark.parametrize("kind", [Harmless, Inherits, SetsOfAnother])
def test_what_never_changes_can_be_used_side_by_side(kind: type) -> None:
    assert why_not_beside_itself(kind) == ""


@pytest.mark.parametrize(("kind", "owner"), [(HasInit, "HasInit"), (InheritsInit, "HasInit")])
def test_what_an_init_shares_is_not_known(kind: type, owner: str) -> None:
    assert why_not_beside_itself(kind) == f"{owner} has an __init__ of its own, and what that shares is not known."


@pytest.mark.parametrize(
    ("kind", "owner"),
    [
        (HasList, "HasList"),
        (InheritsList, "HasList"),
        (WithMixin, "Mixin"),
        (HasDict, "HasDict"),
        (HasCounts, "HasCounts"),
        (HasListInTuple, "HasListInTuple"),
        (HasObject, "HasObject"),
        (HasGenerator, "HasGenerator"),
    ],
)
def test_what_can_change_on_the_class_is_named_with_its_owner_and_a_way_out(kind: type, owner: str) -> None:
    assert why_not_beside_itself(kind) == (
        f"{owner} keeps state on the class, `seen`, which all conversations would share. "
        "Make it in a rule or fixture; what never changes may be a tuple, or a types.MappingProxyType."
    )


@pytest.mark.parametrize(
    ("kind", "where", "name"),
    [
        (SetsByType, "SetsByType.more", "count"),
        (SetsByDunder, "SetsByDunder.more", "count"),
        (SetsByName, "SetsByName.more", "count"),
        (SetsByClassMethod, "SetsByClassMethod.more", "count"),
        (SetsInherited, "SetsByName.more", "count"),
        (SetsAParents, "SetsAParents.more", "nothing"),
        (SetsInTuple, "SetsInTuple.more", "count"),
        (SetsWithSetattr, "SetsWithSetattr.more", "count"),
        (SetsWithWalrusInLoop, "SetsWithWalrusInLoop.more", "count"),
        (Deletes, "Deletes.more", "count"),
        (SetsWhatWasNotThere, "SetsWhatWasNotThere.more", "latest"),
    ],
)
def test_what_methods_set_on_the_class_is_named_with_the_method(kind: type, where: str, name: str) -> None:
    assert why_not_beside_itself(kind) == f"{where} sets `{name}` of the class, which all conversations would share."


def test_classes_without_source_are_judged_by_what_they_hold() -> None:
    assert why_not_beside_itself(type("Made", (SessionMachine,), {"size": 1})) == ""
    assert "`seen`" in why_not_beside_itself(type("Made", (SessionMachine,), {"seen": []}))


def test_classes_of_frameworks_that_are_named_are_not_looked_at() -> None:
    assert why_not_beside_itself(WithMixin, above=(object, Mixin)) == ""


# Models


def plain(messages: Any, tools: Any) -> str:
    return "hello"


def drawing(messages: Any, tools: Any) -> str:
    return random.choice(["a", "b"])


def deeper(messages: Any, tools: Any) -> str:
    return drawing(messages, tools)


OWN = random.Random(1)


def with_its_own(messages: Any, tools: Any) -> str:
    return OWN.choice(["a", "b"])


class Drawing:
    def __call__(self, messages: Any, tools: Any) -> str:
        return str(random.random())


def said(model: Any) -> Event:
    return Said(prompt="hi", agent=Agent(provider=Provider(model=model)), max_model_calls=1, timeout_seconds=1.0)


@pytest.mark.parametrize(
    ("model", "name"),
    [(drawing, "drawing"), (deeper, "deeper"), (Drawing(), "Drawing"), (functools.partial(drawing), "partial")],
    ids=["itself", "what it calls", "an object", "a partial"],
)
def test_a_model_function_that_draws_from_the_one_urn_is_named(model: Callable[..., str], name: str) -> None:
    assert why_not_beside_others(said(model)) == (
        f"model function {name!r} draws from the global `random`, which has one state for all lanes. "
        "With a random.Random of its own it could be asked in several."
    )


@pytest.mark.parametrize("model", [plain, with_its_own, "builtin", "azure/gpt-5-mini"])
def test_other_models_can_be_asked_side_by_side(model: Any) -> None:
    assert why_not_beside_others(said(model)) == ""


def test_a_tool_that_is_called_by_nobody_in_particular_can_be_called_beside_others() -> None:
    assert why_not_beside_others(Called(tool="count", arguments={})) == ""


BACKEND: list[int] = []
PRICES = {"shoes": 10}


def shared_backend() -> Any:
    BACKEND.clear()


def own_backend() -> Any:
    backend = dict(PRICES)
    backend["hat"] = 5
    return backend


def closing_over(backend: list[int]) -> Any:
    return lambda: backend.append(1)


@pytest.mark.parametrize(
    ("how", "changed"),
    [
        ({"factory": shared_backend}, "BACKEND"),
        ({"factory": closing_over([])}, "backend"),
        ({"url": "http://127.0.0.1:1/mcp", "reset": shared_backend}, "BACKEND"),
        ({"factory": own_backend}, ""),
    ],
    ids=["global", "closure", "reset", "its own"],
)
def test_a_server_that_changes_what_all_servers_share_is_used_in_one_lane(how: dict[str, Any], changed: str) -> None:
    agent = Agent(provider=Provider(model="builtin"), mcp_servers=[MCPServer(**how)])
    why = why_not_beside_others(Said(prompt="hi", agent=agent, max_model_calls=1, timeout_seconds=1))
    assert (f"changes {changed!r}" in why) if changed else why == ""

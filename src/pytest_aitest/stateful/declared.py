"""What a machine's decorators declared, read from where Hypothesis keeps it.

The one place that knows these internals; a contract test holds them against every supported version.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    INITIALIZE_RULE_MARKER,
    INVARIANT_MARKER,
    RULE_MARKER,
)

from pytest_aitest.checks import CallInvariant
from pytest_aitest.conversation.session import Session
from pytest_aitest.values.errors import DeclarationError

Predicate = Callable[[Any], bool]

_DRAWN_LIVE = re.compile(r"\b(Bundle|data|runner)\(")
_CLASSES = 256  # that are remembered; looking through one for each plan would be a fifth of what a replay costs
PINNED_MARKER = "_aitest_pinned"
_MARKERS = (PINNED_MARKER, RULE_MARKER, INITIALIZE_RULE_MARKER, INVARIANT_MARKER)


@dataclass(frozen=True, kw_only=True, eq=False)
class DeclaredRule:
    """A method under `@rule` or `@initialize`."""

    name: str
    function: Callable[..., Any]
    strategies: Mapping[str, st.SearchStrategy[Any]]
    preconditions: Sequence[Predicate]
    is_initial: bool
    fills_bundles: bool

    @property
    def can_be_planned(self) -> bool:
        """Whether its arguments can be drawn before the conversation that they are for."""
        # By how they are written: Hypothesis hides what a strategy is made of, and a bundle may stand inside a list.
        return not self.fills_bundles and not any(_DRAWN_LIVE.search(repr(each)) for each in self.strategies.values())


@dataclass(frozen=True, kw_only=True, eq=False)
class DeclaredInvariant:
    """A method under `@invariant`, or a ready-made one."""

    name: str
    check: Callable[..., object]  # given the machine; a ready-made one, its session
    of_calls: CallInvariant | None = None  # where it is a ready-made one
    preconditions: Sequence[Predicate] = ()
    during_init: bool = False


@lru_cache(maxsize=_CLASSES)
def rules_of(machine: type) -> Sequence[DeclaredRule]:
    """In order of definition, those of parents first."""
    return tuple(
        DeclaredRule(
            name=name,
            function=declared.function,
            strategies=dict(declared.arguments),
            preconditions=declared.preconditions,
            is_initial=marker == INITIALIZE_RULE_MARKER,
            fills_bundles=bool(declared.targets),
        )
        for marker in (INITIALIZE_RULE_MARKER, RULE_MARKER)
        for name, member in members_of(machine)
        if (declared := getattr(member, marker, None)) is not None
    )


@lru_cache(maxsize=_CLASSES)
def invariants_of(machine: type) -> Sequence[DeclaredInvariant]:
    """Likewise; ready-made ones stand in class attributes."""
    return tuple(_invariants_of(machine))


def _invariants_of(machine: type) -> Iterator[DeclaredInvariant]:
    for name, member in members_of(machine):
        if isinstance(member, CallInvariant):
            yield DeclaredInvariant(name=name, check=member.check, of_calls=member)
        elif (declared := getattr(member, INVARIANT_MARKER, None)) is not None:
            yield DeclaredInvariant(
                name=name,
                check=declared.function,
                preconditions=declared.preconditions,
                during_init=declared.check_during_init,
            )


def hold(
    invariant: DeclaredInvariant,
    instance_of: Callable[[], Any],
    session: Session,
    call: Callable[[Callable[..., Any]], Any],
) -> None:
    """Check an invariant of an instance and its session; `call` gives it what it asks for besides.

    Raises:
        DeclarationError: It returned something, which is ignored, so that one which says False would never fail.
    """
    __tracebackhide__ = True
    if invariant.of_calls is not None:
        invariant.of_calls.check(session)
        return
    instance = instance_of()
    if all(holds(instance) for holds in invariant.preconditions):
        returned = call(partial(invariant.check, instance))
        if returned is not None:
            raise DeclarationError(
                f"Invariant {invariant.name} returned {returned!r}, which nobody looks at. "
                "Let it assert what must hold."
            )


def pinned_of(machine: type) -> list[str]:
    """The names of methods under `@pinned`."""
    return [name for name, member in members_of(machine) if hasattr(member, PINNED_MARKER)]


def is_declared(member: object) -> bool:
    """Whether it stands under one of the decorators."""
    return any(hasattr(member, marker) for marker in _MARKERS)


def members_of(machine: type) -> Iterator[tuple[str, Any]]:
    """Attributes by name, parents' first, each as the class itself has it."""
    names = dict.fromkeys(name for parent in reversed(machine.__mro__) for name in vars(parent))
    return ((name, getattr(machine, name)) for name in names if hasattr(machine, name))

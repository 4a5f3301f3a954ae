"""Plans: sequences of steps to try. Values; knows nothing of how a step is run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Given:
    """In place of an argument: what an earlier step of the plan returned."""

    name: str  # that step's `gives`
    item: int | None = None  # which of several results

    def __repr__(self) -> str:
        return self.name if self.item is None else f"{self.name}[{self.item}]"


@dataclass(frozen=True)
class LeftOut:
    """In place of an argument: it is not given, and the rule does what it does by itself."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One rule with its arguments. Two steps are equal if they look equal in code."""

    rule: str
    arguments: Mapping[str, Any] = field(default_factory=dict, compare=False)
    gives: str | None = None  # under what name later steps refer to its result
    samples: tuple[int, ...] = field(default=(), compare=False)  # which known outcome each of its events takes, if any
    code: str = field(init=False)  # "transfer(amount=1)"

    def __post_init__(self) -> None:
        given = {name: value for name, value in self.arguments.items() if not isinstance(value, LeftOut)}
        arguments = ", ".join(f"{name}={value!r}" for name, value in given.items())
        object.__setattr__(self, "code", f"{self.rule}({arguments})")

    def __str__(self) -> str:
        return self.code if self.gives is None else f"{self.gives} = {self.code}"

    def needs(self) -> Iterator[str]:
        """The names of the results that it is given."""
        return (value.name for value in self.arguments.values() if isinstance(value, Given))


Plan = tuple[Step, ...]
"""Steps in the order in which they are to run."""


def codes(plan: Plan) -> list[str]:
    """Its steps as code, by which plans are the same whatever samples they took."""
    return [step.code for step in plan]

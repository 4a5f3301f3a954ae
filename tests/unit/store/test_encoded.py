"""Values as plain data that is the same in every process exactly if they are."""

import enum
import functools
import math
import random
import re
from collections import Counter, OrderedDict, deque
from pathlib import PurePath
from typing import Any

import pytest
from pydantic import BaseModel

from pytest_aitest.conversation.keys import UnkeyableError
from pytest_aitest.store.encoded import canonical, encoded


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Word(str):
    pass


class Point(BaseModel):
    x: int = 0


class Thing:
    def __init__(self, name: str) -> None:
        self.name = name

    def speak(self, *_: Any) -> str:
        return self.name


class Anchored:
    def __reduce__(self) -> str:
        return "ANCHOR"


ANCHOR = Anchored()
VALUES = [
    None, True, 1, 1.0, 1j, "1", b"1", Word("1"), float("nan"), float("inf"), Colour.RED, Colour.BLUE,
    [1], [[1]], {1}, {"1": 1}, {1: 1}, {"$set": [1]}, {Colour.RED: 1}, Counter("1"), OrderedDict(a=1), deque([1]),
    PurePath("1"), math, random, Thing, Thing("a"), Thing("b"), Thing("a").speak, Thing("b").speak, Point(), Point(x=1),
    len, math.floor, functools.partial(len, "a"), functools.partial(len, "b"), re.compile("a"), re.compile("b"), ANCHOR,
]  # fmt: skip


def test_other_values_are_other_data() -> None:
    # Mappings and sequences of any kind are one with those of JSON, as they are for `keys`.
    same = [value for value in VALUES if not isinstance(value, Counter | OrderedDict)]
    texts = [canonical(encoded(value)) for value in same]
    assert len(set(texts)) == len(texts)


def test_lists_and_tuples_are_one_and_the_order_of_mappings_and_sets_is_none() -> None:
    assert encoded((1, (2,))) == encoded([1, [2]])
    assert canonical(encoded({1: 2, 3: 4})) == canonical(encoded({3: 4, 1: 2}))
    assert canonical(encoded(set("abcdef"))) == canonical(encoded(set("fedcba")))


def test_what_is_nested_without_end_or_stands_for_another_is_refused() -> None:
    knot: list[Any] = []
    knot.append(knot)
    for value in (knot, list(range(20_000)) and [[] for _ in range(20_000)], Anchored()):
        with pytest.raises(UnkeyableError):
            encoded(value)

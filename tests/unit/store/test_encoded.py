"""Values and code as plain data that is the same in every process exactly if they are."""

import enum
import functools
import math
import os
import random
import re
import sys
from collections import Counter, OrderedDict, deque
from os import environ
from pathlib import Path, PurePath
from typing import Any

import pytest
from pydantic import BaseModel

from pytest_aitest.conversation.keys import UnkeyableError
from pytest_aitest.store.encoded import callable_encoded, canonical, encoded


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


def made(source: str, **names: Any) -> dict[str, str]:
    """What code without a file is told by."""
    ours: dict[str, Any] = {"__name__": "nowhere", **names}
    exec(source, ours)
    return callable_encoded(ours["model"])


def test_code_without_a_source_is_told_by_what_it_was_compiled_to() -> None:
    one, same, other = (made(f"def model(): return (lambda: {number})()") for number in (1, 1, 2))
    assert one == same != other
    assert one["callable"] == "nowhere.model"


def test_a_global_that_no_statement_makes_is_told_by_its_content() -> None:
    source = "def model(): return THING"
    one, same, other = (made(source, THING=Thing(name)) for name in "aab")
    assert one == same != other
    with pytest.raises(UnkeyableError):
        made(source, THING=sys.__stdout__)


def surrounded() -> Any:
    return environ, os.environ, sys.path, sys.argv


def test_what_surrounds_a_process_is_no_part_of_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> dict[str, str]:
        monkeypatch.setattr("pytest_aitest.store.encoded._CODE", {})
        return callable_encoded(surrounded)

    before = told()
    monkeypatch.setenv("ANOTHER", "1")
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setattr(sys, "argv", ["another"])
    assert told() == before


def test_the_same_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = callable_encoded(Thing("once").speak)
    monkeypatch.setattr("pytest_aitest.store.encoded._code_parts", None)
    assert callable_encoded(Thing("once").speak) == first

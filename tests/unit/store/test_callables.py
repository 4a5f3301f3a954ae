"""Code as plain data that is the same in every process exactly if what its answers rest on is."""

import os
import sys
from os import environ
from pathlib import Path
from typing import Any

import pytest

from pytest_aitest.conversation.keys import UnkeyableError
from pytest_aitest.store.callables import callable_encoded


class Thing:
    def __init__(self, name: str) -> None:
        self.name = name

    def speak(self, *_: Any) -> str:
        return self.name


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


LOG: list[str] = []
KEY = os.environ.get("A_KEY_OF_NOBODY", "")


def using_what_changes() -> Any:
    LOG.append(KEY)
    return LOG


def test_what_changes_or_comes_from_the_environment_is_told_by_its_statement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def told() -> dict[str, str]:
        monkeypatch.setattr("pytest_aitest.store.callables._CODE", {})
        return callable_encoded(using_what_changes)

    before = told()
    monkeypatch.setattr(sys.modules[__name__], "LOG", ["a call"])
    monkeypatch.setattr(sys.modules[__name__], "KEY", "a secret that is not set elsewhere")
    assert told() == before


def surrounded() -> Any:
    return environ, os.environ, sys.path, sys.argv


def test_what_surrounds_a_process_is_no_part_of_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> dict[str, str]:
        monkeypatch.setattr("pytest_aitest.store.callables._CODE", {})
        return callable_encoded(surrounded)

    before = told()
    monkeypatch.setenv("ANOTHER", "1")
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setattr(sys, "argv", ["another"])
    assert told() == before


def test_the_same_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = callable_encoded(Thing("once").speak)
    monkeypatch.setattr("pytest_aitest.store.callables._code_parts", None)
    assert callable_encoded(Thing("once").speak) == first

"""Whose line an error came from."""

import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path

from pytest_aitest.exploration import frames
from pytest_aitest.exploration.frames import place_of, users_traceback


def error_of(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("it raised nothing")


def in_file(filename: str, text: str, **names: object) -> Callable[[], object]:
    """A function `f` of a module that would stand in `filename`."""
    scope = dict(names)
    exec(compile(text, filename, "exec"), scope)
    function: Callable[[], object] = scope["f"]  # type: ignore[assignment]
    return function


def users() -> None:
    raise ValueError("here")


def test_the_place_is_the_innermost_line_of_the_users() -> None:
    error = error_of(lambda: users())
    assert place_of(error) == f"{Path(__file__).name}:{users.__code__.co_firstlineno + 1}"


def test_an_error_of_a_library_is_placed_where_the_user_called_it() -> None:
    caller = in_file("/home/me/test_bank.py", "def f():\n    return loads('{')", loads=json.loads)
    assert place_of(error_of(caller)) == "test_bank.py:2"


def test_frames_of_ours_are_left_out() -> None:
    ours = in_file(f"{frames._OURS}flow.py", "def f():\n    g()", g=users)
    assert place_of(error_of(ours)).startswith(Path(__file__).name)
    inner = in_file(f"{frames._OURS}checks.py", "def f():\n    1 / 0")
    outer = in_file("/home/me/test_bank.py", "\ndef f():\n    g()", g=inner)
    assert place_of(error_of(outer)) == "test_bank.py:3"


def test_a_users_folder_that_begins_like_ours_is_theirs() -> None:
    theirs = in_file(f"{frames._OURS.removesuffix(os.sep)}_demo/test_bank.py", "def f():\n    1 / 0")
    assert place_of(error_of(theirs)) == "test_bank.py:2"


def test_without_a_line_of_the_users_there_is_no_place() -> None:
    error = ValueError("never raised")
    assert place_of(error) == ""
    assert users_traceback(error) is None


def test_the_traceback_begins_with_the_users_first_line() -> None:
    ours = in_file(f"{frames._OURS}flow.py", "def f():\n    g()", g=users)
    error = error_of(in_file("<string>", "def f():\n    g()", g=ours))
    error = error.with_traceback(error.__traceback__.tb_next if error.__traceback__ else None)  # without this test
    names = [frame.name for frame in traceback.extract_tb(users_traceback(error))]
    assert names == ["users"]

"""All that a run leaves behind, as one value and as JSON.

The schema has a version: a file of another version is refused, and told what wrote it. Writing never fails, whatever
models and tools said: what JSON or Unicode can't hold is written as a text that says what it was.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from math import isfinite
from typing import Any

from pydantic import TypeAdapter, ValidationError

from .errors import AitestError
from .plain import one_line
from .record import TestRecord

VERSION = 1
_DEEPEST = 100  # levels; arguments can be nested deeper than Python can follow
_LONGEST_INT = 10**600  # Python can be told to refuse what has 640 digits


class RecordError(AitestError):
    """A file that holds no record of a run, or one of another version."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run of pytest, or several that were merged."""

    tests: tuple[TestRecord, ...] = ()  # in the order in which they ended
    began: str = ""  # ISO 8601, UTC
    seconds: float = 0.0
    model: str = ""  # that replaced all others
    other_failures: int = 0  # of tests that had no conversation, and of files that could not be collected
    was_stopped: bool = False  # before its end
    written_by: str = ""  # "pytest-aitest 0.3.0"
    version: int = VERSION  # of this schema


_RUN = TypeAdapter(RunRecord)
_TEST = TypeAdapter(TestRecord)


def run_json(run: RunRecord) -> str:
    """`run` as JSON, to be read by `read_run`; equal to `run` where that held only what JSON and Unicode can hold."""
    return json.dumps(jsonable(run), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def read_run(text: str, *, source: str) -> RunRecord:
    """A run from what `run_json` wrote; `source` names it in errors.

    Raises:
        RecordError: It is something else, or of another version.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = error if isinstance(error, ValueError) else "it is nested too deeply"
        raise RecordError(f"{source} is no JSON: {why}. Give a file that --aitest-json wrote.") from None
    version = data.get("version") if isinstance(data, dict) else None
    if type(version) is not int or "tests" not in data:
        raise RecordError(f"{source} is JSON, but no record of a run. Give a file that --aitest-json wrote.")
    if version != VERSION:
        writer = one_line(str(data.get("written_by") or "something else"), most=80)
        raise RecordError(
            f"{source} is of version {version}, written by {writer}, and this pytest-aitest reads version {VERSION}. "
            "Read it with the one that wrote it, or write it anew."
        )
    try:
        return _RUN.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = one_line(".".join(map(str, first["loc"])), most=200)
        raise RecordError(f"{source} is a damaged record: {where}: {first['msg']}. Write it anew.") from None


def packed(test: TestRecord) -> dict[str, Any]:
    """A test's record as plain data, fit to travel between processes."""
    data: dict[str, Any] = jsonable(test)
    return data


def unpacked(data: dict[str, Any]) -> TestRecord:
    """What `packed` made of a record."""
    return _TEST.validate_python(data)


def jsonable(value: Any, within: tuple[int, ...] = ()) -> Any:
    """`value` in the types of JSON, what they can't hold as a text; `within` are the ids of what it is a part of."""
    if not isinstance(value, Mapping | list | tuple) and not (is_dataclass(value) and not isinstance(value, type)):
        return _plain_leaf(value)
    if id(value) in within or len(within) > _DEEPEST:
        return "..."
    within = (*within, id(value))
    if isinstance(value, list | tuple):
        return [jsonable(item, within) for item in value]
    items = value.items() if isinstance(value, Mapping) else ((name, getattr(value, name)) for name in _names(value))
    return {_key(key): jsonable(item, within) for key, item in items}


def _plain_leaf(value: Any) -> Any:
    match value:
        case None | bool():
            return value
        case str():
            return _unicode(value)
        case int():
            return int(value) if abs(value) < _LONGEST_INT else hex(value)
        case float():
            return float(value) if isfinite(value) else str(float(value))
        case bytes():
            return value.decode(errors="backslashreplace")
        case _:
            return _described(value)


def _names(value: Any) -> list[str]:
    return [field.name for field in fields(value)]


def _key(key: Any) -> str:
    return _unicode(key if isinstance(key, str) else _described(key))


def _unicode(text: str) -> str:
    """`text` with lone surrogates as escapes, as `inert` shows them."""
    return text.encode(errors="backslashreplace").decode()


def _described(value: Any) -> str:
    try:
        return _unicode(repr(value))
    except Exception:  # noqa: BLE001  # the class is a user's
        return f"<{type(value).__name__}>"

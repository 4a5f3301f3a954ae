"""How often a failure is confirmed, and which rate of it is accepted: as a class says, or a marker."""

from typing import Any

import pytest

from pytest_aitest.values.errors import DeclarationError


def own_limits(kind: type, item: pytest.Item | None) -> dict[str, Any]:
    """What `kind` says of `confirm_runs` and `tolerate`; a marker on `item` goes before it, the closest of several.

    Raises:
        DeclarationError: One is no number that could be meant.
    """
    said: dict[str, Any] = {}
    confirm_runs = getattr(kind, "confirm_runs", None)
    if confirm_runs is not None:
        said["confirm_runs"] = confirm_runs
        if not isinstance(confirm_runs, int) or isinstance(confirm_runs, bool) or confirm_runs < 1:
            raise DeclarationError(
                f"{kind.__name__} has confirm_runs = {confirm_runs!r}, and it is in so many fresh runs that a failure "
                "is confirmed: one at least. Write confirm_runs = 5."
            )
    tolerate = getattr(kind, "tolerate", None)
    if tolerate is not None:
        said["tolerate"] = tolerate
        if not _is_rate(tolerate):
            raise DeclarationError(
                f"{kind.__name__} has tolerate = {tolerate!r}, and what it accepts is a rate of failures, a number "
                "from 0 to 1. Write tolerate = 0.2 to accept that one of five fresh runs fails."
            )
    marker = None if item is None else _closest(item)
    if marker is not None:
        said["tolerate"] = _rate_of(marker, kind)
    return said


def _closest(item: pytest.Item) -> pytest.Mark | None:
    marked = list(item.iter_markers_with_node("tolerate"))
    # Of a class those of its parents come first, of a test those of its parameters last.
    return next((mark for node, mark in reversed(marked) if node is marked[0][0]), None)


def _rate_of(marker: pytest.Mark, kind: type) -> Any:
    match marker.args, marker.kwargs:
        case ([rate], {**others}) | ([], {"rate": rate, **others}) if not others and _is_rate(rate):
            return rate
    given = [*map(repr, marker.args), *(f"{key}={value!r}" for key, value in marker.kwargs.items())]
    raise DeclarationError(
        f"{kind.__name__} has the marker tolerate({', '.join(given)}), which takes one argument: the rate of failures "
        "that is accepted, a number from 0 to 1. Write @pytest.mark.tolerate(0.2) to accept that one of five fresh "
        "runs fails."
    )


def _is_rate(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1

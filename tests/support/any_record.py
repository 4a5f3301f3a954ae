"""Strategies for whole records, made from their declarations: a new field is tried without being named here."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from pytest_aitest.values.run_record import VERSION

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def records(
    kind: Any, *, text: st.SearchStrategy[str], values: st.SearchStrategy[Any] = JSON, most: int = 2
) -> st.SearchStrategy[Any]:
    """Instances of a record with `text` wherever it holds text, `values` in the arguments of tools."""

    def of(hint: Any) -> st.SearchStrategy[Any]:
        simple = {str: text, int: st.integers(0, 10**9), float: st.floats(0, 1e6), bool: st.booleans(), Any: values}
        if hint in simple:
            return simple[hint]
        if is_dataclass(hint):
            hints = get_type_hints(hint)
            named = {field.name: of(hints[field.name]) for field in fields(hint)}
            return st.builds(hint, **named | ({"version": st.just(VERSION)} if "version" in named else {}))
        inner = get_args(hint)
        generic: dict[Any, Callable[[], st.SearchStrategy[Any]]] = {
            Literal: lambda: st.sampled_from(inner),
            UnionType: lambda: st.one_of([st.none() if option is NoneType else of(option) for option in inner]),
            Mapping: lambda: st.dictionaries(text, values, max_size=most),
            tuple: lambda: (
                st.lists(of(inner[0]), max_size=most).map(tuple) if inner[-1] is ... else st.tuples(*map(of, inner))
            ),
        }
        return generic[get_origin(hint)]()

    return of(kind)

"""JSON as it stands in chat messages: arguments of calls, results of tools."""

import json
from functools import lru_cache
from typing import Any

_LONGEST = 50_000  # characters; parsing more would make each answer of a long conversation slow


@lru_cache(maxsize=64)
def parse_json(text: str) -> tuple[Any, ...]:
    """The JSON values of which a text consists, one after another; none where it isn't JSON, or is very long.

    Servers send a list as one text for each of its items.
    """
    text = text.strip()
    if len(text) > _LONGEST or not text.startswith(("{", "[")):
        return ()
    decoder, position = json.JSONDecoder(), 0
    values: list[Any] = []
    try:
        while position < len(text):
            value, position = decoder.raw_decode(text, position)
            values.append(value)
            while position < len(text) and text[position].isspace():
                position += 1
    except (ValueError, RecursionError):
        return ()
    return tuple(values)

"""What others wrote, made fit for one of our sentences: short, harmless, without secrets."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pytest_aitest.values.agent import Provider
from pytest_aitest.values.plain import inert

_MOST_CHARACTERS = 300
_TELLING = re.compile(r"key|token|secret|password|authorization", re.IGNORECASE)
_SHORTEST_SECRET = 6  # shorter values of such names are settings: hiding "true" wherever it occurs helps nobody


def one_line(text: str) -> str:
    """`text` on one line, harmless and not too long; without a full stop, which our sentence puts itself."""
    line = inert(re.sub(r"\s+", " ", text[: 4 * _MOST_CHARACTERS])).strip().rstrip(".")
    return line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]}..."


def seconds(duration: float) -> str:
    """`0.2 s`, `59.9 s`, `1200 s`."""
    return f"{duration:.3g} s" if duration < 100 else f"{duration:.0f} s"  # noqa: PLR2004 - three digits


def shown_url(url: str) -> str:
    """`url` without credentials and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else url


def without_secrets(text: str, provider: Provider) -> str:
    """`text` without the keys that a provider may have been asked with, which some repeat when they refuse them."""
    for secret in sorted(set(_secrets(provider)), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _secrets(provider: Provider) -> Iterator[str]:
    if provider.api_key is not None:
        yield provider.api_key
    for value in (*_telling_values(provider.extra), *_telling_values(os.environ)):
        yield from (word for word in value.split() if len(word) >= _SHORTEST_SECRET)


def _telling_values(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _telling_values(value)
        elif isinstance(value, str) and _TELLING.search(name):
            yield value

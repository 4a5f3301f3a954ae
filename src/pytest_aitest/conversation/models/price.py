"""What model calls cost, as far as the provider's declaration says. Asks nobody."""

import functools
import importlib.util
import ipaddress
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytest_aitest.values.agent import Provider

_PRICES = "model_prices_and_context_window_backup.json"


def declared_cost_usd(provider: Provider, *, prompt_tokens: int, completion_tokens: int) -> float | None:
    """By `provider.price`; nothing for a model that runs on this machine; None where the declaration doesn't tell."""
    if provider.price is not None:
        per_prompt, per_completion = provider.price
        return (prompt_tokens * per_prompt + completion_tokens * per_completion) / 1_000_000
    return 0.0 if runs_here(provider) else None


def runs_here(provider: Provider) -> bool:
    """Whether the model runs on this machine, for nothing: builtin, a callable, or an endpoint on loopback."""
    return callable(provider.model) or provider.model == "builtin" or is_loopback(provider.api_base)


def costs_nothing(provider: Provider) -> bool:
    """Whether asking it is for nothing, as far as its declaration says."""
    return runs_here(provider) if provider.price is None else not any(provider.price)


def listed_price(provider: Provider) -> tuple[float, float] | None:
    """US dollars per million prompt and completion tokens, by litellm's own list; None where that has no such model."""
    facts = _list_of_prices().get(str(provider.model), {})
    try:
        return facts["input_cost_per_token"] * 1e6, facts["output_cost_per_token"] * 1e6
    except (KeyError, TypeError):
        return None


@functools.cache
def _list_of_prices() -> Mapping[str, Any]:
    """The file that litellm carries, read without the two seconds that importing litellm takes."""
    spec = importlib.util.find_spec("litellm")
    for folder in (spec.submodule_search_locations if spec is not None else None) or ():
        with suppress(OSError, ValueError):
            prices: Mapping[str, Any] = json.loads((Path(folder) / _PRICES).read_text(encoding="utf-8"))
            return prices
    return {}


def is_loopback(url: str | None) -> bool:
    """Whether `url` names this machine; `0.0.0.0` does, and some servers announce themselves with it.

    >>> is_loopback("http://localhost:8000/v1"), is_loopback("http://[::1]/"), is_loopback("https://api.openai.com/v1")
    (True, True, False)
    """
    try:
        host = urlsplit(url or "").hostname or ""
    except ValueError:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified

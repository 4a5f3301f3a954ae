"""What model calls cost, as far as the provider's declaration says. Knows no price list."""

import ipaddress
from urllib.parse import urlsplit

from pytest_aitest.values.agent import Provider


def declared_cost_usd(provider: Provider, *, prompt_tokens: int, completion_tokens: int) -> float | None:
    """By `provider.price`; nothing for a model that runs on this machine; None where the declaration doesn't tell."""
    if provider.price is not None:
        per_prompt, per_completion = provider.price
        return (prompt_tokens * per_prompt + completion_tokens * per_completion) / 1_000_000
    return 0.0 if runs_here(provider) else None


def runs_here(provider: Provider) -> bool:
    """Whether the model runs on this machine, for nothing: builtin, a callable, or an endpoint on loopback."""
    return callable(provider.model) or provider.model == "builtin" or is_loopback(provider.api_base)


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

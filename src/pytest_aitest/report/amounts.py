"""Amounts in words."""

from math import floor, log10

_TENTHS_BELOW = 10  # seconds


def price(cost_usd: float | None) -> str:
    """Dollars with two figures that say something."""
    if cost_usd is None:
        return "price unknown"
    if cost_usd <= 0:
        return "free"
    return f"${cost_usd:,.{max(2, 1 - floor(log10(cost_usd)))}f}"


def time_text(seconds: float) -> str:
    """Seconds; empty where these are none worth telling."""
    time = f"{seconds:,.0f} s" if seconds >= _TENTHS_BELOW else f"{seconds:.1f} s"
    return "" if time == "0.0 s" else time


def listed(*parts: str) -> str:
    """Those of `parts` that say something."""
    return ", ".join(filter(None, parts))


def counted(count: int, what: str) -> str:
    """`1 turn`, `2 turns`."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")

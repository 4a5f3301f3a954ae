"""What must hold of any agent: checks of each turn that come built in, and invariants on tool calls, ready-made."""

from .invariants import (
    CallInvariant,
    arguments_satisfy,
    called_at_most,
    called_only_after,
    never_called,
    no_two_calls_alike,
)
from .turns import BUILT_IN, Check, CheckError, check_turn, chosen_checks, read_checks, violations

__all__ = [
    "BUILT_IN",
    "CallInvariant",
    "Check",
    "CheckError",
    "arguments_satisfy",
    "called_at_most",
    "called_only_after",
    "check_turn",
    "chosen_checks",
    "never_called",
    "no_two_calls_alike",
    "read_checks",
    "violations",
]

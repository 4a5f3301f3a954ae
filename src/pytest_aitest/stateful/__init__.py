"""Conversations as state machines: Hypothesis's own words, and two of ours, `say` and `pinned`.

    from pytest_aitest.stateful import SessionMachine, invariant, pinned, rule

The only door to Hypothesis's state machines.
"""

from hypothesis import assume, event, note
from hypothesis.stateful import Bundle, consumes, initialize, invariant, multiple, precondition, rule

from .machine import SessionMachine
from .pinning import pinned

__all__ = [
    "Bundle",
    "SessionMachine",
    "assume",
    "consumes",
    "event",
    "initialize",
    "invariant",
    "multiple",
    "note",
    "pinned",
    "precondition",
    "rule",
]

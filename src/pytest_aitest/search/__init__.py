"""Which conversations to have: what to try next, and the shortest that fails.

Pure: knows a `Runner` that carries plans out; no test framework, no I/O, no clock.
"""

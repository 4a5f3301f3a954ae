"""Print the ratios that CONTRIBUTING speaks of: `python -m tests.benchmarks`, or only those named after it."""

import sys

from . import search, startup, turns

if __name__ == "__main__":
    parts = {"startup": startup, "turns": turns, "search": search}
    for name in sys.argv[1:] or parts:
        parts[name].measure()

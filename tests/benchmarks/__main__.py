"""Print the ratios that CONTRIBUTING speaks of: `python -m tests.benchmarks`."""

from . import startup, turns

if __name__ == "__main__":
    startup.measure()
    turns.measure()

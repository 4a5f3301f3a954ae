"""What a project pays that has us installed and uses nothing of us: pytest with and without our plugin, in turn."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

ROUNDS = 15
MOST_MILLISECONDS = 50


def measure() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_trivial.py").write_text("def test_trivial():\n    pass\n")
        timed(folder, "aitest")  # bytecode is written, files are cached
        pairs = [(timed(folder, "aitest"), timed(folder, "no:aitest")) for _ in range(ROUNDS)]
    with_us, without = (median(times) for times in zip(*pairs, strict=True))
    more = median(ours - theirs for ours, theirs in pairs) * 1000
    print(f"collect one trivial test: {with_us / without:.2f} x of the time without us, {more:+.0f} ms ", end="")
    print(f"(promised: at most {MOST_MILLISECONDS} ms more; {ROUNDS} pairs)")


def timed(folder: str, plugin: str) -> float:
    """Seconds of one whole pytest process."""
    command = [sys.executable, "-m", "pytest", "-p", plugin, "--collect-only", "-q", folder]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    started = perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return perf_counter() - started

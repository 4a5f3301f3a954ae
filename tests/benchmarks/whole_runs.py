"""Whole processes of pytest, and the seconds that they and their tests took."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from xml.etree import ElementTree


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One run."""

    seconds: float  # of the process
    of_tests: tuple[float, ...]  # of what each did, its fixtures aside
    outcomes: tuple[tuple[str, str], ...]  # test, what became of it if it did not just pass

    @property
    def in_tests(self) -> float:
        return sum(self.of_tests)

    @property
    def longest(self) -> float:
        return max(self.of_tests)

    @property
    def tests(self) -> int:
        return len(self.outcomes)


def ran(folder: str, *arguments: str) -> Ran:
    """Run pytest in a folder, where all tests must pass."""
    how = ["-q", "-p", "no:cacheprovider", "-o", "junit_duration_report=call", "--junitxml", "junit.xml"]
    storage = Path(folder, ".hypothesis")
    shutil.rmtree(storage / "examples", ignore_errors=True)  # no run knows of the failures of another
    started = perf_counter()
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *how, *arguments],
        cwd=folder,
        env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(storage)},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = perf_counter() - started
    assert run.returncode == 0, run.stdout + run.stderr
    cases = list(ElementTree.parse(Path(folder, "junit.xml")).iter("testcase"))
    outcomes = sorted(
        (f"{case.get('classname')}.{case.get('name')}", next((part.tag for part in case if part.tag == "skipped"), ""))
        for case in cases
    )
    of_tests = tuple(float(case.get("time", 0)) for case in cases)
    return Ran(seconds=seconds, of_tests=of_tests, outcomes=tuple(outcomes))

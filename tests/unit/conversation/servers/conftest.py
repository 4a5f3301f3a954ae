"""Whatever a test of servers does, no process is left."""

import gc
from collections.abc import Iterator

import psutil
import pytest


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = psutil.Process().children(recursive=True)
    yield
    left = [process for process in psutil.Process().children(recursive=True) if process not in before]
    _, alive = psutil.wait_procs(left, timeout=5)
    assert not alive


@pytest.fixture(autouse=True, scope="module")
def nothing_unclosed() -> Iterator[None]:
    yield
    gc.collect()  # a stream or transport that was not closed warns when it is collected, and a warning is an error

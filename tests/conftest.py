"""What holds for all tests: nothing leaves this machine, and nothing of one test is left to the next."""

import socket
from typing import Any

import pytest
from hypothesis import settings

from pytest_aitest.conversation.engine import Engine

settings.register_profile("aitest", settings(), deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("aitest")

_LOOPBACK = ("127.", "::1", "localhost")


@pytest.fixture(autouse=True, scope="session")
def loopback_only() -> Any:
    """Refuse connections to anywhere else; a model that is asked for real costs money."""
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(_LOOPBACK):
            raise AssertionError(f"a test tried to connect to {address}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_here)
        yield


@pytest.fixture(autouse=True)
def own_engine() -> Any:
    """Give each test an engine of its own: servers, rates and log filters of another would show in it."""
    yield
    Engine.close_shared()

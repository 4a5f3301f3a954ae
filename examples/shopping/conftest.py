import sys
from pathlib import Path

import pytest

from pytest_aitest import MCPServer


@pytest.fixture
def shopping_server() -> MCPServer:
    """A shop; equal declarations mean the same server, so all turns of a session share one cart."""
    return MCPServer(command=[sys.executable, Path(__file__).with_name("shopping_mcp.py")])

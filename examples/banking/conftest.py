from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def in_this_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `python banking_mcp.py` find its script, wherever pytest was started."""
    monkeypatch.chdir(Path(__file__).parent)

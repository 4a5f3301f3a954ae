"""Tool servers for tests: good ones, and bad ones of every kind. Each runs as a process, some also in this one."""

import sys
from pathlib import Path


def command(name: str, *arguments: str) -> list[str]:
    """What starts the server in `<name>.py`."""
    return [sys.executable, str(Path(__file__).with_name(f"{name}.py")), *arguments]

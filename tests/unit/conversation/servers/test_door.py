"""What it costs to have servers at hand without opening one."""

import subprocess
import sys


def test_mcp_is_imported_by_the_first_server_only() -> None:
    program = "import sys, pytest_aitest.conversation.servers; sys.exit('mcp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

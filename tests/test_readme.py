"""What README shows is what is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def fences(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("fence", "example"), [(0, "test_banking.py"), (1, "test_machine.py"), (2, "test_explored.py")]
)
def test_the_code_it_shows_is_a_slice_of_an_example(fence: int, example: str) -> None:
    assert fences("python")[fence] in (ROOT / "examples/banking" / example).read_text()


def test_the_servers_it_shows_can_be_declared() -> None:
    from pytest_aitest import MCPServer, Wait

    def build_server() -> None: ...

    for line in fences("python")[-1].splitlines():
        assert eval(line, {"MCPServer": MCPServer, "Wait": Wait, "build_server": build_server}).label


def test_the_first_command_passes_without_a_key() -> None:
    command = re.search(r"&& pytest (examples .*)$", fences("sh")[0], flags=re.MULTILINE)
    assert command is not None
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *command[1].split()],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.OK, run.stdout
    assert "1 xfailed" in run.stdout
    assert fences("text")[1] in run.stdout
    assert "aitest: every agent asks model builtin: not a language model" in run.stdout


def test_the_failure_it_shows_is_what_a_failure_looks_like(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = fences("text")[0]
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.copy_example(str(ROOT / "examples/banking/banking_mcp.py"))
    pytester.makepyfile(
        fences("python")[0].replace("    async def test_initial_query", "    async def no_initial_query")
    )
    run = pytester.runpytest_subprocess("-p", "aitest", "--aitest-model", "builtin")
    assert shown in run.stdout.str()

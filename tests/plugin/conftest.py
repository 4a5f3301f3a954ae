"""A project as its author would write it, run by pytest in a process of its own, its output compared whole."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from time import perf_counter

import pytest

from tests.support.forking import Forking

_NOISE = [
    (r"^(platform|rootdir|configfile|cachedir|plugins|hypothesis profile|asyncio: mode).*\n", ""),
    (r"\d+\.\d\ds(?= |$)", "0.01s"),
    (r"0x[0-9a-f]{6,}", "0x0"),
    (r"errors\.pydantic\.dev/\d+\.\d+", "errors.pydantic.dev/2"),
    (r"^(ERROR \S+) - .*", r"\1"),  # pytest 8 does not repeat the reason
    (r"(free|price unknown|\$[\d.,]+|starts?), \d+(\.\d)? s$", r"\1"),  # of an exploration
    (r" +$", ""),
]


def normalised(output: str, root: Path) -> str:
    """`output` without what differs from run to run."""
    output = output.replace(f"{root}/", "")
    for pattern, replacement in _NOISE:
        output = re.sub(pattern, replacement, output, flags=re.MULTILINE)
    # Rules are as wide as the terminal, timings are not equally long: keep the words.
    return re.sub(r"^([=_-])\1+ (.*?) \1+$", r"\1\1\1 \2 \1\1\1", output, flags=re.MULTILINE).strip()


class Project:
    """Files, and ways to run pytest on them."""

    def __init__(
        self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, forking: Forking, *, test: str
    ) -> None:
        self._pytester = pytester
        self._forking = forking
        self._expected = Path(__file__).parent / "expected" / f"{test}.txt"
        self._rewrite = bool(os.environ.get("AITEST_WRITE_EXPECTED"))
        self.path = pytester.path
        # Only the plugins that a test names: it must not pass thanks to a neighbour.
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        monkeypatch.setenv("COLUMNS", "80")
        for unwanted in (
            "PYTEST_ADDOPTS",
            "PYTEST_XDIST_WORKER_COUNT",
            "CI",
            "GITHUB_ACTIONS",
            "FORCE_COLOR",
            "PY_COLORS",
        ):
            monkeypatch.delenv(unwanted, raising=False)

    def write(self, **files: str) -> None:
        """Write Python files, `test_bank="..."` as `test_bank.py`."""
        for name, text in files.items():
            (self.path / f"{name}.py").write_text(dedent(text).lstrip("\n"))

    def run(self, *arguments: str, plugins: tuple[str, ...] = (), forked: bool = True) -> pytest.RunResult:
        """Run pytest with our plugin and `plugins`; `forked` from a process that has imported much, but no plugin."""
        named = [option for plugin in ("aitest", *plugins) for option in ("-p", plugin)]
        if not forked or {"anyio", "asyncio"} & set(plugins):  # which pytest says it can't rewrite, once imported
            return self._pytester.runpytest_subprocess(*named, *arguments)
        out, err = (self.path.parent / f"{self.path.name}.{stream}" for stream in ("out", "err"))
        started = perf_counter()
        code = self._forking.run([*named, *arguments], cwd=self.path, out=out, err=err)
        printed, complained = (file.read_text(errors="replace") for file in (out, err))
        sys.stdout.write(printed)  # shown where the test fails
        sys.stderr.write(complained)
        return pytest.RunResult(code, printed.splitlines(), complained.splitlines(), perf_counter() - started)

    def output(self, *arguments: str, plugins: tuple[str, ...] = ()) -> str:
        """The whole normalised output of a run, which must leave standard error empty."""
        result = self.run(*arguments, plugins=plugins)
        assert result.stderr.str() == ""
        return normalised(result.stdout.str(), self.path)

    def shows_what_is_expected(self, *arguments: str, plugins: tuple[str, ...] = ()) -> None:
        """Compare the whole output with the file in `expected/` that is named after the test.

        AITEST_WRITE_EXPECTED=1 writes the file instead; read it then, it is what a user will see.
        """
        output = self.output(*arguments, plugins=plugins) + "\n"
        if self._rewrite:
            self._expected.write_text(output)
        assert output == self._expected.read_text()


@pytest.fixture(scope="session")
def forking() -> Iterator[Forking]:
    with Forking() as forking:
        yield forking


@pytest.fixture
def project(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, forking: Forking, request: pytest.FixtureRequest
) -> Project:
    return Project(pytester, monkeypatch, forking, test=request.node.name)

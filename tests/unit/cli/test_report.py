"""`pytest-aitest report` makes reports from what runs left, says in a line what is wrong, and never loses a file."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_aitest import cli
from pytest_aitest.cli import main, report
from pytest_aitest.report import brief, markdown
from pytest_aitest.report.merge import merged
from pytest_aitest.values.record import TestRecord
from pytest_aitest.values.run_record import RunRecord, read_run, run_json
from tests.support.sample_run import sample_run, turn
from tests.support.sample_run import test as a_test

Says = Callable[..., None]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("run.json").write_text(run_json(sample_run()), encoding="utf-8")
    return tmp_path


@pytest.fixture
def refuses(capsys: pytest.CaptureFixture[str]) -> Says:
    """A command ends with status 2 and one line, and changes no file."""

    def check(*arguments: str, message: str) -> None:
        before = files()
        assert main(["report", *arguments]) == 2
        said = capsys.readouterr()
        assert said.err == f"pytest-aitest: {message}\n"
        assert said.out == ""
        assert files() == before

    return check


def files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def run(*arguments: str, **more: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest_aitest", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, encoding="utf-8", timeout=60, **more)


def test_without_an_option_it_says_how_the_run_went() -> None:
    done = run("report", "run.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == brief.brief(sample_run())
    told = " ".join(done.stdout.split())
    assert "money_is_conserved failed (test_bank.py:31): AssertionError: assert 4499 == 4500" in told
    assert "\nTestChat::explore: 14 of 25 plans (no other order is left), 17 fresh turns," in done.stdout
    assert done.stdout.splitlines()[-1].startswith("2 failed, 1 error, 1 noted, 1 skipped for its price, ")


def test_every_format_is_made_from_json() -> None:
    done = run("report", "run.json", "--md", "out.md", "--html", "out.html", "--json", "out.json")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "Wrote out.html\nWrote out.md\nWrote out.json\n"
    assert Path("out.md").read_text(encoding="utf-8") == markdown.render(sample_run())
    assert read_run(Path("out.json").read_text(encoding="utf-8"), source="out.json") == sample_run()
    assert "money_is_conserved" in Path("out.html").read_text(encoding="utf-8")
    assert sorted(files()) == ["out.html", "out.json", "out.md", "run.json"]


def test_what_is_wrong_is_one_line_and_a_status() -> None:
    done = run("report", "lost.json", "--md", "out.md")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("pytest-aitest: lost.json does not exist. Give a file that `pytest --aitest-json` wrote.\n")
    assert run().returncode == 2
    assert "usage: pytest-aitest" in run("repot").stderr


def test_a_terminal_that_knows_no_unicode_is_written_to_all_the_same() -> None:
    test = a_test("t.py::test_a", turn("漢字 \U0001f600 \ud800"), outcome="failed")
    Path("run.json").write_text(run_json(RunRecord(tests=(test,))), encoding="utf-8")
    done = run("report", "run.json", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert r"  user    \u6f22\u5b57 \U0001f600 \ud800" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="pipes there don't break")
def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    tests = tuple(a_test(f"t.py::test_{n}", turn("Hi"), outcome="failed") for n in range(5_000))
    Path("run.json").write_text(run_json(RunRecord(tests=tests)), encoding="utf-8")
    command = [sys.executable, "-m", "pytest_aitest", "report", "run.json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_the_command_is_installed() -> None:
    project = tomllib.loads((Path(cli.__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["scripts"] == {"pytest-aitest": "pytest_aitest.cli:main"}


def test_several_runs_become_one_and_are_called_after_their_files(capsys: pytest.CaptureFixture[str]) -> None:
    runs = {}
    for name in ("3.11", "3.13"):
        runs[name] = RunRecord(tests=(a_test("t.py::test_a", turn(f"Hello {name}")),), seconds=float(name))
        Path(name).mkdir()
        Path(name, "aitest.json").write_text(run_json(runs[name]), encoding="utf-8")
    assert main(["report", "3.11/aitest.json", "3.13/aitest.json", "--json", "all.json"]) == 0
    both = read_run(Path("all.json").read_text(encoding="utf-8"), source="all.json")
    assert both == merged(list(runs.values()), names=["3.11", "3.13"])
    assert [test.nodeid for test in both.tests] == ["t.py::test_a (3.11)", "t.py::test_a (3.13)"]
    assert capsys.readouterr().err == "Wrote all.json\n"


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.json", "b.json"], ["a", "b"]),
        (["out/gpt-5-mini/aitest.json", "out/gpt-5-nano/aitest.json"], ["gpt-5-mini", "gpt-5-nano"]),
        (["x/a.json", "y/a.json", "y/b.json"], ["x/a.json", "y/a.json", "y/b.json"]),
        (["a.json", "a.json"], ["a.json", "a.json"]),
        (["a.json"], [""]),
        (["py3.11.json", "py3.13.json"], ["py3.11", "py3.13"]),
    ],
)
def test_runs_are_called_after_what_tells_their_files_apart(paths: list[str], names: list[str]) -> None:
    assert [name.replace("\\", "/") for name in report._names([Path(path) for path in paths])] == names


def test_a_byte_order_mark_is_no_damage() -> None:
    Path("run.json").write_text(run_json(sample_run()), encoding="utf-8-sig")
    assert main(["report", "run.json"]) == 0


# What is refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "bad.json is no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1). "
         "Give a file that --aitest-json wrote."),
        (b"\xff\xfe", "bad.json can't be read: it is no text. Give a file that `pytest --aitest-json` wrote."),
        (b'{"tests": 1}', "bad.json is JSON, but no record of a run. Give a file that --aitest-json wrote."),
        (b'{"tests": [], "version": 2, "written_by": "pytest-aitest \\u001b[0m9"}',
         r"bad.json is of version 2, written by pytest-aitest \x1b[0m9, and this pytest-aitest reads version 1. "
         "Read it with the one that wrote it, or write it anew."),
        (b'{"tests": [{}], "version": 1}',
         "bad.json is a damaged record: tests.0.nodeid: Field required. Write it anew."),
    ],
    ids=["no JSON", "no text", "foreign", "newer", "damaged"],
)  # fmt: skip
def test_what_is_no_run_is_refused(refuses: Says, content: bytes, message: str) -> None:
    Path("bad.json").write_bytes(content)
    Path("out.md").write_text("kept", encoding="utf-8")
    refuses("run.json", "bad.json", "--md", "out.md", message=message)


def test_targets_that_cannot_be_written_are_refused_before_anything_is(refuses: Says) -> None:
    Path("folder").mkdir()
    overwrites = "would overwrite run.json, which is read or written too. Give the path of another file."
    refuses("run.json", "--json", "run.json", message=f"--json run.json {overwrites}")
    refuses("run.json", "--md", "folder/../run.json", message=f"--md {Path('folder/../run.json')} {overwrites}")
    refuses(
        "run.json", "--md", "same", "--json", "same",
        message="--json same would overwrite --md, which is read or written too. Give the path of another file.",
    )  # fmt: skip
    refuses(
        "run.json", "--json", "out.json", "--md", "lost/out.md",
        message=f"--md {Path('lost/out.md')}: there is no folder lost. Make it, or give another path.",
    )  # fmt: skip
    refuses(
        "run.json", "--json", "out.json", "--md", "folder",
        message="--md folder is a folder. Give the path of a file in it.",
    )  # fmt: skip
    refuses("folder", message="folder can't be read: Is a directory. Give a file that `pytest --aitest-json` wrote.")


def test_a_link_to_the_source_is_the_source(refuses: Says) -> None:
    Path("link.json").symlink_to("run.json")
    refuses(
        "run.json", "--json", "link.json",
        message="--json link.json would overwrite run.json, which is read or written too. "
        "Give the path of another file.",
    )  # fmt: skip


# How files are replaced


def test_a_report_that_cannot_be_written_leaves_what_was_there(refuses: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("out.md").write_text("kept", encoding="utf-8")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    message = "out.md can't be written: No space left on device. What it held is unchanged; give another path."
    refuses("run.json", "--md", "out.md", message=message)


def test_a_report_that_cannot_be_made_leaves_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("out.json").write_text("kept", encoding="utf-8")
    monkeypatch.setattr(markdown, "render", lambda run: 1 / 0)
    before = files()
    with pytest.raises(ZeroDivisionError):
        main(["report", "run.json", "--json", "out.json", "--md", "out.md"])
    assert files() == before


@pytest.mark.skipif(sys.platform == "win32", reason="modes and links of POSIX")
def test_a_file_that_is_replaced_keeps_its_mode_and_a_link_stays_one() -> None:
    Path("real.md").write_text("old", encoding="utf-8")
    Path("real.md").chmod(0o640)
    Path("link.md").symlink_to("real.md")
    assert main(["report", "run.json", "--md", "link.md", "--json", "new.json"]) == 0
    assert Path("link.md").is_symlink()
    assert Path("real.md").read_text(encoding="utf-8") == markdown.render(sample_run())
    assert Path("real.md").stat().st_mode & 0o777 == 0o640
    umask = os.umask(0)
    os.umask(umask)
    assert Path("new.json").stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no such device here")
def test_a_device_is_written_to_and_never_replaced() -> None:
    done = run("report", "run.json", "--md", "/dev/stdout")
    assert done.stdout == markdown.render(sample_run())
    assert (done.returncode, done.stderr) == (0, "Wrote /dev/stdout\n")


# In short


def in_short(*tests: TestRecord) -> str:
    return brief.brief(RunRecord(tests=tests))


def test_a_failed_test_is_told_with_its_turn() -> None:
    broken = a_test("t.py::test_a", turn("Hi"), outcome="failed", failure="assert 1 == 2", place="t.py:3", first_turn=2)
    assert in_short(broken).startswith(
        "t.py::test_a failed: assert 1 == 2\nt.py:3\n2 test_a\n  user    Hi\n  agent   Done!\n\n"
    )
    died = a_test("t.py::test_b", outcome="error", failure="ValueError: no\x1b[0m token")
    assert in_short(died).startswith("t.py::test_b had an error: ValueError: no\\x1b[0m token\n\n1 error, 0 passed")


def test_an_accepted_failure_is_told_where_nothing_broke() -> None:
    explored = sample_run().tests[7]
    assert explored.exploration
    text = in_short(TestRecord(nodeid="t.py::T", kind="exploration", outcome="noted", exploration=explored.exploration))
    assert re.match(
        r"TestBanking::explore\[azure/gpt-5-mini\]: 3 of 25 plans, .*\n\nTestBanking::explore.*money_is_conserved", text
    )

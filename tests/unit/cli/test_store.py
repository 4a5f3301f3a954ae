"""`pytest-aitest store` says what a real store holds, exports, adds and removes; what it refuses changes nothing."""

import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_aitest.cli import main
from pytest_aitest.conversation.servers import ToolOutcome
from pytest_aitest.conversation.tree import Called, Said
from pytest_aitest.store.exported import exported
from pytest_aitest.store.memory import Store
from pytest_aitest.values.transcript import Turn
from tests.unit.store.conversations import agent, opened, said

STORE = Path("bank.db")
Does = Callable[..., str]
MODELS = {"azure/gpt-5-mini": 0.031, "house/漢字\x1b[31m": None, "m" * 50: 0.0}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@contextmanager
def on(day: str, path: Path = STORE) -> Iterator[Store]:
    """A store on a day."""
    with pytest.MonkeyPatch.context() as patch, opened(path) as store:
        patch.setattr("pytest_aitest.store.shelf.today", lambda: day)
        yield store
        store.close()


@pytest.fixture
def recorded() -> None:
    """A store of two tests, which met four models."""
    with on("2026-01-02") as store:
        said(store, "hello", "and?", test="a")
    with on("2026-03-04") as store:
        said(store, "hello", "or?", test="b")
        root = store.root("b", shares=True)
        root.add(Called(tool="count", arguments={}), ToolOutcome(text="1"))
        root.add_look(Called(tool="count", arguments={}), ToolOutcome(text="1"))
        for model, cost in MODELS.items():
            event = Said(prompt=model, agent=agent(), max_model_calls=1, timeout_seconds=1)
            root.add(event, Turn(agent="a", model=model, user=model, prompt_tokens=41_000, cost_usd=cost))


@pytest.fixture
def does(capsys: pytest.CaptureFixture[str]) -> Does:
    """What a command says that is carried out."""

    def check(*arguments: str, notes: str = "") -> str:
        assert main(["store", *arguments]) == 0
        out, err = capsys.readouterr()
        assert err == notes
        return str(out)

    return check


@pytest.fixture
def refuses(capsys: pytest.CaptureFixture[str]) -> Does:
    """What a command says that is not carried out; it ends with status 2 and one line, and changes no file."""

    def check(*arguments: str) -> str:
        before = files()
        assert main(["store", *arguments]) == 2
        out, err = capsys.readouterr()
        assert (out, files()) == ("", before)
        assert err.startswith("pytest-aitest: ")
        assert err.count("\n") == 1
        return str(err.removeprefix("pytest-aitest: ").rstrip("\n").replace(str(Path.cwd()), "HERE"))

    return check


def files() -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in Path().rglob("*")}


def run(*arguments: str, **more: Any) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "pytest_aitest", "store", *arguments]
    return subprocess.run(command, check=False, capture_output=True, timeout=60, **more)


# What a store holds


def test_stats_say_what_it_holds_and_what_a_replay_saves(recorded: None, does: Does) -> None:
    shown = does("stats", "bank.db")
    assert shown == (
        "turns                6\n"
        "calls                1\n"
        "looks                1\n"
        "histories            2\n"
        "tests                2\n"
        f"size      {f'{STORE.stat().st_size:,} bytes':>12}\n"
        "recorded  2026-01-02 to 2026-03-04\n"
        "\n"
        "a replay saves                            turns  tokens           cost\n"
        "azure/gpt-5-mini                              1  41,000         $0.031\n"
        "echo                                          3       0           free\n"
        "house/漢字\\x1b[31m                            1  41,000  price unknown\n"
        f"{'m' * 37}...      1  41,000           free\n"
    )


def test_an_empty_store_holds_nothing(does: Does) -> None:
    with opened(STORE):
        pass
    assert does("stats", "bank.db") == (
        "turns                0\ncalls                0\nlooks                0\nhistories            0\n"
        f"tests                0\nsize      {f'{STORE.stat().st_size:,} bytes':>12}\nrecorded       nothing\n"
    )


def test_a_day_is_told_once_and_megabytes_are_rounded(does: Does) -> None:
    with on("2026-01-02") as store:
        said(store, "x" * 1_000_000)
    shown = does("stats", "bank.db")
    assert f"size      {f'{STORE.stat().st_size / 1e6:.1f} MB':>12}\n" in shown
    assert "recorded    2026-01-02\n" in shown


# As text and back


def test_what_is_exported_and_imported_is_exported_as_the_same(recorded: None, does: Does) -> None:
    text = does("export", "bank.db")
    assert text == exported(STORE)
    assert does("export", "bank.db", "--output", "bank.json", notes="Wrote bank.json\n") == ""
    assert Path("bank.json").read_bytes() == text.encode()
    assert does("import", "new/copy.db", "bank.json") == f"Added 8 entries; {Path('new/copy.db')} holds 8 now.\n"
    assert does("export", "new/copy.db") == text
    assert does("import", "new/copy.db", "bank.json").startswith("Added 0 entries; ")
    with opened(Path("new/copy.db"), "replay") as store:
        assert said(store, "hello", "or?", test="b") == ["1: hello", "3: or?"]


def test_only_what_a_store_lacks_is_added(recorded: None, does: Does) -> None:
    with on("2026-03-05", Path("other.db")) as store:
        said(store, "hello", "but?", test="a")
    does("export", "other.db", "--output", "other.json", notes="Wrote other.json\n")
    assert does("import", "bank.db", "other.json") == "Added 1 entry; bank.db holds 9 now.\n"


def test_an_export_may_come_from_standard_input(recorded: None, does: Does, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"\xef\xbb\xbf" + exported(STORE).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))
    assert does("import", "copy.db", "-") == "Added 8 entries; copy.db holds 8 now.\n"
    assert exported(Path("copy.db")) == exported(STORE)


def test_as_a_process_it_exports_utf_8_whatever_the_terminal_knows(recorded: None) -> None:
    done = run("export", "bank.db", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.replace(b"\r\n", b"\n").decode() == exported(STORE)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes there don't break")
def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    with on("2026-01-02") as store:
        said(store, "x" * 1_000_000)
    command = [sys.executable, "-m", "pytest_aitest", "store", "export", "bank.db"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
def test_where_there_is_no_room_for_an_answer_it_is_said(recorded: None) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "pytest_aitest", "store", "stats", "bank.db"]
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (
        2,
        "pytest-aitest: Standard output can't be written: No space left on device. "
        "Make room, or let it go elsewhere.\n",
    )


# What is removed


def test_without_days_only_what_nothing_leads_to_is_removed(recorded: None, does: Does) -> None:
    whole = exported(STORE)
    assert does("prune", "bank.db").startswith("Removed 0 of 8 entries; ")
    assert exported(STORE) == whole
    connection = sqlite3.connect(STORE, isolation_level=None)
    connection.execute("DELETE FROM samples WHERE outcome LIKE '%1: hello%'")
    connection.close()
    size = STORE.stat().st_size
    assert (
        does("prune", "bank.db") == f"Removed 2 of 7 entries; {size:,} bytes are now {STORE.stat().st_size:,} bytes.\n"
    )


def test_with_days_what_is_old_is_removed(does: Does) -> None:
    with on("2026-01-02") as store:
        said(store, "x" * 1_500_000)
    with on("9999-12-31") as store:
        said(store, "hello", "and?")
    size = STORE.stat().st_size / 1e6
    line = f"Removed 1 of 3 entries; {size:.1f} MB are now "
    assert does("prune", "bank.db", "--days", "1") == f"{line}{STORE.stat().st_size:,} bytes.\n"
    assert does("prune", "bank.db", "--days", "999999").startswith("Removed 0 of 2 entries; ")


@pytest.mark.parametrize("days", ["0", "-1", "ten", "1.5", "", "9" * 5_000])
def test_what_is_no_number_of_days_is_refused(recorded: None, days: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = files()
    with pytest.raises(SystemExit) as ended:
        main(["store", "prune", "bank.db", f"--days={days}"])
    assert ended.value.code == 2
    said_there = capsys.readouterr().err
    assert said_there.endswith(f"argument --days: {days!r} is no number of days. Give 1 or more, or leave it out.\n")
    assert files() == before


# What is refused


@pytest.mark.parametrize("command", ["stats", "export", "prune"])
def test_what_is_not_there_is_refused(refuses: Does, command: str) -> None:
    assert refuses(command, "lost.db") == (
        "There is no store lost.db. Give the path of one; `pytest --aitest-store PATH` makes it."
    )


def test_what_can_not_be_a_path_is_refused(recorded: None, refuses: Does) -> None:
    endless = "x" * 300
    for command in (["stats"], ["export"], ["prune"]):
        assert refuses(*command, endless).startswith(f"The store HERE/{endless} can't be opened: File name too long. ")
    assert refuses("stats", "bank.db/bank.db").startswith("There is no store bank.db/bank.db. ")
    assert refuses("export", "bank.db", "--output", endless).startswith(f"{endless} can't be written: File name too")
    Path("bank.json").write_text(exported(STORE), encoding="utf-8")
    assert refuses("import", endless, "bank.json").startswith(f"The store HERE/{endless} can't be opened: ")
    assert refuses("import", "bank.db", endless).startswith(f"{endless} can't be read: File name too long. ")


@pytest.mark.parametrize("command", [("stats",), ("export",), ("prune",), ("import", "bank.json")], ids=lambda c: c[0])
def test_what_is_no_store_is_refused(recorded: None, refuses: Does, command: tuple[str, ...]) -> None:
    Path("bank.json").write_text(exported(STORE), encoding="utf-8")
    action, *more = command
    Path("folder").mkdir()
    assert refuses(action, "folder", *more) == (
        "HERE/folder is a folder, and a store is a file. Give the path of a file in it."
    )
    assert refuses(action, "bank.json", *more) == (
        "HERE/bank.json is no store: it is not SQLite. Give the path of another file."
    )
    STORE.write_bytes(STORE.read_bytes()[:5_000])
    assert refuses(action, "bank.db", *more).startswith("The store HERE/bank.db is cut off: it has 5,000 bytes of ")


def test_what_is_no_export_is_refused(recorded: None, refuses: Does, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = "Give a file that `pytest-aitest store export` wrote."
    assert refuses("import", "new.db", "lost.json") == f"lost.json does not exist. {wanted}"
    assert refuses("import", "new.db", "bank.db") == f"bank.db can't be read: it is no text. {wanted}"
    Path("folder").mkdir()
    assert refuses("import", "new.db", "folder") == f"folder can't be read: Is a directory. {wanted}"
    Path("other.json").write_text("{}", encoding="utf-8")
    assert refuses("import", "new.db", "other.json") == f"other.json is JSON, but no store. {wanted}"
    data = json.loads(exported(STORE))
    data["entries"][3]["outcome"] = {"turn": "none\x1b[31m"}
    Path("other.json").write_text(json.dumps(data), encoding="utf-8")
    assert refuses("import", "bank.db", "other.json").startswith("other.json is a damaged store: ")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert refuses("import", "new.db", "-") == f"standard input can't be read: it is no text. {wanted}"


def test_an_export_never_replaces_its_store_and_is_a_file(recorded: None, refuses: Does) -> None:
    Path("folder").mkdir()
    assert refuses("export", "bank.db", "--output", "folder/../bank.db") == (
        f"--output {Path('folder/../bank.db')} would overwrite bank.db, which is read or written too. "
        "Give the path of another file."
    )
    assert refuses("export", "bank.db", "--output", "folder") == (
        "--output folder is a folder. Give the path of a file in it."
    )
    assert refuses("export", "bank.db", "--output", "lost/bank.json") == (
        f"--output {Path('lost/bank.json')}: there is no folder lost. Make it, or give another path."
    )


def test_a_store_that_another_holds_is_left_as_it_was(
    recorded: None, refuses: Does, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_aitest.store.database._BUSY_SECONDS", 0.01)
    Path("bank.json").write_text(exported(STORE), encoding="utf-8")
    holder = sqlite3.connect(STORE, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert refuses("prune", "bank.db") == (
        "The store bank.db could not be pruned: database is locked. "
        "See what else uses it, and whether the disk has room."
    )
    assert refuses("import", "bank.db", "bank.json") == (
        "The store bank.db could not be written: database is locked. "
        "It holds what it held; see to that, and import again."
    )
    holder.close()


def test_a_command_without_an_action_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["store"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("error: the following arguments are required: COMMAND\n")

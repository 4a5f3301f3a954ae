"""The file: what is refused, and left as it was; what survives a kill, a full disk and other processes."""

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pytest_aitest.store.database import Database
from pytest_aitest.store.memory import Store
from pytest_aitest.values.errors import StoreError

from .conversations import Mode, opened, said

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def recorded(path: Path) -> Path:
    with opened(path) as store:
        said(store, "hello", "and?")
    return path


def refusal(path: Path, mode: Mode) -> str:
    """Why a file is refused; it is left as it was."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError) as caught:
        Store.open(path, mode)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert str(path) in str(caught.value)
    return str(caught.value).replace(str(path), "PATH")


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, whom no permission holds up."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def for_all() -> Iterator[Path]:
    """A folder that everybody may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


def test_a_new_store_is_made_where_it_is_written_with_the_folders_that_it_stands_in(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b c?#%" / "store.db"
    with opened(path) as store:
        said(store, "hello")
    assert [file.name for file in path.parent.iterdir()] == ["store.db"]
    header = path.read_bytes()[:100]
    assert header[18:20] == b"\1\1"  # a rollback journal: a WAL could not be read where nothing may be written


def test_an_empty_file_is_a_new_store(path: Path) -> None:
    path.touch()
    with opened(path) as store:
        said(store, "hello")
    with opened(path, "replay") as store:
        assert said(store, "hello") == ["1: hello"]


def test_no_file_is_nothing_to_replay(path: Path) -> None:
    assert refusal(path, "replay") == (
        "There is no store PATH, and this run only replays. Run once with --aitest-store-mode record to make it."
    )
    assert not path.exists()


@pytest.mark.parametrize("mode", ["replay", "record", "refresh"])
def test_what_is_no_store_is_refused(path: Path, mode: Mode) -> None:
    another = "Give the path of another file."
    path.write_text("my diary, which nobody may overwrite\n" * 100)
    assert refusal(path, mode) == f"PATH is no store: it is not SQLite. {another}"
    path.unlink()
    path.mkdir()
    assert refusal(path, mode) == "PATH is a folder, and a store is a file. Give the path of a file in it."
    path.rmdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE diary (line TEXT)")
    connection.close()
    assert refusal(path, mode) == f"PATH is a database of another application, not a store of ours. {another}"


def test_an_empty_file_is_nothing_to_replay(path: Path) -> None:
    path.touch()
    assert refusal(path, "replay").startswith("PATH is no store: it is empty.")


@pytest.mark.parametrize("mode", ["replay", "record"])
def test_a_newer_store_is_refused(recorded: Path, mode: Mode) -> None:
    connection = sqlite3.connect(recorded)
    connection.execute("PRAGMA user_version=2")
    connection.close()
    assert refusal(recorded, mode) == (
        "PATH is a store of version 2, and this pytest-aitest reads version 1. "
        "Use the pytest-aitest that wrote it, or the path of another file."
    )


@pytest.mark.parametrize("mode", ["replay", "record"])
@pytest.mark.parametrize("left", [50, 4096, 9000])
def test_a_store_that_was_cut_off_is_refused(recorded: Path, mode: Mode, left: int) -> None:
    recorded.write_bytes(recorded.read_bytes()[:left])
    why = refusal(recorded, mode)
    assert f"The store PATH is cut off: it has {left:,} bytes of " in why
    assert why.endswith("Take it from where it was copied from, or remove it and record anew.")


def test_damage_that_shows_later_is_told_too(recorded: Path) -> None:
    content = bytearray(recorded.read_bytes())
    content[4096:] = bytes([7]) * (len(content) - 4096)
    recorded.write_bytes(content)
    with pytest.raises(StoreError, match=r"is damaged: .*Take it from"), opened(recorded, "replay") as store:
        said(store, "hello")
    assert recorded.read_bytes() == content


def test_damage_is_shown_where_the_user_asked_and_not_where_we_met_it(recorded: Path) -> None:
    with closing(sqlite3.connect(recorded)) as connection:
        connection.execute("UPDATE samples SET outcome='{'")
        connection.commit()
    with opened(recorded, "replay") as store, pytest.raises(StoreError, match="is no outcome") as caught:
        said(store, "hello")
    shown = {Path(entry.path).name for entry in caught.traceback.filter(caught)}
    assert shown == {"test_database.py", "conversations.py"}


def test_what_may_not_be_read_is_refused(for_all: Path) -> None:
    path = for_all / "store.db"
    with opened(path) as store:
        said(store, "hello")
    path.chmod(0o000)
    with as_nobody(), pytest.raises(StoreError, match=r"can't be opened: Permission denied\. See to its permissions"):
        Store.open(path, "replay")


def test_what_may_not_be_written_replays_and_records_nothing(for_all: Path) -> None:
    path = for_all / "store.db"
    with opened(path) as store:
        said(store, "hello")
    path.chmod(0o444)
    for_all.chmod(0o555)
    with as_nobody():
        with opened(path, "replay") as store:
            assert said(store, "hello") == ["1: hello"]
        assert refusal(path, "record") == (
            "The store PATH can't be written: it is read-only. "
            "Allow that; only `pytest --aitest-store-mode replay` does without."
        )


def test_a_transaction_that_fails_leaves_nothing(recorded: Path) -> None:
    database = Database.open(recorded, "record")
    with pytest.raises(ZeroDivisionError), database.writing():
        database.write("DELETE FROM samples", *[1 / 0 for _ in range(database.write("DELETE FROM met"))])
    assert len(database.rows()) == 2
    database.close()


# Other processes


def process(program: str, *arguments: object) -> "subprocess.Popen[str]":
    head = """
        import sys
        from pathlib import Path
        path = Path(sys.argv[1])
        def tell(word):
            print(word, flush=True)
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(program), *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_run_that_is_killed_leaves_what_it_had_written(recorded: Path) -> None:
    killed = process(
        """
        from pytest_aitest.store.database import Database
        with Database.open(path, "record").writing() as database:
            database.write("PRAGMA cache_size=1")
            database.write("UPDATE samples SET outcome = 'lost' || hex(zeroblob(100000))")
            tell("written half")
            sys.stdin.read()
        """,
        recorded,
    )
    with killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "written half\n"
        killed.send_signal(signal.SIGKILL)
    journal = recorded.with_name("store.db-journal")
    assert journal.exists()
    with opened(recorded, "replay") as store:
        assert said(store, "hello", "and?") == ["1: hello", "3: and?"]
    assert not journal.exists()


def test_what_a_killed_run_left_can_not_be_mended_where_nothing_may_be_written(for_all: Path) -> None:
    path = for_all / "store.db"
    with opened(path) as store:
        said(store, "hello")
    path.with_name("store.db-journal").write_bytes(b"half written")
    path.chmod(0o444)
    for_all.chmod(0o555)
    with as_nobody():
        assert "PATH was left half written by a run that was killed" in refusal(path, "replay")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What would make a file longer fails, in all of this process."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_the_writing_and_not_the_run(path: Path) -> None:
    with opened(path) as store:
        said(store, "before")
        with files_of_at_most(path.stat().st_size):
            answers = [said(store, "x" * 100_000, f"{number}")[1] for number in range(2)]
        said(store, "after")
    assert (answers, store.added, len(store.problems)) == (["3: 0", "3: 1"], 1, 1)
    assert store.problems[0].startswith(f"The store {path} could not be written: ")
    assert store.problems[0].endswith(". What this run asked from then on is not in it.")
    with opened(path, "replay") as store:
        assert said(store, "before") == ["1: before"]
        assert len(store.database.rows()) == 1


def test_a_file_that_is_locked_for_too_long_ends_the_writing_and_not_the_run(
    recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_aitest.store.database._BUSY_SECONDS", 0.01)
    other = sqlite3.connect(recorded, isolation_level=None)
    with opened(recorded) as store:
        other.execute("BEGIN IMMEDIATE")
        assert said(store, "another") == ["1: another"]
        assert store.problems == [
            f"The store {recorded} could not be written: database is locked. "
            "What this run asked from then on is not in it."
        ]
        other.execute("ROLLBACK")
        assert said(store, "another", "again") == ["1: another", "3: again"]
        assert len(store.problems) == 1
    other.close()


def test_processes_write_at_once(path: Path) -> None:
    writing = """
        from tests.unit.store.conversations import opened, said
        tell("ready")
        sys.stdin.readline()
        with opened(path) as store:
            for number in range(4):
                said(store, "hello", f"{number} {sys.argv[2]}", test=sys.argv[2])
            tell(store.problems)
    """
    processes = [process(writing, path, name) for name in "ab"]
    for each in processes:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in processes:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    assert [each.communicate()[0] for each in processes] == ["[]\n", "[]\n"]
    with opened(path, "replay") as store:
        for name in "ab":
            for number in range(4):
                assert said(store, "hello", f"{number} {name}", test=name) == ["1: hello", f"3: {number} {name}"]

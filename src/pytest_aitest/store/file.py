"""What can be told of a store from its file, before sqlite touches it: whether it is one, whole, and may be used."""

import os
from pathlib import Path
from typing import Literal

from pytest_aitest.values.errors import StoreError

Mode = Literal["replay", "record", "refresh"]
"""Only read; add what is missing; ask everything anew, and replace."""

APPLICATION_ID = 0x61697473  # "aits"
RESTORE = "Take it from where it was copied from, or remove it and record anew."
_ANOTHER = "Give the path of another file."
_MAGIC = b"SQLite format 3\0"
_HEADER = 100  # bytes


def check(path: Path, mode: Mode) -> None:
    """Make the file where it may be made.

    Raises:
        StoreError: It is no store, or may not be used so.
    """
    if os.path.isdir(path):  # noqa: PTH112 - pathlib's raises for what can't be a path
        raise StoreError(f"{path} is a folder, and a store is a file. Give the path of a file in it.")
    header = _header(path, mode)
    if header[: len(_MAGIC)] != _MAGIC and (header or mode == "replay"):
        raise StoreError(f"{path} is no store: it is {'not SQLite' if header else 'empty'}. {_ANOTHER}")
    if 0 < len(header) < _HEADER:
        raise _cut_off(path, len(header), _HEADER)
    if header and int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise StoreError(f"{path} is a database of another application, not a store of ours. {_ANOTHER}")
    if mode != "replay" and not may_write(path):
        raise StoreError(
            f"The store {path} can't be written: it is read-only. "
            "Allow that; only `pytest --aitest-store-mode replay` does without."
        )


def existing(path: Path) -> Path:
    """`path`, for who wants to know or change what is there.

    Raises:
        StoreError: Nothing is.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(
            f"There is no store {path}. Give the path of one; `pytest --aitest-store PATH` makes it."
        ) from None
    except OSError:
        pass  # told when it is opened
    return path


def may_write(path: Path) -> bool:
    """Whether the file, and the journal beside it, may be written."""
    effective = os.access in os.supports_effective_ids
    return all(os.access(each, os.W_OK, effective_ids=effective) for each in (path, path.parent))


def journal_of(path: Path) -> Path:
    """Where sqlite keeps what it needs to undo what it is writing."""
    return path.with_name(f"{path.name}-journal")


def cut_off(path: Path) -> StoreError | None:
    """What to raise where the file is shorter than its header says."""
    try:
        with path.open("rb") as file:
            header, size = file.read(_HEADER), path.stat().st_size
    except OSError:
        return None
    page = int.from_bytes(header[16:18], "big")
    expected = (1 << 16 if page == 1 else page) * int.from_bytes(header[28:32], "big")
    return _cut_off(path, size, expected) if size < expected else None


def _cut_off(path: Path, size: int, expected: int) -> StoreError:
    return StoreError(f"The store {path} is cut off: it has {size:,} bytes of {expected:,}. {RESTORE}")


def _header(path: Path, mode: Mode) -> bytes:
    try:
        if mode != "replay" and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        with path.open("rb") as file:
            return file.read(_HEADER)
    except FileNotFoundError:
        raise StoreError(
            f"There is no store {path}, and this run only replays. Run once with --aitest-store-mode record to make it."
        ) from None
    except OSError as error:
        raise StoreError(
            f"The store {path} can't be opened: {error.strerror}. See to its permissions, or give the path of another."
        ) from None

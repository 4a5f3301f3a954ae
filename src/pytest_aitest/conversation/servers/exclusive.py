"""One session at a time at a url whose state is shared, across lanes, workers and runs on this machine."""

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import anyio
import filelock

from pytest_aitest.values.errors import ServerStartError

_LONGEST_WAIT_SECONDS = 600.0
_POLL_SECONDS = 0.05


class Holder(Protocol):
    """Whoever has its turn."""

    label: str
    leaving: bool


_holders: dict[Path, Holder] = {}  # of this process, whose locks these are


@asynccontextmanager
async def turn_at(url: str, *, holder: Holder) -> AsyncIterator[None]:
    """Have the url for oneself while the block lasts.

    Raises:
        ServerStartError: Somebody else has it: for too long, or in this process, where waiting could last for ever.
    """
    path = _lock_path(url)
    # Tried again and again rather than waited for in a thread: a thread that waits can't be cancelled, and would take
    # the lock for nobody.
    lock = filelock.FileLock(path)
    with anyio.move_on_after(_LONGEST_WAIT_SECONDS):
        while not _taken(lock, path, holder):  # noqa: ASYNC110 - other processes set no event
            await anyio.sleep(_POLL_SECONDS)
    if not lock.is_locked:
        raise ServerStartError(
            f"Server {holder.label!r} can't be reset: another process has used it for {_LONGEST_WAIT_SECONDS:g} s, "
            "and a reset would change the state under it. End the other run, or give each a server of its own."
        )
    try:
        yield
    finally:
        del _holders[path]
        lock.release()


def _taken(lock: filelock.BaseFileLock, path: Path, holder: Holder) -> bool:
    rival = _holders.get(path)
    if rival is not None and not rival.leaving:
        raise ServerStartError(
            f"Server {holder.label!r} can't be reset: another session of this process is still using it, "
            "and a reset would change the state under it. Let that session end first, or give each a server of its own."
        )
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        return False
    _holders[path] = holder
    return True


def _lock_path(url: str) -> Path:
    user = os.getuid() if hasattr(os, "getuid") else None  # on Windows the folder for temporary files is one's own
    folder = Path(tempfile.gettempdir(), f"pytest-aitest-{user}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if user is not None and folder.lstat().st_uid != user:
        raise ServerStartError(
            f"The folder {str(folder)!r} belongs to somebody else, so no lock in it can be trusted. "
            "Remove it, or set TMPDIR."
        )
    return folder / f"{hashlib.sha256(url.encode()).hexdigest()}.lock"

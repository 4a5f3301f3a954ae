"""Files that commands read and write, and what is wrong with them in one line.

Knows no formats.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from pytest_aitest.report import files
from pytest_aitest.values.errors import AitestError


class CommandError(AitestError):
    """A command that can't be carried out."""


def read(source: Path, *, made_by: str) -> str:
    """The text of a file.

    Raises:
        CommandError: There is none; `made_by` says which command makes one.
    """
    try:
        return decoded(source.read_bytes(), source=str(source), made_by=made_by)
    except FileNotFoundError:
        raise CommandError(f"{source} does not exist. Give a file that `{made_by}` wrote.") from None
    except OSError as error:
        raise CommandError(f"{source} can't be read: {error.strerror}. Give a file that `{made_by}` wrote.") from None


def decoded(content: bytes, *, source: str, made_by: str) -> str:
    """The same of what was read already.

    Raises:
        CommandError: It is no text.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CommandError(f"{source} can't be read: it is no text. Give a file that `{made_by}` wrote.") from None


def check(sources: Sequence[Path], targets: dict[str, Path]) -> None:
    """Refuse what can't be written, before anything is.

    Args:
        sources: What is read.
        targets: What is to be written, by the options that name it.

    Raises:
        CommandError: One is read, too, or written twice, or can't be a file.
    """
    taken = {path.resolve(): str(path) for path in sources}
    for name, path in targets.items():
        if (other := taken.get(path.resolve())) is not None:
            raise CommandError(
                f"--{name} {path} would overwrite {other}, which is read or written too. Give the path of another file."
            )
        if not _is_folder(path.parent):
            raise CommandError(f"--{name} {path}: there is no folder {path.parent}. Make it, or give another path.")
        if _is_folder(path):
            raise CommandError(f"--{name} {path} is a folder. Give the path of a file in it.")
        taken[path.resolve()] = f"--{name}"


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - pathlib's raises for what can't be a path


def write(path: Path, text: str) -> None:
    """Have `text` in a file, as a whole.

    Raises:
        CommandError: It can't be written; what was there is unchanged.
    """
    try:
        files.write(path, text)
    except OSError as error:
        raise CommandError(
            f"{path} can't be written: {error.strerror}. What it held is unchanged; give another path."
        ) from None

"""Putting a report into a file, such that a reader finds a whole one there, the old or the new.

Knows texts and paths; what is in them, and what to say of it, is not its business.
"""

import shutil
import tempfile
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Have `text` in `path`, or what was there.

    Raises:
        OSError: It can't be written; what was there is unchanged.
    """
    target = path.resolve()  # a link stays one
    if path.exists() and not path.is_file():  # /dev/stdout
        path.write_text(text, encoding="utf-8", newline="\n")
        return
    with tempfile.TemporaryDirectory(prefix=f".{target.name[:50]}-", dir=target.parent) as folder:
        made = Path(folder, "report")
        made.write_text(text, encoding="utf-8", newline="\n")
        if target.exists():
            shutil.copymode(target, made)
        made.replace(target)

"""Where in the user's own code an error came from: frames of ours, of Hypothesis and of libraries are left out."""

import os
import sysconfig
import traceback
from pathlib import Path
from types import TracebackType

_OURS = f"{Path(__file__).parents[1]}{os.sep}"
_LIBRARIES = tuple(f"{sysconfig.get_path(kind)}{os.sep}" for kind in ("stdlib", "platstdlib", "purelib", "platlib"))


def place_of(error: BaseException) -> str:
    """The innermost line of the user's that the error went through, "test_bank.py:31"; empty where there is none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if _is_users(frame.filename):
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return ""


def users_traceback(error: BaseException) -> TracebackType | None:
    """The traceback from the first frame that is the user's."""
    frame = error.__traceback__
    while frame is not None and not _is_users(frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    return frame


def _is_users(filename: str) -> bool:
    return not filename.startswith((_OURS, "<", *_LIBRARIES))

"""Importing a package that rearranges the process, and leaving the process as it was. Knows no package."""

import gc
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def undisturbed(*, variables: dict[str, str], loggers: str) -> Iterator[None]:
    """Keep the environment, `sys.path`, logging and warning filters as they are, whatever is imported inside.

    `variables` are set meanwhile, where the user has not set them. Loggers whose name starts with `loggers` are the
    package's own, and left to it.
    """
    environment, path = dict(os.environ), sys.path[:]
    levels = {name: logger.level for name, logger in _loggers()}
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with warnings.catch_warnings(), _collector_at_rest():
            warnings.simplefilter("ignore")  # its warnings are not the user's, not even under -W error
            os.environ.update({name: value for name, value in variables.items() if name not in environment})
            yield
    finally:
        _restore_environment(environment)
        sys.path[:] = path
        root.handlers[:] = handlers
        root.setLevel(level)
        for name, logger in _loggers():
            if not name.startswith(loggers):
                logger.setLevel(levels.get(name, logging.NOTSET))


def _loggers() -> list[tuple[str, logging.Logger]]:
    known = logging.root.manager.loggerDict.items()
    return [(name, logger) for name, logger in known if isinstance(logger, logging.Logger)]


def _restore_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """No garbage collection inside: next to nothing of what an import makes is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

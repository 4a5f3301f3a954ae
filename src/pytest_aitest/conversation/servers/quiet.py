"""What the SDK logs, and where it may be heard.

The SDK's client logs as errors, with tracebacks, what we report ourselves: a server that hangs up, an answer that is no
message. On a terminal with live logging this reads as a failure of the test. So what it logs about *our* connections is
said at debug level, where whoever looks for it finds it. What the same loggers say about connections of the test's own
code stays as it is, and so does all that an in-process server logs. A filter rather than a handler or a level, because
those are the user's to configure; it is there only while a pool is open.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ours: ContextVar[bool] = ContextVar("pytest_aitest_connection", default=False)

_LOGGERS = (
    "client",  # mcp.client.session
    "mcp.client.sse",
    "mcp.client.streamable_http",
    "mcp.shared.jsonrpc_dispatcher",  # 2.x
    "root",  # mcp.shared.session of 1.x
)


class _AtDebugLevel(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if not _ours.get() or record.levelno <= logging.DEBUG:
            return True
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)


@contextmanager
def sdk_at_debug_level() -> Iterator[None]:
    """While the block lasts, what the SDK logs about our connections is said at debug level."""
    quieter = _AtDebugLevel()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(quieter)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(quieter)


@contextmanager
def ours(*, yes: bool = True) -> Iterator[None]:
    """Whether what is logged in the block, and in tasks that it starts, is about a connection of ours."""
    token = _ours.set(yes)
    try:
        yield
    finally:
        _ours.reset(token)


@contextmanager
def root_logger_kept() -> Iterator[None]:
    """Keep `logging.basicConfig`, which the SDK calls when a server is built, from configuring the user's root logger.

    With a handler present it does nothing. That beats restoring the handlers afterwards, which would undo what other
    threads (pytest's own capturing among them) have done meanwhile.
    """
    root, present = logging.getLogger(), logging.NullHandler()
    root.addHandler(present)
    try:
        yield
    finally:
        root.removeHandler(present)

"""Why a link failed, from what was seen of it: what happened, why, and what to do instead.

Collects while the connection lives, and speaks when asked.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pytest_aitest.values.agent import MCPServer
from pytest_aitest.values.plain import inert

from .launch import Launch
from .process import ServerProcess

_JSON, _STREAM = "application/json", "text/event-stream"
_WITHOUT_BODY = (202, 204)
_ADVICE = {  # for answers that are the end of a link, whatever they say
    401: "Give it the credentials it wants in headers=..., as ${NAME} to keep them out of the code.",
    403: "Give it credentials that are allowed in, in headers=..., as ${NAME} to keep them out of the code.",
    404: "Check the path (it is mostly /mcp, or /sse with transport='sse'), and whether the server was restarted.",
    407: "Check the proxy settings of the environment, or name the host in NO_PROXY.",
}
_MOST_TEXT = 300


class RefusedError(Exception):
    """The server answered with an error of the protocol."""


class ClosedError(Exception):
    """The server is no longer there to answer."""


@dataclass
class Faults:
    """What was seen of one link."""

    server: MCPServer
    launch: Launch | None = None  # of a command
    process: ServerProcess | None = None  # likewise
    doing: str = "it has not answered the handshake"  # what its start waits for
    timed_out: bool = False
    garbage: bytes = b""  # the first line on its stdout that was no message
    status: int = 0  # of the HTTP answer that ended it
    lost: str = ""  # why we gave it up
    error: BaseException | None = None

    @property
    def cause(self) -> BaseException | None:
        """The user's own exception, where there is one; the traceback of any other would lead into the SDK."""
        internal = self.server.factory is None or isinstance(self.error, RefusedError | ClosedError)
        return None if internal else self.error

    def start_message(self) -> str:
        """Why it never became ready."""
        why = self._why()
        if self._noise:
            why += f" (its stdout began with {cut(self._noise)}, which is no message of the protocol)"
        return f"Server {self.server.label!r} did not become ready: {why}. {self._advice()}{self._last_words()}"

    def death_message(self, *, during: str) -> str:
        """Why it is gone."""
        return f"Server {self.server.label!r} died {during}: {self._why()}. {self._advice()}{self._last_words()}"

    def saw_garbage(self, line: bytes) -> str:
        """Keep a line that is no message; what to note about it."""
        self.garbage = self.garbage or line
        return (
            f"server {self.server.label!r} wrote to its stdout what is no message of the protocol: {cut(line)}; "
            "its stdout is for the protocol, its stderr for the rest"
        )

    async def saw_response(self, response: Any) -> str:
        """Keep an HTTP answer that the protocol has no use for; why no other will come, or nothing."""
        sse, method, status = self.server.transport == "sse", response.request.method, response.status_code
        if method != "POST" and not (sse and method == "GET"):
            return ""  # the optional stream of a server's own messages, and the end of a session
        if (
            response.has_redirect_location
            or status in _WITHOUT_BODY
            or (sse and method == "POST" and response.is_success)
        ):
            return ""  # the SDK follows or refuses redirects itself; and with SSE, answers come on the stream
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == _STREAM and response.is_success:
            return ""
        if kind == _JSON and status not in _ADVICE and b'"jsonrpc"' in await response.aread():
            return ""  # whatever its status, for an error of the protocol is an answer too
        self.status = status
        what = "JSON that is no message of the protocol" if kind == _JSON else kind
        with_what = f" with {what}" if what and status not in _ADVICE else ""
        return f"{self._url} answered HTTP {status} {response.reason_phrase}{with_what}"

    @property
    def _url(self) -> str:
        """Without the secrets that a url may hold."""
        parts = urlsplit(self.server.url or "")
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    @property
    def _noise(self) -> bytes:
        return self.garbage or (self.process.unfinished_line if self.process is not None else b"")

    def _why(self) -> str:
        if self.process is not None and self.process.fate:
            return self.process.fate
        if self.lost:
            return self.lost
        if self.timed_out:
            return f"{self.doing} within {self.server.wait.timeout_seconds:g} s"
        if isinstance(self.error, RefusedError):
            return f"it refused, saying {cut(str(self.error))}"
        if self.error is None or isinstance(self.error, ClosedError):
            return "the connection was closed"
        why = described(self.error)
        return why.replace(self.server.url, self._url) if self.server.url is not None else why

    def _advice(self) -> str:
        if self.timed_out and self._noise:
            return "A server's stdout is for the protocol; let it log to stderr."
        if self.timed_out:
            seconds = max(60.0, 2 * self.server.wait.timeout_seconds)
            return f"Check the server, or give it more time: timeout_seconds={seconds:g} in its Wait."
        if self.launch is not None:
            return f"Run it in a terminal: {self.launch.shown}"
        if self.server.url is not None:
            return _ADVICE.get(self.status) or f"Check that an MCP server is running at {self._url}, and its own log."
        return "Call the factory by itself, and look at the lifespan and the tools of what it returns."

    def _last_words(self) -> str:
        words = self.process.last_words if self.process is not None else ""
        return f"\nThe end of its stderr:{words}" if words else ""


def described(error: BaseException) -> str:
    """An exception in one line that is neither long nor able to harm a terminal."""
    first_line = str(error).partition("\n")[0][:_MOST_TEXT]
    return f"{type(error).__name__}: {inert(first_line)}".rstrip(".: ")


def cut(text: str | bytes) -> str:
    """The beginning of what a server wrote, quoted."""
    shown = text[:_MOST_TEXT]
    return repr(shown.decode(errors="replace") if isinstance(shown, bytes) else shown)

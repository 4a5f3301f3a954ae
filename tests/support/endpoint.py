"""A model endpoint on loopback that speaks OpenAI's chat-completions protocol over real HTTP, with scripted answers.

::

    with Endpoint(text("hello"), failure(503)) as endpoint:
        Provider(model="openai/gpt-4o-mini", api_base=endpoint.url)

Standard library only, so that a subprocess can use it too.
"""

import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

JSON = "application/json"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the endpoint was asked."""

    path: str
    headers: Mapping[str, str]  # names in lower case
    body: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What it says to that; made by the functions below."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": JSON})
    manner: Literal["answer", "drop", "hang"] = "answer"


Script = Callable[[Request], Reply]


def message(
    content: str | None, *, finish_reason: str = "stop", tokens: tuple[int, int] = (12, 3), **fields: Any
) -> Reply:
    """An assistant message with any further fields; `tokens` are those of the prompt and of the completion."""
    prompt, completion = tokens
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "scripted",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": content, **fields},
            }
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    }
    return json_body(answer)


def text(content: str, *, finish_reason: str = "stop", tokens: tuple[int, int] = (12, 3)) -> Reply:
    """A plain answer."""
    return message(content, finish_reason=finish_reason, tokens=tokens)


def tool_calls(
    *calls: tuple[str, Mapping[str, Any] | str], content: str | None = None, finish_reason: str = "tool_calls"
) -> Reply:
    """Tools that the model wants called, as `(name, arguments)`; arguments that are a string are sent as they are."""
    wanted = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": name, "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments)},
        }
        for number, (name, arguments) in enumerate(calls, 1)
    ]
    return message(content, finish_reason=finish_reason, tool_calls=wanted)


def failure(
    status: int, explanation: str = "no", *, code: str | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """An error in OpenAI's form."""
    error = {"message": explanation, "type": "error", "param": None, "code": code}
    return Reply(
        status=status, body=json.dumps({"error": error}).encode(), headers={"Content-Type": JSON, **(headers or {})}
    )


def json_body(value: Any) -> Reply:
    """Any JSON, with status 200."""
    return Reply(body=json.dumps(value).encode())


def html(status: int = 200, page: str = "<html><body>Welcome to nginx!</body></html>") -> Reply:
    """A web page, as proxies and wrong urls give."""
    return Reply(status=status, body=page.encode(), headers={"Content-Type": "text/html"})


def dropped() -> Reply:
    """The connection is closed without an answer."""
    return Reply(manner="drop")


def hanging() -> Reply:
    """No answer until `Endpoint.release` is set, then an empty one."""
    return Reply(manner="hang")


class Endpoint:
    """A context manager; answers with `replies` one after the other, or with what a function of the request returns."""

    def __init__(self, *replies: Reply | Script) -> None:
        self._replies = list(replies)
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="endpoint")
        self.requests: list[Request] = []
        self.release = threading.Event()

    @property
    def url(self) -> str:
        """What `api_base` has to be."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()  # waits for the handlers, which the two lines above made end

    def reply_to(self, request: Request) -> Reply:
        """The reply that is next; the last function in the script answers whatever still comes."""
        with self._lock:
            self.requests.append(request)
            if not self._replies:
                return failure(400, f"the test's script has no reply to request {len(self.requests)}")
            if isinstance(self._replies[0], Reply):
                return self._replies.pop(0)
            script = self._replies[0]
        return script(request)


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for them

    def __init__(self, address: tuple[str, int], endpoint: Endpoint) -> None:
        super().__init__(address, _Handler)
        self.endpoint = endpoint
        self.connections: set[socket.socket] = set()

    def hang_up(self) -> None:
        """End connections that clients keep alive."""
        for connection in list(self.connections):
            with suppress(OSError):  # the client was first
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept alive, as real endpoints do
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.endpoint.reply_to(Request(path=self.path, headers=headers, body=json.loads(body)))
        if reply.manner == "hang":
            self.server.endpoint.release.wait()
        if reply.manner == "drop":
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002, the parent's name
        """Keep the test's output clean."""

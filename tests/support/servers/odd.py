"""Processes that are bad servers, each in its own way; the way is their first argument.

They speak the protocol by hand, where they speak it: that takes 30 ms to start instead of 500, is the same under every
version of mcp, and can go wrong where the SDK would not let it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Last(dict[str, Any]):
    """An answer after which the server ends."""


def serve(*tools: str, **answers: Callable[[dict[str, Any]], Any]) -> None:
    """Answer requests until stdin is at its end; `answers` are by method, with `_` for `/`, or by tool."""
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        params = message.get("params") or {}
        tool = params.get("name")
        answer = answers.get(message["method"].replace("/", "_")) or answers.get(str(tool))
        result = answer(params) if answer else _usual(message["method"], params, tools)
        say({"id": message["id"], **(result if "error" in result else {"result": result})})
        if isinstance(result, Last):
            os._exit(7)


def say(message: dict[str, Any]) -> None:
    out(json.dumps({"jsonrpc": "2.0", **message}))


def out(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def log(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def text(said: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": said}]}


def listed(*tools: str) -> dict[str, Any]:
    return {"tools": [{"name": tool, "inputSchema": {"type": "object"}} for tool in tools]}


def _usual(method: str, params: dict[str, Any], tools: tuple[str, ...]) -> dict[str, Any]:
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "odd", "version": "1"},
        }
    if method == "tools/list":
        return listed(*tools)
    return text(f"called {params.get('name')}")


def silent() -> None:
    """Starts, listens, and never says a word."""
    sys.stdin.read()


def exits() -> None:
    """Ends at once, with a reason."""
    log("Traceback (most recent call last):\nModuleNotFoundError: No module named 'bank'")
    sys.exit(3)


def second_only() -> None:
    """Ends at once the first time, which it remembers in a file."""
    path = Path(sys.argv[2])
    if not path.exists():
        path.touch()
        sys.exit(3)
    serve()


def garbage() -> None:
    """Prints to stdout what belongs on stderr, and works."""
    out("Starting up...")

    def hello(_params: dict[str, Any]) -> dict[str, Any]:
        out("\x1b[31mcalled hello")
        return text("hello")

    serve("hello", hello=hello)


def only_garbage() -> None:
    """Is no server at all."""
    out("usage: prog [-h] FILE")
    sys.stdin.read()


def prompt() -> None:
    """Waits for a person."""
    sys.stdout.write("Password: ")
    sys.stdout.flush()
    sys.stdin.read()


def flood() -> None:
    """Writes more than anybody can read."""
    while True:
        sys.stdout.write("y\n" * 10_000)


def crasher() -> None:
    """Dies when called: `crash` in mid-call, `farewell` after it has answered."""

    def crash(params: dict[str, Any]) -> Any:
        log("about to crash")
        os._exit((params.get("arguments") or {}).get("code", 1))

    def farewell(_params: dict[str, Any]) -> Any:
        return Last(text("goodbye"))

    def killed(_params: dict[str, Any]) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    serve("crash", "farewell", "killed", crash=crash, farewell=farewell, killed=killed)


def mute() -> None:
    """Closes its stdout when called, and lives on."""

    def hush(_params: dict[str, Any]) -> Any:
        os.close(1)
        time.sleep(600)

    serve("hush", hush=hush)


def late() -> None:
    """Offers its second tool only when asked for the third time."""
    asked = [0]

    def tools(_params: dict[str, Any]) -> dict[str, Any]:
        asked[0] += 1
        return listed("early", "late") if asked[0] > 2 else listed("early")

    serve(tools_list=tools)


def pages() -> None:
    """Lists its tools in three pages, or, called with an argument, without end."""
    endless = len(sys.argv) > 2

    def tools(params: dict[str, Any]) -> dict[str, Any]:
        page = int(params.get("cursor", 0))
        return listed(f"tool_{page}") | ({"nextCursor": str(page + 1)} if endless or page < 2 else {})

    serve(tools_list=tools)


def logs() -> None:
    """Says on stderr when it is ready, and is so."""
    log("loading")
    log("ready on port 4711")
    serve("hello")


def modern() -> None:
    """Speaks the protocol of 2026 only, in which a tool asks for input by answering with a question."""
    supported = ["2026-07-28"]

    def handshake(params: dict[str, Any]) -> dict[str, Any]:
        data = {"supported": supported, "requested": params["protocolVersion"]}
        return {"error": {"code": -32022, "message": "no handshake here", "data": data}}

    def discover(_params: dict[str, Any]) -> dict[str, Any]:
        cacheable = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        return {"supportedVersions": supported, "capabilities": {"tools": {}}, **cacheable}

    def tools(_params: dict[str, Any]) -> dict[str, Any]:
        return listed("greet") | {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}

    def greet(params: dict[str, Any]) -> dict[str, Any]:
        if responses := params.get("inputResponses"):
            return text(f"{params['requestState']}: {responses['name']['action']}") | {"resultType": "complete"}
        schema = {"type": "object", "properties": {"name": {"type": "string"}}}
        question = {"method": "elicitation/create", "params": {"message": "Your name?", "requestedSchema": schema}}
        return {"resultType": "input_required", "inputRequests": {"name": question}, "requestState": "asked"}

    serve(initialize=handshake, server_discover=discover, tools_list=tools, greet=greet)


def stubborn() -> None:
    """Serves, and does not end when it should."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve("hello")
    time.sleep(600)


def liar() -> None:
    """Breaks its own word about what its tools return."""

    def tools(_params: dict[str, Any]) -> dict[str, Any]:
        promised = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
        return {
            "tools": [tool | {"outputSchema": promised} for tool in listed("broken", "wrong", "malformed")["tools"]]
        }

    def wrong(_params: dict[str, Any]) -> dict[str, Any]:
        return text("7") | {"structuredContent": {"sum": "seven"}}

    def malformed(_params: dict[str, Any]) -> dict[str, Any]:
        return {"content": "seven"}

    serve(tools_list=tools, wrong=wrong, malformed=malformed)


def launcher() -> None:
    """Starts a child that listens to nothing, and waits for it; both process ids go to a file."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", deaf])
    Path(sys.argv[2]).write_text(f"{os.getpid()} {child.pid}")
    child.wait()


def parent() -> None:
    """A good server, but for the child that it leaves behind."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdin=subprocess.DEVNULL)
    serve("hello")


def environment() -> None:
    """Tells what it was started with."""

    def tell(_params: dict[str, Any]) -> dict[str, Any]:
        return text(json.dumps({"env": dict(os.environ), "cwd": str(Path.cwd()), "pid": os.getpid()}))

    serve("tell", tell=tell)


if __name__ == "__main__":
    globals()[sys.argv[1]]()

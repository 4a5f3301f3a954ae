"""What the tests of the store have in common: a bank whose server lives in this process, and who speaks to it.

What counts how often models are asked is global; a model is told by its code and by what that uses.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pytest_aitest import Agent, MCPServer, ModelAnswer, Provider, Session, ToolRequest
from pytest_aitest.conversation.past import Past
from pytest_aitest.store.memory import Store

COUNTS = Counter[str]()
CHANGED = Counter[str]()  # what a server does otherwise than its code says, as one does that runs elsewhere

Mode = Literal["replay", "record", "refresh"]


def echo(messages: list[Any], tools: list[Any]) -> str:
    """The number of the turn, and what it heard."""
    COUNTS["asked"] += 1
    return f"{len(messages)}: {messages[-1]['content']}"


def chancy(messages: list[Any], tools: list[Any]) -> str:
    """Never twice the same."""
    COUNTS["asked"] += 1
    return f"answer {COUNTS['asked']}"


def counting(messages: list[Any], tools: list[Any]) -> str | ModelAnswer:
    """Counts with the tool of its server, and says what that said."""
    COUNTS["asked"] += 1
    if messages[-1]["role"] == "user":
        return ModelAnswer(tool_requests=[ToolRequest(name="count", arguments={"by": 2})])
    return f"now {messages[-1]['content']}"


def counter() -> Any:
    """A server whose state is a number."""
    try:  # here, because it takes a second, which the processes that tests start can do without
        from mcp.server import MCPServer as Server
    except ImportError:  # mcp 1.x
        from mcp.server.fastmcp import FastMCP as Server  # type: ignore[no-redef]
    COUNTS["servers"] += 1
    server, state = Server("counter"), {"count": 0}

    @server.tool()
    def count(by: int) -> int:
        """Count on."""
        state["count"] += by
        return state["count"]

    if CHANGED["tools"]:

        @server.tool()
        def reset() -> int:
            """Begin anew."""
            state["count"] = 0
            return 0

    return server


def agent(model: Any = echo, **fields: Any) -> Agent:
    return Agent(provider=Provider(model=model), **fields)


def accountant(**fields: Any) -> Agent:
    return agent(counting, mcp_servers=[MCPServer(factory=counter, **fields)])


@contextmanager
def opened(path: Path, mode: Mode = "record", **settings: Any) -> Iterator[Store]:
    store = Store.open(path, mode, **settings)
    store.database.read("PRAGMA synchronous=OFF")  # no test pulls the plug, and waiting for the disk takes longest
    try:
        yield store
    finally:
        store.close()


def said(
    store: Store,
    *prompts: str,
    by: Agent | None = None,
    test: str = "a",
    replays: bool = True,
    messages: Any = (),
    again: int | None = None,
) -> list[str]:
    """The answers of one session."""
    past = Past(store.root(test, shares=replays), replays=replays)
    past.begin_step(again=again)
    with Session(by or agent(), past=past, messages=messages) as session:
        return [session.say(prompt).final_response for prompt in prompts]


def asked(what: Callable[[], object]) -> int:
    """How many times models were asked meanwhile."""
    before = COUNTS["asked"]
    what()
    return COUNTS["asked"] - before

"""Our own time per turn: the same calls of litellm and mcp, made by us and made bare, in turn in one process.

The model is instant (litellm's own door for custom providers), the server in-process, the loop the same, so what
differs is us. A turn is two model calls and one tool call.
"""

import json
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from statistics import median
from time import perf_counter
from typing import Any

import anyio

from pytest_aitest import Agent, MCPServer, Provider, Session
from pytest_aitest.conversation.engine import Engine

try:
    from mcp.server import MCPServer as Server
except ImportError:  # mcp 1.x
    from mcp.server.fastmcp import FastMCP as Server

TURNS = 200
WARM_UP = 10
ROUNDS = 4
MODEL = "instant/model"
PROMPT = "What's my balance?"


def build() -> Any:
    """A server with one tool that answers at once."""
    server = Server("bank")

    @server.tool(structured_output=False)
    def get_balance(account: str) -> str:
        """Get a balance."""
        return "1500"

    return server


def measure() -> None:
    logging.disable(logging.INFO)  # building a server lets all of litellm's records through to the terminal
    register_instant_model()
    rounds = [(time_ours(), time_bare()) for _ in range(ROUNDS)]
    early, late = (per_turn(rounds, start, stop) for start, stop in ((WARM_UP, 60), (TURNS - 50, TURNS)))
    print(f"time per turn, bare sequence = 1: {early[0] / early[1]:.2f} x in the first turns, ", end="")
    print(f"{late[0] / late[1]:.2f} x after {TURNS - 50} turns ", end="")
    print(f"(promised: at most 1.5 x, and no growth of its own; {ROUNDS} rounds)")
    for when, (ours, bare) in {"first": early, "last": late}.items():
        print(f"    milliseconds per turn, {when}: ours {ours * 1000:.2f}, bare {bare * 1000:.2f}")


def per_turn(rounds: list[tuple[list[float], list[float]]], start: int, stop: int) -> list[float]:
    """Median seconds of those turns over all rounds, ours and bare."""
    return [median(time for run in runs for time in run[start:stop]) for runs in zip(*rounds, strict=True)]


def time_ours() -> list[float]:
    agent = Agent(name="bank", provider=Provider(model=MODEL), mcp_servers=[MCPServer(factory=build)])
    times = []
    with Session(agent) as session:
        for _ in range(TURNS):
            started = perf_counter()
            result = session.say(PROMPT)
            times.append(perf_counter() - started)
            assert result.success, result
            assert result.tool_calls[0].result == "1500"
    return times


def time_bare() -> list[float]:
    """The shortest program that has the same conversation, on the same loop, its thread blocked as by a session."""
    return Engine.shared().run(bare_conversation)


async def bare_conversation() -> list[float]:
    import litellm
    from mcp import ClientSession

    lowlevel = build()
    lowlevel = getattr(lowlevel, "_lowlevel_server", None) or lowlevel._mcp_server
    times: list[float] = []
    async with AsyncExitStack() as stack:
        to_client, from_server = anyio.create_memory_object_stream[Any](16)
        to_server, from_client = anyio.create_memory_object_stream[Any](16)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(lowlevel.run, from_client, to_client, lowlevel.create_initialization_options())
        client = await stack.enter_async_context(ClientSession(from_server, to_server))
        await client.initialize()
        listed = [tool.model_dump(by_alias=True) for tool in (await client.list_tools()).tools]
        tools = [
            {"type": "function", "function": {"name": tool["name"], "parameters": tool["inputSchema"]}}
            for tool in listed
        ]
        messages: list[dict[str, Any]] = []
        for _ in range(TURNS):
            started = perf_counter()
            messages.append({"role": "user", "content": PROMPT})
            await bare_turn(litellm.acompletion, client.call_tool, messages, tools)
            times.append(perf_counter() - started)
        for stream in (to_client, from_server, to_server, from_client):
            stream.close()
        tasks.cancel_scope.cancel()
    return times


async def bare_turn(
    ask: Callable[..., Awaitable[Any]],
    call: Callable[..., Awaitable[Any]],
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]],
) -> None:
    while True:
        answer = await ask(model=MODEL, messages=messages, tools=tools, timeout=60)
        message = answer.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        if not message.tool_calls:
            return
        for wanted in message.tool_calls:
            result = await call(wanted.function.name, json.loads(wanted.function.arguments))
            messages.append({"role": "tool", "tool_call_id": wanted.id, "content": result.content[0].text})


def register_instant_model() -> None:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for prices while we measure
    import litellm
    from litellm.types.utils import Choices, Message, ModelResponse

    class Instant(litellm.CustomLLM):
        async def acompletion(self, *args: Any, messages: list[dict[str, Any]], **kwargs: Any) -> ModelResponse:
            if messages[-1]["role"] == "tool":
                message = Message(content="You have $1,500.")
            else:
                function = {"name": "get_balance", "arguments": '{"account": "checking"}'}
                call = {"id": f"call_{len(messages)}", "type": "function", "function": function}
                message = Message(content=None, tool_calls=[call])
            return ModelResponse(choices=[Choices(message=message)])

    litellm.custom_provider_map = [{"provider": "instant", "custom_handler": Instant()}]
    litellm.utils.custom_llm_setup()

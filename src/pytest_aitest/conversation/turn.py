"""One turn: ask the model, call the tools it wants, until it answers. The only writer of turns.

Whatever stops a turn is written into it, with all that was done until then; what a user declared wrongly is raised.
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter

import anyio

from pytest_aitest.values.agent import Agent
from pytest_aitest.values.errors import ErrorKind, ProviderError, ServerDiedError, did_you_mean, quoted
from pytest_aitest.values.model import Message, ModelAnswer, ModelRequest, ToolRequest
from pytest_aitest.values.transcript import ToolCall, Turn

from .models import Model
from .toolbox import Toolbox

_THE_MODEL = "the model"


async def take_turn(
    prompt: str,
    *,
    agent: Agent,
    model: Model,
    toolbox: Toolbox,
    context: Sequence[Message],
    max_model_calls: int,
    timeout_seconds: float,
) -> Turn:
    """Let `agent` answer `prompt` after `context`, the messages it has heard so far."""
    draft = _Draft(agent=agent, toolbox=toolbox, context=context)
    draft.messages.append({"role": "user", "content": prompt})
    with anyio.move_on_after(timeout_seconds) as limit:
        try:
            await draft.converse(model, max_model_calls, limit)
        except ProviderError as error:
            draft.fail(error.kind, str(error))
        except ServerDiedError as error:
            draft.fail("server_died", str(error))
    if limit.cancelled_caught:
        draft.fail(
            "timeout" if draft.waiting_for == _THE_MODEL else "turn_timeout",  # a slow model is its provider's fault
            f"The turn was not over after timeout_seconds={timeout_seconds:g}; it was waiting for {draft.waiting_for}. "
            "Allow it more time, or see why that takes so long.",
        )
    return draft.turn(prompt)


@dataclass(kw_only=True)
class _Draft:
    """A turn while it happens."""

    agent: Agent
    toolbox: Toolbox
    context: Sequence[Message]
    messages: list[Message] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    answers: list[ModelAnswer] = field(default_factory=list)
    error: str | None = None
    error_kind: ErrorKind | None = None
    waiting_for: str = _THE_MODEL
    started: float = field(default_factory=perf_counter)

    def fail(self, kind: ErrorKind, error: str) -> None:
        self.error_kind, self.error = kind, error

    async def converse(self, model: Model, max_model_calls: int, limit: anyio.CancelScope) -> None:
        system = self.agent.system_prompt
        before = [{"role": "system", "content": system}, *self.context] if system else list(self.context)
        for _ in range(max_model_calls):
            self.waiting_for = _THE_MODEL
            request = ModelRequest(
                messages=[*before, *self.messages],
                tools=self.toolbox.specs,
                timeout_seconds=limit.deadline - anyio.current_time(),
                off_the_clock=partial(_off_the_clock, limit),
            )
            answer = await model.answer(request)
            self.answers.append(answer)
            requests = [self._identified(request, number) for number, request in enumerate(answer.tool_requests, 1)]
            if not requests and not answer.text.strip():
                self.fail("empty_answer", "The model answered with nothing: no text and no tool call.")
                return
            self.messages.append(_assistant_message(answer, requests))
            if not requests:
                return
            for wanted in requests:
                self.waiting_for = f"tool {wanted.name!r}"
                call = await self._call(wanted)
                self.tool_calls.append(call)
                content = call.result if call.error is None else f"Error: {call.error}"
                self.messages.append({"role": "tool", "tool_call_id": call.id, "content": content})
        self.fail(
            "max_model_calls",
            f"The agent had not answered after {max_model_calls} model calls; it went on calling "
            f"{quoted(dict.fromkeys(call.name for call in self.tool_calls[-3:]))}. "
            "Raise max_model_calls if the task needs more, else see what keeps it from answering.",
        )

    def _identified(self, request: ToolRequest, number: int) -> ToolRequest:
        """`request` with an id that no other call of the conversation has."""
        if request.id:
            return request
        return replace(request, id=f"call_{len(self.context) + len(self.messages)}_{number}")

    async def _call(self, wanted: ToolRequest) -> ToolCall:
        """Call one tool; a wish that can't be met becomes the call's error, for the model to read and mend."""
        tool = self.toolbox.tools.get(wanted.name)
        server = tool.spec.server if tool is not None else None
        call = ToolCall(name=wanted.name, arguments=wanted.arguments, server=server, id=wanted.id)
        if tool is None:
            names = list(self.toolbox.tools)
            hint = did_you_mean(wanted.name, names)
            return replace(call, error=f"There is no tool {wanted.name!r}. The tools are {quoted(names)}.{hint}")
        if isinstance(wanted.arguments, str):
            return replace(call, error=f"The arguments are not a JSON object: {wanted.arguments}")
        started = perf_counter()
        try:
            outcome = await tool.connection.call_tool(wanted.name, dict(wanted.arguments))
        except (ServerDiedError, anyio.get_cancelled_exc_class()) as end:
            # In brief: why it ended is the error of the whole turn.
            error = "the server died" if isinstance(end, ServerDiedError) else "the turn ended before it answered"
            self.tool_calls.append(replace(call, error=error, duration_ms=_milliseconds_since(started)))
            raise
        call = replace(call, duration_ms=_milliseconds_since(started))
        return replace(call, error=outcome.text) if outcome.is_error else replace(call, result=outcome.text)

    def turn(self, prompt: str) -> Turn:
        connections = dict.fromkeys(tool.connection for tool in self.toolbox.tools.values())
        costs = [answer.cost_usd for answer in self.answers]
        return Turn(
            agent=self.agent.name,
            model=self.agent.provider.label,
            user=prompt,
            messages=tuple(self.messages),
            tool_calls=tuple(self.tool_calls),
            error=self.error,
            error_kind=self.error_kind,
            available_tools=tuple(self.toolbox.tools),
            tools=tuple(self.toolbox.specs),
            offered_tools=self.toolbox.offered,
            notes=tuple(note for connection in connections for note in connection.take_notes()),
            duration_ms=_milliseconds_since(self.started),
            model_calls=len(self.answers),
            prompt_tokens=sum(answer.prompt_tokens for answer in self.answers),
            completion_tokens=sum(answer.completion_tokens for answer in self.answers),
            cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
        )


@contextmanager
def _off_the_clock(limit: anyio.CancelScope) -> Iterator[None]:
    deadline, since = limit.deadline, anyio.current_time()
    limit.deadline = math.inf
    try:
        yield
    finally:
        limit.deadline = deadline + (anyio.current_time() - since)


def _milliseconds_since(started: float) -> float:
    return (perf_counter() - started) * 1000


def _assistant_message(answer: ModelAnswer, requests: Sequence[ToolRequest]) -> Message:
    """What goes into the history for `answer`.

    Arguments that are no JSON object go in as an empty one: several providers refuse a history that holds the original,
    and the tool message that follows quotes it.
    """
    own = [] if answer.message is None else [call.get("id") for call in answer.message.get("tool_calls") or ()]
    sound = all(not isinstance(request.arguments, str) for request in requests)
    if answer.message is not None and sound and own == [request.id for request in requests]:
        return answer.message
    message: dict[str, object] = {**(answer.message or {}), "role": "assistant", "content": answer.text}
    if requests:
        message["tool_calls"] = [
            {
                "id": request.id,
                "type": "function",
                "function": {
                    "name": request.name,
                    "arguments": "{}" if isinstance(request.arguments, str) else json.dumps(dict(request.arguments)),
                },
            }
            for request in requests
        ]
    return message

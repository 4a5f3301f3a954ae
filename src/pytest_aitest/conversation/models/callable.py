"""A user's function as a model. Knows what such a function may return, and refuses the rest with a reason."""

import inspect
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from pydantic import BaseModel

from pytest_aitest.conversation.rates import Rates
from pytest_aitest.values.agent import Provider
from pytest_aitest.values.errors import DeclarationError, ProviderError
from pytest_aitest.values.model import ModelAnswer, ModelRequest

from .openai_form import answer_from, copied
from .price import declared_cost_usd
from .wording import one_line, seconds, without_secrets


class CallableModel:
    """Asks `function(messages, tools)`, sync or async.

    It gets copies, so what it does to them is its own affair. A sync one runs in a thread, because it may block.
    """

    def __init__(
        self, function: Callable[..., Any], *, provider: Provider | None = None, rates: Rates | None = None
    ) -> None:
        self._function = function
        self._provider = provider or Provider(model=function)
        self._limit = (rates or Rates()).limit_for(self._provider)

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """Answer once.

        Raises:
            ProviderError: the function raised, or took longer than the request allows.
            DeclarationError: it returned what is no answer.
        """
        with request.off_the_clock():
            await self._limit.enter()
        timeout = max(0.0, min(request.timeout_seconds, self._provider.timeout_seconds))
        with anyio.move_on_after(timeout) as scope:
            answer = self._read(await self._asked(request))
        if scope.cancelled_caught:
            raise ProviderError(
                f"Model function {self._provider.label!r} did not answer within {seconds(timeout)}. "
                "See what it waits for, or raise Provider(timeout_seconds=...) if it needs longer.",
                kind="timeout",
            )
        self._limit.charge(answer.prompt_tokens + answer.completion_tokens)
        return answer

    async def _asked(self, request: ModelRequest) -> Any:
        arguments = copied(request.messages), copied([tool.as_function() for tool in request.tools])
        try:
            if _is_async(self._function):
                return await self._function(*arguments)
            # Abandoned when it takes too long: a thread can't be stopped, and the turn must not wait for it.
            returned = await anyio.to_thread.run_sync(self._function, *arguments, abandon_on_cancel=True)
            return await returned if inspect.isawaitable(returned) else returned
        except ProviderError:
            raise  # a function may say so itself
        except Exception as error:
            if type(error).__module__ == "_pytest.outcomes":
                raise  # pytest.exit(), which means the run
            said = one_line(without_secrets(str(error), self._provider))
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise ProviderError(
                f"Model function {self._provider.label!r} raised {type(error).__name__}{said and f': {said}'}, "
                f"at {Path(where.filename).name}:{where.lineno}.",
                kind="provider",
            ) from error

    def _read(self, returned: Any) -> ModelAnswer:
        if isinstance(returned, ModelAnswer):
            return returned if returned.cost_usd or self._provider.price is None else self._priced(returned)
        if isinstance(returned, str):
            return ModelAnswer(text=returned)
        try:
            answer = _answer_in(_as_data(returned))
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
            raise DeclarationError(self._refusal(returned)) from error
        return self._priced(answer)

    def _priced(self, answer: ModelAnswer) -> ModelAnswer:
        cost = declared_cost_usd(
            self._provider, prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens
        )
        return replace(answer, cost_usd=cost)

    def _refusal(self, returned: Any) -> str:
        forgot = " Does it lack a return?" if returned is None else ""
        return (
            f"Model function {self._provider.label!r} returned {one_line(repr(returned))}, which is no answer. "
            'Return a string, an assistant message like {"content": "hello"} or {"tool_calls": '
            f'[{{"name": "get_balance", "arguments": {{}}}}]}}, or a ModelAnswer.{forgot}'
        )


def _is_async(function: Callable[..., Any]) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004 - an object's own, to see whether that is async
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _answer_in(data: Any) -> ModelAnswer:
    """The answer in an assistant message, or in a response with `choices`."""
    if "choices" in data:
        usage = data.get("usage") or {}
        return answer_from(
            data["choices"][0]["message"],
            prompt_tokens=usage.get("prompt_tokens") or 0,
            completion_tokens=usage.get("completion_tokens") or 0,
        )
    if not data.keys() & {"content", "tool_calls"}:
        raise KeyError("content")
    return answer_from(data)


def _as_data(value: Any) -> Any:
    """A response as plain data, whether it is made of dictionaries, pydantic models or any objects."""
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_none=True, warnings=False)
    if isinstance(value, Mapping):
        return {key: _as_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_data(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return {name: _as_data(item) for name, item in vars(value).items()}

"""Asking a model in a test: on a loop of its own, which is closed, with waits that take no time."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import anyio
import pytest

from pytest_aitest.conversation.models import close_models, model_for
from pytest_aitest.conversation.rates import Rates
from pytest_aitest.values.agent import Provider
from pytest_aitest.values.errors import ProviderError
from pytest_aitest.values.model import Message, ModelAnswer, ModelRequest, ToolSpec
from tests.support.clock import Clock
from tests.support.endpoint import Endpoint

HELLO = ({"role": "user", "content": "hello"},)
BALANCE = ToolSpec(
    name="get_balance",
    description="The balance of an account",
    input_schema=MappingProxyType({"type": "object", "properties": {"account": {"type": "string"}}}),
    server="bank",
)


def request_for(
    messages: Sequence[Message] = HELLO, *, tools: Sequence[ToolSpec] = (), timeout_seconds: float = 60
) -> ModelRequest:
    return ModelRequest(messages=messages, tools=tools, timeout_seconds=timeout_seconds)


def ask(
    provider: Provider, *requests: ModelRequest, clock: Clock | None = None, rates: Rates | None = None
) -> list[ModelAnswer]:
    """The answers to `requests`, by one model on one event loop; waits take no time."""
    clock = clock or Clock()
    rates = rates or Rates(clock=clock.now, sleep=clock.sleep)

    async def scenario() -> list[ModelAnswer]:
        try:
            model = model_for(provider, rates=rates)
            return [await model.answer(request) for request in requests or (request_for(),)]
        finally:
            await close_models()

    return anyio.run(scenario)


def refused(provider: Provider, *requests: ModelRequest, **options: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        ask(provider, *requests, **options)
    assert "\n" not in str(caught.value)
    return caught.value


def at(endpoint: Endpoint, **fields: Any) -> Provider:
    return Provider(**{"model": "openai/gpt-4o-mini", "api_base": endpoint.url, **fields})

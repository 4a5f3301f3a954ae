"""Models: whatever can answer a request. The only door to litellm is in here.

Knows one call at a time, and nothing of turns or servers.
"""

from typing import Protocol

from pytest_aitest.conversation.rates import Rates
from pytest_aitest.values.agent import Provider
from pytest_aitest.values.model import ModelAnswer, ModelRequest

from .builtin import BuiltinModel
from .callable import CallableModel
from .litellm import LiteLLMModel
from .litellm import close as close_models

__all__ = ["Model", "close_models", "model_for"]


class Model(Protocol):
    """Something that answers, whoever it is."""

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """Answer once.

        Raises:
            ProviderError: it could not be asked.
        """
        ...


def model_for(provider: Provider, *, rates: Rates) -> Model:
    """The model that `provider` names."""
    if not isinstance(provider.model, str):
        return CallableModel(provider.model, provider=provider, rates=rates)
    if provider.model == "builtin":
        return BuiltinModel()
    return LiteLLMModel(provider, rates)

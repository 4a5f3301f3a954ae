"""What litellm knows of a provider's model: whether there is one, what it is called, which keys it needs.

Given the loaded module; the door to it is elsewhere.
"""

import difflib
from collections.abc import Iterator
from typing import Any

from pytest_aitest.values.agent import Provider
from pytest_aitest.values.errors import did_you_mean

from .price import is_loopback

STAND_IN_KEY = "not-needed"


class Catalogue:
    """litellm's tables, read for one provider."""

    def __init__(self, litellm: Any, provider: Provider) -> None:
        self._litellm = litellm
        self._provider = provider
        self._model = str(provider.model)

    def knows(self) -> bool:
        """Whether litellm knows where to ask for such a model."""
        return self._route() is not None

    def key_variables(self) -> list[str]:
        """Variables that hold the keys of such a model and are not set; none where the provider brings its own.

        litellm's table lacks the second names that some keys have, so this explains a refusal and must not cause one.
        """
        route = self._route()
        if self._provider.api_key is not None or (route is not None and route[2] is not None):
            return []
        missing: list[str] = self._litellm.validate_environment(self._model)["missing_keys"]
        given = {"_API_BASE": self._provider.api_base, "_API_VERSION": "litellm has a default"}
        return [name for name in missing if not any(name.endswith(end) and have for end, have in given.items())]

    def stand_in_key(self) -> str | None:
        """A key for an endpoint that needs none, because OpenAI's client does not start without one."""
        base = self._provider.api_base
        if base is None or not any(name.endswith("_KEY") for name in self.key_variables()):
            return None
        route = self._route()
        speaks_openai = route is not None and route[1] in {"openai", *self._litellm.openai_compatible_providers}
        return STAND_IN_KEY if speaks_openai or is_loopback(base) else None

    def hint(self) -> str:
        """` Did you mean 'gpt-4o-mini'?`, or nothing; nothing for an endpoint, whose models are in no table."""
        if self._provider.api_base is not None:
            return ""
        prefix, slash, rest = self._model.partition("/")
        providers = [str(getattr(name, "value", name)) for name in self._litellm.provider_list]
        if slash and prefix not in providers:
            near = difflib.get_close_matches(prefix, providers, n=1)
            return did_you_mean(self._model, [f"{name}/{rest}" for name in near])
        return did_you_mean(self._model, list(self._names(in_full=bool(slash))))

    def _names(self, *, in_full: bool) -> Iterator[str]:
        for name, facts in self._litellm.model_cost.items():
            if facts.get("mode") in {"chat", "responses"}:
                prefix = f"{facts['litellm_provider']}/"
                yield name if not in_full or name.startswith(prefix) else prefix + name

    def _route(self) -> tuple[Any, ...] | None:
        """(model, provider, key, base) as litellm sees them; None for a model that it can't place."""
        try:
            route: tuple[Any, ...] = self._litellm.get_llm_provider(self._model, api_base=self._provider.api_base)
        except Exception:  # noqa: BLE001 - it raises whatever it likes, and only means "no"
            return None
        return route

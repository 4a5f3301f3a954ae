"""The only door to litellm: its models, asked one call at a time.

Loads it when a model is really asked, retries what may pass, and says in a sentence what went wrong.
"""

import asyncio
import atexit
import gc
import importlib
import logging
import os
import random
import sys
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any

import anyio
import anyio.to_thread

from pytest_aitest.conversation.rates import Rates, StillBlockedError
from pytest_aitest.values.agent import Provider
from pytest_aitest.values.errors import DeclarationError, ProviderError, quoted
from pytest_aitest.values.model import ModelAnswer, ModelRequest

from .catalogue import Catalogue
from .faults import NO_CHOICES, Fault, blocked, fault_in, filtered, no_model
from .openai_form import answer_from, copied, plain
from .price import declared_cost_usd, runs_here
from .undisturbed import undisturbed
from .unheard import unheard

MOST_TRIES = 3
_FIRST_PAUSE_SECONDS = 0.5  # doubled after each try
_GRACE_SECONDS = 5.0  # how long a call that nobody waits for may go on
_CLOSING_SECONDS = 5.0  # more than enough for connections that are idle
_LEAVING_SECONDS = 1.0  # and for calls that nobody waits for any more
_WORKER = "litellm.litellm_core_utils.logging_worker"
_ENCODING = "litellm.litellm_core_utils.default_encoding"
_OURS = frozenset({"max_retries", "messages", "model", "num_retries", "stream", "timeout", "tools"})


class LiteLLMModel:
    """A model that litellm can ask, under the limits that all sessions share."""

    def __init__(self, provider: Provider, rates: Rates) -> None:
        self._provider = provider
        self._rates = rates
        self._limit = rates.limit_for(provider)
        self._random = random.Random()  # noqa: S311 - spreads retries; not the global one, which Hypothesis reseeds
        own = {name: getattr(provider, name) for name in ("temperature", "max_tokens", "api_base", "api_key")}
        self._settings = {name: value for name, value in own.items() if value is not None}
        if twice := sorted(provider.extra.keys() & {*_OURS, *self._settings}):
            raise DeclarationError(
                f"Provider(extra=...) for model {provider.label!r} sets {quoted(twice)}, which a field of Provider or "
                "every call sets already. Leave it out of extra."
            )

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """Answer once.

        All tries together have the request's time. Waiting to be let in, by `rpm`, `tpm` or a pause that the provider
        asked of all sessions, does not count.

        Raises:
            ProviderError: it could not be asked.
        """
        now = self._rates.clock
        timeout = max(0.0, min(request.timeout_seconds, self._provider.timeout_seconds))
        with request.off_the_clock():
            # In a thread, so that other conversations go on meanwhile.
            litellm = _door.opened or await anyio.to_thread.run_sync(_door.open)
        await self._enter(request, timeout)
        deadline = now() + timeout
        tries = 1
        while isinstance(outcome := await self._asked(litellm, request, max(0.0, deadline - now())), Fault):
            pause = self._pause_seconds(outcome, tries)
            if not outcome.passing or tries == MOST_TRIES or now() + pause >= deadline:
                raise ProviderError(outcome.message(tries=tries), kind=outcome.kind)
            await self._rates.sleep(pause)
            queued = now()
            await self._enter(request, deadline - queued)
            deadline += now() - queued
            tries += 1
        self._limit.charge(outcome.prompt_tokens + outcome.completion_tokens)
        return outcome

    async def _enter(self, request: ModelRequest, patience_seconds: float) -> None:
        try:
            with request.off_the_clock():
                await self._limit.enter(patience_seconds=patience_seconds)
        except StillBlockedError as error:
            fault = blocked(self._provider, error.seconds)
            raise ProviderError(fault.message(tries=1), kind=fault.kind) from None

    def _pause_seconds(self, fault: Fault, tries: int) -> float:
        """How long to wait before the next try; where the provider says so, for all sessions."""
        if fault.wait_seconds:
            if fault.kind == "rate_limit":
                self._limit.block(fault.wait_seconds)
            return fault.wait_seconds
        return _FIRST_PAUSE_SECONDS * 2.0 ** (tries - 1) * self._random.uniform(0.5, 1.0)

    async def _asked(self, litellm: Any, request: ModelRequest, timeout_seconds: float) -> ModelAnswer | Fault:
        """One try."""
        catalogue = Catalogue(litellm, self._provider)
        with unheard():
            arguments = self._arguments(request, catalogue)
            # Always the same timeout, because litellm keeps a client for each; the real one is below, for litellm's is
            # one for each read, which an endpoint that trickles would never meet.
            timeout = self._provider.timeout_seconds
            call = litellm.acompletion(timeout=timeout, num_retries=0, max_retries=0, **arguments)
            try:
                with anyio.fail_after(timeout_seconds):
                    response = await _unhurried(call)
            except Exception as error:  # noqa: BLE001 - whatever it is, a reader of the report gets a sentence
                return fault_in(error, provider=self._provider, catalogue=catalogue, timeout_seconds=timeout_seconds)
            return self._read(response)

    def _arguments(self, request: ModelRequest, catalogue: Catalogue) -> dict[str, Any]:
        """What litellm is given: copies, because for some providers it changes them."""
        arguments = {**plain(self._provider.extra), **self._settings}
        arguments |= {"model": self._provider.model, "messages": copied(request.messages)}
        if request.tools:
            arguments["tools"] = copied([tool.as_function() for tool in request.tools])
        if stand_in := catalogue.stand_in_key():
            arguments["api_key"] = stand_in
        return arguments

    def _read(self, response: Any) -> ModelAnswer | Fault:
        if not response.choices:
            return no_model(self._provider, NO_CHOICES)
        choice = response.choices[0]
        if choice.finish_reason == "content_filter":
            return filtered(self._provider, "")
        usage = getattr(response, "usage", None)
        try:
            answer = answer_from(
                _message(choice.message),
                prompt_tokens=getattr(usage, "prompt_tokens", None) or 0,
                completion_tokens=getattr(usage, "completion_tokens", None) or 0,
            )
        except (AttributeError, KeyError, TypeError) as error:
            return no_model(self._provider, f"its message can't be read ({type(error).__name__}: {error})")
        return replace(answer, cost_usd=self._cost_usd(response, answer))

    def _cost_usd(self, response: Any, answer: ModelAnswer) -> float | None:
        if not answer.prompt_tokens and not runs_here(self._provider):
            return None  # it did not say what it used; the price of nothing would be a lie
        declared = declared_cost_usd(
            self._provider, prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens
        )
        # litellm's own reckoning; None where its table lacks the model.
        return getattr(response, "_hidden_params", {}).get("response_cost") if declared is None else declared


async def _unhurried(call: Coroutine[Any, Any, Any]) -> Any:
    """What `call` returns; when this is cancelled, `call` is too, but some seconds later.

    It begins in a thread that makes a coroutine. Cancelled right then, it never awaits that, and Python warns of it.
    """
    task = asyncio.create_task(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # else asyncio says nobody asked
        asyncio.get_running_loop().call_later(_GRACE_SECONDS, task.cancel)
        raise


def _message(message: Any) -> dict[str, Any]:
    """The assistant's message as its provider wants to see it again."""
    dumped: dict[str, Any] = message.model_dump(exclude_none=True, warnings=False)
    specific = dumped.pop("provider_specific_fields", None) or {}
    # OpenAI's {"refusal": None} would be sent back, also to endpoints that refuse what they don't know.
    if any(value is not None for value in specific.values()):
        dumped["provider_specific_fields"] = specific
    return dumped


class _Door:
    """litellm, once somebody asked for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.opened: Any = None

    def open(self) -> Any:
        """The module, loaded at the first call without a trace in the user's process."""
        with self._lock:
            if self.opened is None:
                self.opened = _loaded()
            return self.opened

    async def close(self) -> None:
        """Close connections and stop background tasks, if there can be any; on the loop that they live on."""
        litellm = self.opened
        if litellm is None:
            return
        with anyio.move_on_after(_CLOSING_SECONDS):
            await _end_of(_running_in("litellm"))  # what calls leave behind; it may still wake the worker
            worker = getattr(sys.modules.get(_WORKER), "GLOBAL_LOGGING_WORKER", None)
            if worker is not None:
                with suppress(RuntimeError):  # the user's own calls may have moved it to a loop of theirs
                    await worker.flush()
                    await worker.stop()
            await litellm.close_litellm_async_clients()
            litellm.in_memory_llm_clients_cache.flush_cache()  # else the next call would get a closed one
            await _end_of(_running_in("httpx"))  # clients that were only waiting to be forgotten


async def _end_of(tasks: set[asyncio.Task[Any]]) -> None:
    if tasks:
        _, unfinished = await asyncio.wait(tasks, timeout=_LEAVING_SECONDS)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)


def _running_in(package: str) -> set[asyncio.Task[Any]]:
    """Tasks whose coroutine is the package's, but for the one that waits for work for ever."""
    frames = ((task, getattr(task.get_coro(), "cr_frame", None)) for task in asyncio.all_tasks())
    return {
        task
        for task, frame in frames
        if frame is not None
        and frame.f_globals.get("__name__", "").partition(".")[0] == package
        and frame.f_code.co_name != "_worker_loop"
    }


def _loaded() -> Any:
    if "litellm" not in sys.modules:
        # The price list and the settings that it would fetch and read elsewhere are not wanted.
        variables = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
        with undisturbed(variables=variables, loggers="LiteLLM"):
            # 1.9 s (version 1.106; 1.100 takes 4.1 s).
            import litellm  # noqa: PLC0415 - only where a model is really asked

            # Some calls load it (0.15 s), and it sets TIKTOKEN_CACHE_DIR when loaded; here that is undone.
            with suppress(ImportError):
                importlib.import_module(_ENCODING)
        atexit.register(_leave_quickly)
        if "LITELLM_LOG" not in os.environ:
            _print_nothing()
    import litellm  # noqa: PLC0415 - loaded by now

    litellm.suppress_debug_info = True  # else it prints advice on stdout
    return litellm


def _leave_quickly() -> None:
    """Spare the interpreter's last collections what litellm loaded: the exit then takes 0.3 s and not 1.1.

    Frozen no earlier, because `gc.get_referrers` does not see what is frozen, and Hypothesis asks it.
    """
    gc.collect()
    gc.freeze()


def _print_nothing() -> None:
    """Leave litellm's log records to the user's logging; its own handlers print them as well."""
    for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router"):
        logging.getLogger(name).handlers[:] = [logging.NullHandler()]


_door = _Door()
close = _door.close

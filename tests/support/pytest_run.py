"""The program of a forked pytest: its arguments, environment and folder come from its stdin."""

import json
import os
import runpy
import signal
import sys
from pathlib import Path

from hypothesis.configuration import set_hypothesis_home_dir

signal.signal(signal.SIGINT, signal.default_int_handler)  # the shell that started the template ignores it
job = json.load(sys.stdin)
with open(os.devnull) as nothing:  # noqa: PTH123 - `pathlib` is for what is tested to import
    os.dup2(nothing.fileno(), 0)
os.environ.clear()
os.environ.update(job["env"])
os.chdir(job["cwd"])
set_hypothesis_home_dir(Path(job["cwd"], ".hypothesis"))  # it took that of the template as it was imported
sys.path[0:1] = [job["cwd"], *filter(None, job["env"].get("PYTHONPATH", "").split(os.pathsep))]
sys.argv[1:] = job["arguments"]
runpy.run_module("pytest", run_name="__main__", alter_sys=True)

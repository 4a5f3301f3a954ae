"""The formats that a run can be written in; what makes one is loaded when it is made: jinja2, for HTML, takes 40 ms.

The shards of an exploration are told as one, except in JSON, which keeps them all.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_aitest.values.run_record import RunRecord

_MAKERS = {
    "json": ("pytest_aitest.values.run_record", "run_json"),
    "html": ("pytest_aitest.report.html", "render"),
    "md": ("pytest_aitest.report.markdown", "render"),
    "text": ("pytest_aitest.report.brief", "brief"),
}


def rendered(name: str, run: "RunRecord") -> str:
    """`run` in the format `name`: json, html, md or text."""
    module, maker = _MAKERS[name]
    make: Any = getattr(importlib.import_module(module), maker)
    shards: Any = importlib.import_module("pytest_aitest.report.shards")
    text: str = make(run if name == "json" else shards.gathered(run))
    return text

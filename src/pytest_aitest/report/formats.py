"""The formats that a run can be written in; what makes one is loaded when it is made: jinja2, for HTML, takes 40 ms."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_aitest.values.run_record import RunRecord

_MAKERS = {
    "json": ("pytest_aitest.values.run_record", "run_json"),
    "html": ("pytest_aitest.report.html", "render"),
    "md": ("pytest_aitest.report.markdown", "render"),
}


def rendered(name: str, run: "RunRecord") -> str:
    """`run` in the format `name`: json, html or md."""
    module, maker = _MAKERS[name]
    make: Any = getattr(importlib.import_module(module), maker)
    text: str = make(run)
    return text

"""The sample run with an attack in every text that a model, a tool, a user or a name can put into a record."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from pytest_aitest.values.run_record import RunRecord

from .sample_run import sample_run

ATTACKS = (
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 2</script>",
    "</style><style>body { display: none }</style>",
    "</details></article></main></body></html><img src=x onerror='window.hacked = 3'>",
    '" onmouseover="window.hacked = 4" x="',
    "' autofocus onfocus='window.hacked = 5' x='",
    "<svg onload=window.hacked=6><a href='javascript:window.hacked=7'>click</a></svg>",
    "<iframe srcdoc='<script>parent.hacked = 8</script>'></iframe><base href='https://example.com/'>",
    "<form action='https://example.com'><input name=theme></form>",
    "<meta http-equiv=refresh content='0;url=https://example.com'>",
    "<link rel=stylesheet href='https://example.com/x.css'><img src='https://example.com/x.png'>",
    "{{ 7 * 191 }}{% raw %}${7*191}#{7*191}<%= 7*191 %>",
    "<!-- <![CDATA[ ]]> --><plaintext><textarea><title><template><noscript>",
    "\u202eevil\u2066\u200b\x00\x1b[31m\r\ud800\ufeff",
    "**bold** [link](javascript:window.hacked=9) ![i](https://example.com/y.png)",
    "&lt;script&gt;window.hacked=10&lt;/script&gt;",
    "`${window.hacked=11}`",
)
ATTACK = " ".join(ATTACKS)
_OURS = {"outcome", "kind", "verdict", "result_of_necessity"}  # one of a few words, never a text of others


def hostile_run() -> RunRecord:
    return _infected(sample_run())


def _infected(value: Any, *, field: str = "") -> Any:
    if isinstance(value, str):
        return value if field in _OURS or not value else value + ATTACK
    if is_dataclass(value) and not isinstance(value, type):
        changed = {
            each.name: _infected(getattr(value, each.name), field=_name(value, each.name)) for each in fields(value)
        }
        return replace(value, **changed)
    if isinstance(value, Mapping):
        return {_infected(key): _infected(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(_infected(each) for each in value)
    return value


def _name(value: Any, field: str) -> str:
    return "result_of_necessity" if field == "result" and type(value).__name__ == "Necessity" else field

"""Keeping secrets out of all that is shown: reports, transcripts, reprs, messages.

Knows secrets by the names of what holds them, environment variables, headers, `api_key`, and by what they look like.
What was said to models and tools is left as it was; only what people are shown of it goes through here.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

# It ends so: OPENAI_API_KEY, X-Auth-Token, dbPassword; not TOKEN_FILE, AUTH_MODE, max_tokens, PWD.
_SECRET_NAME = re.compile(
    r"(?:^|[^a-z])(?:api_?)?(?:keys?|token|secret|pass|passw(?:or)?d|passphrase|(?<=.)pwd|pin|credentials?|auth"
    r"|authorization|cookie)\d*$",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SHAPES = re.compile(
    r"""
    \b(?i:bearer)\s+(?P<bearer>(?=\S*[\d._=/+-])[\w.~+/=-]{8,}|[A-Za-z]{20,})
    |://[^\s/@:]*:(?P<password>[^\s/@]+)@
    |\b(?P<known>sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|xox[a-z]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}
       |eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)
    """,
    re.VERBOSE,
)
_SHORTEST = 4
_SHORTEST_OF_ENVIRONMENT = 6  # of which nobody has said that it is one
_SWITCHES = {"default", "disabled", "enabled", "optional", "required"}  # LDAP_AUTH=enabled
_APART_BELOW = 12  # characters, below which a word that only contains it is none

Hide = Callable[[str], str]


class Secrets:
    """What is known of secrets in this process."""

    def __init__(self) -> None:
        self.patterns: list[re.Pattern[str]] = []  # the user's own; what is hidden is their group, if they have one
        self._declared: dict[str, str] = {}  # names by values
        self._environment: Mapping[str, str] = {}
        self._known: re.Pattern[str] | None = None
        self._names: dict[str, str] = {}

    def learn(self, name: str, value: object) -> None:
        """Take `value` for a secret, if `name` is that of one; what stands for a variable is none itself."""
        if isinstance(value, Mapping):
            for key, part in value.items():
                self.learn(str(key), part)
        elif is_secret_name(name) and isinstance(value, str) and "${" not in value:
            for part in {value, value.rpartition(" ")[2]}:  # "Bearer abc": abc alone, too
                if len(part) >= _SHORTEST and part not in self._declared:
                    self._declared[part] = name
                    self._known = None

    def hiding(self) -> Hide:
        """What replaces all that is known now; for many texts."""
        environment = dict(os.environ)
        if self._known is None or environment != self._environment:
            self._environment = environment
            self._known = self._compiled()
        return self._hidden

    def _compiled(self) -> re.Pattern[str]:
        held = {
            value: name
            for name, value in self._environment.items()
            if is_secret_name(name) and len(value) >= _SHORTEST_OF_ENVIRONMENT and value not in _SWITCHES
        }
        self._names = {form: name for value, name in {**held, **self._declared}.items() for form in _forms(value)}
        return re.compile("|".join(map(_matching, sorted(self._names, key=len, reverse=True))) or r"(?!)")

    def _hidden(self, text: str) -> str:
        assert self._known is not None
        text = self._known.sub(lambda match: f"[hidden {self._names[match.group()]}]", text)
        text = _SHAPES.sub(_hide_group, text)
        for pattern in self.patterns:
            text = pattern.sub(_hide_group, text)
        return text


SECRETS = Secrets()
"""One for the process: a secret is one wherever it turns up."""


def hide(text: str) -> str:
    """`text` without secrets.

    >>> hide("Authorization: Bearer 0a1b2c3d4e")
    'Authorization: Bearer [hidden]'
    """
    return SECRETS.hiding()(text)


def hide_within(data: Any) -> Any:
    """Plain data, as JSON has it, without secrets in any of its texts."""
    return _hidden_within(data, SECRETS.hiding())


def is_secret_name(name: str) -> bool:
    """Whether what is called so is a secret.

    >>> [is_secret_name(name) for name in ("OPENAI_API_KEY", "X-Auth-Token", "KEYBOARD", "max_tokens")]
    [True, True, False, False]
    """
    return bool(_SECRET_NAME.search(_CAMEL.sub("_", name)))


def _hidden_within(data: Any, hide: Hide) -> Any:
    match data:
        case str():
            return hide(data)
        case dict():
            return {hide(key): _hidden_within(value, hide) for key, value in data.items()}
        case list() | tuple():
            return [_hidden_within(value, hide) for value in data]
    return data


def _hide_group(match: re.Match[str]) -> str:
    """Replace the group that matched, or all of it."""
    group: int | str = match.lastgroup or match.lastindex or 0
    if match.group(group) is None:
        group = 0
    start, end = match.start(group) - match.start(), match.end(group) - match.start()
    return f"{match.group()[:start]}[hidden]{match.group()[end:]}"


def _forms(value: str) -> Iterable[str]:
    """How it may be written: as it is, in JSON, in a url, in Python."""
    return {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        quote(value, safe=""),
        repr(value)[1:-1],
    }


def _matching(value: str) -> str:
    escaped = re.escape(value)
    return escaped if len(value) >= _APART_BELOW else rf"(?<!\w){escaped}(?!\w)"

"""Keeping secrets out of all that is shown: reports, transcripts, reprs, messages.

Knows secrets by the names of what holds them, environment variables, headers, options of commands, `api_key`, and by
what they look like. What was said to models and tools is left as it was; only what people are shown of it goes through
here.

What is declared for an agent or a server is taken at its word from four characters on, but for an `api_key` that is one
plain word: many endpoints want any. Of what only the environment
holds nobody has said that it is one, so a value there is left alone that would be met in ordinary text: shorter than
six characters (TOKEN=test), one word (DB_PASSWORD=postgres), or the path of a file (GOOGLE_APPLICATION_CREDENTIALS).
Whoever wants such a one hidden names it in `aitest_secrets`.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal, Self, get_origin
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
    |[?&][\w-]*(?i:key|token|secret|password|signature)=(?P<query>[^\s&#'"<>]+)
    |\b(?P<known>sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|xox[a-z]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}
       |eyJ[\w-]{8,2000}\.[\w-]{8,}\.[\w-]*)
    """,
    re.VERBOSE,
)
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")  # as in `env={"TOKEN": "${BANK_TOKEN}"}`
_NOTHING = re.compile(r"(?!)")
_ENDS = re.compile(r"""\.\.\.|['"\n]|\Z""")  # where a text is cut, what stands behind it
_BEGINS = re.compile(r"(?:\.\.\.|[-+]\s)\Z")  # and before
_SHORTEST = 4
_SHORTEST_OF_ENVIRONMENT = 6  # of which nobody has said that it is one
_WORD = re.compile(r"[A-Za-z]?[a-z]{,15}|[A-Z]{,16}")
_APART_BELOW = 12  # characters, below which a word that only contains it is none
_LINE = 12  # characters, from which a line of a secret is one, as in a private key
_PART = 8  # characters, from which a part of one that was cut is known by them
_DEEPEST = 100  # levels of data

Hide = Callable[[str], str]


class Secrets:
    """What is known of secrets in this process."""

    def __init__(self) -> None:
        self.patterns: list[re.Pattern[str]] = []  # the user's own; what is hidden is their group, if they have one
        self._declared: dict[str, str] = {}  # names by values
        self._environment: Mapping[str, str] = {}
        self._held: Mapping[str, str] = {}  # what of the environment is secret
        self._known: _Known | None = None

    def learn(self, name: str, value: object) -> None:
        """Take `value` for a secret, if `name` is that of one; what stands for a variable is none itself."""
        if isinstance(value, Mapping):
            for key, part in value.items():
                self.learn(str(key), part)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            for option, part in _options(value):
                self.learn(option, part)
        elif is_secret_name(name) and isinstance(value, str) and not _VARIABLE.search(value):
            if name == "api_key" and _is_ordinary(value):  # what endpoints are given that want none: "ollama", "test"
                return
            self._declare(dict.fromkeys((value, value.rpartition(" ")[2]), name))  # "Bearer abc": abc alone, too

    def keep_environment(self) -> None:
        """Go on hiding what the environment holds now, whatever becomes of it."""
        self._look_around()
        self._declare(self._held)

    def hiding(self) -> Hide:
        """What replaces all that is known now; for many texts."""
        self._look_around()
        known = self._known = self._known or _Known.of({**self._held, **self._declared})
        return partial(known.hidden, patterns=self.patterns)

    def _declare(self, names: Mapping[str, str]) -> None:
        for value, name in names.items():
            if len(value) >= _SHORTEST and value not in self._declared:
                self._declared[value] = name
                self._known = None

    def _look_around(self) -> None:
        environment = dict(os.environ)
        if environment == self._environment:
            return
        self._environment = environment
        held = {
            value: name
            for name, value in environment.items()
            if is_secret_name(name) and len(value) >= _SHORTEST_OF_ENVIRONMENT and not _is_ordinary(value)
        }
        if held != self._held:  # pytest changes a variable of its own all the time
            self._held, self._known = held, None


@dataclass(frozen=True, kw_only=True)
class _Known:
    """All secrets at one moment; conversations in other threads may learn of more."""

    names: Mapping[str, str]  # by the forms of their values
    whole: re.Pattern[str]
    cut: re.Pattern[str]  # how each of them begins or ends
    by_part: Mapping[str, Sequence[str]]  # forms, by that

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Self:
        """Those with these values."""
        lines = {line: name for value, name in values.items() for line in value.splitlines() if len(line) >= _LINE}
        names = {form: name for value, name in {**lines, **values}.items() for form in _forms(value)}
        whole = "|".join(map(_matching, sorted(names, key=len, reverse=True)))
        by_part: dict[str, list[str]] = {}
        for form in (form for form in names if len(form) >= _LINE):
            for part in {form[:_PART], form[-_PART:]}:
                by_part.setdefault(part, []).append(form)
        cut = "|".join(map(re.escape, by_part))
        return cls(
            names=names,
            whole=re.compile(whole) if names else _NOTHING,
            cut=re.compile(cut) if by_part else _NOTHING,
            by_part=by_part,
        )

    def hidden(self, text: str, *, patterns: Iterable[re.Pattern[str]] = ()) -> str:
        """`text` without them, without what looks like one, and without what the user's own patterns match."""
        text = self.whole.sub(lambda match: f"[hidden {self.names[match.group()]}]", text)
        text = self._parts_hidden(text)
        for pattern in (_SHAPES, *patterns):
            text = pattern.sub(_hide_group, text)
        return text

    def _parts_hidden(self, text: str) -> str:
        """Replace what is left of secrets where somebody has cut the text, such as pytest an `assert`."""
        shown, done = [], 0
        for match in self.cut.finditer(text):
            for form in self.by_part[match.group()]:
                start, end = _left_of(form, text, match)
                if done <= start < end:
                    shown += [text[done:start], f"[hidden {self.names[form]}]"]
                    done = end
                    break
        return "".join([*shown, text[done:]])


SECRETS = Secrets()
"""One for the process: a secret is one wherever it turns up."""


def hide(text: str) -> str:
    """`text` without secrets.

    >>> hide("Authorization: Bearer 0a1b2c3d4e")
    'Authorization: Bearer [hidden]'
    """
    return SECRETS.hiding()(text)


def hide_within(data: Any) -> Any:
    """Plain data or a record without secrets in any text; words of its schema, such as "passed", stay what they are."""
    return _hidden_within(data, SECRETS.hiding())


def is_secret_name(name: str) -> bool:
    """Whether what is called so is a secret.

    >>> [is_secret_name(name) for name in ("OPENAI_API_KEY", "X-Auth-Token", "KEYBOARD", "max_tokens")]
    [True, True, False, False]
    """
    return bool(_SECRET_NAME.search(_CAMEL.sub("_", name)))


def _hidden_within(data: Any, hide: Hide, within: tuple[int, ...] = ()) -> Any:
    """`data` without secrets; `within` are the ids of what it is a part of."""
    if isinstance(data, str):
        return hide(data)
    is_record = is_dataclass(data) and not isinstance(data, type)
    if not is_record and not isinstance(data, Mapping | list | tuple):
        return data
    if id(data) in within or len(within) > _DEEPEST:
        return "..."
    within = (*within, id(data))
    if isinstance(data, Mapping):
        return {
            hide(key) if isinstance(key, str) else key: _hidden_within(value, hide, within)
            for key, value in data.items()
        }
    if isinstance(data, list | tuple):
        hidden = [_hidden_within(value, hide, within) for value in data]
        return hidden if isinstance(data, list) else tuple(hidden)
    texts = [field.name for field in fields(data) if get_origin(field.type) is not Literal]
    return replace(data, **{name: _hidden_within(getattr(data, name), hide, within) for name in texts})


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


def _is_ordinary(value: str) -> bool:
    return bool(_WORD.fullmatch(value)) or (os.path.isabs(value) and os.path.exists(value))  # noqa: PTH110, PTH117 - it may be no path at all


def _options(arguments: Sequence[object]) -> Iterator[tuple[str, str]]:
    """Options of a command with their values: `--token=abc`, `--token abc`."""
    for argument, following in pairwise([*map(str, arguments), ""]):
        option, has_value, value = argument.partition("=")
        if option.startswith("-"):
            yield option.lstrip("-"), value if has_value else following


def _left_of(form: str, text: str, match: re.Match[str]) -> tuple[int, int]:
    """Where in `text` the begin of `form` stands and then an end, or its end after a begin; an empty range: nowhere."""
    start, end = match.span()
    head = start + _shared(form, text[start : start + len(form)])
    if head >= end and _ENDS.match(text, head):
        return start, head
    tail = end - _shared(form[::-1], text[max(0, end - len(form)) : end][::-1])
    if tail <= start and _BEGINS.search(text, max(0, tail - len("...")), tail):
        return tail, end
    return 0, 0


def _shared(one: str, other: str) -> int:
    """With how many equal characters both begin."""
    return next(
        (count for count, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )

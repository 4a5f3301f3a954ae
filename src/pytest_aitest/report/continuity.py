"""Where a turn builds on what an earlier one said: values that it uses, and that its user did not say again.

Precise rather than eager: what may as well be chance, a small number, a word of everyday speech, is no link. Knows
turns only.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_aitest.values.transcript import AgentText, ToolCall, TurnRecord

_MOST_LINKS = 6  # of one turn
_MOST_CHARACTERS = 200_000  # of one text that is looked through
_LONGEST_VALUE = 200
_SHORTEST_WORD = 5  # letters of a plain word, as "checking"; names and codes may be shorter
_SHORTEST_NAME = 3
_DEEPEST = 20
_TOO_LARGE = 1e15  # for a number to be exact
_FIRST_YEAR, _LAST_YEAR = 1900, 2100  # of which answers speak anyway
_NUMBER = re.compile(r"(?<![\w.,:/-])-?(?:\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.\d{1,9})?(?![\w:/-]|[.,]\d)")
_QUOTED = re.compile(r"\*\*([^*\n]{3,60})\*\*|[\"“]([^\"“”\n]{3,60})[\"”](?!\s*:)|`([^`\n]{3,60})`")
_WORDS_FOR = (
    "zero no",
    "one a an once single",
    "two twice both pair",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
)
_EVERYDAY = {
    "default",
    "false",
    "other",
    "first",
    "second",
    "value",
    "name",
    "none",
    "null",
    "true",
    "today",
    "tomorrow",
}


@dataclass(frozen=True, kw_only=True)
class Link:
    """A value of a turn that it has from an earlier one."""

    value: str  # 'checking'
    turn: int  # which of the turns said it first, from 0


@dataclass(kw_only=True)
class _Said:
    """What was said in a turn, fit to be looked up."""

    words: list[str] = field(default_factory=list)  # texts, case folded
    spoken: set[float] = field(default_factory=set)  # numbers in what people and agents said
    results: set[float] = field(default_factory=set)  # numbers in what tools returned
    named: set[tuple[str, float]] = field(default_factory=set)  # those of them that had a name

    def hear(self, text: str) -> None:
        text = text[:_MOST_CHARACTERS]
        self.words.append(text.casefold())
        self.spoken.update(_numbers(text))

    def receive(self, text: str) -> None:
        data = _parsed(text)
        if data is None:
            self.words.append(text[:_MOST_CHARACTERS].casefold())
            self.results.update(_numbers(text[:_MOST_CHARACTERS]))
            return
        for name, leaf in _leaves(data):
            if isinstance(leaf, str):
                self.words.append(leaf[:_MOST_CHARACTERS].casefold())
                self.results.update(_numbers(leaf))
            else:
                self.results.add(leaf)
                self.named.add((name, leaf))

    def has(self, text: str) -> bool:
        """Whether `text` was said, as whole words."""
        sought = text.casefold()
        return any(sought in words and _whole(sought).search(words) for words in self.words)


def builds_on(turns: Sequence[TurnRecord]) -> list[tuple[Link, ...]]:
    """For each turn of a session, what it has from earlier ones. A turn that ended in an error is in no history."""
    earlier: list[tuple[int, _Said]] = []
    links = []
    for number, turn in enumerate(turns):
        links.append(tuple(dict.fromkeys(_links(turn, earlier)))[:_MOST_LINKS])
        if turn.error is None:
            earlier.append((number, _all_said(turn)))
    return links


def _links(turn: TurnRecord, earlier: Sequence[tuple[int, _Said]]) -> Iterator[Link]:
    now = _Said()
    now.hear(turn.user)
    for number in range(len(_WORDS_FOR)):
        if any(re.search(rf"\b{word}\b", turn.user, re.IGNORECASE) for word in _WORDS_FOR[number].split()):
            now.spoken.add(number)
    calls = [part for part in turn.said if isinstance(part, ToolCall)]
    for call in calls:
        for name, value in _values(call):
            yield from _origin(name, value, now, earlier)
        now.receive(call.result or call.error or "")
    for call in calls:
        for _, value in _values(call):
            now.hear(str(value))
    for value in _told(turn.answer):
        yield from _origin("", value, now, earlier)


def _origin(name: str, value: str | float, now: _Said, earlier: Sequence[tuple[int, _Said]]) -> Iterator[Link]:
    """Where a value comes from, unless this turn said it itself."""
    if isinstance(value, str):
        if not _is_telling(value) or _is_paraphrased(value, now):
            return
        found = next((number for number, said in earlier if said.has(value)), None)
    else:
        if value in now.spoken or value in now.results:
            return
        found = next((number for number, said in earlier if _gave(said, name, value)), None)
    if found is not None:
        yield Link(value=value if isinstance(value, str) else _shown(value), turn=found)


def _gave(said: _Said, name: str, number: float) -> bool:
    """Whether a number is from there: one that says little by itself only under the same name."""
    digits = len(str(int(abs(number))))
    if (name, number) in said.named:
        return True
    if number in said.spoken:
        return number % 1 != 0 or digits > 2 or (digits > 1 and number % 10 != 0)  # noqa: PLR2004
    is_distinctive = number % 1 != 0 or (digits > 2 and number % 100 != 0)  # noqa: PLR2004
    return is_distinctive and number in said.results


def _is_telling(text: str) -> bool:
    """Whether a text that is met twice is met twice for a reason."""
    if not _SHORTEST_NAME <= len(text) <= _LONGEST_VALUE or not any(map(str.isalnum, text)):
        return False
    is_plain_word = text.isalpha() and text.islower()
    return not is_plain_word or (len(text) >= _SHORTEST_WORD and text not in _EVERYDAY)


def _is_paraphrased(text: str, now: _Said) -> bool:
    """Whether this turn has already said it, be it in other order, or in the plural."""
    words = re.findall(r"\w+", text.casefold())
    return all(any(word.removesuffix("s") in said for said in now.words) for word in words)


def _all_said(turn: TurnRecord) -> _Said:
    said = _Said()
    said.hear(turn.user)
    for part in turn.said:
        if isinstance(part, AgentText):
            said.hear(part.text)
        elif part.result:
            said.receive(part.result)
    return said


def _values(call: ToolCall) -> Iterator[tuple[str, str | float]]:
    """Values of a call's arguments, under the names that they have there."""
    if not isinstance(call.arguments, str):
        for name, value in _leaves(call.arguments):
            numbers = _numbers(value) if isinstance(value, str) else []
            yield name, numbers[0] if isinstance(value, str) and _is_number(value) and numbers else value


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _told(answer: str) -> Iterator[str | float]:
    """Of an answer, what it puts in quotes or in bold, and numbers that say something."""
    answer = answer[:_MOST_CHARACTERS]
    for groups in _QUOTED.findall(answer):
        name = next(filter(None, groups)).strip()
        if any(map(str.isalpha, name)) and not name.endswith(":"):
            yield name
    for number in _numbers(answer):
        is_year = _FIRST_YEAR <= number <= _LAST_YEAR and number % 1 == 0
        if abs(number) >= 100 and not is_year:  # noqa: PLR2004
            yield number


def _leaves(data: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, str | float]]:
    """Strings and numbers of plain data, each with the name that it has there."""
    if isinstance(data, str) or (
        isinstance(data, int | float) and not isinstance(data, bool) and abs(data) < _TOO_LARGE
    ):
        yield name, data
    elif depth < _DEEPEST and isinstance(data, Mapping | list | tuple):
        parts: Iterable[tuple[Any, Any]] = (
            data.items() if isinstance(data, Mapping) else ((name, part) for part in data)
        )
        for key, part in parts:
            yield from _leaves(part, str(key), depth + 1)


def _parsed(text: str) -> Any:
    """What JSON holds that is an object or a list, else None."""
    if len(text) > _MOST_CHARACTERS or text[:1] not in "{[":
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in _NUMBER.findall(text)]


def _whole(text: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(text)}(?!\w)")


def _shown(number: float) -> str:
    return f"{number:g}" if number % 1 else f"{number:.0f}"

"""The objects in tool results: which of them a message means, and which of their fields an argument wants."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from .json_text import parse_json
from .language import CONJUNCTIONS, FROM, ORDINALS, TO, VERBS, Said, read, split_name, stem_all
from .parameters import Parameter

_MOST_RECORDS = 20  # of one result; a person has not read further either
_GENERIC = stem_all(("item", "thing", "object", "entry", "name", "choice", "selection"))
_NAMING = ("name", "title", "label", "id", "key", "code")

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The records of one tool result, outermost first."""

    records: tuple[Record, ...]

    @cached_property
    def words(self) -> tuple[frozenset[str], ...]:
        """For each record the stems of what its fields say."""
        return tuple(frozenset(_stems(record)) for record in self.records)

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """In how many of the records each of these is."""
        return Counter(stem for stems_of_one in self.words for stem in stems_of_one)


def _stems(record: Record) -> Iterator[str]:
    for value in record.values():
        if isinstance(value, str):
            yield from (token.stem for token in read(value[:300]).tokens)


@lru_cache(maxsize=64)
def list_records(result: str) -> Listing:
    """Read a tool result; a result that is no JSON has no records."""
    found: list[Record] = []
    level: list[Any] = list(parse_json(result))
    while level and len(found) < _MOST_RECORDS:
        found += [value for value in level if isinstance(value, Mapping) and _says_something(value)]
        level = [inner for value in level for inner in _inner(value)]
    return Listing(records=tuple(found[:_MOST_RECORDS]))


def _says_something(record: Record) -> bool:
    return any(isinstance(value, str | int | float) for value in record.values())


def _inner(value: object) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return [inner for inner in value.values() if isinstance(inner, Mapping | list)]
    return value[:_MOST_RECORDS] if isinstance(value, list) else ()


@dataclass(frozen=True, kw_only=True)
class Match:
    """A record that a message means, and the positions of the words that say so."""

    record: Record
    positions: frozenset[int]


def find_meant(said: Said, positions: Sequence[int], among: Listing) -> list[Match]:
    """The records that words of a message single out; several for "the red and the blue one".

    Args:
        said: the message.
        positions: of the words in it that may say which.
        among: one result.
    """
    found: dict[int, frozenset[int]] = {}
    for part in _parts(said, positions):
        scores = [_score(said, part, words, among.counts) for words in among.words]
        best = max(scores, default=0)
        if best > 0 and scores.count(best) == 1:
            index = scores.index(best)
            hits = {position for position in part if said.tokens[position].stem in among.words[index]}
            found[index] = found.get(index, frozenset()) | hits
    return [Match(record=among.records[index], positions=hits) for index, hits in found.items()]


def _score(said: Said, part: Sequence[int], words: frozenset[str], common: Mapping[str, int]) -> float:
    """How well a part of a message fits a record; rare words say more, and a number alone says nothing."""
    hits = [said.tokens[position] for position in part if said.tokens[position].stem in words]
    if all(token.kind == "number" for token in hits):
        return 0.0
    return sum(1 / common[token.stem] for token in hits)


def _parts(said: Said, positions: Sequence[int]) -> list[list[int]]:
    """The positions in runs, cut where 'and' or a comma stands between them."""
    parts: list[list[int]] = []
    last = None
    for position in positions:
        between = said.tokens[position if last is None else last : position]
        if last is None or any(token.word in CONJUNCTIONS or token.text == "," for token in between):
            parts.append([])
        parts[-1].append(position)
        last = position
    return parts


def find_pointed_at(said: Said, positions: Sequence[int], among: Listing) -> list[Match]:
    """The records that "the second one" or "both" means."""
    for position in positions:
        word = said.tokens[position].word
        index = ORDINALS.get(word)
        if index is not None and len(among.records) > max(index, 1):
            return [Match(record=among.records[index], positions=frozenset([position]))]
        if word == "both" and len(among.records) == 2:  # noqa: PLR2004
            return [Match(record=record, positions=frozenset([position])) for record in among.records]
    return []


def pick_value(parameter: Parameter, record: Record, *, source: str, singled_out: bool = False) -> Any:
    """The value in a record that fits the parameter; None where none does.

    Args:
        parameter: what needs a value.
        record: of a result of the tool `source`.
        source: its name says what the records are.
        singled_out: the user's own words mean this record, so that its `id` will do for any `..._id`.
    """
    keys = _fitting_keys(
        parameter.path[-1],
        is_identifier=parameter.is_identifier,
        source="" if singled_out else source,
        keys=tuple(record),
    )
    return next((record[key] for key in keys if parameter.accepts(record[key])), None)


@lru_cache(maxsize=1024)  # the records of a result have the same keys
def _fitting_keys(name: str, *, is_identifier: bool, source: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    """The keys that may stand for the parameter `name`, best first."""
    nouns = stem_all(word for word in split_name(name) if word not in FROM | TO)
    listed = stem_all(word for word in split_name(source) if word not in VERBS)
    is_one = not listed or not nouns.isdisjoint(listed | _GENERIC)  # a `product` among those of `search_products`

    def fit(key: str) -> float:
        words = stem_all(split_name(key))
        if key == name or words == nouns:
            return 4.0
        if words and words < nouns:  # `id` for `product_id`; but `order` is no `order_id`
            return 3.0 if not is_identifier or (is_one and key in _NAMING) else 0.0
        if nouns and words > nouns:  # `product_name` for `product`
            return 2.0
        return 1.0 - _NAMING.index(key) / 10 if is_one and key in _NAMING else 0.0

    return tuple(sorted((key for key in keys if fit(key) > 0), key=fit, reverse=True))

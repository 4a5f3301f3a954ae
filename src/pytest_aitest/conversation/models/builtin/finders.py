"""Ways to find an argument's value in a message.

Each looks at one parameter and says what it found and in which words. They are tried in the order of FINDERS, surest
first, and a word that was taken by one is not taken again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .draft import Draft, Found, keep
from .language import CONJUNCTIONS, NO, STOP_WORDS, TEMPORAL, VERBS, YES, Token, split_name, stem, stem_words
from .parameters import Parameter
from .phrases import SURE, find_beside, find_loose_phrase, find_phrase, find_rest, weigh_text
from .records import find_meant, find_pointed_at, pick_value

Finder = Callable[[Parameter, Draft], Found | None]

_LINKED = stem_words("email mail recipient to attendee url link website uri path file filename")
_FLAG_WORDS = stem_words("include is has with only allow enable show set be")
_LONGEST_PATTERNED = 80  # characters; a user's pattern may take exponential time


def find_quote(parameter: Parameter, draft: Draft) -> Found | None:
    """`Add "War and Peace"`."""
    if parameter.kind != "string" or parameter.options:
        return None
    quotes = [position for position, token in draft.free() if token.kind == "quote"]
    if parameter.prepositions:
        quotes = [quote for quote in quotes if draft.said.tokens[max(quote - 1, 0)].word in parameter.prepositions]
    evidence = weigh_text(draft) if parameter.is_text else SURE
    return draft.spelled([[quote] for quote in (quotes if parameter.many else quotes[:1])], parameter, evidence)


def find_direction(parameter: Parameter, draft: Draft) -> Found | None:
    """`to savings` for `to_account`."""
    if parameter.kind != "string" or not parameter.prepositions:
        return None
    for position, token in draft.free():
        if (
            token.word in parameter.prepositions
            and not draft.is_infinitive(position)
            and (runs := draft.phrase_from(position + 1, parameter))
        ):
            known = _known_values(parameter, draft, [position for run in runs for position in run])
            if known:
                return keep(known, parameter)
            if not parameter.options:
                return draft.spelled(runs, parameter)
    return None


def find_shape(parameter: Parameter, draft: Draft) -> Found | None:
    """Dates, times, links, and what the schema has a pattern for."""
    if parameter.kind != "string" or parameter.options:
        return None
    fitting = [[position] for position, token in draft.free() if _has_shape(parameter, token)]
    accepted = [run for run in fitting if parameter.accepts(draft.said.between(run[0], run[0]))]
    return draft.spelled(accepted if parameter.many else accepted[:1], parameter)


def _has_shape(parameter: Parameter, token: Token) -> bool:
    if parameter.is_moment:
        wanted = "time" if parameter.is_clock_time else "date"
        return token.kind == wanted or (token.word in TEMPORAL and not parameter.format)
    if token.kind == "link":
        formats = {"email"} if "@" in token.text else {"uri", "url"}
        return parameter.format in formats or not parameter.stems.isdisjoint(_LINKED)
    return bool(parameter.pattern) and token.kind not in {"mark", "quote"} and len(token.text) <= _LONGEST_PATTERNED


def find_record(parameter: Parameter, draft: Draft) -> Found | None:
    """`the Nike ones`, of those that a search found."""
    if parameter.kind in {"boolean", "other"} or parameter.prepositions or parameter.is_money or parameter.options:
        return None
    words = [p for p, token in draft.free() if token.kind != "mark" and token.word not in STOP_WORDS]
    words = [p for p in words if not draft.says_what_to_do(draft.said.tokens[p])]
    if not words:
        return None
    for source, listing in draft.memory.listings:
        if all(
            pick_value(parameter, record, source=source, singled_out=not parameter.is_text) is None
            for record in listing.records
        ):
            continue
        matches = find_meant(draft.said, words, listing) or find_pointed_at(draft.said, words, listing)
        values = [
            (value, match.positions)
            for match in matches
            if (value := pick_value(parameter, match.record, source=source, singled_out=not parameter.is_text))
            is not None
        ]
        if values:
            return keep(values, parameter, 2.0)
    return None


def find_identifier(parameter: Parameter, draft: Draft) -> Found | None:
    """`issue 12`, `#12`, `ORD-7`; several for `issues 3 and 4`."""
    if not parameter.is_identifier or parameter.options or parameter.kind in {"boolean", "other"}:
        return None
    candidates = {
        position: value
        for position, token in draft.free()
        if parameter.accepts(value := _identifier(token, as_text=parameter.kind == "string"))
    }
    tokens = draft.said.tokens
    for names in (parameter.nouns, draft.tool.entity):
        for position in candidates:
            if any(token.stem in names for token in tokens[max(position - 2, 0) : position]):
                return keep(_series(position, candidates, draft), parameter)
    if any(other.path not in draft.values and other.takes_a_number for other in draft.tool.parameters):
        candidates = {p: value for p, value in candidates.items() if tokens[p].kind == "id"}  # "three of them" is no id
    if candidates and (parameter.required or parameter.path in draft.asked):
        return keep(_series(min(candidates), candidates, draft), parameter)
    return None


def _identifier(token: Token, *, as_text: bool) -> Any:
    if token.kind == "id" and as_text:
        return token.text.removeprefix("#")
    if token.kind in {"id", "number"}:
        return token.text if as_text else token.number
    return None


def _series(start: int, candidates: dict[int, Any], draft: Draft) -> list[tuple[Any, frozenset[int]]]:
    """The candidate at a position, and those that 'and' or a comma adds to it."""
    series = [(candidates[start], frozenset([start]))]
    for position in range(start + 1, len(draft.said.tokens)):
        token = draft.said.tokens[position]
        if position in candidates:
            series.append((candidates[position], frozenset([position])))
        elif token.word not in CONJUNCTIONS and token.text != ",":
            break
    return series


def find_number_beside(parameter: Parameter, draft: Draft) -> Found | None:
    """`3 nights`, `nights: 3` for `nights`."""
    tokens = draft.said.tokens
    beside = [
        (value, positions)
        for value, positions in _numbers(parameter, draft)
        for position in positions
        if any(token.stem in parameter.nouns for token in tokens[max(position - 1, 0) : position + 2])
    ]
    return keep(beside, parameter, several=False)


def find_number(parameter: Parameter, draft: Draft) -> Found | None:
    """`$200` for an amount, else the first number that is left; for an optional argument only what suits its name."""
    numbers = _numbers(parameter, draft)
    amounts = [hit for hit in numbers if draft.said.tokens[min(hit[1])].kind == "amount"]
    plain = [hit for hit in numbers if hit not in amounts]
    if parameter.required:
        chosen = [*amounts, *plain] if parameter.is_money else [*plain, *amounts]
    else:
        chosen = amounts if parameter.is_money else plain if parameter.is_count else []
    return keep(chosen, parameter, several=False)


def _numbers(parameter: Parameter, draft: Draft) -> list[tuple[Any, frozenset[int]]]:
    if not parameter.takes_a_number:
        return []
    return [(number, frozenset([p])) for p, token in draft.free() if parameter.accepts(number := token.number)]


def find_option(parameter: Parameter, draft: Draft) -> Found | None:
    """One of the values that the schema lists, or that the description quotes."""
    if parameter.kind == "boolean" or not parameter.known_values:
        return None
    rivals = [
        other
        for other in draft.tool.parameters
        if other is not parameter and other.path not in draft.values and other.known_values == parameter.known_values
    ]
    known = _known_values(parameter, draft, [position for position, _ in draft.free()])
    return keep(known, parameter, several=not rivals)


def _known_values(parameter: Parameter, draft: Draft, positions: Iterable[int]) -> list[tuple[Any, frozenset[int]]]:
    """The known values of a parameter that are spelled at some positions, whatever their case and number."""
    tokens = {position: draft.said.tokens[position] for position in positions}
    hits: list[tuple[Any, frozenset[int]]] = []
    for value in sorted(parameter.known_values, key=lambda value: -len(split_name(str(value)))):  # "very high", "high"
        if span := _span(value, tokens):
            hits.append((value, frozenset(span)))
            tokens = {position: token for position, token in tokens.items() if position not in span}
    return sorted(hits, key=lambda hit: min(hit[1]))


def _span(value: object, tokens: Mapping[int, Token]) -> Sequence[int]:
    """Where a known value is spelled."""
    spelled = split_name(str(value))
    for position, token in tokens.items():
        if token.kind == "quote" and token.text.casefold() == str(value).casefold():
            return [position]
        if not isinstance(value, str) and token.number == value:
            return [position]
        if spelled and token.stem == stem(spelled[0]) and not _is_another_word(token, spelled[0]):
            span = range(position, position + len(spelled))
            if all(p in tokens and tokens[p].stem == stem(word) for p, word in zip(span, spelled, strict=True)):
                return span
    return []


def _is_another_word(token: Token, word: str) -> bool:
    """Whether a token only looks like the word: the article "a", or "check" where 'checking' is meant."""
    return token.text == "a" or (token.word != word and "read" in VERBS.get(token.word, ()))


def find_flag(parameter: Parameter, draft: Draft) -> Found | None:
    """`including archived ones` for `include_archived`."""
    if parameter.kind != "boolean":
        return None
    words = parameter.nouns - _FLAG_WORDS
    tokens = draft.said.tokens
    for position, token in draft.free():
        if token.stem in words:
            negated = any(before.word in NO for before in tokens[max(position - 2, 0) : position])
            return keep([(not negated, frozenset([position]))], parameter)
        if parameter.path in draft.asked and token.word in YES | NO:
            return keep([(token.word in YES, frozenset([position]))], parameter)
    return None


FINDERS: tuple[Finder, ...] = (
    find_shape,
    find_quote,
    find_direction,
    find_record,
    find_identifier,
    find_number_beside,
    find_number,
    find_option,
    find_flag,
    find_beside,
    find_phrase,
    find_loose_phrase,
    find_rest,
)
"""Surest first."""

MENTIONS: tuple[Finder, ...] = (find_direction, find_option, find_beside, find_phrase)
"""Those that are sure enough to read an earlier message with."""

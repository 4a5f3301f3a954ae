"""Finding a value by its place in the sentence: after a preposition, beside the argument's name, or left over."""

from .draft import Draft, Found
from .language import CONJUNCTIONS, DIRECTIONS, FILLER, PREPOSITIONS, STOP_WORDS, VERBATIM, VERBS, split_words
from .parameters import Parameter

_LOOSE_PREPOSITIONS = split_words("in at near for of on by with")
_INTRODUCING = split_words("called named is :")
_LINKING = DIRECTIONS | CONJUNCTIONS | frozenset(PREPOSITIONS)
_POLITE = split_words("a an the please thanks")
_ENDS = frozenset(".!?;\n")
_LONGEST_TAIL = 4  # words of "to my shopping list"

SURE, _LIKELY, _WEAK = 1.0, 0.75, 0.25
_TEXT, _SOUGHT = 0.5, 2.0  # any words make a text; that something to search for is there says that a search is meant


def find_beside(parameter: Parameter, draft: Draft) -> Found | None:
    """`checking account`, `account: checking`, `account named checking` for `account`."""
    if not _takes_words(parameter) or parameter.is_text:
        return None
    loose = set(draft.loose())
    for position, token in draft.free():
        if token.stem not in parameter.nouns:
            continue
        first = position
        while first - 1 in loose:
            first -= 1
        if runs := draft.without_nouns([list(range(first, position))], parameter):
            return draft.spelled(runs, parameter, SURE, also=[position])
        follows = draft.said.tokens[position + 1 : position + 2]
        after = position + (2 if follows and follows[0].text.lower() in _INTRODUCING else 1)
        if after in loose:
            return draft.spelled(draft.phrase_from(after, parameter), parameter, SURE, also=[position])
    return None


def find_phrase(parameter: Parameter, draft: Draft) -> Found | None:
    """`in Paris` for `city`: what follows a preposition that goes with the parameter's name."""
    if not _takes_words(parameter):
        return None
    for position, token in draft.free():
        if parameter.stems.isdisjoint(PREPOSITIONS.get(token.word, ())):
            continue
        if parameter.is_text:
            found = _find_text(parameter, draft, start=position + 1, verbatim=token.word in VERBATIM)
        else:
            found = draft.spelled(draft.phrase_from(position + 1, parameter), parameter, SURE, also=[position])
        if found:
            return found
    return None


def find_loose_phrase(parameter: Parameter, draft: Draft) -> Found | None:
    """What any preposition introduces, for a required argument."""
    if not _takes_words(parameter) or parameter.is_text or not parameter.required:
        return None
    for position, token in draft.free():
        if token.word in _LOOSE_PREPOSITIONS and (runs := draft.phrase_from(position + 1, parameter)):
            return draft.spelled(runs, parameter, _LIKELY)
    return None


def find_rest(parameter: Parameter, draft: Draft) -> Found | None:
    """The words that nothing else explains, for a required argument that takes words."""
    asked = parameter.path in draft.asked
    if not asked and not (parameter.required and _takes_words(parameter)):
        return None
    if parameter.kind != "string" or parameter.options:
        return None
    if parameter.is_text:
        return _find_text(parameter, draft, start=0, verbatim=False)
    loose = draft.loose()
    strange = [position for position in loose if draft.said.tokens[position].stem not in draft.tool.weights]
    for position in strange or loose:
        if runs := draft.phrase_from(position, parameter):
            return draft.spelled(runs, parameter, _WEAK)
    return None


def _takes_words(parameter: Parameter) -> bool:
    """Whether its value may be any words, so that their place in the sentence decides."""
    special = parameter.options or parameter.prepositions or parameter.is_identifier or parameter.is_moment
    return parameter.kind == "string" and not special


def _find_text(parameter: Parameter, draft: Draft, *, start: int, verbatim: bool) -> Found | None:
    """The stretch of the message that says most, without the words around it that only say what to do."""
    stretches: list[list[int]] = [[]]
    for position in range(start, len(draft.said.tokens)):
        token = draft.said.tokens[position]
        ends = token.text in _ENDS or (token.kind == "amount" and "read" in draft.tool.meanings)
        if token.text == ":" and len(draft.said.tokens) > position + 1:
            stretches, verbatim = [[]], True
        elif position in draft.taken or ends:
            stretches[-1] = _stripped(draft, stretches[-1], _LINKING)  # "Team lunch ON 2026-03-05"
            stretches.append([])
        else:
            stretches[-1].append(position)
    if not verbatim:
        stretches = [_without_edges(parameter, draft, stretch) for stretch in stretches]
    longest = max(stretches, key=len)
    return draft.spelled([longest], parameter, weigh_text(draft)) if longest else None


def weigh_text(draft: Draft) -> float:
    """How much a text that was found speaks for the tool."""
    return _SOUGHT if draft.said.searches and "read" in draft.tool.meanings else _TEXT


def _without_edges(parameter: Parameter, draft: Draft, stretch: list[int]) -> list[int]:
    """`milk` of "please add milk to my shopping list", but all that was said in answer to a question."""
    tokens = draft.said.tokens
    if parameter.path in draft.asked:
        return _stripped(draft, stretch, _POLITE)
    kept = _stripped(draft, _without_tail(draft, stretch))
    if kept and (kept[0] == draft.said.opening_verb or tokens[kept[0]].word in VERBS):
        kept = _stripped(draft, kept[1:])
    while kept and (
        tokens[kept[0]].stem in draft.tool.stems
        or (len(kept) > 1 and tokens[kept[0]].stem in draft.tool.weights and tokens[kept[1]].word in PREPOSITIONS)
    ):
        kept = _stripped(draft, kept[1:])
    return next(iter(draft.without_nouns([kept], parameter)), [])


def _without_tail(draft: Draft, stretch: list[int]) -> list[int]:
    """A stretch without "to my shopping list" at its end, if the tool's description has the last of these words."""
    tokens = [draft.said.tokens[position] for position in stretch]
    tail = next((i for i in range(len(tokens) - 1, 0, -1) if tokens[i].word in _LINKING), 0)
    belongs = tail and len(tokens) - tail <= _LONGEST_TAIL and tokens[-1].stem in draft.tool.weights
    return stretch[:tail] if belongs else stretch


def _stripped(draft: Draft, stretch: list[int], padding: frozenset[str] = STOP_WORDS | FILLER) -> list[int]:
    """A stretch without marks and words that say nothing at its ends."""
    wanted = [
        token.may_be_a_value or (token.kind != "mark" and token.word not in padding)
        for token in (draft.said.tokens[position] for position in stretch)
    ]
    if not any(wanted):
        return []
    return stretch[wanted.index(True) : len(wanted) - wanted[::-1].index(True)]

"""English as far as the builtin model knows it: tokens, stems, and small tables of general words.

Nothing here knows a trade: no word of banking, shopping or any other domain belongs in these tables.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, cast

Kind = Literal["quote", "link", "date", "time", "amount", "number", "id", "word", "mark"]

_LONGEST_TEXT = 2_000  # characters of a text that are read; no request begins after that
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,15})(?:\.[0-9]{1,9})?"
_APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}"
_TOKEN = re.compile(
    rf"""
    (?P<quote> "[^"\n]{{1,300}}" | “[^”\n]{{1,300}}” | (?<!\w)'[^'\n]{{1,300}}'(?!\w) )
  | (?P<link> https?://[^\s,]+ | ~?/[\w./~-]+(?<![.]) | [\w-]{{1,64}}(?:/[\w.-]{{1,64}})*\.[a-z][a-z0-9]{{0,3}}(?!\w)
            | [\w.+-]{{1,64}}@[\w-]{{1,64}}\.\w[\w.-]{{0,64}}(?<!\.) )
  | (?P<date> [0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}} (?:T[0-9:.]+Z?)? (?!\w) )
  | (?P<time> [0-9]{{1,2}}:[0-9]{{2}} (?:\s?[ap]m)? (?!\w) | [0-9]{{1,2}}\s?[ap]m (?!\w) )
  | (?P<amount> [-+]?[$€£¥]\s?[-+]?{_DIGITS}(?![\w-])
              | (?<!\w)[-+]?{_DIGITS}\s?(?:[$€£¥]|(?:dollars?|euros?|pounds?|bucks|usd|eur|gbp)\b) )
  | (?P<number> (?<!\w)[-+]?{_DIGITS}(?![\w-]) )
  | (?P<id> \#?[0-9][\w-]* | [^\W\d_]+[-_]?[0-9][\w-]* )
  | (?P<word> [^\W\d_]+ (?:[{_APOSTROPHES}][^\W\d_]+)* )
  | (?P<mark> [.,;:!?()\n] )
    """,
    re.VERBOSE | re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def stem(word: str) -> str:
    """A lower-case word without its endings, so that 'books', 'booked' and 'booking' are one.

    >>> stem("balances"), stem("running"), stem("cities"), stem("closed")
    ('balanc', 'run', 'city', 'clos')
    """
    if re.fullmatch(r".{2,}ies", word):
        return word[:-3] + "y"
    if re.fullmatch(r".{2,}[^siu]s", word):
        word = word[:-1]
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and re.fullmatch(r".*[aeiouy].*", rest) and len(rest) >= len("run"):
            return rest[:-1] if re.search(r"([^lsz])\1$", rest) else rest.removesuffix("e")
    return re.sub(r"(?<=..)e$", "", word)


def stem_all(words: Iterable[str]) -> frozenset[str]:
    """The stems of some words."""
    return frozenset(stem(word) for word in words)


@lru_cache(maxsize=4096)
def split_name(name: str) -> tuple[str, ...]:
    """The words of an identifier.

    >>> split_name("getAllBalances"), split_name("from_account")
    (('get', 'all', 'balances'), ('from', 'account'))
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name[:200])
    return tuple(word.lower() for word in re.findall(r"[^\W_]+", spaced))


def split_words(text: str) -> frozenset[str]:
    """A table of words, written as one text."""
    return frozenset(text.split())


def stem_words(text: str) -> frozenset[str]:
    """The same of their stems."""
    return stem_all(text.split())


FROM = split_words("from source sender origin")
TO = split_words("to into onto toward towards destination target recipient receiver")
DIRECTIONS = split_words("from to into onto toward towards")
_PLACES = stem_words("city location place country region area town address room store branch venue folder project repo")
_TIMES = stem_words("date day time when deadline due start end")
_PEOPLE = stem_words("author user person assignee artist member customer guest attendee owner contact director")
_TOPICS = stem_words("query q search keyword keywords term topic subject question phrase title")
_TITLES = stem_words("name title")
_SPEECH = stem_words("message body text content comment note")
PREPOSITIONS: dict[str, frozenset[str]] = {
    **dict.fromkeys(split_words("in at near around within"), _PLACES),
    **dict.fromkeys(split_words("on before after until since"), _TIMES),
    **dict.fromkeys(split_words("by with"), _PEOPLE),
    **dict.fromkeys(split_words("about regarding"), _TOPICS),
    **dict.fromkeys(split_words("called named titled"), _TITLES),
    "saying": _SPEECH,
    "for": _PEOPLE | _PLACES,
    "of": _PLACES | _TITLES,
}
"""Which arguments a preposition may introduce, by the stems of their names.

`from` and `to` are not here: they introduce the arguments that are named after them.
"""
VERBATIM = split_words("called named titled saying :")
"""What follows these is meant word for word."""

CONJUNCTIONS = split_words("and or plus versus vs")
STOP_WORDS = (
    frozenset(PREPOSITIONS)
    | DIRECTIONS
    | CONJUNCTIONS
    | split_words(
        """a an the this that these those my your our their his her its i me we us you he she it they them mine yours
    am is are was were be been being do does did done have has had having will would shall should can could may might
    must what which who whom whose when where why how there here if than then so as but not no nor only just also too
    very please thanks thank hello hi hey ok okay yes yeah sure well oh let lets want need like give i'd i'll i'm i've
    we'd we'll you'd don't can't isn't one ones some any anything something such same other another again more most
    much many few lot bit use using thing things stuff going go got gonna wanna right still ever yet really actually
    instead maybe ahead over under between till via out up off down through during per"""
    )
)
"""Words that say nothing of what is wanted."""

FILLER = split_words(
    """all every each everything both whole entire new current latest recent last next now updated actual available
    first second third total overall currently quickly"""
)
"""Words that may belong to a tool's name, but are no value for an argument."""

TEMPORAL = split_words(
    """today tomorrow tonight yesterday monday tuesday wednesday thursday friday saturday sunday weekend noon midnight
    morning afternoon evening january february april june july august september october november december"""
)

_VERBS_BY_MEANING = {
    "read": """get show shows list find search look looks looking searching see view display check checks fetch read
        lookup browse query retrieve describe explore count calculate know have compare inspect""",
    "add": "add adds put insert include append take pick choose select grab buy order purchase",
    "create": """create add make schedule arrange register record log draft write post submit place save store set
        remind""",
    "remove": "remove delete drop clear discard erase cancel unset empty",
    "change": "change update edit modify set rename adjust replace assign reassign mark",
    "send": "send transfer move pass forward deliver share email message post",
    "end": "close finish complete resolve end stop",
    "begin": "open start begin launch run reopen resume",
}
VERBS: dict[str, frozenset[str]] = {
    verb: frozenset(meaning for meaning, verbs in _VERBS_BY_MEANING.items() if verb in verbs.split())
    for verb in split_words(" ".join(_VERBS_BY_MEANING.values()))
}
"""What a verb may mean. Only in these forms, because 'building', 'savings' and 'orders' are often nouns."""

WISHES = split_words("want wanna like i'd i'll need give")
_REFUSALS = split_words("no nope never nevermind mind cancel stop forget nothing none abort")
YES = split_words("yes yeah yep sure true ok okay please definitely")
NO = split_words("no nope not false without don't never")
ORDINALS = {"first": 0, "1st": 0, "second": 1, "2nd": 1, "third": 2, "3rd": 2, "fourth": 3, "4th": 3, "last": -1}
_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_QUESTION_WORDS = split_words("what whats which who whose when where why how is are was were am do does did has")
_REQUEST_WORDS = split_words("can could would will please")
_AFTER_A_VERB = split_words(
    "me us my your the a an this that these those it them on off up down out all every any some"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A word of a message, or a mark between words."""

    kind: Kind
    text: str  # as written, a quote without its marks
    word: str  # lower case, without what an apostrophe adds: "what" for "What's"
    stem: str
    start: int
    end: int

    @property
    def says_something(self) -> bool:
        """Whether it may tell one wish from another."""
        return self.kind == "word" and self.word not in STOP_WORDS

    @property
    def may_be_a_value(self) -> bool:
        """Whether it may be (a part of) what an argument is set to, going by the word alone."""
        if self.kind != "word":
            return self.kind in {"quote", "id", "link"}
        if self.word in FILLER:
            return self.start > 0 and self.text[0].isupper()  # "New York"
        return self.word not in STOP_WORDS and self.word not in TEMPORAL

    @property
    def number(self) -> int | float | None:
        """What it is as a number; `$1,500` is 1500."""
        if self.kind in {"number", "amount"}:
            digits = re.sub(r"[^0-9.]", "", self.text)
            size = float(digits) if "." in digits else int(digits)
            return -size if "-" in self.text else size
        if self.kind == "id" and re.fullmatch(r"#[0-9]{1,15}", self.text):
            return int(self.text[1:])
        return _NUMBERS.get(self.word)


@dataclass(frozen=True, kw_only=True)
class Said:
    """A text as the model reads it."""

    text: str
    tokens: tuple[Token, ...]

    @cached_property
    def topics(self) -> dict[str, str]:
        """The words that say something: stem to word, in order."""
        return {token.stem: token.word for token in self.tokens if token.says_something}

    @cached_property
    def meanings(self) -> frozenset[str]:
        """What its verbs may mean."""
        return frozenset(meaning for token in self.tokens for meaning in VERBS.get(token.word, ()))

    @cached_property
    def wishes(self) -> bool:
        """Whether it says that something is wanted, without a verb that says what for: "I'd like the blue one"."""
        return not self.meanings and any(token.word in WISHES for token in self.tokens)

    @property
    def searches(self) -> bool:
        """Whether it may ask to be shown something: "find", "do you have", "I need"."""
        return self.wishes or "read" in self.meanings

    @cached_property
    def is_question(self) -> bool:
        """Whether it asks to be told something; "can you ...?" asks to have something done."""
        first = self.tokens[0].word if self.tokens else ""
        return first in _QUESTION_WORDS or (self.text.rstrip().endswith("?") and first not in _REQUEST_WORDS)

    @property
    def refuses(self) -> bool:
        """Whether it says no and nothing else."""
        words = {token.word for token in self.tokens if token.kind == "word"}
        return not words.isdisjoint(_REFUSALS) and words <= _REFUSALS | STOP_WORDS

    @cached_property
    def opening_verb(self) -> int | None:
        """Where a word must be a verb, known or not, because of what follows it: "TURN the lights off"."""
        opening = [position for position, token in enumerate(self.tokens) if token.word not in STOP_WORDS][:1]
        follows = [self.tokens[position + 1].word for position in opening if position + 1 < len(self.tokens)]
        return opening[0] if follows and follows[0] in _AFTER_A_VERB else None

    def between(self, first: int, last: int) -> str:
        """The text from one token to another, as written; a quote without its marks."""
        if first == last:
            return self.tokens[first].text
        return self.text[self.tokens[first].start : self.tokens[last].end]


@lru_cache(maxsize=512)
def read(text: str) -> Said:
    """Cut a text into tokens."""
    text = text[:_LONGEST_TEXT]
    return Said(text=text, tokens=tuple(_token(match) for match in _TOKEN.finditer(text)))


def _token(match: re.Match[str]) -> Token:
    kind, text = cast("Kind", match.lastgroup), match.group()
    word = text.lower().replace(_APOSTROPHES[1], "'")
    if kind == "quote":
        text = text[1:-1]
    elif kind == "word" and word not in STOP_WORDS:
        word = re.sub(r"'(s|re|d|ll|ve|m)?$", "", word)
    return Token(kind=kind, text=text, word=word, stem=stem(word), start=match.start(), end=match.end())

"""A message while it is searched for the arguments of one tool."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .language import (
    CONJUNCTIONS,
    DIRECTIONS,
    FILLER,
    PREPOSITIONS,
    STOP_WORDS,
    VERBS,
    WISHES,
    Said,
    Token,
    split_words,
)
from .memory import Memory
from .parameters import Parameter, Path
from .tools import Tool

_BEFORE_INFINITIVES = WISHES | split_words("going have able how")
_SKIPPED = (STOP_WORDS | FILLER) - frozenset(PREPOSITIONS) - DIRECTIONS - CONJUNCTIONS  # "to MY OTHER savings"


@dataclass(frozen=True, kw_only=True)
class Found:
    """A value for a parameter."""

    values: tuple[Any, ...]  # several where the message names several things
    positions: frozenset[int]  # of the words that it was read from
    evidence: float = 1.0  # how much it speaks for the tool that the parameter belongs to


@dataclass(kw_only=True)
class Draft:
    """A message, what was read from it so far, and what may still be read."""

    tool: Tool
    said: Said
    memory: Memory
    asked: frozenset[Path] = frozenset()  # what the user was just asked for
    values: dict[Path, tuple[Any, ...]] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)
    evidence: float = 0.0

    def take(self, parameter: Parameter, found: Found) -> None:
        """Keep what was found; its words are then used up."""
        self.values[parameter.path] = found.values
        self.taken |= found.positions
        self.evidence += found.evidence

    def free(self) -> Iterator[tuple[int, Token]]:
        """The tokens that no value was read from yet, with their positions."""
        return ((position, token) for position, token in enumerate(self.said.tokens) if position not in self.taken)

    def loose(self) -> list[int]:
        """Positions of the words that may be values, going by the words alone."""
        return [
            position
            for position, token in self.free()
            if token.may_be_a_value and not self.says_what_to_do(token) and position != self.said.opening_verb
        ]

    def unexplained(self) -> bool:
        """Whether a word is left that is neither a value nor known to the tool."""
        return any(self.said.tokens[position].stem not in self.tool.weights for position in self.loose())

    def unused(self) -> int:
        """How many tokens are left that must be values, such as numbers."""
        return sum(token.kind not in {"word", "mark"} for _, token in self.free())

    def says_what_to_do(self, token: Token) -> bool:
        """Whether a word says what is wanted, rather than of what."""
        return token.kind == "word" and (token.word in VERBS or token.stem in self.tool.stems)

    def is_infinitive(self, position: int) -> bool:
        """Whether "to" there belongs to a verb: "I want to"."""
        before = self.said.tokens[position - 1].word if position else ""
        return self.said.tokens[position].word == "to" and before in _BEFORE_INFINITIVES

    def phrase_from(self, start: int, parameter: Parameter) -> list[list[int]]:
        """The words from a position on that read as a value, or as several with 'and' between them."""
        runs: list[list[int]] = [[]]
        for position in range(start, len(self.said.tokens)):
            token = self.said.tokens[position]
            if token.word in CONJUNCTIONS or token.text == ",":
                runs.append([])
            elif position in self.taken:
                break
            elif token.may_be_a_value and (
                token.stem not in self.tool.stems if runs[-1] else not self.says_what_to_do(token)
            ):
                runs[-1].append(position)
            elif runs[-1] or token.word not in _SKIPPED:
                break
        return self.without_nouns(runs, parameter)

    def without_nouns(self, runs: Sequence[list[int]], parameter: Parameter) -> list[list[int]]:
        """Runs of words without what they are: `checking` of `checking account`, for an account."""
        return [trimmed for run in runs if (trimmed := self._trimmed(run, parameter))]

    def _trimmed(self, run: list[int], parameter: Parameter) -> list[int]:
        while run and self.said.tokens[run[-1]].stem in parameter.nouns:
            run = run[:-1]
        if len(run) > 1 and parameter.prepositions and self.said.tokens[run[-1]].stem in self.tool.described:
            run = run[:-1]
        while run and self.said.tokens[run[0]].stem in parameter.nouns:
            run = run[1:]
        return run

    def spelled(
        self, runs: Sequence[Sequence[int]], parameter: Parameter, evidence: float = 1.0, *, also: Sequence[int] = ()
    ) -> Found | None:
        """The values that some runs of words spell, if the parameter accepts them; `also`: words used up by that."""
        values = [(self.said.between(run[0], run[-1]), frozenset((*run, *also))) for run in runs]
        return keep([hit for hit in values if parameter.accepts(hit[0])], parameter, evidence)


def keep(
    values: Sequence[tuple[Any, frozenset[int]]], parameter: Parameter, evidence: float = 1.0, *, several: bool = True
) -> Found | None:
    """What a finder found: values with their positions; only the first of them where `several` make no sense."""
    if not values:
        return None
    kept = values if several or parameter.many else values[:1]
    return Found(
        values=tuple(value for value, _ in kept),
        positions=frozenset().union(*(positions for _, positions in kept)),
        evidence=evidence,
    )

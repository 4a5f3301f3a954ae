"""A tool as the builtin model reads it: what it is about, what it does, what it takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pytest_aitest.values.model import ToolSpec

from .language import STOP_WORDS, VERBS, read, split_name, stem, stem_all
from .parameters import Parameter, read_parameters, stem_values

# What a word of the message is worth, by where the tool has it. The threshold in choose.py is 2: a word of the name is
# enough, one of the description is not, because descriptions mention much that their tool isn't for.
_NAME, _VALUE, _VERB, _ARGUMENT, _DESCRIPTION, _ARGUMENT_DESCRIPTION = 3.0, 2.0, 2.0, 1.5, 1.0, 0.5


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool on offer, read."""

    spec: ToolSpec
    parameters: tuple[Parameter, ...]

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of its name."""
        return split_name(self.spec.name)

    @cached_property
    def stems(self) -> frozenset[str]:
        """The same without their endings."""
        return stem_all(self.words)

    @cached_property
    def entity(self) -> frozenset[str]:
        """What its name speaks of: `issue` of `close_issue`."""
        return stem_all(word for word in self.words if word not in VERBS and word not in STOP_WORDS)

    @cached_property
    def meanings(self) -> frozenset[str]:
        """What its verbs may mean, going by its name and the first word of its description."""
        opening = [token.word for token in read(self.spec.description).tokens[:1]]
        return frozenset(meaning for word in (*self.words, *opening) for meaning in VERBS.get(word, ()))

    @property
    def removes(self) -> bool:
        """Whether its name says that it takes something away."""
        return any("remove" in VERBS.get(word, ()) for word in self.words)

    @cached_property
    def only_reads(self) -> bool | None:
        """Whether it changes nothing, as its server says or its name suggests; None: no idea."""
        if self.spec.read_only is not None:
            return self.spec.read_only
        verb = next((word for word in self.words if word in VERBS), None)
        return None if verb is None else "read" in VERBS[verb]

    @cached_property
    def described(self) -> frozenset[str]:
        """The stems of its name and description."""
        return self.stems | read(self.spec.description).topics.keys()

    @cached_property
    def weights(self) -> Mapping[str, float]:
        """What each word is worth as a sign that this tool is meant, by stem."""
        weights: dict[str, float] = {}
        only_verbs = all(word in VERBS for word in self.words)
        for word in self.words:
            meanings = VERBS.get(word, frozenset())
            if word not in STOP_WORDS and (only_verbs or meanings != {"read"}):
                weights[stem(word)] = _VERB if meanings else _NAME
        for parameter in self.parameters:
            for word in stem_values(parameter):
                weights.setdefault(word, _VALUE)
        for parameter in self.parameters:
            for word in parameter.nouns:
                weights.setdefault(word, _ARGUMENT)
        for token in read(self.spec.description).tokens[:1]:
            if VERBS.get(token.word, frozenset()) - {"read"}:
                weights.setdefault(token.stem, _VERB)
        for word in self.described:
            weights.setdefault(word, _DESCRIPTION)
        for parameter in self.parameters:
            for word in read(parameter.description).topics:
                weights.setdefault(word, _ARGUMENT_DESCRIPTION)
        return weights


def read_tool(spec: ToolSpec) -> Tool:
    """Read a tool."""
    return Tool(spec=spec, parameters=read_parameters(spec.input_schema))

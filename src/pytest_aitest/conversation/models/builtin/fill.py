"""Which values a message has for the arguments of a tool, and which the conversation before it has."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .draft import Draft
from .finders import FINDERS, MENTIONS
from .language import Said, read, split_name, stem_all
from .memory import Call, Memory
from .parameters import Parameter, Path
from .records import list_records, pick_value
from .tools import Tool

_MOST_CALLS = 5  # for one message that names several things


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A tool and the values for its arguments."""

    tool: Tool
    said: Mapping[Path, tuple[Any, ...]]  # several values: one call for each
    recalled: Mapping[Path, Any] = field(default_factory=dict)
    evidence: float = 0.0  # how much the message's own values speak for this tool
    unused: int = 0  # numbers, codes and quotes in the message that no argument takes

    @property
    def missing(self) -> list[Parameter]:
        """Required parameters without a value."""
        known = {*self.said, *self.recalled}
        return [parameter for parameter in self.tool.parameters if parameter.required and parameter.path not in known]

    def arguments(self) -> list[dict[str, Any]]:
        """The arguments of each call to make."""
        many = {parameter.path for parameter in self.tool.parameters if parameter.many}
        several = next((path for path, values in self.said.items() if len(values) > 1 and path not in many), None)
        calls = []
        for number in range(len(self.said[several][:_MOST_CALLS]) if several else 1):
            values = {path: list(values) if path in many else values[0] for path, values in self.said.items()}
            if several:
                values[several] = self.said[several][number]
            values |= self.recalled
            calls.append(_nested({p.path: values[p.path] for p in self.tool.parameters if p.path in values}))
        return calls


def _nested(values: Mapping[Path, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for (*parents, name), value in values.items():
        inner = arguments
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = value
    return arguments


def fill(
    tool: Tool, said: Said, memory: Memory, *, asked: Sequence[Parameter] = (), known: Mapping[Path, Any] | None = None
) -> Plan:
    """Fill the arguments of `tool` from a message, then from what was said and done before it.

    Args:
        tool: what to call.
        said: the message.
        memory: the conversation before it.
        asked: the parameters that the user was just asked for; a bare answer is then a value for them.
        known: values from the earlier messages that this one completes.
    """
    draft = Draft(tool=tool, said=said, memory=memory, asked=frozenset(parameter.path for parameter in asked))
    asked_first = sorted(tool.parameters, key=lambda parameter: parameter.path not in draft.asked)
    for find in FINDERS:
        for parameter in asked_first:
            if parameter.path not in draft.values and (found := find(parameter, draft)):
                draft.take(parameter, found)
    values = {**(known or {}), **draft.values}
    recalled: dict[Path, Any] = {}
    for parameter in tool.parameters:
        if parameter.required and parameter.path not in values and _may_be_recalled(parameter, draft):
            alike = [other.path for other in tool.parameters if other.nouns == parameter.nouns]
            taken = [value for path in alike for value in (*values.get(path, ()), recalled.get(path))]
            value = next((value for value in _recall(parameter, draft) if value not in taken), None)
            if value is not None:
                recalled[parameter.path] = value
    return Plan(tool=tool, said=values, recalled=recalled, evidence=draft.evidence, unused=draft.unused())


def _may_be_recalled(parameter: Parameter, draft: Draft) -> bool:
    """Whether an earlier value would be what the user means.

    An amount or a text is said anew each time. And where a word is left over, the user may well have named something
    that we don't know: better to ask than to take what was named before.
    """
    if parameter.kind == "boolean" or parameter.is_text or parameter.many:
        return False
    if parameter.kind in {"integer", "number"} and not parameter.is_identifier:
        return False
    return bool(parameter.prepositions) or not draft.unexplained()


def _recall(parameter: Parameter, draft: Draft) -> Iterator[Any]:
    """What earlier calls, their results and earlier messages have for a parameter, latest first."""
    for call in draft.memory.calls:
        yield from _recall_arguments(parameter, draft.tool, call)
        listed = _recall_records(parameter, call)
        if len(listed) > 1:
            return  # "it" could be any of them, and what was meant before them is no longer meant
        yield from listed
    for exchange in reversed(draft.memory.past):
        earlier = Draft(tool=draft.tool, said=read(exchange.text), memory=Memory())
        found = next((found for find in MENTIONS if (found := find(parameter, earlier))), None)
        if found and len(found.values) == 1:
            yield found.values[0]


def _recall_arguments(parameter: Parameter, tool: Tool, call: Call) -> Iterator[Any]:
    """Arguments of an earlier call that fit: of the same name, then of the same kind of thing."""
    related = not tool.entity.isdisjoint(stem_all(split_name(call.name)))
    named = [(split_name(str(name)), value) for name, value in call.arguments.items() if parameter.accepts(value)]
    nouns = parameter.nouns - parameter.identifying
    yield from (value for words, value in named if words == parameter.words and (nouns or related))
    yield from (value for words, value in named if not nouns.isdisjoint(stem_all(words)))


def _recall_records(parameter: Parameter, call: Call) -> list[Any]:
    """The different values in an earlier result that fit."""
    records = list_records(call.result).records
    fitting = [pick_value(parameter, record, source=call.name) for record in records]
    return [value for number, value in enumerate(fitting) if value is not None and value not in fitting[:number]]

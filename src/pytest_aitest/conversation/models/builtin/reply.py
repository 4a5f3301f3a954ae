"""What the builtin model says: a tool's result in a sentence, a question for what is missing, or that it can't help."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .fill import Plan
from .json_text import parse_json
from .language import DIRECTIONS, FROM, TO, VERBS, Said, read, split_name
from .memory import Call, Memory, find_error
from .parameters import Parameter
from .records import pick_value
from .tools import Tool

_MOST_ITEMS = 8
_DEEPEST = 2  # levels of a result that are said
_LONGEST = 1_500  # characters of a result that are repeated
_CURRENCIES = {
    "$": re.compile(r"\$|\b(?:usd|dollars?)\b", re.IGNORECASE),
    "€": re.compile(r"€|\b(?:eur|euros?)\b", re.IGNORECASE),
    "£": re.compile(r"£|\bgbp\b", re.IGNORECASE),
}
_LIMITS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "exclusiveMaximum": "less than",
}
_UNGROUPED = frozenset(("id", "year", "number", "code", "zip", "phone", "key", "port"))  # 2026 is no 2,026


def report(calls: Sequence[Call], tools: Sequence[Tool]) -> str:
    """What tools answered, or why they failed."""
    by_name = {tool.spec.name: tool for tool in tools}
    return "\n".join(_report_one(call, by_name.get(call.name)) for call in calls)


def _report_one(call: Call, tool: Tool | None) -> str:
    error = find_error(call.result)
    if error is not None:
        return f"That did not work: {_end(error or 'the tool gave no reason')}"
    changes = tool is not None and tool.only_reads is False
    currency = _find_currency(tool)
    match _parse(call.result):
        case []:
            return "Done." if changes else "Nothing was found."
        case [str(text)]:
            return _end(text)
        case [Mapping() as record]:
            said = _describe(call, record, currency)
        case [value]:
            said = f"{_name_subject(call)}: {_say(value, currency)}"
        case values:
            more = f"; and {len(values) - _MOST_ITEMS} more" if len(values) > _MOST_ITEMS else ""
            said = f"{len(values)} found: {'; '.join(_say(value, currency) for value in values[:_MOST_ITEMS])}{more}"
    return _end(f"Done. {_end(said)}" if changes else said)


def _parse(result: str) -> list[Any]:
    """The values that a result consists of; a text that is no JSON is one."""
    text = result.strip()
    values = list(parse_json(text))
    if not values and text:
        number = re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,9})?", text)
        return [text if number is None else float(text) if number[1] else int(text)]
    match values:
        case [{"result": value, **others}] if not others:  # how servers wrap what is no object
            values = [value]
    return values[0] if len(values) == 1 and isinstance(values[0], list) else values


def _describe(call: Call, record: Mapping[str, Any], currency: str) -> str:
    """A record in words: `Checking balance: $1,500.00` where all but one of its fields repeat what was asked."""
    asked = [value for value in call.arguments.values() if isinstance(value, str)]
    repeated = [value for value in record.values() if isinstance(value, str) and value in asked]
    told = {key: value for key, value in record.items() if not isinstance(value, str) or value not in asked}
    if len(told) == 1 and repeated:
        [(key, value)] = told.items()
        return f"{' '.join(repeated)} {_humanize(key)}: {_say(value, currency, key=key)}"
    return _say(record, currency) or "there is nothing to say"


def _say(value: object, currency: str, *, key: str = "", depth: int = 0) -> str:
    """A JSON value in words."""
    if isinstance(value, Mapping | list) and depth > _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        pairs = [f"{_humanize(str(k))}: {_say(v, currency, key=str(k), depth=depth + 1)}" for k, v in value.items()]
        return ", ".join(pairs) if depth == 0 else f"({', '.join(pairs)})"
    if isinstance(value, list):
        items = [_say(item, currency, key=key, depth=depth + 1) for item in value[:_MOST_ITEMS]]
        return ", ".join(items) or "none"
    return _say_scalar(value, currency, key)


def _say_scalar(value: object, currency: str, key: str) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int():
            return str(value) if _UNGROUPED.intersection(split_name(key)) else f"{value:,}"
        case float() if currency:
            return f"{'-' if value < 0 else ''}{currency}{abs(value):,.2f}"
        case float():
            return f"{value:,}".removesuffix(".0")
    return str(value) or "none"


def _humanize(key: str) -> str:
    return " ".join(split_name(key)) or key


def _name_subject(call: Call) -> str:
    """What a tool's bare value is: `temperature` for `get_temperature`."""
    words = split_name(call.name)
    return " ".join([word for word in words if word not in VERBS] or words) or "answer"


def _find_currency(tool: Tool | None) -> str:
    """The currency of a tool's amounts, where its description names one: JSON has no type for money."""
    description = "" if tool is None else tool.spec.description
    return next((sign for sign, pattern in _CURRENCIES.items() if pattern.search(description)), "")


def _end(text: str) -> str:
    """A text as a sentence."""
    text = text.strip()
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} ..."
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def ask(plan: Plan, memory: Memory) -> str:
    """A question for what a plan misses."""
    first, *others = plan.missing
    also = f"For that I also need to know: {', '.join(other.label for other in others)}. " if others else ""
    *most, last = _list_options(first, memory) or [""]
    choice = f": {', '.join(most)}{' or ' if most else ''}{last}" if last else ""
    return f"{also}{_phrase(first, plan.tool)}{choice}?"


def _phrase(parameter: Parameter, tool: Tool) -> str:
    deed = " ".join(tool.words) or tool.spec.name
    nouns = " ".join(word for word in parameter.words if word not in FROM | TO)
    if parameter.prepositions and nouns:
        return f"Which {nouns} should I {deed} {'from' if parameter.prepositions == FROM else 'to'}"
    if parameter.prepositions and parameter.words[0] in DIRECTIONS:
        return f"What should I {deed} {parameter.words[0]}"
    if parameter.kind == "boolean":
        return f"Should it be {parameter.label}, yes or no"
    limits = ", ".join(f"{_LIMITS[name]} {limit:,g}" for name, limit in parameter.limits.items())
    which = "What" if parameter.is_text or parameter.takes_a_number else "Which"
    return f"{which} {parameter.label}{f' ({limits})' if limits else ''} should I use to {deed}"


def _list_options(parameter: Parameter, memory: Memory) -> list[str]:
    """What there is to choose from: what the schema says, else what the last result that has any such thing lists."""
    if parameter.known_values:
        return [str(value) for value in parameter.known_values[:_MOST_ITEMS]]
    for source, listing in memory.listings:
        values = [pick_value(parameter, record, source=source) for record in listing.records]
        if known := dict.fromkeys(str(value) for value in values if value is not None):
            return list(known)[:_MOST_ITEMS]
    return []


def decline(said: Said, memory: Memory, tools: Sequence[Tool]) -> str:
    """That no tool fits, and what there is instead; before that, where a question is about it, what the user said."""
    names = [" ".join(tool.words) or tool.spec.name for tool in tools]
    more = f" and {len(names) - _MOST_ITEMS} more" if len(names) > _MOST_ITEMS else ""
    quote = _find_said(said, memory) if said.is_question else None
    said_before = "" if quote is None else f'You said: "{quote}" '
    if not names:
        return said_before.strip() or "I have no tools, so I can't help with that. I can only repeat what you said."
    return f"{said_before}None of my tools fits that. I can: {', '.join(names[:_MOST_ITEMS])}{more}."


def _find_said(said: Said, memory: Memory) -> str | None:
    """The earlier sentence of the user that shares most words with a question; the latest of equals."""
    best, most = None, 0
    for exchange in (*reversed(memory.open), *reversed(memory.past)):
        for sentence in re.split(r"(?<=[.!?])\s+", exchange.text[:_LONGEST]):
            earlier = read(sentence)
            shared = len(said.topics.keys() & earlier.topics.keys())
            if shared > most and not earlier.is_question:
                best, most = sentence.strip(), shared
    return best

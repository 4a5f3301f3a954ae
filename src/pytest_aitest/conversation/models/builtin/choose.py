"""Which tool a message asks for, and what it then takes."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .fill import Plan, fill
from .language import VERBS, Said, read
from .memory import Call, Memory
from .parameters import Path
from .tools import Tool

_THRESHOLD = 2.0  # the evidence that a tool needs; see the weights in tools.py
_SHORTLIST = 4  # tools whose arguments are tried; the others have less in common with the message

_DESCRIBED_VERB = 0.5
_RELATED_VERB = 2.0
_UNASKED_REMOVAL = -5.0
_WISH = 2.0
_FOREIGN_VERB = -1.5
_READING_VERB = 1.0
_QUESTION_TO_READER = 0.5
_QUESTION_TO_CHANGER = -1.5
_SAME_FORM = 0.25  # "balances" means get_all_balances rather than get_balance
_REMEMBERED = -0.5  # an argument that only the conversation before has
_MISSING = -1.0
_UNUSED = -1.0  # a number or a code in the message that no argument takes

_BETWEEN_WISHES = re.compile(r"(?<=[.?!;])\s+|,?\s+(?:and\s+then|then|and)\s+", re.IGNORECASE)
_MOST_WISHES = 4
_ELLIPSIS = re.compile(r"\s*(?:and|what about|how about|also)\b", re.IGNORECASE)


def plan_calls(memory: Memory, tools: Sequence[Tool]) -> list[Plan]:
    """What the conversation asks for now: nothing, one thing, or several that one message asks for."""
    said = read(memory.current.text)
    if not memory.open and (plans := _plan_several(said, tools, memory)):
        return plans
    plan: Plan | None = None
    for part in (*(read(exchange.text) for exchange in memory.open), said):
        fresh = _choose(part, tools, memory) or _ask_again(part, tools, memory)
        if plan is None or not plan.missing or (fresh and fresh.tool is not plan.tool and _asks_for(part, fresh.tool)):
            plan = fresh
        else:
            plan = fill(plan.tool, part, memory, asked=plan.missing, known=plan.said)
    return [plan] if plan else []


def _plan_several(said: Said, tools: Sequence[Tool], memory: Memory) -> list[Plan]:
    """The plans for a message that asks for several things, each of them complete; otherwise nothing."""
    parts = [part for part in _BETWEEN_WISHES.split(said.text) if part.strip()]
    if not 1 < len(parts) <= _MOST_WISHES or any(token.kind == "quote" or token.text == ":" for token in said.tokens):
        return []
    plans = []
    for part in map(read, parts):
        plan = _choose(part, tools, memory)
        if plan is None or plan.missing or not _asks_for(part, plan.tool):
            return []
        plans.append(plan)
    return plans


def _asks_for(said: Said, tool: Tool) -> bool:
    """Whether a message asks for the tool by itself, rather than answering a question."""
    return said.is_question or not said.meanings.isdisjoint(tool.meanings) or tool.stems <= said.topics.keys()


def _choose(said: Said, tools: Sequence[Tool], memory: Memory) -> Plan | None:
    """The tool that a message asks for, with what could be filled; the first of equally good ones; None: none fits."""
    common = Counter(word for tool in tools for word in said.topics if word in tool.weights)
    likenesses = [likeness for tool in tools if (likeness := _compare(said, tool, common)).rank > 0]
    likenesses.sort(key=lambda likeness: -likeness.rank)  # stable: the tools' order decides a tie
    best, best_rank = None, float("-inf")
    for likeness in likenesses[:_SHORTLIST]:
        plan = fill(likeness.tool, said, memory)
        rank = likeness.rank + plan.evidence + len(plan.recalled) * _REMEMBERED + len(plan.missing) * _MISSING
        rank += plan.unused * _UNUSED
        # To name a thing is not yet to ask that something be done with it.
        evidence = likeness.evidence + (0.0 if likeness.tool.only_reads is False else plan.evidence)
        if evidence >= _THRESHOLD and rank > best_rank:
            best, best_rank = plan, rank
    return best


@dataclass(frozen=True, kw_only=True)
class _Likeness:
    """What a tool has in common with a message, its arguments not yet looked at."""

    tool: Tool
    evidence: float  # that the message means it
    rank: float  # the same compared with the other tools: a word that many of them have says less


def _compare(said: Said, tool: Tool, common: Mapping[str, int]) -> _Likeness:
    hits = {word: tool.weights[word] for word in said.topics if word in tool.weights}
    evidence = sum(hits.values()) + _weigh_verbs(said, tool)
    rank = evidence - sum(weight - weight / common[word] for word, weight in hits.items())
    rank += sum(_SAME_FORM for word in tool.words if word in said.topics.values())
    if said.searches and "read" in tool.meanings:
        evidence += _READING_VERB if hits else 0.0
        rank += _READING_VERB
    if said.is_question and tool.only_reads is not None:
        evidence += 0.0 if tool.only_reads else _QUESTION_TO_CHANGER
        rank += _QUESTION_TO_READER if tool.only_reads else _QUESTION_TO_CHANGER
    return _Likeness(tool=tool, evidence=evidence, rank=rank)


def _weigh_verbs(said: Said, tool: Tool) -> float:
    """What the message's verbs say for or against a tool, beyond being words that the tool has too."""
    verbs = [token.stem for token in said.tokens if VERBS.get(token.word, frozenset()) - {"read"}]
    if tool.removes and "remove" not in said.meanings and tool.stems.isdisjoint(verbs):
        return _UNASKED_REMOVAL
    if said.wishes:
        return _WISH if "add" in tool.meanings else 0.0
    if not verbs or said.is_question or not tool.stems.isdisjoint(verbs):
        return 0.0
    shared = said.meanings & tool.meanings
    if not tool.described.isdisjoint(verbs):
        return _DESCRIBED_VERB if shared else 0.0
    return _FOREIGN_VERB if not shared else 0.0 if shared == {"read"} else _RELATED_VERB


def _ask_again(said: Said, tools: Sequence[Tool], memory: Memory) -> Plan | None:
    """The last question once more, about something else: "And in London?".

    Only for tools that change nothing: "What about checking?" after a transfer is no second transfer.
    """
    last: Call | None = next(iter(memory.calls), None)
    tool = next((tool for tool in tools if last and tool.spec.name == last.name and tool.only_reads), None)
    if last is None or tool is None or not _ELLIPSIS.match(said.text):
        return None
    before: dict[Path, tuple[Any, ...]] = {
        parameter.path: (value,)
        for parameter in tool.parameters
        if not parameter.many and parameter.accepts(value := last.arguments.get(parameter.path[0]))
    }
    plan = fill(tool, said, memory, asked=[p for p in tool.parameters if p.path in before])
    return replace(plan, said={**before, **plan.said}, recalled={}) if plan.said else None

"""Why a run that only replays can't go on: what it asks for, and how that differs from what is recorded there.

Makes sentences; raises nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_aitest.conversation.keys import UnkeyableError
from pytest_aitest.conversation.past import Happened, Past
from pytest_aitest.conversation.tree import Called, Event
from pytest_aitest.values.errors import StoreMissError
from pytest_aitest.values.plain import one_line
from pytest_aitest.values.transcript import Turn

from .database import Row
from .described import Description, described, digest_of
from .encoded import canonical
from .node import StoredNode, look_described

_MOST_TURNS = 8
_EXCERPT = 40  # characters
_BEFORE = 12  # of which stand before the first that differs


def missing(past: Past, event: Event, *, is_look: bool = False) -> StoreMissError:
    """What to raise where `event` would have to go live; `is_look`: it is an invariant's."""
    node = past.node
    where = f"The store {node.shelf.database.path}" if isinstance(node, StoredNode) else "The store"
    lines = [f"{where} does not hold {one_line(str(event), most=80)!r}, and this run only replays."]
    if past.events:
        lines += ["Before that it knows:", *_known(past.events)]
    return StoreMissError("\n".join([*lines, _why(node, event, is_look=is_look), _instead(event)]))


def _instead(event: Event) -> str:
    try:
        described(event)
    except UnkeyableError:
        return "Let the model be a function of what can be compared, or run without a store."
    return "Run with --aitest-store-mode record to add it."


def _known(events: Sequence[Happened]) -> Iterator[str]:
    shown = list(enumerate(events, 1))[-_MOST_TURNS:]
    if len(shown) < len(events):
        yield "  ..."
    for number, happened in shown:
        outcome = happened.sample.outcome
        came = (
            (outcome.final_response or f"failed: {outcome.error_kind}") if isinstance(outcome, Turn) else outcome.text
        )
        yield f"  {number} {one_line(str(happened.event), most=34)} -> {one_line(came, most=34)}"


def _why(node: Any, event: Event, *, is_look: bool) -> str:
    if not isinstance(node, StoredNode):
        return "What came before is not in the store either: it depends on what can't be compared, or went wrong."
    try:
        root = node.shelf.folder
        description = look_described(event, root) if is_look and isinstance(event, Called) else described(event, root)
    except UnkeyableError as error:
        return f"The agent holds {error}, which can't be compared, so nothing that it says is ever recorded."
    database = node.shelf.database
    if same := database.rows("history=? AND event=?", node.history, digest_of(description)):
        return _why_not(node, same)
    recorded = [each for each in database.descriptions(node.history) if each.get("kind") == description["kind"]]
    if not recorded:
        return "There the recorded conversation ends." if _is_known(node) else f"Nothing of {node.test} is in it."
    nearest = min(recorded, key=lambda each: _distance(each, description))
    return f"Recorded there is another: {_difference(nearest, description)}."


def _why_not(node: StoredNode, same: Sequence[Row]) -> str:
    if not any(node.shelf.holds(row) for row in same):
        return "It was recorded when the agent's servers offered other tools, and does not hold with those of now."
    return f"It was recorded by other tests, and {node.test} does not share what they met."


def _is_known(node: StoredNode) -> bool:
    return bool(node.history or node.shelf.database.met("test=?", node.test))


def _distance(recorded: Description, asked: Description) -> tuple[bool, int]:
    words = ("prompt", "tool")
    return any(recorded.get(word) != asked.get(word) for word in words), len(list(_differences(recorded, asked)))


# Differences


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], *, within: tuple[str, ...] = ()) -> Iterator[Any]:
    """Where two descriptions differ: (path, value before, value now), in the order of their fields."""
    for name in dict.fromkeys([*now, *before]):
        one, other = before.get(name), now.get(name)
        place = (*within, name)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differences(one, other, within=place)
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            keyed = ({str(number): part for number, part in enumerate(parts)} for parts in (one, other))
            yield from _differences(*keyed, within=place)
        elif canonical(one) != canonical(other) or (name in before) != (name in now):
            yield place, one, other


def _difference(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    place, before, now = next(_differences(recorded, asked))
    last = place[-1]
    if place == ("prompt",):
        return f"the words: recorded is {_shown(before, now)}, asked {_shown(now, before)}"
    if last == "system_prompt":
        return f"its instructions were recorded as {_shown(before, now)}, and are now {_shown(now, before)}"
    if len(place) > 1 and place[-2] == "files":
        if before is not None and now is not None:
            return f"the content of {last} has changed since it was recorded"
        return f"its server's command {'has no file' if now is None else 'now has a file'} {last}"
    if last == "code":
        return f"the code of {_part(asked, place[:-1])['callable']}, or of what it uses, has changed"
    return f"{_field(place)} was recorded as {_shown(before, now)}, and is now {_shown(now, before)}"


def _field(place: Sequence[str]) -> str:
    """What a person calls a field: `temperature`, `arguments.amount`, `the command of server 1`."""
    names = [name for name in place if name not in ("agent", "provider")]
    if names[0] == "servers" and len(names) > 1:
        rest = f"{'.'.join(names[2:])} of " if len(names) > 2 else ""  # noqa: PLR2004 - servers, number, field
        return f"{rest}server {int(names[1]) + 1}"
    return ".".join(names)


def _part(description: Any, place: Sequence[str]) -> Any:
    for name in place:
        description = description[int(name)] if isinstance(description, list) else description[name]
    return description


def _shown(value: Any, other: Any) -> str:
    """A value in short; of two texts, from where they differ."""
    if not isinstance(value, str):
        return one_line(repr(value), most=2 * _EXCERPT)
    same = 0
    if isinstance(other, str):
        pairs = enumerate(zip(value, other, strict=False))
        same = next((at for at, (one, another) in pairs if one != another), min(len(value), len(other)))
    start = max(0, same - _BEFORE) if len(value) > _EXCERPT else 0
    cut = value[start : start + _EXCERPT]
    return repr(f"{'...' if start else ''}{cut}{'...' if start + _EXCERPT < len(value) else ''}")

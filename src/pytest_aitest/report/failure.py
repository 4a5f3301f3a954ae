"""An exploration as its author reads it in a terminal or a log: plain text of at most 80 columns.

Owns the wording, and what stands where. Reads records; refuses to know how a search works, or who prints the text.
What is there to be copied, code and commands, is never broken into lines.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from math import floor, log10

from pytest_aitest.values.plain import WIDTH, columns, compact_json, hanging, inert, labelled, one_line, wrapped
from pytest_aitest.values.record import ExplorationRecord, Finding, Necessity, PinnedOrder, Spent, StepRecord, ToolLook
from pytest_aitest.values.transcript import Turn

from .orders import Line, against, nearest

_MOST_LINES = 3  # for what a model or a tool made long; the same as in a turn
_MOST_LINES_OF_OURS = 8
_REMARK_FROM = 25  # columns of code before a remark
_TENTHS_BELOW = 10  # seconds


def sections(record: ExplorationRecord, finding: Finding) -> list[tuple[str, str]]:
    """What to show of a finding below its traceback, as titles and texts; what is empty is left out."""
    told = [
        (_conversation_title(finding), _conversation(finding)),
        *_comparison(record.pinned, finding),
        (_keep_title(finding), _kept(finding)),
        ("cost", _cost(record, finding)),
    ]
    written = ((one_line(title, most=WIDTH - 8), "\n".join(lines)) for title, lines in told)
    return [(title, text) for title, text in written if text]


def rate_line(finding: Finding) -> str:
    """When it fails, and how often."""
    confirmation = finding.confirmation
    if confirmation is None or not confirmation.runs:
        return f"{_when(finding)} Not confirmed by fresh runs."
    interval = f"(95 % interval {confirmation.low * 100:.0f} to {confirmation.high * 100:.0f} %)"
    runs = _counted(confirmation.runs, "fresh run")
    if not confirmation.failed:
        return f"Seen once; 0 of {runs} failed {interval}."
    return f"{_when(finding)} Fails {confirmation.failed} of {runs} {interval}."


def warning_text(record: ExplorationRecord, finding: Finding) -> str:
    """A finding as one text that stands alone, for where there is no traceback above it."""
    heading = f"{record.name}: {finding.check} failed" + (f": {finding.error}" if finding.error else ".")
    texts = ["\n".join([*wrapped(heading, most_lines=_MOST_LINES_OF_OURS), rate_line(finding)])]
    texts += [f"--- {title} ---\n{text}" for title, text in sections(record, finding)]
    return "\n\n".join(texts)


def passed_line(record: ExplorationRecord) -> str:
    """What an exploration that found nothing has tried, in one line of whatever length."""
    spent = record.spent
    tried = f"{record.plans_tried} of " if record.plans_tried < record.plans else ""
    why = f" ({record.why_ended})" if record.why_ended else ""
    pairs = f"{record.pairs_covered} of {_counted(record.pairs, 'ordered pair')}" if record.pairs else ""
    replayed = f"; {_counted(spent.replayed, 'turn')} replayed" if spent.replayed else ""
    plans = f"{inert(record.name)}: {tried}{_counted(record.plans, 'plan')}{why}"
    return _listed(plans, _counted(spent.fresh_turns, "fresh turn"), pairs, _price(spent.cost_usd)) + replayed


def _conversation_title(finding: Finding) -> str:
    found = "that fails" if finding.is_minimal else "found to fail"
    return f"shortest conversation {found}: {_length(finding.steps)}"


def _length(steps: Sequence[StepRecord]) -> str:
    """How long it is in turns, the unit that a reader counts; in steps too where these are not the same."""
    turns = sum(map(_turns, steps))
    said = _counted(turns, "turn") if turns else "no turns"
    return said if _step_is_turn(steps) else f"{_counted(len(steps), 'step')}, {said}"


def _conversation(finding: Finding) -> Iterator[str]:
    if not finding.is_minimal and finding.why_not_minimal:
        yield from wrapped(f"May not be the shortest: {finding.why_not_minimal}", most_lines=_MOST_LINES_OF_OURS)
    if not finding.steps:
        yield "It fails before anything is said."
    for number, step in enumerate(finding.steps, 1):
        yield from hanging(f"{number} ", step.code, most_lines=_MOST_LINES)
        for happened in step.happened:
            yield from str(happened).split("\n") if isinstance(happened, Turn) else _looked("call", happened)
        for look in step.looks:
            yield from _looked("check", look)
    for note in finding.notes:
        yield from hanging("note: ", note, most_lines=_MOST_LINES_OF_OURS)


def _looked(label: str, look: ToolLook) -> Iterator[str]:
    return labelled(label, f"{look.call} -> {compact_json(look.said)}", most_lines=_MOST_LINES)


def _turns(step: StepRecord) -> int:
    return sum(isinstance(happened, Turn) for happened in step.happened)


def _step_is_turn(steps: Iterable[StepRecord]) -> bool:
    return all(_turns(step) == 1 for step in steps)


def _when(finding: Finding) -> str:
    steps = finding.steps
    if not steps:
        return "Before the first turn."
    if _step_is_turn(steps):
        return f"After turn {len(steps)}."
    turn = f" (turn {sum(map(_turns, steps))})" if _turns(steps[-1]) else ""
    return f"After step {len(steps)}{turn}."


def _comparison(orders: Sequence[PinnedOrder], finding: Finding) -> Iterator[tuple[str, Iterable[str]]]:
    """The section on what is special about this order, if anything is known of it."""
    needed = _needed(finding)
    pinned = nearest(orders, [step.code for step in finding.steps])
    if pinned is None:
        yield f"why each {_unit(finding)} is needed", needed
        return
    lines = (text for line in against(pinned, [step.code for step in finding.steps]) for text in _marked(line))
    yield f"against the pinned order `{pinned.name}` ({'passes' if pinned.passes else 'fails too'})", [*lines, *needed]


def _marked(line: Line) -> Iterator[str]:
    *above, last = wrapped(line.code, width=WIDTH - 2, most_lines=_MOST_LINES)
    for text in above:
        yield f"{line.mark} {text}".rstrip()
    beside = f"{line.mark} {last}{' ' * (_REMARK_FROM - columns(last))}  {inert(line.remark)}"
    if not line.remark or (columns(beside) <= WIDTH and "\n" not in beside):
        yield beside.rstrip()
    else:
        yield f"{line.mark} {last}"
        yield from hanging("      ", line.remark, most_lines=_MOST_LINES)


def _needed(finding: Finding) -> list[str]:
    sentences = " ".join(_unbroken(_needed_because(necessity, _unit(finding))) for necessity in finding.necessity)
    return [line.replace("\xa0", " ") for line in wrapped(sentences)] if sentences else []


def _needed_because(necessity: Necessity, unit: str) -> str:
    outcome = f"passes ({_counted(necessity.passed, 'sample')})" if necessity.passed else "not tried"
    return f"Without {unit} {necessity.step}: {outcome}."


def _unbroken(sentence: str) -> str:
    return sentence.replace(" ", "\xa0")  # where textwrap does not end a line


def _unit(finding: Finding) -> str:
    return "turn" if _step_is_turn(finding.steps) else "step"


def _keep_title(finding: Finding) -> str:
    return f"keep it: paste into {finding.keep_where}" if finding.keep and finding.keep_where else "keep it"


def _kept(finding: Finding) -> list[str]:
    if finding.keep:
        code = textwrap.indent(textwrap.dedent(finding.keep.strip("\n")), "    ")
        return [inert(line) for line in code.split("\n")]
    return wrapped(finding.cannot_keep, most_lines=_MOST_LINES_OF_OURS) if finding.cannot_keep else []


def _cost(record: ExplorationRecord, finding: Finding) -> Iterator[str]:
    spent = record.spent
    yield _turns_asked(spent)
    if asked := _asked(spent):
        yield asked
    yield from wrapped(f"{_tried(record, finding)}; seed {record.seed}", most_lines=_MOST_LINES_OF_OURS)
    if record.again:
        yield f"Again: {inert(record.again)}"
    for remark in record.remarks:
        yield from wrapped(remark, most_lines=_MOST_LINES_OF_OURS)


def _turns_asked(spent: Spent) -> str:
    phases = {"find": spent.find, "shrink": spent.shrink, "confirm": spent.confirm}
    last = [count for count in phases.values() if count][-1:]
    fresh = _listed(*(f"{phase} {count}" for phase, count in phases.items() if count))
    asked = f"{fresh} fresh turn{'' if last == [1] else 's'}" if fresh else "no fresh turns"
    return asked + (f"; {_counted(spent.replayed, 'turn')} replayed" if spent.replayed else "")


def _asked(spent: Spent) -> str:
    return _listed(
        _counted(spent.model_calls, "model call") if spent.model_calls else "",
        _counted(spent.tokens, "token") if spent.tokens else "",
        _price(spent.cost_usd) if spent.model_calls or spent.cost_usd != 0 else "",
        _counted(spent.server_starts, "server start") if spent.server_starts else "",
        _time(spent.seconds),
    )


def _tried(record: ExplorationRecord, finding: Finding) -> str:
    plans = _counted(record.plans, "plan")
    if record.why_ended:
        return f"Tried {record.plans_tried} of {plans}: {record.why_ended}"
    if record.plans_tried >= record.plans or finding not in record.findings[-1:]:
        return f"Tried {record.plans_tried} of {plans}"
    if not record.plans_tried:
        return f"Stopped at this failure before the first of {plans}"
    return f"Tried {record.plans_tried} of {plans}, then stopped at this failure"


def _price(cost_usd: float | None) -> str:
    """Dollars with two figures that say something."""
    if cost_usd is None:
        return "price unknown"
    if cost_usd <= 0:
        return "free"
    return f"${cost_usd:,.{max(2, 1 - floor(log10(cost_usd)))}f}"


def _time(seconds: float) -> str:
    time = f"{seconds:,.0f} s" if seconds >= _TENTHS_BELOW else f"{seconds:.1f} s"
    return "" if time == "0.0 s" else time


def _listed(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def conversation(steps: Sequence[StepRecord]) -> str:
    """Steps with all that was said in them."""
    return "\n".join(_conversation(Finding(check="", steps=tuple(steps), is_minimal=True)))

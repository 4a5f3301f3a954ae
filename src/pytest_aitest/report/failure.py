"""An exploration as its author reads it in a terminal or a log: plain text of at most 80 columns.

Owns the wording, and what stands where. Reads records; refuses to know how a search works, or who prints the text.
What is there to be copied, code and commands, is never broken into lines.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from pytest_aitest.values.plain import WIDTH, columns, compact_json, hanging, inert, labelled, one_line, wrapped
from pytest_aitest.values.record import ExplorationRecord, Finding, Necessity, PinnedOrder, Spent, StepRecord, ToolLook
from pytest_aitest.values.transcript import TurnRecord

from .amounts import counted, listed, price, time_text
from .orders import Line, against, nearest

_MOST_LINES = 3  # for what a model or a tool made long; the same as in a turn
_MOST_LINES_OF_OURS = 8
_REMARK_FROM = 25  # columns of code before a remark


def sections(record: ExplorationRecord, finding: Finding) -> list[tuple[str, str]]:
    """What to show of a finding below its traceback, as titles and texts; what is empty is left out."""
    told = [
        (conversation_title(finding), conversation_lines(finding)),
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
    runs = counted(confirmation.runs, "fresh run")
    if not confirmation.failed:
        return f"Seen once; 0 of {runs} failed {interval}."
    return f"{_when(finding)} Fails {confirmation.failed} of {runs} {interval}."


def what_failed(finding: Finding) -> str:
    """Which check, and where."""
    return f"{finding.check} failed" + (f" ({finding.place})" if finding.place else "")


def warning_text(record: ExplorationRecord, finding: Finding, *, with_cost: bool = True) -> str:
    """A finding as one text that stands alone, for where there is no traceback above it."""
    heading = f"{record.name}: {what_failed(finding)}" + (f": {finding.error}" if finding.error else ".")
    texts = ["\n".join([*wrapped(heading, most_lines=_MOST_LINES_OF_OURS), rate_line(finding)])]
    told = sections(record, finding)
    texts += [f"--- {title} ---\n{text}" for title, text in (told if with_cost else told[:-1])]
    return "\n\n".join(texts)


def passed_line(record: ExplorationRecord) -> str:
    """What an exploration that found nothing has tried, in one line of whatever length."""
    return f"{inert(record.name)}: {outline(record)}"


def outline(record: ExplorationRecord) -> str:
    """What an exploration has tried, in a few figures."""
    spent = record.spent
    tried = f"{record.plans_tried} of " if record.plans_tried < record.plans else ""
    why = f" ({record.why_ended})" if record.why_ended else ""
    pairs = f"{len(record.covered)} of {counted(record.pairs, 'ordered pair')}" if record.pairs else ""
    replayed = f"; {counted(spent.replayed, 'turn')} replayed" if spent.replayed else ""
    plans = f"{tried}{counted(record.plans, 'plan')}{why}"
    return listed(plans, counted(spent.fresh_turns, "fresh turn"), pairs, price(spent.cost_usd)) + replayed


def conversation_title(finding: Finding) -> str:
    """What `conversation_lines` show."""
    found = "that fails" if finding.is_minimal else "found to fail"
    return f"shortest conversation {found}: {length(finding.steps)}"


def length(steps: Sequence[StepRecord]) -> str:
    """How long it is in turns, the unit that a reader counts; in steps too where these are not the same."""
    turns = sum(map(_turns, steps))
    said = counted(turns, "turn") if turns else "no turns"
    return said if _step_is_turn(steps) else f"{counted(len(steps), 'step')}, {said}"


def conversation_lines(finding: Finding) -> Iterator[str]:
    """The conversation that fails, and what was noted of it."""
    if not finding.is_minimal and finding.why_not_minimal:
        yield from wrapped(f"May not be the shortest: {finding.why_not_minimal}", most_lines=_MOST_LINES_OF_OURS)
    yield conversation(finding.steps) if finding.steps else "It fails before anything is said."
    for note in finding.notes:
        yield from hanging("note: ", note, most_lines=_MOST_LINES_OF_OURS)


def conversation(steps: Sequence[StepRecord], *, first: int = 1) -> str:
    """Steps with all that was said in them, numbered from `first`."""
    return "\n".join(line for number, step in enumerate(steps, first) for line in _step(number, step))


def _step(number: int, step: StepRecord) -> Iterator[str]:
    yield from hanging(f"{number} ", step.code, most_lines=_MOST_LINES)
    for happened in step.happened:
        yield from str(happened).split("\n") if isinstance(happened, TurnRecord) else _looked("call", happened)
    for look in step.looks:
        yield from _looked("check", look)


def _looked(label: str, look: ToolLook) -> Iterator[str]:
    return labelled(label, f"{look.call} -> {compact_json(look.said)}", most_lines=_MOST_LINES)


def _turns(step: StepRecord) -> int:
    return len(step.turns)


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
    needed = needed_lines(finding)
    pinned = nearest(orders, finding.codes)
    if pinned is None:
        yield needed_title(finding), needed
        return
    title = f"against the pinned order `{pinned.name}` ({how_it_ended(pinned)})"
    yield title, [*order_lines(pinned, finding), *needed]


def how_it_ended(pinned: PinnedOrder) -> str:
    """What became of a pinned order itself."""
    if pinned.passes is None:
        return "not run in this shard"
    return "passes" if pinned.passes else "fails too"


def order_lines(pinned: PinnedOrder, finding: Finding) -> Iterator[str]:
    """What a finding made of a pinned order: lines that begin with "+ ", "- " or two spaces."""
    for line in against(pinned, finding.codes):
        yield from _marked(line)


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


def needed_title(finding: Finding) -> str:
    """What `needed_lines` show."""
    return f"why each {unit_of(finding)} is needed"


def needed_lines(finding: Finding) -> list[str]:
    """What the order does without each of its steps."""
    sentences = " ".join(_unbroken(without(necessity, unit_of(finding))) for necessity in finding.necessity)
    return [line.replace("\xa0", " ") for line in wrapped(sentences)] if sentences else []


def without(necessity: Necessity, unit: str) -> str:
    """What an order does without one of its turns, or steps."""
    match necessity.result:
        case "fails otherwise":
            told = f"fails otherwise, in {necessity.by}"
        case "can't run":
            told = f"not judged, {necessity.by}() can't run there"
        case "does not count":
            told = f"not judged, what {necessity.by} asserts does not count there"
        case "passes":
            told = f"passes ({counted(necessity.passed, 'sample')})" if necessity.passed else "not tried"
    return f"Without {unit} {necessity.step}: {told}."


def _unbroken(sentence: str) -> str:
    """With spaces at which textwrap does not end a line, where the sentence fits into one."""
    return sentence.replace(" ", "\xa0") if columns(sentence) <= WIDTH else sentence


def unit_of(finding: Finding) -> str:
    """What a reader counts of it: turns, unless a step is not one turn."""
    return "turn" if _step_is_turn(finding.steps) else "step"


def _keep_title(finding: Finding) -> str:
    return f"keep it: paste into {finding.keep_where}" if finding.keep and finding.keep_where else "keep it"


def code_to_keep(finding: Finding) -> str:
    """As it stands in a class; empty where there is none."""
    return textwrap.indent(textwrap.dedent(finding.keep.strip("\n")), "    ")


def _kept(finding: Finding) -> list[str]:
    code = code_to_keep(finding)
    lines = [inert(line) for line in code.split("\n")] if code else []
    remark = wrapped(finding.keep_remark, most_lines=_MOST_LINES_OF_OURS) if finding.keep_remark else []
    return lines + remark


def cost_lines(record: ExplorationRecord, finding: Finding) -> Iterator[str]:
    """What the exploration has asked until it was done."""
    if finding.was_kept:
        yield "It was kept from an earlier run, and tried first."
    yield turns_asked(record.spent)
    if asked := asked_line(record.spent):
        yield asked
    if record.forecast:
        yield from wrapped(f"Expected was at most {record.forecast}", most_lines=_MOST_LINES_OF_OURS)
    yield from wrapped(f"{tried_line(record, finding)}; seed {record.seed}", most_lines=_MOST_LINES_OF_OURS)


def _cost(record: ExplorationRecord, finding: Finding) -> Iterator[str]:
    yield from cost_lines(record, finding)
    if record.again:
        yield f"Again: {inert(record.again)}"
    for remark in record.remarks:
        yield from wrapped(remark, most_lines=_MOST_LINES_OF_OURS)


def turns_asked(spent: Spent) -> str:
    """Fresh turns, by what they were for, those of other lanes that were for nothing, and replayed ones."""
    phases = {"find": spent.find, "shrink": spent.shrink, "confirm": spent.confirm}
    last = [count for count in phases.values() if count][-1:]
    fresh = listed(*(f"{phase} {count}" for phase, count in phases.items() if count))
    asked = f"{fresh} fresh turn{'' if last == [1] else 's'}" if fresh else "no fresh turns"
    ahead = f", {spent.ahead} more begun before they were needed" if spent.ahead else ""
    return asked + ahead + (f"; {counted(spent.replayed, 'turn')} replayed" if spent.replayed else "")


def asked_line(spent: Spent) -> str:
    """Calls, tokens, price and time; what is nothing is left out, and the time where all is."""
    asked = listed(
        counted(spent.model_calls, "model call") if spent.model_calls else "",
        counted(spent.tokens, "token") if spent.tokens else "",
        price(spent.cost_usd) if spent.model_calls or spent.cost_usd != 0 else "",
        counted(spent.server_starts, "server start") if spent.server_starts else "",
    )
    return listed(asked, time_text(spent.seconds)) if asked or spent.fresh_turns else ""


def tried_line(record: ExplorationRecord, finding: Finding | None) -> str:
    """How many plans were tried, and why no more, as `finding` or the exploration itself tells it."""
    plans = counted(record.plans, "plan")
    if record.why_ended:
        return f"Tried {record.plans_tried} of {plans}: {record.why_ended.rstrip('.')}"
    if record.plans_tried >= record.plans or finding not in record.findings[-1:]:
        return f"Tried {record.plans_tried} of {plans}"
    if not record.plans_tried:
        return f"Stopped at this failure before the first of {plans}"
    return f"Tried {record.plans_tried} of {plans}, then stopped at this failure"

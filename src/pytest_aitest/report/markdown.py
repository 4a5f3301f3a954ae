"""A run as Markdown, for the summary of a CI job: is it all right, what broke, what was said, what was tried.

Owns what stands where and what goes first when there is no room; what is said of a finding is `failure`'s.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from textwrap import dedent

from pytest_aitest.values.plain import inert, labelled, wrapped
from pytest_aitest.values.record import ExplorationRecord, Finding, TestRecord
from pytest_aitest.values.run_record import RunRecord

from .amounts import counted, listed, price, time_text
from .failure import (
    conversation,
    conversation_lines,
    conversation_title,
    cost_lines,
    how_it_ended,
    needed_lines,
    needed_title,
    order_lines,
    rate_line,
)
from .inert_markdown import cell, code, fence, folded, summary
from .orders import nearest
from .totals import again, caveat, cost, is_broken, is_context, model_text, models, outcomes, worst

_ROOM_OF_A_SECTION = 600  # bytes, for its title, its head, and for what is said of what was left out
_MOST_LINES = 8
_MOST_MODELS = 10
_VERDICTS = {
    "fails": "failed",
    "tolerated": "failed, no more often than is accepted",
    "seen once": "failed once",
    "unstable": "failed, and did not when the same was played back",
}


@dataclass(frozen=True, kw_only=True)
class _Block:
    """A part of a section that can be left out."""

    text: str
    short: str = ""  # instead, where there is little room
    worth: int = 0  # the least goes first
    is_short: bool = False

    @property
    def size(self) -> int:
        return len(self.text.encode()) + 2

    @property
    def shortened(self) -> "_Block":
        return replace(self, text=self.short, is_short=True)


@dataclass(frozen=True, kw_only=True)
class _Section:
    title: str
    unit: str  # what its blocks are
    blocks: Sequence[_Block]
    head: str = ""  # above them
    joint: str = "\n\n"


def render(run: RunRecord, *, most_bytes: int = 900_000) -> str:
    """`run` in so many bytes of UTF-8; GitHub takes 1 MiB for a step.

    Where there is more to be shown, conversations that passed are left out first, and what broke is shortened last. The
    first table always stands.
    """
    sections = [_broke(run), _noted(run), _said(run), _tried(run)]
    head = _head(run)
    room = most_bytes - len(head.encode()) - _ROOM_OF_A_SECTION * len(sections)
    fitted = _fitted([section for section in sections if section.blocks], room)
    shown = (_shown(section, blocks, most_bytes) for section, blocks in fitted)
    return "\n\n".join([head, *shown]) + "\n"


def _fitted(sections: Sequence[_Section], room: int) -> list[tuple[_Section, list[_Block]]]:
    """Each section with those of its blocks that there is room for."""
    blocks = {(i, j): block for i, section in enumerate(sections) for j, block in enumerate(section.blocks)}
    by_worth = sorted(blocks, key=lambda place: (-blocks[place].worth, place))
    kept: dict[tuple[int, int], _Block] = {}
    shortened = [(place, blocks[place].shortened) for place in by_worth if blocks[place].short]
    for place, block in [
        *shortened,
        *((place, blocks[place]) for place in by_worth),
    ]:  # nothing long at a cost of others
        more = block.size - (kept[place].size if place in kept else 0)
        if more <= room:
            kept[place] = block
            room -= more
    return [(section, [kept[place] for place in sorted(kept) if place[0] == i]) for i, section in enumerate(sections)]


def _shown(section: _Section, blocks: Sequence[_Block], most_bytes: int) -> str:
    texts = [f"## {section.title}"]
    if blocks:
        head = f"{section.head}\n" if section.head else ""
        texts.append(head + section.joint.join(block.text for block in blocks))
    missing = len(section.blocks) - len(blocks)
    cut = sum(block.is_short for block in blocks)
    left = listed(f"{missing:,} left out" if missing else "", f"{cut:,} shortened" if cut else "")
    if left:
        texts.append(
            f"*Of {counted(len(section.blocks), section.unit)}, {left}, to stay below {most_bytes:,} bytes. "
            "The whole is in what `--aitest-json` and `--aitest-html` write.*"
        )
    return "\n\n".join(texts)


def _head(run: RunRecord) -> str:
    counts = outcomes(run)
    broken = listed(*(f"{count:,} {word}" for word, count in counts.items() if word in ("failed", "error")))
    who = _models(models(run))
    columns = [*((word, f"{count:,}") for word, count in counts.items()), ("cost", cost(run)), ("model", who)]
    columns.append(("time", time_text(run.seconds) or "0 s"))
    rows = (" | ".join(cells) for cells in zip(*columns, strict=True))
    names, amounts = (f"| {row} |" for row in rows)
    answer = f"No: {broken}." if broken else "Nothing failed." if run.tests else "No test had a conversation."
    if not broken and caveat(run):
        answer = f"No conversation failed, but: {caveat(run)}."
    made = listed(*(code(text) for text in (run.written_by, run.began) if text))
    texts = ["# Conversations with agents", f"## Is it all right?\n\n**{answer}**"]
    texts.append("\n".join([names, f"|{' --- |' * len(columns)}", amounts]))
    return "\n\n".join([*texts, *([f"Recorded by {made}."] if made else [])])


def _models(names: Sequence[str]) -> str:
    told = [cell(model_text(name)) for name in names[:_MOST_MODELS]]
    more = [f"{len(names) - _MOST_MODELS:,} more"] if len(names) > _MOST_MODELS else []
    return "<br>".join([*told, *more]) or "none"


# What broke


def _broke(run: RunRecord) -> _Section:
    blocks: list[_Block] = []
    for test in filter(is_broken, run.tests):
        findings = test.exploration.findings if test.exploration else ()
        blocks += [_finding(test, test.exploration, finding) for finding in findings if test.exploration]
        if not findings or test.outcome == "error":
            blocks.append(_failed(run, test))
    return _Section(title="What broke?", unit="failure", blocks=blocks)


def _finding(test: TestRecord, record: ExplorationRecord, finding: Finding) -> _Block:
    title = f"### {code(test.nodeid)}: {code(finding.check)} {_VERDICTS[finding.verdict]}"
    what = fence(_cut("\n".join(filter(None, [finding.error, finding.place]))))
    again = fence(record.again, "sh") if record.again else ""
    texts = [
        title,
        what,
        rate_line(finding),
        f"**{_capital(conversation_title(finding))}**",
        fence("\n".join(conversation_lines(finding))),
        *_comparison(record, finding),
        *_keep(finding),
        "**Cost**",
        fence("\n".join(cost_lines(record, finding))),
        *(["**Again**", again] if again else []),
    ]
    return _Block(text="\n\n".join(texts), short=_joined(title, what, rate_line(finding), again), worth=5)


def _comparison(record: ExplorationRecord, finding: Finding) -> Iterator[str]:
    if pinned := nearest(record.pinned, finding.codes):
        yield f"**Against the pinned order** {code(pinned.name)} ({how_it_ended(pinned)})"
        yield fence("\n".join(order_lines(pinned, finding)), "diff")
    elif finding.necessity:
        yield f"**{_capital(needed_title(finding))}**"
    if finding.necessity:
        yield fence("\n".join(needed_lines(finding)))


def _keep(finding: Finding) -> Iterator[str]:
    if finding.keep:
        where = f": paste into {code(finding.keep_where)}" if finding.keep_where else ""
        yield f"**Keep it**{where}"
        yield fence(dedent(finding.keep.strip("\n")), "python")
    elif finding.keep_remark:
        yield "**Keep it**"
    if finding.keep_remark:
        yield fence(_cut(finding.keep_remark))


def _failed(run: RunRecord, test: TestRecord) -> _Block:
    title = f"### {code(test.nodeid)} {'had an error' if test.outcome == 'error' else 'failed'}"
    what = fence(_cut("\n".join(filter(None, [test.failure, test.place])) or "No message."))
    command = fence(again(run, test), "sh")
    said = fence(conversation(test.steps, first=test.first_turn)) if test.steps else ""
    details = folded("all that pytest shows", fence(test.details)) if test.details else ""
    return _Block(
        text=_joined(title, what, said, details, "**Again**", command), short=_joined(title, what, command), worth=5
    )


# What is to be noted


def _noted(run: RunRecord) -> _Section:
    blocks = [block for test in run.tests for block in _notes(test)]
    return _Section(title="What is to be noted?", unit="note", blocks=blocks)


def _notes(test: TestRecord) -> Iterator[_Block]:
    if test.outcome == "priced":
        yield _Block(text=f"- {code(test.nodeid)}: {code(test.reason)}", worth=3)
    if record := test.exploration:
        for note in chain(record.order_notes, record.remarks):
            yield _Block(text=f"- {code(test.nodeid)}: {code(note)}", worth=3)
        for finding in () if is_broken(test) else record.findings:
            yield replace(_finding(test, record, finding), worth=3)


# What was said


def _said(run: RunRecord) -> _Section:
    sessions: dict[tuple[str, str], list[TestRecord]] = {}
    for test in run.tests:
        if test.session:
            sessions.setdefault((test.session, test.worker), []).append(test)
    spoken = {key: tests for key, tests in sessions.items() if any(test.steps for test in tests)}
    blocks = [_session(name, worker, tests) for (name, worker), tests in spoken.items()]
    return _Section(title="What was said?", unit="session", blocks=blocks)


def _session(name: str, worker: str, tests: Sequence[TestRecord]) -> _Block:
    ended = worst(tests)
    title = f"{summary(name)}{f' on {summary(worker)}' if worker else ''}: {ended}"
    worth = 2 if any(map(is_broken, tests)) else 0 if ended == "passed" else 1
    return _Block(text=folded(title, fence("\n".join(map(_test, tests)))), worth=worth)


def _test(test: TestRecord) -> str:
    name = inert(test.nodeid.rpartition("::")[2])
    if test.kind == "pinned":
        told = conversation(test.steps)
    else:
        told = conversation(test.steps, first=test.first_turn) if test.steps else f"{test.first_turn} {name}"
    why = "\n".join(filter(None, [test.failure, test.place, test.reason]))
    return "\n".join([told, *_ended(test, why)])


def _ended(test: TestRecord, why: str) -> Iterable[str]:
    if is_context(test):
        return labelled("context", "taken only because a later turn needs it")
    return labelled(test.outcome, why, most_lines=_MOST_LINES) if test.outcome != "passed" else ()


# What was tried


def _tried(run: RunRecord) -> _Section:
    explored = [(test, test.exploration) for test in run.tests if test.exploration]
    columns = {"exploration": [cell(test.nodeid) for test, _ in explored]}
    columns |= {name: [tell(record) for _, record in explored] for name, tell in _COLUMNS.items()}
    told = {name: cells for name, cells in columns.items() if any(cells)}
    return _Section(
        title="What was tried?",
        unit="exploration",
        head=f"| {' | '.join(told)} |\n|{' --- |' * len(told)}",
        blocks=[_Block(text=f"| {' | '.join(cells)} |", worth=4) for cells in zip(*told.values(), strict=True)],
        joint="\n",
    )


_COLUMNS: dict[str, Callable[[ExplorationRecord], str]] = {
    "plans": lambda record: f"{record.plans_tried:,} of {record.plans:,}",
    "fresh turns": lambda record: f"{record.spent.fresh_turns:,}",
    "replayed turns": lambda record: f"{record.spent.replayed:,}",
    "ordered pairs": lambda record: f"{len(record.covered):,} of {record.pairs:,}" if record.pairs else "",
    "cost": lambda record: price(record.spent.cost_usd),
    "ended": lambda record: cell(record.why_ended) if record.why_ended else "",
    "events": lambda record: "<br>".join(f"{cell(event)} {count:,}" for event, count in record.events),
}


def _cut(text: str) -> str:
    return "\n".join(wrapped(text, most_lines=_MOST_LINES))


def _joined(*texts: str) -> str:
    return "\n\n".join(filter(None, texts))


def _capital(title: str) -> str:
    return title[:1].upper() + title[1:]

"""What a run says of itself when it ends: its flows turn by turn, its explorations, what all of it cost.

The one door to rich. Reads records; who writes the lines, and whether the reader wants them, is the plugin's business.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pytest_aitest.values.plain import inert, one_line
from pytest_aitest.values.record import Outcome, Spent, TestRecord

from .amounts import counted, listed
from .failure import outline, rate_line

_MOST_FLOWS = 20  # that are shown though all of their turns passed
_MOST_REASON = 100  # characters; the whole stands above
_STYLES: dict[Outcome, str] = {
    "passed": "green",
    "noted": "yellow",
    "failed": "bold red",
    "error": "bold red",
    "skipped": "yellow",
    "priced": "yellow",
    "not run": "dim",
    "xfailed": "yellow",
    "xpassed": "yellow",
    "rerun": "yellow",
}
_VERDICTS = {
    "fails": "fails",
    "tolerated": "fails, which is tolerated",
    "seen once": "failed once",
    "unstable": "varies",
}


def conversations(tests: Sequence[TestRecord], *, width: int, in_colour: bool, all_flows: bool = False) -> str:
    """A line for each flow and exploration, if there is any; of flows that passed, unless all are wanted, the first."""
    rows = [*_flows(tests, all_flows=all_flows), *_explorations(tests)]
    if not rows:
        return ""
    name_width = min(max(cell_len(name) for name, _ in rows), width // 2)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=name_width, overflow="fold")
    table.add_column(overflow="fold")
    for name, told in rows:
        table.add_row(Text(name), _folded(told, width - name_width - 2))
    written = StringIO()
    system: Literal["standard"] | None = "standard" if in_colour else None
    Console(file=written, width=width, force_terminal=in_colour, color_system=system).print(table)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def _folded(parts: Sequence[Text], width: int) -> Text:
    """Parts one after another, in lines that end between two of them where they can."""
    lines: list[Text] = []
    for part in parts:
        if lines and not lines[-1].plain.endswith("\n") and lines[-1].cell_len + 1 + part.cell_len <= width:
            lines[-1] = Text(" ").join([lines[-1], part])
        else:
            lines.append(part)
    return Text("\n").join(lines)


def cost_line(tests: Sequence[TestRecord]) -> str:
    """What all turns together took, and what the tree saved."""
    asked = [test.asked for test in tests]
    replayed = sum(spent.replayed for spent in asked)
    fresh = sum(spent.fresh_turns for spent in asked)
    if replayed and not fresh:
        return f"nothing asked, {counted(replayed, 'turn')} replayed"
    return listed(
        counted(fresh, "turn"),
        counted(sum(spent.model_calls for spent in asked), "model call"),
        counted(sum(spent.tokens for spent in asked), "token"),
        _cost(asked),
        f"{counted(replayed, 'turn')} replayed" if replayed else "",
    )


def _cost(asked: Sequence[Spent]) -> str:
    priced = [spent.cost_usd for spent in asked if spent.cost_usd is not None and spent.fresh_turns]
    unpriced = sum(spent.unpriced_turns for spent in asked)
    if not priced:
        return "price unknown" if unpriced else "$0.00"
    cost = f"${sum(priced):.4f}" if any(priced) else "$0.00"
    return f"{cost} and {counted(unpriced, 'turn')} of unknown price" if unpriced else cost


def _flows(tests: Sequence[TestRecord], *, all_flows: bool) -> Iterator[tuple[str, list[Text]]]:
    flows: dict[tuple[str, str], list[TestRecord]] = {}  # by session and worker, where several had the same one
    for test in tests:
        if test.kind in ("turn", "context"):
            flows.setdefault((test.session, test.worker), []).append(test)
    passed = [key for key, turns in flows.items() if all(turn.outcome == "passed" for turn in turns)]
    unsaid = set() if all_flows else {*passed[_MOST_FLOWS:]}
    names = Counter(session.partition("::")[2] for session in {session for session, _ in flows})
    for (session, worker), turns in flows.items():
        if (session, worker) not in unsaid:
            name = session.partition("::")[2]
            shown = name if names[name] == 1 else session
            yield inert(shown) + (f" on {worker}" if worker else ""), _turns(turns)
    if unsaid:
        yield counted(len(unsaid), "more flow"), [Text("passed", style=_STYLES["passed"])]


def _turns(turns: Sequence[TestRecord]) -> list[Text]:
    parts = []
    for turn in turns:
        name = turn.nodeid.rpartition("::")[2].partition("[")[0].removeprefix("test_")
        as_context = " (context)" if turn.kind == "context" else ""
        comma = "" if turn is turns[-1] else ","
        parts.append(Text.assemble(f"{inert(name)}{as_context} ", (turn.outcome, _STYLES[turn.outcome]), comma))
    return parts


def _explorations(tests: Iterable[TestRecord]) -> Iterator[tuple[str, list[Text]]]:
    for test in tests:
        name = inert("::".join(test.nodeid.split("::")[1:]))
        style, record = _STYLES[test.outcome], test.exploration
        if record is None and test.outcome != "priced":
            continue
        if record is None or (not record.findings and test.outcome not in ("passed", "noted")):
            why = one_line(test.reason or test.failure.removeprefix("Failed: "), most=_MOST_REASON)
            yield name, [Text(f"{'skipped' if test.outcome == 'priced' else test.outcome}: {why}", style=style)]
            continue
        found = [f"{finding.check} {_VERDICTS[finding.verdict]}. {rate_line(finding)}" for finding in record.findings]
        seen = [f"{text}: in {counted(count, 'plan')}" for text, count in record.events]
        lines = [Text(inert(text), style=style) for text in found]
        lines += [Text(inert(text)) for text in (outline(record), *record.order_notes, *record.remarks, *seen)]
        yield name, [Text("\n").join(lines)]

"""The shards of an exploration told as the one exploration that they are.

Knows runs as values; refuses to know who dealt the plans, and where each shard ran. What a person reads is gathered;
the JSON, from which all else is made again, keeps each shard.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_aitest.values.plain import WIDTH, one_line, wrapped
from pytest_aitest.values.record import ExplorationRecord, Finding, PinnedOrder, Spent, TestRecord
from pytest_aitest.values.run_record import RunRecord
from pytest_aitest.values.shard import shard_in, without_shard

from .failure import rate_line, sections, what_failed
from .merge import own_nodeid
from .totals import WORDS, is_broken

_VERDICTS = ("fails", "unstable", "seen once", "tolerated")  # the gravest first
_OUTCOMES = sorted(WORDS, key="skipped".__eq__)  # the gravest first; that one shard had nothing to judge says least


def gathered(run: RunRecord) -> RunRecord:
    """`run` with one test in place of all shards of an exploration, where the first of them stands.

    Shards of several runs that were merged belong together too, but rather those of one run. Attempts that were
    repeated stay by themselves.
    """
    groups: list[list[TestRecord]] = []
    explorations: dict[tuple[str, str, int], list[list[TestRecord]]] = {}
    for test in run.tests:
        shard = _shard(test)
        others = explorations.setdefault((_exploration(test), test.worker, _count(shard)), []) if shard else []
        lacking = [group for group in others if _lacks(group, test)]
        if lacking:
            min(lacking, key=lambda group: _label(test) not in map(_label, group)).append(test)
        else:
            groups.append([test])
            others.append(groups[-1])
    return replace(run, tests=tuple(_together(group) if _shard(group[0]) else group[0] for group in groups))


def failures(run: RunRecord, *, verdicts: Collection[str]) -> Iterator[tuple[str, str, Sequence[tuple[str, str]]]]:
    """Of all that shards found: a title, what failed and how often, and what to show of it; the cost with the last."""
    shards = {test.nodeid for test in run.tests}
    for test in gathered(run).tests:
        record = test.exploration
        if record is None or test.nodeid in shards or not is_broken(test):
            continue
        counting = [finding for finding in record.findings if finding.verdict in verdicts]
        for finding in counting:
            *notes, found_by = finding.notes
            alone = replace(finding, notes=tuple(notes))
            told = sections(replace(record, findings=(alone,)), alone)
            yield (
                one_line(f"{record.name}: {found_by}", most=WIDTH - 4),
                "\n".join([*wrapped(f"{what_failed(finding)}: {finding.error}"), rate_line(finding)]),
                told if finding is counting[-1] else told[:-1],
            )


def failure_of(finding: Finding) -> tuple[str, str, str]:
    """Equal for findings of the same failure, whose values may differ from shard to shard."""
    return finding.check, finding.place, finding.error.partition(":")[0]


def _shard(test: TestRecord) -> str:
    """Which shard it is; empty for all that is none."""
    shard = shard_in(test.nodeid)
    looks_like_one = test.exploration is not None and test.exploration.shard != shard
    return "" if looks_like_one or test.outcome == "rerun" else shard


def _lacks(group: Iterable[TestRecord], test: TestRecord) -> bool:
    """Whether a shard can be one of a group of others."""
    return not any(_shard(other) == _shard(test) or _asked_others(other, test) for other in group)


def _asked_others(one: TestRecord, other: TestRecord) -> bool:
    """Whether they are of runs that were merged, and asked another model each."""
    models = one.asked.models, other.asked.models
    return _label(one) != _label(other) and all(models) and models[0] != models[1]


def _exploration(test: TestRecord) -> str:
    return without_shard(own_nodeid(test.nodeid), _shard(test))


def _label(test: TestRecord) -> str:
    return test.nodeid.removeprefix(own_nodeid(test.nodeid))


def _number(shard: str) -> int:
    return int(shard.partition("/")[0] or 0)


def _count(shard: str) -> int:
    return int(shard.partition("/")[2] or 0)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A finding of one shard."""

    finding: Finding
    test: TestRecord

    @property
    def rank(self) -> tuple[int, int, int]:
        """The least is the one to tell of several that are the same failure."""
        return _VERDICTS.index(self.finding.verdict), len(self.finding.steps), _number(_shard(self.test))


def _together(shards: Iterable[TestRecord]) -> TestRecord:
    tests = sorted(shards, key=lambda test: _number(_shard(test)))
    best, findings = _findings(tests)
    lead = min(tests, key=lambda test: (_OUTCOMES.index(test.outcome), best is not None and test is not best.test))
    nodeid = _exploration(lead) + _label(tests[0])
    records = [test.exploration for test in tests if test.exploration is not None]
    record = None
    if records:
        first = records[0] if best is None or best.test.exploration is None else best.test.exploration
        record = replace(
            _sum_of(records),
            name="::".join(nodeid.split("::")[1:]),
            again=first.again,
            seed=first.seed,
            findings=tuple(findings),
            remarks=tuple(dict.fromkeys([*_all_of(records, "remarks"), *_missing(tests)])),
        )
    return replace(
        lead,
        nodeid=nodeid,
        session=nodeid,
        kind="exploration",
        exploration=record,
        asked=_spent([test.asked for test in tests]),
        seconds=max(test.seconds for test in tests),
    )


def _findings(tests: Iterable[TestRecord]) -> tuple[_Found | None, list[Finding]]:
    """The gravest finding, and all of them, each failure once."""
    found: dict[tuple[str, str, str], list[_Found]] = {}
    for test in tests:
        for finding in test.exploration.findings if test.exploration else ():
            found.setdefault(failure_of(finding), []).append(_Found(finding=finding, test=test))
    best = {failure: min(same, key=lambda each: each.rank) for failure, same in found.items()}
    order = sorted(best, key=lambda failure: _VERDICTS.index(best[failure].finding.verdict))
    told = [
        replace(
            best[failure].finding,
            notes=(*best[failure].finding.notes, f"found by {_named(each.test for each in found[failure])}"),
        )
        for failure in order
    ]
    return (best[order[0]] if order else None), told


def _sum_of(records: Sequence[ExplorationRecord]) -> ExplorationRecord:
    """What does not depend on what they found."""
    orders: dict[str, PinnedOrder] = {}
    for order in sorted(_all_of(records, "pinned"), key=lambda order: order.passes is None):
        orders.setdefault(order.name, order)
    events = Counter[str]()
    for text, count in _all_of(records, "events"):
        events[text] += count
    return replace(
        records[0],
        shard="",
        plans_tried=sum(record.plans_tried for record in records),
        plans=sum(record.plans for record in records),
        covered=tuple(sorted({*_all_of(records, "covered")})),
        spent=_spent([record.spent for record in records]),
        pinned=tuple(orders.values()),
        order_notes=tuple(_notes(_all_of(records, "order_notes"))),
        events=tuple(sorted(events.items())),
        why_ended="; ".join(dict.fromkeys(record.why_ended for record in records if record.why_ended)),
    )


def _all_of(records: Iterable[ExplorationRecord], name: str) -> list[Any]:
    return [each for record in records for each in getattr(record, name)]


def _notes(notes: Iterable[str]) -> Iterable[str]:
    """Of those that differ only in how many orders they count, the one that counts most."""
    most: dict[str, str] = {}
    for note in notes:
        wording = re.sub(r"\d+", "", note)
        most[wording] = max(most.get(wording, note), note, key=lambda told: [*map(int, re.findall(r"\d+", told))])
    return most.values()


def _missing(tests: Sequence[TestRecord]) -> Iterator[str]:
    """That not all of it is here, if that is so."""
    count = _count(_shard(tests[0]))
    if len(tests) < count:
        yield f"Only {_named(tests)} of it {'is' if len(tests) == 1 else 'are'} in this report."


def _named(tests: Iterable[TestRecord]) -> str:
    names = [_shard(test) for test in tests]
    *most, last = names
    return f"shards {', '.join(most)} and {last}" if most else f"shard {last}"


def _spent(spents: Sequence[Spent]) -> Spent:
    """All of it added up; the shards ran side by side, so the longest is how long they took."""
    asked = [spent for spent in spents if spent.fresh_turns] or spents  # the others cost nothing, at no known price too
    known = [spent.cost_usd for spent in asked if spent.cost_usd is not None]
    turns = ["find", "shrink", "confirm", "ahead", "replayed", "unpriced_turns"]
    added = [*turns, "model_calls", "tokens", "server_starts"]
    return Spent(
        **{name: sum(getattr(spent, name) for spent in spents) for name in added},
        cost_usd=sum(known) if known else None,
        models=tuple(dict.fromkeys(model for spent in spents for model in spent.models)),
        seconds=max(spent.seconds for spent in spents),
    )

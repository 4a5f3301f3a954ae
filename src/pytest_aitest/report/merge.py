"""The runs of shards, of a CI matrix, or of several days as one.

Knows runs as values; refuses to know where they were read from.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from pytest_aitest.values.record import TestRecord
from pytest_aitest.values.run_record import RunRecord

_LABEL = re.compile(r"( \([^()]*\))+$")  # no node id of pytest's ends so


def merged(runs: Sequence[RunRecord], *, names: Sequence[str] = ()) -> RunRecord:
    """All tests of `runs`, in their order, as one run.

    Nothing is dropped or reconciled: a test that ran in several jobs of a matrix ran several times, may have ended
    differently in each, and stands there as often. Where a test, a session or an exploration is called the same in
    several runs, the name of its run is put behind it in parentheses, so that sessions stay apart, and their turns with
    them; what has a name of its own keeps it. A run given twice counts once.

    The runs are taken to have been side by side, as jobs are: the longest one is how long all took, the earliest one is
    when it began. Costs add up.

    Args:
        runs: One or several, or a mixture of plain and merged ones.
        names: What to call each run where it has to be told from another; by default the model that replaced all
            others, where the runs differ in that, else "run 1", "run 2".
    """
    once = [number for number, run in enumerate(runs) if run not in runs[:number]]
    runs, names = [runs[number] for number in once], [names[number] for number in once] if names else []
    if len(runs) == 1:
        return runs[0]
    shared = _shared(runs)
    labelled = zip(runs, _labels(runs, names), strict=True)
    models = {run.model for run in runs}
    return RunRecord(
        tests=tuple(_told_apart(test, shared, label) for run, label in labelled for test in run.tests),
        began=min((run.began for run in runs if run.began), default=""),
        seconds=max((run.seconds for run in runs), default=0.0),
        model=models.pop() if len(models) == 1 else "",
        other_failures=sum(run.other_failures for run in runs),
        was_stopped=any(run.was_stopped for run in runs),
        written_by=", ".join(dict.fromkeys(run.written_by for run in runs if run.written_by)),
    )


def own_nodeid(nodeid: str) -> str:
    """The node id that pytest knows, without what `merged` has put behind it."""
    return _LABEL.sub("", nodeid)


def _labels(runs: Sequence[RunRecord], names: Sequence[str]) -> list[str]:
    """A name for each run, unlike those of all others."""
    models = [run.model for run in runs]
    for labels in (models, names):
        plain = [re.sub("[()]", "", label) for label in labels]
        if len(plain) == len(runs) and all(plain) and len(set(plain)) == len(plain):
            return [f" ({label})" for label in plain]
    return [f" (run {number})" for number, _ in enumerate(runs, 1)]


def _shared(runs: Iterable[RunRecord]) -> Collection[str]:
    """Names that occur in several runs."""
    found = Counter(
        name for run in runs for name in {name for test in run.tests for name in (test.nodeid, test.session)}
    )
    return {name for name, count in found.items() if name and count > 1}


def _told_apart(test: TestRecord, shared: Collection[str], label: str) -> TestRecord:
    if test.session in shared:
        test = replace(test, session=test.session + label)
    if test.nodeid not in shared:
        return test
    record = test.exploration and replace(test.exploration, name=test.exploration.name + label)
    return replace(test, nodeid=test.nodeid + label, exploration=record)

"""Several runs are shown as one, and nothing that ran twice is taken for one thing."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aitest.report.markdown import render
from pytest_aitest.report.merge import merged, own_nodeid
from pytest_aitest.values.record import TestRecord
from pytest_aitest.values.run_record import RunRecord, read_run, run_json
from tests.support.sample_run import NOTED, sample_run, turn
from tests.support.sample_run import test as a_test


def run_of(*nodeids: str, session: str = "", **fields: Any) -> RunRecord:
    return RunRecord(tests=tuple(a_test(nodeid, turn("Hi"), session=session) for nodeid in nodeids), **fields)


def named(run: RunRecord) -> list[str]:
    return [test.nodeid for test in run.tests]


def test_shards_keep_the_names_of_their_tests() -> None:
    shards = [run_of("a.py::test_1", "a.py::test_2"), run_of("b.py::test_3")]
    assert merged(shards) == run_of("a.py::test_1", "a.py::test_2", "b.py::test_3")


def test_one_run_is_itself_and_none_is_empty() -> None:
    assert merged([sample_run()]) == sample_run()
    assert merged([sample_run(), sample_run()]) == sample_run()
    assert merged([]) == RunRecord()


@pytest.mark.parametrize(
    ("models", "names", "labels"),
    [
        (["m1", "m2"], ["a", "b"], ["m1", "m2"]),
        (["m1", "m1"], ["py311", "py313"], ["py311", "py313"]),
        (["m1", ""], ["py311", "py313"], ["py311", "py313"]),
        (["", ""], [], ["run 1", "run 2"]),
        (["", ""], ["same", "same"], ["run 1", "run 2"]),
        (["", ""], ["a (b)", "a (c)"], ["a b", "a c"]),
        (["", ""], ["a", "(a)"], ["run 1", "run 2"]),
    ],
)
def test_a_test_that_ran_in_several_runs_is_called_after_each(
    models: list[str], names: list[str], labels: list[str]
) -> None:
    runs = [run_of("t.py::test_a", f"t.py::test_{n}", model=model) for n, model in enumerate(models)]
    assert named(merged(runs, names=names)) == [
        f"t.py::test_a ({labels[0]})",
        "t.py::test_0",
        f"t.py::test_a ({labels[1]})",
        "t.py::test_1",
    ]


def test_sessions_of_several_runs_stay_apart() -> None:
    whole = run_of("t.py::test_a", "t.py::test_b", session="t.py::chat", seconds=1.0)
    repeated = run_of("t.py::test_a", "t.py::test_c", session="t.py::chat", seconds=2.0)
    both = merged([whole, repeated])
    assert [(test.session, test.nodeid) for test in both.tests] == [
        ("t.py::chat (run 1)", "t.py::test_a (run 1)"),
        ("t.py::chat (run 1)", "t.py::test_b"),
        ("t.py::chat (run 2)", "t.py::test_a (run 2)"),
        ("t.py::chat (run 2)", "t.py::test_c"),
    ]
    assert render(both).count("<details>") == 2


def test_explorations_of_several_runs_are_told_apart() -> None:
    runs = [
        RunRecord(
            tests=(TestRecord(nodeid="t.py::T::explore", kind="exploration", exploration=replace(NOTED, seed=seed)),)
        )
        for seed in (1, 2)
    ]
    explorations = [test.exploration for test in merged(runs, names=["one", "two"]).tests]
    assert [record and record.name for record in explorations] == ["TestChat::explore (one)", "TestChat::explore (two)"]
    assert [record and record.again for record in explorations] == [NOTED.again, NOTED.again]


def test_runs_were_side_by_side() -> None:
    one = run_of("a", began="2026-11-22T10:00:05+00:00", seconds=50.0, model="m", written_by="pytest-aitest 0.1.0")
    other = run_of("b", began="2026-11-22T10:00:00+00:00", seconds=70.0, model="m", written_by="pytest-aitest 0.2.0")
    empty = RunRecord(model="m")
    both = merged([one, other, empty])
    assert replace(both, tests=()) == RunRecord(
        began="2026-11-22T10:00:00+00:00",
        seconds=70.0,
        model="m",
        written_by="pytest-aitest 0.1.0, pytest-aitest 0.2.0",
    )
    assert merged([one, replace(other, model="")]).model == ""


def test_what_was_put_behind_a_name_is_no_part_of_it() -> None:
    assert own_nodeid("t.py::test_a[x (1)]") == "t.py::test_a[x (1)]"
    assert own_nodeid("t.py::test_a (m) (run 1)") == "t.py::test_a"


NAMES = st.sampled_from(["a", "b", "c", "d"])
TESTS = st.builds(
    TestRecord, nodeid=NAMES, kind=st.just("test"), session=NAMES | st.just(""), seconds=st.integers(0, 3).map(float)
)
RUNS = st.builds(
    RunRecord,
    tests=st.lists(TESTS, max_size=4).map(tuple),
    model=st.sampled_from(["", "m", "n"]),
    seconds=st.floats(0, 9),
)


@given(st.lists(RUNS, max_size=4))
def test_nothing_is_lost_and_runs_share_no_name(runs: list[RunRecord]) -> None:
    distinct = [run for number, run in enumerate(runs) if run not in runs[:number]]
    both = merged(runs)
    assert [own_nodeid(nodeid) for nodeid in named(both)] == [name for run in distinct for name in named(run)]
    parts = []
    for run in distinct:
        at = sum(map(len, parts))
        parts.append(both.tests[at : at + len(run.tests)])
    for what in ("nodeid", "session"):
        sets = [{getattr(test, what) for test in part} - {""} for part in parts]
        assert sum(map(len, sets)) == len(set().union(*sets))
    assert read_run(run_json(both), source="merged") == both


@given(st.lists(RUNS, min_size=1, max_size=3), RUNS)
def test_what_was_merged_can_be_merged_again(runs: list[RunRecord], more: RunRecord) -> None:
    twice = merged([merged(runs), more])
    assert len(twice.tests) in (sum(len(run.tests) for run in part) for part in ([merged(runs)], [merged(runs), more]))

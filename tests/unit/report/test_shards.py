"""The shards of an exploration are told as the one that they are, whichever runs they stand in, and nothing is lost."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aitest.report.formats import rendered
from pytest_aitest.report.merge import merged
from pytest_aitest.report.shards import failures, gathered
from pytest_aitest.values.record import ExplorationRecord, Finding, Spent, StepRecord, TestRecord
from pytest_aitest.values.run_record import RunRecord, read_run, run_json
from pytest_aitest.values.shard import shard_in, without_shard
from tests.support.sample_run import BANKING, sample_run

FOUND = replace(BANKING.findings[0], notes=())
(DOCUMENTED,) = BANKING.pinned


def shard(
    name: str, *findings: Finding, outcome: Any = None, parameters: str = "", spent: Spent | None = None, **fields: Any
) -> TestRecord:
    """Shard `name` of an exploration."""
    nodeid = f"test_bank.py::TestBank::explore[{f'{parameters}-' if parameters else ''}{name}]"
    number = name.partition("/")[0]
    pinned = replace(DOCUMENTED, passes=True if number == "1" else None)
    spent = spent or Spent(
        find=int(number), model_calls=2, tokens=3, cost_usd=0.5, models=("m",), seconds=float(number)
    )
    record = ExplorationRecord(
        name=nodeid.partition("::")[2],
        shard=name,
        again="pytest again",
        seed=7,
        plans_tried=1,
        plans=2,
        findings=findings,
        pinned=(pinned,),
        **{"rules": ("a", "b"), "spent": spent, **fields},
    )
    return TestRecord(
        nodeid=nodeid,
        session=nodeid,
        kind="exploration",
        outcome=outcome or ("failed" if findings else "passed"),
        exploration=record,
        asked=spent,
        seconds=float(number) + 1,
        failure=f"failure of {name}" if findings else "",
    )


def one(*tests: TestRecord) -> TestRecord:
    (test,) = gathered(RunRecord(tests=tests)).tests
    return test


def explored(*tests: TestRecord) -> ExplorationRecord:
    record = one(*tests).exploration
    assert record is not None
    return record


def steps(*codes: str) -> tuple[StepRecord, ...]:
    return tuple(StepRecord(code=code) for code in codes)


# Names


@pytest.mark.parametrize(
    ("nodeid", "shard", "without"),
    [
        ("t.py::T::explore[1/4]", "1/4", "t.py::T::explore"),
        ("t.py::T::explore[azure/gpt-5-mini-12/40]", "12/40", "t.py::T::explore[azure/gpt-5-mini]"),
        ("t.py::T::explore[1/2-1/4]", "1/4", "t.py::T::explore[1/2]"),
        ("t.py::T::explore[1/4]@group", "1/4", "t.py::T::explore@group"),
        ("t.py::T::explore[1/4] (py313)", "1/4", "t.py::T::explore (py313)"),
        ("t.py::T::explore", "", "t.py::T::explore"),
        ("t.py::T::explore[azure/gpt-5-mini]", "", "t.py::T::explore[azure/gpt-5-mini]"),
        ("t.py::T::documented[1/4]", "", "t.py::T::documented[1/4]"),
    ],
)
def test_a_node_id_says_which_shard_it_is(nodeid: str, shard: str, without: str) -> None:
    assert shard_in(nodeid) == shard
    assert without_shard(nodeid, shard) == without


# What is gathered


def test_a_run_without_shards_stays_as_it_is() -> None:
    assert gathered(sample_run()) == sample_run()


def test_all_shards_are_one_test_where_the_first_stood() -> None:
    others = sample_run().tests[:2]
    tests = (others[0], shard("2/3"), others[1], shard("1/3"), shard("3/3"))
    run = gathered(RunRecord(tests=tests, seconds=5.0))
    assert [test.nodeid for test in run.tests] == [
        others[0].nodeid,
        "test_bank.py::TestBank::explore",
        others[1].nodeid,
    ]
    assert run.seconds == 5.0
    assert gathered(run) == run
    record = run.tests[1].exploration
    assert record is not None
    assert (record.name, record.shard, record.plans_tried, record.plans) == ("TestBank::explore", "", 3, 6)
    assert record.remarks == ()


def test_what_was_spent_adds_up_and_the_longest_is_how_long_it_took() -> None:
    test = one(shard("1/2"), shard("2/2", spent=Spent(confirm=1, cost_usd=None, unpriced_turns=1, models=("n", "m"))))
    assert test.exploration is not None
    assert test.asked == test.exploration.spent
    assert test.asked == Spent(
        find=1, confirm=1, model_calls=2, tokens=3, cost_usd=0.5, unpriced_turns=1, models=("m", "n"), seconds=1.0
    )
    assert test.seconds == 3.0


def test_a_cost_is_unknown_where_all_that_asked_do_not_know_theirs() -> None:
    unknown = Spent(find=1, cost_usd=None, unpriced_turns=1)
    assert one(shard("1/2", spent=unknown), shard("2/2", spent=Spent(replayed=1))).asked.cost_usd is None
    assert one(shard("1/2", spent=Spent()), shard("2/2", spent=Spent(replayed=1))).asked.cost_usd == 0.0


def test_what_was_covered_noted_and_met_is_united() -> None:
    record = explored(
        shard(
            "1/2", covered=(("a", "b"),), events=(("e", 1),), remarks=("r",), order_notes=("a fails (1 of 1 orders)",)
        ),
        shard(
            "2/2",
            covered=(("a", "a"), ("a", "b")),
            events=(("e", 2), ("f", 1)),
            remarks=("r", "s"),
            order_notes=("a fails (10 of 10 orders)", "b fails once a has run"),
            why_ended="no other order is left",
        ),
    )
    assert record.covered == (("a", "a"), ("a", "b"))
    assert record.events == (("e", 3), ("f", 1))
    assert record.remarks == ("r", "s")
    assert record.order_notes == ("a fails (10 of 10 orders)", "b fails once a has run")
    assert record.why_ended == "no other order is left"


def test_pinned_orders_are_told_by_the_shard_that_ran_them() -> None:
    assert explored(shard("2/2"), shard("1/2")).pinned == (replace(DOCUMENTED, passes=True),)
    assert explored(shard("2/2")).pinned == (replace(DOCUMENTED, passes=None),)


def test_that_shards_are_missing_is_said() -> None:
    assert explored(shard("2/4"), shard("3/4")).remarks == ("Only shards 2/4 and 3/4 of it are in this report.",)
    assert explored(shard("2/4")).remarks == ("Only shard 2/4 of it is in this report.",)


def test_the_same_failure_is_told_once_by_the_shortest() -> None:
    long = replace(FOUND, error="AssertionError: assert 1 == 2", steps=steps("a()", "b()", "a()"))
    short = replace(FOUND, error="AssertionError: assert 3 == 2", steps=steps("b()", "a()"))
    test = one(shard("2/4", short), shard("1/4", long), shard("3/4", short), shard("4/4"))
    assert test.exploration is not None
    assert test.exploration.findings == (replace(short, notes=("found by shards 1/4, 2/4 and 3/4",)),)
    assert (test.outcome, test.failure) == ("failed", "failure of 2/4")


@pytest.mark.parametrize("change", [{"check": "c"}, {"place": "p:1"}, {"error": "KeyError: assert 4499 == 4500"}])
def test_another_failure_is_another_finding(change: dict[str, Any]) -> None:
    record = explored(shard("1/2", FOUND), shard("2/2", replace(FOUND, **change)))
    assert [finding.notes for finding in record.findings] == [("found by shard 1/2",), ("found by shard 2/2",)]


def test_what_fails_is_told_before_what_was_seen_once_however_short() -> None:
    once = replace(FOUND, verdict="seen once", steps=())
    test = one(shard("1/2", once, outcome="noted"), shard("2/2", FOUND))
    assert test.exploration is not None
    assert [finding.verdict for finding in test.exploration.findings] == ["fails"]
    assert (test.outcome, test.failure) == ("failed", "failure of 2/2")


@pytest.mark.parametrize(
    ("outcomes", "together"),
    [
        (["passed", "failed", "error"], "failed"),
        (["passed", "noted", "skipped"], "noted"),
        (["skipped", "passed", "skipped"], "passed"),
        (["skipped", "skipped", "skipped"], "skipped"),
        (["passed", "xfailed", "passed"], "xfailed"),
    ],
)
def test_the_worst_outcome_is_that_of_all_and_a_skipped_shard_says_least(outcomes: list[str], together: str) -> None:
    tests = [shard(f"{number}/3", outcome=outcome) for number, outcome in enumerate(outcomes, 1)]
    assert one(*tests).outcome == together


def test_shards_that_left_no_exploration_are_gathered_too() -> None:
    bare = [replace(shard(name), exploration=None, outcome="skipped", reason="off") for name in ("1/2", "2/2")]
    test = one(*bare)
    assert (test.nodeid, test.exploration, test.reason) == ("test_bank.py::TestBank::explore", None, "off")
    assert explored(shard("1/2"), bare[1]).plans == 2


def test_a_users_own_parameter_that_looks_like_a_shard_is_none() -> None:
    tests = tuple(
        replace(test, exploration=replace(test.exploration, shard=""))
        for test in (shard("1/2"), shard("2/2"))
        if test.exploration
    )
    assert gathered(RunRecord(tests=tests)).tests == tests


def test_attempts_that_were_repeated_and_other_parameters_stay_by_themselves() -> None:
    tests = shard("1/2", outcome="rerun"), shard("1/2"), shard("2/2"), shard("1/2", parameters="x"), shard("1/3")
    assert [test.nodeid.partition("::")[2] for test in gathered(RunRecord(tests=tests)).tests] == [
        "TestBank::explore[1/2]",
        "TestBank::explore",
        "TestBank::explore[x]",
        "TestBank::explore",
    ]


# Merged runs


def test_the_jobs_of_a_matrix_are_one_exploration() -> None:
    jobs = [RunRecord(tests=(shard(f"{number}/4"),)) for number in (1, 2, 3, 4)]
    (test,) = gathered(merged(jobs)).tests
    assert (test.nodeid, test.exploration and test.exploration.plans) == ("test_bank.py::TestBank::explore", 8)


def test_whole_runs_that_were_merged_stay_apart() -> None:
    runs = [RunRecord(tests=(shard("1/2"), shard("2/2")), model=model) for model in ("m1", "m2")]
    assert [(test.nodeid, test.exploration and test.exploration.name) for test in gathered(merged(runs)).tests] == [
        ("test_bank.py::TestBank::explore (m1)", "TestBank::explore (m1)"),
        ("test_bank.py::TestBank::explore (m2)", "TestBank::explore (m2)"),
    ]


def test_the_jobs_of_a_matrix_of_models_and_shards_are_one_exploration_for_each_model() -> None:
    jobs = [
        RunRecord(tests=(shard(f"{number}/2", spent=Spent(find=number, models=(model,))),), model=model)
        for number, model in [(1, "m1"), (2, "m2"), (1, "m2"), (2, "m1")]
    ]
    assert [test.asked.models for test in gathered(merged(jobs)).tests] == [("m1",), ("m2",)]


# Laws


FINDINGS = st.lists(
    st.builds(
        lambda check, length, verdict: replace(FOUND, check=check, steps=steps(*["a()"] * length), verdict=verdict),
        st.sampled_from("xyz"),
        st.integers(0, 3),
        st.sampled_from(["fails", "tolerated"]),
    ),
    max_size=2,
)


@given(found=st.lists(FINDINGS, min_size=2, max_size=5), data=st.data())
def test_nothing_is_lost_whatever_shards_found_and_in_whichever_order_they_ended(
    found: list[list[Finding]], data: st.DataObject
) -> None:
    tests = [shard(f"{number}/{len(found)}", *findings) for number, findings in enumerate(found, 1)]
    record = explored(*tests)
    assert {finding.check for finding in record.findings} == {each.check for findings in found for each in findings}
    assert len(record.findings) == len({finding.check for finding in record.findings})
    assert record.plans == 2 * len(found)
    assert explored(*data.draw(st.permutations(tests))) == record


# Who shows them


def test_what_people_read_is_gathered_and_the_json_is_not() -> None:
    run = RunRecord(tests=(shard("1/2", FOUND), shard("2/2", FOUND)))
    assert read_run(rendered("json", run), source="it") == run == read_run(run_json(run), source="it")
    for name in ("html", "md", "text"):
        text = rendered(name, run)
        assert "found by shards 1/2 and 2/2" in text
        assert "explore[1/2]" not in text


def test_failures_that_shards_found_are_told_with_the_cost_of_all_at_the_end() -> None:
    other = replace(FOUND, check="other")
    tolerated = replace(FOUND, check="mild", verdict="tolerated")
    run = RunRecord(tests=(shard("1/2", FOUND, tolerated), shard("2/2", FOUND, other), *sample_run().tests))
    (title, what, told), (last_title, _, last) = failures(run, verdicts={"fails"})
    assert title == "TestBank::explore: found by shards 1/2 and 2/2"
    assert what.startswith(
        "money_is_conserved failed (test_bank.py:31): AssertionError: assert 4499 == 4500\nAfter turn 2"
    )
    assert last_title == "TestBank::explore: found by shard 2/2"
    assert [[heading.partition(":")[0] for heading, _ in each] for each in (told, last)] == [
        ["shortest conversation that fails", "against the pinned order `documented` (passes)", "keep it"],
        ["shortest conversation that fails", "against the pinned order `documented` (passes)", "keep it", "cost"],
    ]
    assert "find 3 fresh turns" in last[-1][1]
    assert "note: found by" not in told[0][1]
    assert list(failures(RunRecord(tests=(shard("1/2"), shard("2/2"))), verdicts={"fails"})) == []


def test_an_order_that_a_shard_did_not_run_is_said_to_be_so() -> None:
    (_, _, told), *_ = failures(RunRecord(tests=(shard("2/2", FOUND),)), verdicts={"fails"})
    assert told[1][0] == "against the pinned order `documented` (not run in this shard)"

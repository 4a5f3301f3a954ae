import pytest

from pytest_aitest.search.verdict import Rate, judge


def test_a_rate_reads_as_a_sentence() -> None:
    assert str(Rate(failed=5, runs=5)) == "Fails 5 of 5 fresh runs (95 % interval 57 to 100 %)"
    assert str(Rate(failed=4, runs=5)) == "Fails 4 of 5 fresh runs (95 % interval 38 to 96 %)"
    assert str(Rate(failed=0, runs=5)) == "Fails 0 of 5 fresh runs (95 % interval 0 to 43 %)"


def test_nothing_is_known_of_a_rate_without_runs() -> None:
    assert Rate(failed=0, runs=0).interval == (0.0, 1.0)


@pytest.mark.parametrize(("failed", "samples"), [(5, 1), (4, 2), (2, 6), (0, 1)])
def test_a_rarer_failure_needs_more_samples_to_be_ruled_out(failed: int, samples: int) -> None:
    assert Rate(failed=failed, runs=5).samples == samples


def test_a_failure_counts_unless_its_rate_is_tolerated() -> None:
    assert judge(Rate(failed=1, runs=5), tolerate=0.2) == "tolerated"
    assert judge(Rate(failed=2, runs=5), tolerate=0.2) == "fails"
    assert judge(Rate(failed=1, runs=5)) == "fails"


def test_a_failure_that_never_came_back_was_seen_once_whatever_is_tolerated() -> None:
    assert judge(Rate(failed=0, runs=5), tolerate=1.0) == "seen once"


def test_a_failure_that_was_not_run_again_counts() -> None:
    assert judge(None) == judge(Rate(failed=0, runs=0)) == "fails"

"""Explorations as several tests that deal their plans among them: how many there are, which one an item is.

Knows options and node ids; what a plan is, and who runs which, is not its business. Standard library and pytest only,
as every run loads it.
"""

import re

import pytest

from pytest_aitest.values.shard import without_shard

from . import storing
from .parameters import parameters_id, parameters_of
from .paying import limit_of

SHARD = "aitest_shard"  # the argument by which a test that explores is told which shard it is
_INSTEAD = "Give how many there are to be (4), or which of how many (2/4)."


def add_options(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--aitest-shards",
        metavar="[K/]N",
        help="deal the plans of each exploration among N tests, which may run side by side; with K/N only the K-th of "
        "them is run here (under pytest-xdist as many as workers, else 1)",
    )


def check_options(config: pytest.Config) -> None:
    """Raise what is wrong with them before anything is collected."""
    given = config.getoption("aitest_shards")
    if given is None:
        return
    if not re.fullmatch(r"(\d+/)?\d+", given, flags=re.ASCII):
        raise pytest.UsageError(f"--aitest-shards {given}: that is no number of shards. {_INSTEAD}")
    which, count = _given(given)
    if count < 1:
        raise pytest.UsageError(
            f"--aitest-shards {given}: plans can't be dealt among {count} shards, it takes one at least. {_INSTEAD}"
        )
    if which is not None and not 1 <= which <= count:
        raise pytest.UsageError(
            f"--aitest-shards {given}: there is no shard {which} among {count}, they are counted from 1. "
            f"Give one of 1/{count} to {count}/{count}."
        )


@pytest.fixture
def aitest_shard() -> str:
    """Which shard of an exploration a test is, `1/4`; empty for one that has all plans."""
    return ""


@pytest.hookimpl(trylast=True)  # what else the test is parametrized with stands before it in the id
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if SHARD not in metafunc.fixturenames:
        return
    which, count = _wanted(metafunc.config)
    most = max(1, limit_of(metafunc.function.place_as, metafunc.config, "plans"))
    if any(metafunc.definition.iter_markers("xfail")):  # of all plans one is to fail, and the rest would be surprised
        most = 1
    count = min(count, most)
    numbers = range(1, count + 1) if which is None else range(which, which + 1)
    if (recorded := _recorded(metafunc)) is not None:  # those are then what the jobs of a matrix deal among them
        dealt = range(1, recorded + 1) if which is None else range(which, recorded + 1, count)
        numbers, count = dealt or numbers, recorded
    if count > 1 or numbers[0] > count:
        shards = [f"{number}/{count}" for number in numbers]
        metafunc.parametrize(SHARD, shards, ids=shards)


def is_empty(item: pytest.Item) -> bool:
    """Whether it is a shard for which there are too few plans."""
    number, count = numbers_of(item)
    return number > count


def shard_of(item: pytest.Item) -> str:
    """Which shard it is, `1/4`; empty for all that is none."""
    return str(parameters_of(item).get(SHARD, "")) if isinstance(item, pytest.Function) else ""


def numbers_of(item: pytest.Item) -> tuple[int, int]:
    """Which shard it is, from 1, and of how many; the first of one where it is none."""
    which, count = _given(shard_of(item) or "1/1")
    return which or 1, count


def exploration_of(item: pytest.Item) -> str:
    """Its node id, the same for all shards of an exploration."""
    return without_shard(item.nodeid, shard_of(item))


def own_parameters_id(item: pytest.Function) -> str:
    """What stands in brackets after its name, the same for all shards of an exploration."""
    return parameters_id(item).removesuffix(shard_of(item)).removesuffix("-") if shard_of(item) else parameters_id(item)


def _wanted(config: pytest.Config) -> tuple[int | None, int]:
    """Which shard is to be made, None for all, and of how many."""
    given = config.getoption("aitest_shards")
    return (None, _workers(config)) if given is None else _given(given)


def _recorded(metafunc: pytest.Metafunc) -> int | None:
    """Among how many shards the plans were dealt when they were recorded; None where nothing is, or is to be, known."""
    store = storing.replayed(metafunc.config)
    return None if store is None else store.shards_of(metafunc.definition.nodeid)


def _given(text: str) -> tuple[int | None, int]:
    which, _, count = text.rpartition("/")
    return int(which) if which else None, int(count)


def _workers(config: pytest.Config) -> int:
    """Among how many processes this run deals its tests."""
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        return int(workerinput["workercount"]) if "aitest_folder" in workerinput else 1  # else each runs every test
    if config.getoption("dist", "no") in ("no", "each"):
        return 1
    return config.getoption("numprocesses", None) or 1  # with --collect-only it is the controller that collects

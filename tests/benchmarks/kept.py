"""What the store saves: microseconds for a turn that is found in it, and whole runs replayed beside live ones."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

from pytest_aitest import Session
from pytest_aitest.conversation.past import Past
from pytest_aitest.conversation.tree import Node, Said
from pytest_aitest.store.file import Mode
from pytest_aitest.store.memory import Store

from .replay import Bank
from .table import Row
from .whole_runs import Ran, ran

SESSIONS, TURNS = 50, 20
MOST_MICROSECONDS = 1_000
EXAMPLES = Path(__file__).parents[2] / "examples"
ROUNDS = 2


# A hit


def a_hit() -> list[Row]:
    """From a file of so many turns, each of two tool calls and a kilobyte of answer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "store.sqlite")
        with_store(path, "record", said)
        bare = [with_store(path, "replay", looked_up) for _ in range(ROUNDS)]
        whole = [with_store(path, "replay", said_again) for _ in range(ROUNDS)]
        size = path.stat().st_size / 1e6
    on = f"a store of {SESSIONS * TURNS:,} turns, 2 tool calls each, {size:.1f} MB; median, the best of {ROUNDS} rounds"
    return [
        hit("samples(event) of a stored node", on, bare),
        hit("a whole replayed turn, Session.say", on, whole),
    ]


def with_store(path: Path, mode: Mode, work: Callable[[Node], tuple[float, float]]) -> tuple[float, float]:
    store = Store.open(path, mode)
    try:
        return work(store.root("test", shares=True))
    finally:
        store.close()


def prompts(session: int) -> list[str]:
    return [f"Look what is in checking, and transfer ${session * TURNS + turn} of it, please." for turn in range(TURNS)]


def said(root: Node) -> tuple[float, float]:
    """Median microseconds of a turn."""
    times = []
    for number in range(SESSIONS):
        with Session(Bank.agent, past=Past(root, replays=True)) as session:
            for prompt in prompts(number):
                started = perf_counter()
                result = session.say(prompt)
                times.append(perf_counter() - started)
                assert result.success, result
    return median(times) * 1e6, len(times)


def said_again(root: Node) -> tuple[float, float]:
    """The first look, and a later one."""
    return said(root)[0], said(root)[0]


def looked_up(root: Node) -> tuple[float, float]:
    """The same with no session around it."""
    return walked(root), walked(root)


def walked(root: Node) -> float:
    assert Bank.agent is not None
    times = []
    for number in range(SESSIONS):
        node = root
        for prompt in prompts(number):
            event = Said(prompt=prompt, agent=Bank.agent, max_model_calls=10, timeout_seconds=60.0)
            started = perf_counter()
            (sample,) = node.samples(event)
            times.append(perf_counter() - started)
            node = sample.node
    return median(times) * 1e6


def hit(what: str, measured_on: str, rounds: Sequence[tuple[float, float]]) -> Row:
    first, later = (min(times) for times in zip(*rounds, strict=True))
    return Row(
        what=f"a store hit: {what}",
        measured_on=measured_on,
        figures=f"first look {first:.0f} us, later looks {later:.0f} us",
        ratio=f"{first / MOST_MICROSECONDS:.2f} of a millisecond",
        target="at most 1 ms",
    )


# Whole runs


def a_replay() -> list[Row]:
    """The examples live, recorded, replayed: `memory` aside, whose model is another one."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("banking", "shopping"):
            shutil.copytree(EXAMPLES / name, Path(folder, name))
        options = ["--aitest-model", "builtin", "--hypothesis-seed", "1"]
        store = ["--aitest-store", "store.sqlite", "--aitest-store-mode"]
        ran(folder, *options, *store, "record")
        live = [ran(folder, *options) for _ in range(ROUNDS)]
        replayed = [ran(folder, *options, *store, "replay") for _ in range(ROUNDS)]
    assert {run.outcomes for run in live} == {run.outcomes for run in replayed}
    on = f"examples/banking and shopping, {live[0].tests} tests, --aitest-model builtin; best of {ROUNDS}"
    return [
        sooner("inside the tests", on, live, replayed, lambda run: run.in_tests),
        sooner("the whole process of pytest", on, live, replayed, lambda run: run.seconds),
    ]


def sooner(
    what: str, measured_on: str, live: Sequence[Ran], replayed: Sequence[Ran], part: Callable[[Ran], float]
) -> Row:
    before, now = min(map(part, live)), min(map(part, replayed))
    return Row(
        what=f"replay from a store beside a live run: {what}",
        measured_on=measured_on,
        figures=f"{before:.2f} s; {now:.2f} s",
        ratio=f"{before / now:.1f} times faster",
        target="20 times",
    )

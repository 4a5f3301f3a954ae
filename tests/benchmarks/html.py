"""The HTML report of a large run: how long it takes to write, how large it is, how long a browser takes to open it."""

import json
import tempfile
from pathlib import Path
from random import Random
from time import perf_counter

from pytest_aitest import ToolCall
from pytest_aitest.report.html import render
from pytest_aitest.values.record import Spent, StepRecord, TestRecord
from pytest_aitest.values.run_record import RunRecord
from pytest_aitest.values.transcript import AgentText, TurnRecord

from ..support.browser import chromium, executable

SESSIONS, TURNS = 500, 20
MOST_SECONDS, MOST_MEGABYTES = 2.0, 20.0
ROUNDS = 3
_GOODS = ("trail shoes", "rain jacket", "head torch", "water bottle", "wool socks", "tent pegs")
_TIMES = """() => {
    const entry = performance.getEntriesByType("navigation")[0];
    const painted = performance.getEntriesByName("first-contentful-paint")[0];
    return [entry.loadEventEnd, painted ? painted.startTime : 0];
}"""


def measure() -> None:
    run = large_run()
    render(RunRecord())  # templates are compiled
    started = perf_counter()
    page = render(run)
    seconds = perf_counter() - started
    megabytes = len(page.encode()) / 1e6
    print(f"HTML of {SESSIONS} sessions of {TURNS} turns: written in {seconds:.1f} s, ", end="")
    print(f"{megabytes:.1f} MB (promised: at most {MOST_MEGABYTES:.0f})")
    if executable() is None:
        print("opened: no chromium here")
        return
    loaded, painted = opened(page)
    print(f"opened in {loaded:.2f} s (promised: at most {MOST_SECONDS:.0f}), first text after {painted:.2f} s ", end="")
    print(f"(chromium; median of {ROUNDS})")


def opened(page: str) -> tuple[float, float]:
    """Seconds until it is loaded, and until there is something to read."""
    times = []
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        file = Path(folder, "report.html")
        file.write_text(page, encoding="utf-8")
        for _ in range(ROUNDS):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(file.as_uri())
            tab.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
            times.append(tab.evaluate(_TIMES))
            tab.close()
    loaded, painted = (sorted(each)[ROUNDS // 2] / 1000 for each in zip(*times, strict=True))
    return loaded, painted


def large_run() -> RunRecord:
    """Sessions as a shop has them; one in twenty fails in its middle."""
    random = Random(7)
    tests = [test for number in range(SESSIONS) for test in _session(number, random)]
    return RunRecord(tests=tuple(tests), began="2026-11-22T10:00:00+00:00", seconds=3600.0)


def _session(number: int, random: Random) -> list[TestRecord]:
    fails_at = TURNS // 2 if number % 20 == 0 else TURNS
    return [_test(number, turn, fails_at, random) for turn in range(1, TURNS + 1)]


def _test(number: int, turn: int, fails_at: int, random: Random) -> TestRecord:
    told = _turn(turn, random) if turn <= fails_at else None
    name = f"test_step_{turn}"
    return TestRecord(
        nodeid=f"tests/test_shop_{number // 20}.py::TestShop{number}::{name}",
        kind="turn",
        outcome="passed" if turn < fails_at or fails_at == TURNS else "failed" if turn == fails_at else "not run",
        session=f"tests/test_shop_{number // 20}.py::shop-{number}",
        first_turn=turn,
        steps=(StepRecord(code=name, happened=(told,)),) if told else (),
        failure="AssertionError: assert False" if turn == fails_at and fails_at < TURNS else "",
        asked=Spent.on([told] if told else []),
    )


def _turn(turn: int, random: Random) -> TurnRecord:
    what = random.choice(_GOODS)
    price = random.randint(1_000, 20_000) / 100
    found = [{"id": random.randint(1_000, 99_999), "name": what, "price": price, "stock": turn} for _ in range(3)]
    call = ToolCall(
        name="search",
        arguments={"words": what, "most": turn},
        result=json.dumps(found),
        server=random.choice(("catalogue", "cart")),
        duration_ms=random.uniform(3, 400),
    )
    answer = f"I found three kinds of {what}. The first costs ${price:.2f}. Shall I put it into your cart?"
    return TurnRecord(
        agent="shop",
        model="azure/gpt-5-mini",
        user=f"Show me {what} that I can have by Friday, please, turn {turn}.",
        said=(call, AgentText(text=answer)),
        duration_ms=random.uniform(400, 4_000),
        model_calls=2,
        prompt_tokens=random.randint(300, 3_000),
        completion_tokens=random.randint(20, 200),
        cost_usd=random.randint(1, 90) / 100_000,
    )

"""The options that say what explorations may do and spend; standard library and pytest only, as every run loads it."""

import re

import pytest

_MODES = ("free", "always", "never")
_SPENT = ("warn", "fail")


def add_options(parser: pytest.Parser, group: pytest.OptionGroup) -> None:
    parser.addini(
        "aitest_explore",
        "which explorations run: those that cost nothing (free), all of them (always), none (never)",
        default="free",
    )
    parser.addini("aitest_plans", "how many orders an exploration tries besides the pinned ones", default="25")
    parser.addini("aitest_plan_turns", "how many steps each has; 0: twice the longest pinned order", default="0")
    parser.addini("aitest_lanes", "how many conversations an exploration has at once", default="4")
    parser.addini("aitest_checks", "built-in checks to switch, e.g. no_repeated_call=5, answer_not_empty=false")
    parser.addini("aitest_budget_spent", "what a spent budget makes of an exploration: warn or fail", default="warn")
    parser.addini("aitest_unconfirmed", "what a failure that was seen once only is: warn or fail", default="warn")
    parser.addini(
        "aitest_progress_seconds",
        "where there is no terminal, how many seconds pass before a line tells of progress, and before the next",
        default="10",
    )
    group.addoption("--aitest-explore", action="store_true", help="explore also where that costs money")
    group.addoption("--aitest-no-explore", action="store_true", help="explore nothing")
    group.addoption("--aitest-plans", type=int, metavar="N", help="in place of aitest_plans")
    group.addoption("--aitest-plan-turns", type=int, metavar="N", help="in place of aitest_plan_turns")
    group.addoption("--aitest-lanes", type=int, metavar="N", help="in place of aitest_lanes")
    group.addoption("--aitest-keep-going", action="store_true", help="go on exploring after the first finding")
    group.addoption(
        "--aitest-budget-calls",
        type=int,
        default=400,
        metavar="N",
        help="most calls of models that cost money, over all explorations of the run (400)",
    )
    group.addoption(
        "--aitest-budget-usd",
        type=float,
        default=1.0,
        metavar="USD",
        help="most that they may cost (1.00); inf: no limit",
    )
    group.addoption(
        "--aitest-budget-seconds", type=float, metavar="SECONDS", help="most time that explorations may take (no limit)"
    )


def check_options(config: pytest.Config) -> None:
    """Raise what is wrong with them before anything is collected."""
    for name, allowed in {
        "aitest_explore": _MODES,
        "aitest_budget_spent": _SPENT,
        "aitest_unconfirmed": _SPENT,
    }.items():
        if config.getini(name) not in allowed:
            raise pytest.UsageError(f"{name} = {config.getini(name)}: it is one of {', '.join(allowed)}.")
    for name, least in {"aitest_plans": 0, "aitest_plan_turns": 0, "aitest_lanes": 1}.items():
        value = config.getoption(name)
        value = config.getini(name) if value is None else str(value)
        if not value.lstrip("-").isdigit() or int(value) < least:
            raise pytest.UsageError(f"{name} = {value}: it is a number, {least} or more.")
    seconds = config.getini("aitest_progress_seconds")
    if not re.fullmatch(r"\d+(\.\d+)?", seconds):
        raise pytest.UsageError(f"aitest_progress_seconds = {seconds}: it is a number of seconds, 0 or more.")
    for name in ("calls", "usd", "seconds"):
        value = config.getoption(f"aitest_budget_{name}")
        if value is not None and not value > 0:
            raise pytest.UsageError(
                f"--aitest-budget-{name} {value}: a budget is more than 0. Use --aitest-no-explore to explore nothing."
            )
    if config.getoption("aitest_explore") and config.getoption("aitest_no_explore"):
        raise pytest.UsageError("--aitest-explore and --aitest-no-explore contradict each other. Give one.")


def mode_of(config: pytest.Config) -> str:
    """`free`, `always` or `never`."""
    if config.getoption("aitest_no_explore"):
        return "never"
    mode: str = "always" if config.getoption("aitest_explore") else config.getini("aitest_explore")
    return mode


def counting_verdicts(config: pytest.Config) -> set[str]:
    """Those of a finding with which its exploration fails."""
    return {"fails", "unstable", *(["seen once"] if config.getini("aitest_unconfirmed") == "fail" else [])}


def limit_of(kind: type, config: pytest.Config, name: str) -> int:
    """A class's own limit, else the run's; an option goes before both."""
    own: int | None = getattr(kind, name, None)
    return own if own is not None and config.getoption(f"aitest_{name}") is None else number(config, f"aitest_{name}")


def number(config: pytest.Config, name: str) -> int:
    """An option, else the ini setting of its name."""
    value = config.getoption(name)
    return int(config.getini(name) if value is None else value)

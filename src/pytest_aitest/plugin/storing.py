"""The store that a run was given by name: where it is, what it may do in this run, what became of it.

Standard library and pytest only, as every run loads it; the store itself is loaded where there is one.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_aitest.conversation.past import Past
    from pytest_aitest.conversation.tree import Event, Node
    from pytest_aitest.store.memory import Store

_MODES = ("off", "replay", "record", "refresh")
_DEFAULT_MODE = "record"
_NAME = "aitest_store"  # of what workers and their controller tell each other
_STORE = pytest.StashKey["Store"]()
_BEGAN = pytest.StashKey[int]()
_TOLD = pytest.StashKey[dict[str, list[str]]]()


def add_options(parser: pytest.Parser, group: pytest.OptionGroup) -> None:
    parser.addini("aitest_store", "a file that remembers what agents answered; relative to the rootdir", default="")
    parser.addini("aitest_store_mode", f"what the run does with it: {', '.join(_MODES)}", default="")
    group.addoption(
        "--aitest-store",
        metavar="PATH",
        help="a file that remembers what agents answered, so that it is not asked again; it is made if need be",
    )
    group.addoption(
        "--aitest-store-mode",
        metavar="MODE",
        help="replay: only what is in it, nothing live; record: add what is missing (default); refresh: ask all anew; "
        "off: as without it",
    )


def path_of(config: pytest.Config) -> Path | None:
    """Where it is; None for a run that does without."""
    path = config.getoption("aitest_store")
    folder = config.invocation_params.dir if path else config.rootpath
    path = path or config.getini("aitest_store")
    return folder / path if path and mode_of(config) != "off" else None


def mode_of(config: pytest.Config) -> str:
    """`off`, `replay`, `record` or `refresh`."""
    mode: str = config.getoption("aitest_store_mode") or config.getini("aitest_store_mode") or _DEFAULT_MODE
    return mode


def replays_only(config: pytest.Config) -> bool:
    """Whether nothing may go live."""
    return path_of(config) is not None and mode_of(config) == "replay"


def replayed(config: pytest.Config) -> "Store | None":
    """The store of a run in which nothing may go live."""
    return store_of(config) if replays_only(config) else None


def check_options(config: pytest.Config) -> None:
    """Raise what is wrong with them, or with the file, before anything is collected."""
    mode = mode_of(config)
    if mode not in _MODES:
        raise pytest.UsageError(f"--aitest-store-mode {mode}: it is one of {', '.join(_MODES)}.")
    is_named = bool(config.getoption("aitest_store") or config.getini("aitest_store"))
    if config.getoption("aitest_store_mode") not in (None, "off") and not is_named:
        raise pytest.UsageError(
            f"--aitest-store-mode {mode}: there is no store to {mode}. Name its file with --aitest-store PATH, or in "
            "ini aitest_store."
        )
    config.stash[_TOLD] = dict[str, list[str]](problems=[], remarks=[])
    only_shows = config.getoption("collectonly") or config.getoption("help", default=None) or config.option.version
    if path_of(config) is None or only_shows:
        return
    store = store_of(config)
    assert store is not None
    config.stash[_BEGAN] = store.began
    if config.getoption("dist", "no") != "no":  # only workers use it
        _close(config)


def store_of(config: pytest.Config) -> "Store | None":
    """The store, open; where tests are only collected, one that exists, and nothing is added to it."""
    path = path_of(config)
    if path is None or _STORE in config.stash:
        return config.stash.get(_STORE, None)
    mode = mode_of(config)
    if config.getoption("collectonly"):
        if not path.exists():
            return None
        mode = "replay"  # for forecasts
    memory: Any = importlib.import_module("pytest_aitest.store.memory")
    errors: Any = importlib.import_module("pytest_aitest.values.errors")
    began = getattr(config, "workerinput", {}).get(_NAME)
    try:
        config.stash[_STORE] = memory.Store.open(path, mode, began=began, folder=config.rootpath)
    except errors.StoreError as error:
        raise pytest.UsageError(str(error)) from None
    return config.stash[_STORE]


def root_of(config: pytest.Config, test: str, *, shares: bool) -> "Node | None":
    """Where the conversations of a test begin, in the store; one that `shares` meets what others ask in this run."""
    store = store_of(config)
    return None if store is None else store.root(test, shares=shares)


def refuse(config: pytest.Config, past: "Past", event: "Event") -> None:
    """Let nothing go live in a run that only replays.

    Raises:
        StoreMissError: It does, and `event` is not in the store.
    """
    __tracebackhide__ = True
    if replays_only(config):
        missing: Any = importlib.import_module("pytest_aitest.store.missing")
        raise missing.missing(past, event)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker when the run began, so that all know what is older."""
    if (began := node.config.stash.get(_BEGAN, None)) is not None:
        node.workerinput[_NAME] = began


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take from a worker what is to be said of the store."""
    for kind, lines in getattr(node, "workeroutput", {}).get(_NAME, {}).items():
        _tell(node.config, kind, lines)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    _close(config)
    told = config.stash[_TOLD]
    if hasattr(config, "workeroutput"):
        config.workeroutput[_NAME] = told
    elif told["problems"] and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_report_header(config: pytest.Config) -> str | None:
    path = path_of(config)
    return None if path is None else f"aitest: {_does(mode_of(config))} {shown(config)}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[_TOLD]["remarks"]:
        terminalreporter.write_line(f"aitest: {line}")
    for line in config.stash[_TOLD]["problems"]:
        terminalreporter.write_line(f"aitest: {line}", red=True)


def _does(mode: str) -> str:
    return {
        "replay": "nothing is asked live, all is replayed from",
        "record": "what is known is replayed, what is not is recorded, in",
        "refresh": "all is asked anew, and recorded in",
    }[mode]


def shown(config: pytest.Config) -> str:
    """The path of the store, from the rootdir where it is in there."""
    path = path_of(config)
    return str(path.relative_to(config.rootpath) if path and path.is_relative_to(config.rootpath) else path)


def _close(config: pytest.Config) -> None:
    store = config.stash.get(_STORE, None)
    if store is not None:
        store.close()
        del config.stash[_STORE]
        _tell(config, "problems", store.problems)
        _tell(config, "remarks", store.remarks)


def _tell(config: pytest.Config, kind: str, lines: list[str]) -> None:
    told = config.stash[_TOLD][kind]
    told.extend(line for line in lines if line not in told)

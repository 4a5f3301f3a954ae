"""The pytest plugin: options, markers, fixtures, and who else listens to pytest's hooks.

Loaded in every pytest run of every project that has us installed, so it and all that it imports know the standard
library and pytest only. `live` and `testimony`, which bring the conversations and what is told of them, are loaded by
the first test that has one, and `exploring` by the first machine or exploration.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aitest.values.errors import did_you_mean

from . import collect, collect_explorations, gathering, hiding, hooks, paying, recorder, run, sharding, storing
from .summary import Summary

if TYPE_CHECKING:
    from pytest_aitest.conversation.session import Session

    from .live import AitestRun, Speaking


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("aitest", "conversations with LLM agents")
    group.addoption(
        "--aitest-model",
        metavar="NAME",
        help="ask this model in place of every agent's own, functions too; 'builtin' needs no key and no network",
    )
    paying.add_options(parser, group)
    sharding.add_options(group)
    recorder.add_options(group)
    storing.add_options(parser, group)
    hiding.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hooks)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "session(name, explore=False): these tests are the turns of one conversation; they run in order and share "
        "history and servers; with explore, other orders are tried too",
    )
    config.addinivalue_line(
        "markers",
        "turn(needs=None, phrasings=()): for explorations: once which tests have run the assertions of this one hold, "
        "and in which other words its user may put it",
    )
    config.addinivalue_line(
        "markers",
        "tolerate(rate): for explorations: how often what they find may fail, 0 to 1, for it to be a warning only",
    )
    model = config.getoption("aitest_model")
    if model and model != "builtin" and (hint := did_you_mean(model, ["builtin"])):
        raise pytest.UsageError(f"--aitest-model {model}: there is no such model.{hint}")
    paying.check_options(config)
    sharding.check_options(config)
    recorder.check_options(config)
    hiding.check_options(config)
    storing.check_options(config)
    manager = config.pluginmanager
    recording = recorder.Recorder(config)
    if not hasattr(config, "workerinput"):
        manager.register(recording, "aitest-recorder")
        manager.register(gathering.Gathering(recording), "aitest-gathering")
    manager.register(collect, "aitest-collect")
    manager.register(collect_explorations, "aitest-collect-explorations")
    manager.register(sharding, "aitest-sharding")
    manager.register(run, "aitest-run")
    manager.register(Summary(model, recording), "aitest-summary")
    manager.register(hiding, "aitest-hiding")
    manager.register(storing, "aitest-storing")
    if hasattr(config, "workerinput") or config.getoption("dist", "no") != "no":
        manager.import_plugin("pytest_aitest.plugin.xdist")


@pytest.fixture
def aitest_run(request: pytest.FixtureRequest) -> Iterator["AitestRun"]:
    """Have an agent take a turn.

    For example `result = await aitest_run(agent, "What's my balance?")`.
    """
    with _speaking(request) as speaking:
        yield speaking.run


@pytest.fixture
def aitest_session(request: pytest.FixtureRequest) -> Iterator["Session"]:
    """The session that this test is a turn of; without the marker, one that all turns of this test share."""
    with _speaking(request) as speaking:
        yield speaking.session()


def _speaking(request: pytest.FixtureRequest) -> "Speaking":
    run.load_live(request.config)
    live: Any = request.config.pluginmanager.get_plugin(run.LIVE)  # not imported by name: that would load it at once
    speaking: Speaking = live.speaking_in(request.node)
    return speaking

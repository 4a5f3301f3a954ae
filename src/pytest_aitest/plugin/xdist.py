"""Flows under pytest-xdist: all turns of a session go to one worker, whatever the --dist mode.

Workers know which tests are turns of a flow, the controller deals them out; they meet in a folder of the controller's.
Loaded only in runs that distribute.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Generator, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import (
    LoadFileScheduling,
    LoadGroupScheduling,
    LoadScheduling,
    LoadScopeScheduling,
    Scheduling,
    WorkStealingScheduling,
)
from xdist.workermanage import WorkerController

from .collect import FLOW, group_of

Flows = Mapping[str, str]
"""The node id of a turn -> the node id of the first turn of its flow."""


class Worker:
    """Tells the controller which tests belong together, and other workers how far a flow has come here."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._folder = folder
        self._worker = worker

    @pytest.hookimpl(tryfirst=True)  # before xdist tells the controller that collection is over
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        first: dict[Hashable, str] = {}
        flows = {
            item.nodeid: first.setdefault(group, item.nodeid)
            for item in session.items
            if (group := group_of(item)) is not None
        }
        self._folder.mkdir(parents=True, exist_ok=True)  # on another host it is not there yet
        (self._folder / f"{self._worker}.flows").write_text(json.dumps(flows))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        flow = item.stash.get(FLOW, None)
        if flow is None:
            return
        key = hashlib.sha256(flow.turns[0].nodeid.encode()).hexdigest()
        progress = self._folder / f"{key}.turn"
        worker, _, turn = progress.read_text().partition(" ") if progress.exists() else (self._worker, "", "")
        if worker == self._worker:
            progress.write_text(f"{self._worker} {item.name}")
        else:
            item.add_marker(pytest.mark.skip(reason=f"session {flow.name}: its worker died in turn {turn}"))


class Controller:
    """Gives workers the folder, and deals out tests such that flows stay whole."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pytest-aitest-"))

    def pytest_configure_node(self, node: WorkerController) -> None:
        if node.config.getoption("dist") != "each":  # there every worker runs every turn
            node.workerinput["aitest_folder"] = str(self._folder)

    @pytest.hookimpl(wrapper=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Generator[None, Scheduling, "Undecided"]:
        stock = yield
        return Undecided(stock, config=config, log=log, folder=self._folder)

    def pytest_unconfigure(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class Undecided:
    """The stock scheduler until the first test is to be dealt out; then, if there are flows, one that keeps them whole.

    xdist asks for its scheduler before anybody has collected anything.
    """

    def __init__(self, stock: Scheduling, *, config: pytest.Config, log: Any, folder: Path) -> None:
        self._chosen = stock
        self._config = config
        self._log = log
        self._folder = folder
        self._collections: list[tuple[WorkerController, Sequence[str]]] = []
        self._decided = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chosen, name)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """Pass for the chosen one: `-v` prints its name."""
        return type(self._chosen)

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        self._collections.append((node, collection))
        self._chosen.add_node_collection(node, collection)

    def schedule(self) -> None:
        if not self._decided:
            self._decided = True
            self._decide()
        self._chosen.schedule()

    def _decide(self) -> None:
        keeps_whole = _KEEPS_WHOLE.get(type(self._chosen))
        flows = self._flows()
        if keeps_whole is None or not flows:
            return
        nodes, self._chosen = self._chosen.nodes, keeps_whole(self._config, self._log)
        self._chosen.flows = flows
        for node in nodes:
            self._chosen.add_node(node)
        for node, collection in self._collections:
            self._chosen.add_node_collection(node, collection)

    def _flows(self) -> Flows:
        flows: dict[str, str] = {}
        for written in sorted(self._folder.glob("*.flows")):
            flows |= json.loads(written.read_text())
        return flows


class _WholeLoad(LoadScheduling):
    """Deals out single tests, and flows in one piece."""

    flows: Flows

    def _send_tests(self, node: WorkerController, num: int) -> None:
        while 0 < num < len(self.pending) and self._flow(num - 1) == self._flow(num) is not None:
            num += 1
        super()._send_tests(node, num)

    def _flow(self, position: int) -> str | None:
        assert self.collection is not None
        return self.flows.get(self.collection[self.pending[position]])


class _Whole(LoadScopeScheduling):
    """Deals out scopes; a flow is in that of its first turn, whatever marks or parameters say of the others."""

    flows: Flows

    def _split_scope(self, nodeid: str) -> str:
        return super()._split_scope(self.flows.get(nodeid, nodeid))

    def remove_node(self, node: WorkerController) -> str | None:
        # What a crashed worker had finished would be dealt out again, as no tests at all; who gets it waits for ever.
        self.assigned_work[node] = {
            scope: unit for scope, unit in self.assigned_work[node].items() if not all(unit.values())
        }
        return super().remove_node(node)


class _WholeFile(_Whole, LoadFileScheduling):
    pass


class _WholeGroup(_Whole, LoadGroupScheduling):
    pass


_KEEPS_WHOLE: dict[type, Any] = {
    LoadScheduling: _WholeLoad,
    WorkStealingScheduling: _WholeLoad,  # what is stolen is cut anywhere
    LoadScopeScheduling: _Whole,
    LoadFileScheduling: _WholeFile,
    LoadGroupScheduling: _WholeGroup,
}


def pytest_configure(config: pytest.Config) -> None:
    workerinput = getattr(config, "workerinput", None)
    if workerinput is None:
        config.pluginmanager.register(Controller(), "aitest-xdist")
    elif folder := workerinput.get("aitest_folder"):
        config.pluginmanager.register(Worker(Path(folder), workerinput["workerid"]), "aitest-xdist")

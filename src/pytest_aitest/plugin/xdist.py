"""Flows and shards under pytest-xdist, whatever the --dist mode.

All turns of a session go to one worker, the shards of an exploration to several. Workers know which tests are which,
the controller deals them out; they meet in a folder of the controller's. Loaded only in runs that distribute.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Generator, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
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
from .sharding import exploration_of, shard_of


@dataclass(frozen=True, kw_only=True)
class Ties:
    """What is to be kept together, and what apart."""

    flows: Mapping[str, str] = field(default_factory=dict)  # a turn -> the first turn of its flow, by node id
    shards: Mapping[str, str] = field(default_factory=dict)  # a shard -> the exploration that it is one of

    @classmethod
    def of(cls, items: Iterable[pytest.Item]) -> "Ties":
        first: dict[Hashable, str] = {}
        groups = ((item, group_of(item)) for item in items)
        return cls(
            flows={item.nodeid: first.setdefault(group, item.nodeid) for item, group in groups if group is not None},
            shards={item.nodeid: exploration_of(item) for item in items if shard_of(item)},
        )

    def __or__(self, other: "Ties") -> "Ties":
        return Ties(flows={**self.flows, **other.flows}, shards={**self.shards, **other.shards})

    def __bool__(self) -> bool:
        return bool(self.flows or self.shards)


class Worker:
    """Tells the controller which tests belong together, and other workers how far a flow has come here."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._folder = folder
        self._worker = worker

    @pytest.hookimpl(tryfirst=True)  # before xdist tells the controller that collection is over
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)  # on another host it is not there yet
        (self._folder / f"{self._worker}.ties").write_text(json.dumps(asdict(Ties.of(session.items))))

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
    """Gives workers the folder, and deals out tests such that flows stay whole and shards run side by side."""

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
    """The stock scheduler until the first test is to be dealt out; then, if tests are tied, one that minds that.

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
        minds_ties = _MINDS_TIES.get(type(self._chosen))
        ties = self._ties()
        if minds_ties is None or not ties:
            return
        nodes, self._chosen = self._chosen.nodes, minds_ties(self._config, self._log)
        self._chosen.ties = ties
        for node in nodes:
            self._chosen.add_node(node)
        for node, collection in self._collections:
            self._chosen.add_node_collection(node, collection)

    def _ties(self) -> Ties:
        ties = Ties()
        for written in sorted(self._folder.glob("*.ties")):
            ties |= Ties(**json.loads(written.read_text()))
        return ties


class _TiedLoad(LoadScheduling):
    """Deals out single tests, flows in one piece, and with each batch one shard, first: it takes longest."""

    ties: Ties

    def _send_tests(self, node: WorkerController, num: int) -> None:
        order = self._order_for(node)
        while 0 < num < len(order) and self._flow(order[num - 1]) == self._flow(order[num]) is not None:
            num += 1
        batch = order[:num]
        if self.ties.shards:
            self.pending[:] = [*batch, *(position for position in self.pending if position not in batch)]
        super()._send_tests(node, num)

    def _order_for(self, node: WorkerController) -> Sequence[int]:
        """What is pending, in the order in which this worker is to have it: siblings of its own shards last."""
        if not self.ties.shards:
            return self.pending
        others: list[int] = []
        news: list[int] = []
        siblings: list[int] = []
        has = {self._exploration(position) for position in self.node2pending[node]}
        for position in self.pending:
            exploration = self._exploration(position)
            kind = others if exploration is None else siblings if exploration in has else news
            kind.append(position)
            has.add(exploration)
        return [*news[:1], *others, *news[1:], *siblings]

    def _flow(self, position: int) -> str | None:
        assert self.collection is not None
        return self.ties.flows.get(self.collection[position])

    def _exploration(self, position: int) -> str | None:
        assert self.collection is not None
        return self.ties.shards.get(self.collection[position])


class _Tied(LoadScopeScheduling):
    """Deals out scopes: a shard is one, and goes first; a flow is in that of its first turn.

    Whatever marks or parameters say of its other turns.
    """

    ties: Ties

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid in self.ties.shards else super()._split_scope(self.ties.flows.get(nodeid, nodeid))

    def _assign_work_unit(self, node: WorkerController) -> None:
        explorations = self.ties.shards
        has = {explorations.get(scope) for scope, unit in self.assigned_work[node].items() if not all(unit.values())}
        shards = (scope for scope in self.workqueue if explorations.get(scope) not in {*has, None})
        others = (scope for scope in self.workqueue if scope not in explorations)
        if (first := next(chain(shards, others), None)) is not None:
            self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)

    def remove_node(self, node: WorkerController) -> str | None:
        # What a crashed worker had finished would be dealt out again, as no tests at all; who gets it waits for ever.
        self.assigned_work[node] = {
            scope: unit for scope, unit in self.assigned_work[node].items() if not all(unit.values())
        }
        return super().remove_node(node)


class _TiedFile(_Tied, LoadFileScheduling):
    pass


class _TiedGroup(_Tied, LoadGroupScheduling):
    pass


_MINDS_TIES: dict[type, Any] = {
    LoadScheduling: _TiedLoad,
    WorkStealingScheduling: _TiedLoad,  # what is stolen is cut anywhere
    LoadScopeScheduling: _Tied,
    LoadFileScheduling: _TiedFile,
    LoadGroupScheduling: _TiedGroup,
}


def pytest_configure(config: pytest.Config) -> None:
    workerinput = getattr(config, "workerinput", None)
    if workerinput is None:
        config.pluginmanager.register(Controller(), "aitest-xdist")
    elif folder := workerinput.get("aitest_folder"):
        config.pluginmanager.register(Worker(Path(folder), workerinput["workerid"]), "aitest-xdist")

"""The store of a run: a file that answers for models and servers, and is added to.

Opens and closes it, and says what a run as a whole wants to know; what a conversation asks is asked of its nodes.
"""

from pathlib import Path
from typing import Self

from pytest_aitest.values.record import MeanTurn

from .database import Database
from .file import Mode
from .node import ROOT, StoredNode
from .shelf import Shelf


class Store(Shelf):
    """A file of samples, as one process of a run uses it."""

    def __init__(self, database: Database, mode: Mode, *, began: int, folder: Path | None = None) -> None:
        super().__init__(database, mode, began=began, folder=folder)
        self._roots: dict[tuple[str, bool], StoredNode] = {}

    @classmethod
    def open(cls, path: Path, mode: Mode, *, began: int | None = None, folder: Path | None = None) -> Self:
        """Open a store.

        Args:
            path: The file.
            mode: What may be done with it.
            began: When the run began, as its first process has read it; for all others.
            folder: Where paths begin that mean the same in every run; without it, the current folder.

        Raises:
            StoreError: The file can't be used so. It is left as it was.
        """
        database = Database.open(path, mode)
        try:
            return cls(database, mode, began=database.last_id() if began is None else began, folder=folder)
        except BaseException:
            database.close()
            raise

    def root(self, test: str, *, shares: bool) -> StoredNode:
        """Where the conversations of a test begin; one that `shares` meets what other tests recorded, too."""
        test = _unicode(test)
        with self.lock:
            if (test, shares) not in self._roots:
                self._roots[test, shares] = StoredNode(shelf=self, test=test, shares=shares, history=ROOT)
            return self._roots[test, shares]

    def seed_for(self, test: str, seed: int) -> int:
        """The seed that a test explores with: the one that it, or who begins at the same time, has; else `seed`."""
        self.write_with(lambda database: database.add_exploration(_unicode(test), seed, 0, replaces=False))
        known = self.database.read("SELECT seed FROM explorations WHERE test=?", _unicode(test))
        return int(known[0][0]) if known else seed

    def note_exploration(self, test: str, seed: int, *, shards: int) -> None:
        """Remember how a test explores, for what is recorded is replayed only by the same search."""
        self.write_with(lambda database: database.add_exploration(_unicode(test), seed, shards, replaces=True))

    def shards_of(self, test: str) -> int | None:
        """Among how many shards a test, or the one of its variants with most, was explored; None if it was not."""
        query = "SELECT max(shards) FROM explorations WHERE test=? OR substr(test, 1, ?)=?"
        variants = f"{_unicode(test)}["
        return self.database.read(query, _unicode(test), len(variants), variants)[0][0] or None

    def mean_turn(self, model: str) -> MeanTurn | None:
        """What a turn of a model costs, by what is recorded; nothing where nothing is."""
        query = (
            "SELECT count(*), avg(model_calls), avg(prompt_tokens + completion_tokens), avg(cost_usd) "
            "FROM samples WHERE model=? AND model_calls > 0"
        )
        turns, calls, tokens, cost = self.database.read(query, model)[0]
        return MeanTurn(turns=turns, model_calls=calls, tokens=tokens, cost_usd=cost) if turns else None

    def close(self) -> None:
        """Write what is left to write, and let go of the file. A second call does nothing."""
        with self.lock:
            self.write_what_waits()
            self.database.close()


def _unicode(test: str) -> str:
    """A test's name as text that can be kept: it may hold the name of a file, which is bytes."""
    return test.encode(errors="backslashreplace").decode()

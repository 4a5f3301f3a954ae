"""How a server's process comes to be: by starting a program, or forked from a Python that has imported mcp.

That import is nearly all that the start of a Python server takes. The first process of a launch is always a program of
its own; where it turns out to have imported what mcp is made of, a template is started when the next one is asked for,
and that one and all further ones are forked from it. Where there can be no template, or it fails, programs go on being
started, as if nobody had tried.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio

from .forked import Template
from .launch import Launch
from .process import ServerProcess, started

_MARK = "pydantic_core"  # compiled, so a process that has imported it shows it; mcp can't be without
_WATCHED = "COVERAGE_"  # in the environment: something measures a process from its start to its end
_START_SECONDS = 20.0
_MOST = 8  # templates at once; each keeps some 60 MB


class Templates:
    """The templates of one pool."""

    def __init__(self) -> None:
        # In the order of their use, the last one last; none yet of a launch that is known to be worth one.
        self._templates: dict[Launch, Template | None] = {}

    def came_up(self, launch: Launch, process: ServerProcess) -> None:
        """See whether `process`, which is ready, would have been spared most of its start."""
        if sys.platform != "linux" or launch in self._templates or launch.python is None:
            return  # elsewhere a process that has imported much can't be forked without danger, or at all
        if any(name.startswith(_WATCHED) for name in launch.env):
            return
        with suppress(OSError):  # it has gone already
            if _MARK in Path(f"/proc/{process.pid}/maps").read_text():
                self._templates[launch] = None

    @asynccontextmanager
    async def running(
        self, launch: Launch, *, warm: bool = True, ready_log: str | None = None
    ) -> AsyncIterator[ServerProcess]:
        """A process for as long as the block lasts; forked only if `warm`.

        Raises:
            OSError, ValueError: It could not be created.
        """
        template = await self._ready(launch) if warm else None
        with anyio.CancelScope(shield=True):  # a cancellation between its creation and its use would leave it behind
            process = await _process(template, launch, ready_log)
        async with process:
            yield process

    async def end(self) -> None:
        """End all, and what was forked from them."""
        for template in self._templates.values():
            if template is not None:
                await template.end()

    async def _ready(self, launch: Launch) -> Template | None:
        if launch not in self._templates:
            return None
        known = self._templates.pop(launch)
        template = self._templates[launch] = known or Template()
        if known is None:
            await self._make_room()
            with anyio.CancelScope(shield=True), suppress(OSError):  # others may wait for it already
                await template.begin(launch)
        with anyio.move_on_after(_START_SECONDS):
            await template.settled.wait()
        template.settled.set()  # nobody is to wait as long again
        return template if template.is_ready else None

    async def _make_room(self) -> None:
        begun = {launch: template for launch, template in self._templates.items() if template is not None}
        idle = [launch for launch, template in begun.items() if template.is_ready and not template.is_in_use]
        for launch in idle[: max(0, len(begun) - _MOST)]:
            self._templates[launch] = None
            await begun[launch].end()


async def _process(template: Template | None, launch: Launch, ready_log: str | None) -> ServerProcess:
    if template is not None:
        process = ServerProcess(ready_log=ready_log)
        with suppress(OSError):
            await template.fork(process)
            return process
    return await started(launch, ready_log=ready_log)

"""What can go wrong, as exceptions; each message has three beats: what, why, what to do instead.

::

    AitestError
    +-- DeclarationError     an agent, a server, a provider or a marker that can't be right
    +-- ServerError          a tool server
    |   +-- ServerStartError     it never became ready
    |   +-- ServerDiedError      it was there, and is gone
    +-- ProviderError        the model could not be asked; never the agent's fault
    +-- ToolError            `call_tool`: the tool answered with an error
    +-- SessionError         a session used in a way it can't be
    +-- StoreError           the file of recorded conversations can't be used
        +-- StoreMissError       it does not hold what a run that only replays asks for

    ExplorationWarning       an exploration found what does not count, or could not try everything
    UnknownToolWarning       a test speaks of a tool that the agent does not have

Knows nothing of how these come about.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

ProviderFault = Literal[
    "missing_key",
    "authentication",
    "unknown_model",
    "rate_limit",
    "timeout",
    "context_window",
    "content_filter",
    "connection",
    "bad_answer",
    "provider",
]
"""Why a model could not be asked. `bad_answer`: its endpoint did not speak the protocol; `provider`: all else."""

ErrorKind = Literal[ProviderFault, "turn_timeout", "empty_answer", "max_model_calls", "server_died"]
"""Why a turn did not end in an answer: the provider's faults, then the agent's and its servers'."""


class AitestError(Exception):
    """Whatever pytest-aitest raises on purpose."""


class DeclarationError(AitestError, ValueError):
    """An agent, a server, a provider or a marker that can't be right, whatever happens at run time."""


class ServerError(AitestError):
    """A tool server that can't be used."""


class ServerStartError(ServerError):
    """A tool server that never became ready."""


class ServerDiedError(ServerError):
    """A tool server that was ready and is gone."""


class ToolError(AitestError):
    """A tool answered a `call_tool` with an error; the message is the tool's own."""


class SessionError(AitestError):
    """A session used in a way it can't be: closed, without an agent, with a server declared anew."""


class ProviderError(AitestError):
    """The model could not be asked.

    `kind` says why in one word, the message in one sentence.
    """

    def __init__(self, message: str, *, kind: ProviderFault) -> None:
        super().__init__(message)
        self.kind = kind


class StoreError(AitestError):
    """A file of recorded conversations that can't be used, or is none."""


class StoreMissError(StoreError):
    """A run that only replays asks for what is not recorded."""


class ExplorationWarning(UserWarning):
    """An exploration found a failure that does not count, or could not try all that it was to try."""


class UnknownToolWarning(UserWarning):
    """A test speaks of a tool that the agent does not have, and that is called nearly like one it has."""


def is_provider_fault(kind: str | None) -> bool:
    """Whether an `error_kind` is the provider's doing, so that it must never count against the agent."""
    return kind in get_args(ProviderFault)


def is_by_chance(kind: str | None) -> bool:
    """Whether an `error_kind` says more of the day than of the conversation: a server died, or a tool was too slow."""
    return kind in ("server_died", "turn_timeout")


def quoted(names: Iterable[str]) -> str:
    """`'a', 'b' and 'c'`, or `nothing`."""
    *most, last = [repr(name) for name in names] or ["nothing"]
    return f"{', '.join(most)} and {last}" if most else last


def did_you_mean(name: str, options: Sequence[str]) -> str:
    """` Did you mean 'x'?` with the nearest of `options`, or nothing where none is near."""
    near = difflib.get_close_matches(name, options, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""

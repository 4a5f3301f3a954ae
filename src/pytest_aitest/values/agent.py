"""What users declare: an agent is a model, tool servers and instructions.

Values, never connections: two equal declarations mean the same thing, and making one starts nothing. Pydantic checks
the fields; what it finds is said again in our three beats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from .errors import DeclarationError, did_you_mean, quoted
from .secrets import SECRETS, hide

Positive = Annotated[float, Field(gt=0)]


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _words(value: Any) -> Any:
    """Keep a bare string from being read as a sequence of characters."""
    if isinstance(value, str):
        raise ValueError(f"must be a list of words: write {value.split()!r}")
    return value


def _asked_by_name_or_called(value: Any) -> Any:
    """One sentence in place of pydantic's two, one for each branch of the union."""
    if callable(value) or (isinstance(value, str) and value.strip()):
        return value
    raise ValueError('must be the name of a model, such as "azure/gpt-5-mini" or "builtin", or a callable')


def _reachable(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port  # raises where it is no number
    except ValueError as error:
        raise ValueError(f"is not a url: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError('must be a url such as "http://127.0.0.1:8000/mcp"')
    return url


def _several(value: Any) -> Any:
    """Say what to write where one server stands for a list of one."""
    if isinstance(value, MCPServer):
        raise ValueError(f"must be a list: write mcp_servers=[...] around {value.label!r}")
    return value


NonBlank = Annotated[str, AfterValidator(_not_blank)]
Model = Annotated[str | Callable[..., Any], BeforeValidator(_asked_by_name_or_called)]
# Users may write lists; what is kept is a tuple, which nobody can change.
Words = Annotated[Sequence[str], BeforeValidator(_words), AfterValidator(tuple)]


class Declaration(BaseModel):
    """Frozen, closed to unknown fields, and with errors a person can act on."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, populate_by_name=True)

    def __init__(self, *misplaced: Any, **fields: Any) -> None:
        if misplaced:
            kind, first = type(self).__name__, next(iter(type(self).model_fields))
            raise DeclarationError(f"{kind} takes its fields by name. Write {kind}({first}={misplaced[0]!r}).")
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise DeclarationError(self._explained(error)) from None

    def model_post_init(self, _context: Any) -> None:
        """Know its secrets from now on, so that nothing shows them."""
        for name in self.model_fields_set:
            SECRETS.learn(name, getattr(self, name))

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show what was declared: pytest prints these in every traceback that has one as an argument."""
        return ((name, shown) for name, shown in super().__repr_args__() if name in self.model_fields_set)

    def __repr__(self) -> str:
        return hide(super().__repr__())

    def __str__(self) -> str:
        return hide(super().__str__())

    @classmethod
    def _explained(cls, error: ValidationError) -> str:
        return "\n".join(cls._explained_one(dict(detail)) for detail in error.errors(include_url=False))

    @classmethod
    def _explained_one(cls, detail: dict[str, Any]) -> str:
        name = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            fields = list(cls.model_fields)
            return f"{cls.__name__} has no field {name!r}. Its fields are {quoted(fields)}.{did_you_mean(name, fields)}"
        if detail["type"] == "missing":
            return f"{cls.__name__} needs {name!r}, and it was not given."
        why = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "model_type":
            why = f"must be a {detail['ctx']['class_name']}, such as {detail['ctx']['class_name']}(...)"
        if not name:  # a rule about several fields; it says which
            return f"{cls.__name__}: {why}"
        return hide(f"{cls.__name__}({name}={detail['input']!r}): {why}")


_VERBS = ("dlx", "exec", "run", "tool", "x")  # what launchers such as docker, npm and uv are told to do


class Wait(Declaration):
    """When a server that was just started counts as ready: `Wait.ready`, `Wait.for_tools` or `Wait.for_log`."""

    tools: Words = ()
    log: NonBlank | None = None
    timeout_seconds: Positive = 30.0

    @classmethod
    def ready(cls, *, timeout_seconds: float = 30.0) -> Self:
        """Ready once it has answered the handshake and listed its tools."""
        return cls(timeout_seconds=timeout_seconds)

    @classmethod
    def for_tools(cls, tools: Sequence[str], *, timeout_seconds: float = 30.0) -> Self:
        """Ready once it offers all of `tools`; for servers that register tools after their start."""
        return cls(tools=tools, timeout_seconds=timeout_seconds)

    @classmethod
    def for_log(cls, pattern: str, *, timeout_seconds: float = 30.0) -> Self:
        """Ready once a line on its standard error matches `pattern`, a regular expression; for commands only."""
        try:
            re.compile(pattern)
        except re.error as error:
            raise DeclarationError(f"Wait.for_log({pattern!r}) is not a regular expression: {error}.") from None
        return cls(log=pattern, timeout_seconds=timeout_seconds)


class MCPServer(Declaration):
    """A tool server: a command to run, a factory to call, or a url where one runs already.

    `env` adds to the few variables that a command's process gets (HOME, LOGNAME, PATH, SHELL, TERM, USER), and
    `headers` to a url's requests; `${NAME}` in their values is taken from the environment when the server is started.
    PATH begins with the folder of the Python that runs the tests, as in an activated environment.
    """

    command: Words = ()  # ["python", "banking_mcp.py"]; a new process for each session
    args: Words = ()  # appended to `command`
    env: Mapping[str, str] = Field(default_factory=dict)
    cwd: str | None = None
    factory: Callable[[], Any] | None = None  # returns a fresh in-process `mcp` server
    url: Annotated[str, AfterValidator(_reachable)] | None = None  # "http://127.0.0.1:8000/mcp"
    transport: Literal["streamable-http", "sse"] = "streamable-http"
    headers: Mapping[str, str] = Field(default_factory=dict)
    reset: str | Callable[[], Any] | None = None  # a tool, or a function; run whenever a session opens
    fresh: bool = False  # it starts in its first state though its tools reach out (openWorldHint); for explorations
    wait: Wait = Field(default_factory=Wait.ready)
    name: NonBlank | None = None
    start_ahead: bool = True  # False where two processes of it can't run side by side
    warm: bool = True  # False where it must not be forked from a Python that has imported mcp, and nothing else

    @model_validator(mode="before")
    @classmethod
    def _paths_are_text(cls, fields: Any) -> Any:
        if isinstance(fields, dict):
            for name in ("command", "args"):
                if isinstance(fields.get(name), list | tuple):
                    fields[name] = tuple(str(part) if isinstance(part, PurePath) else part for part in fields[name])
            if isinstance(fields.get("cwd"), PurePath):
                fields["cwd"] = str(fields["cwd"])
        return fields

    @model_validator(mode="after")
    def _is_one_kind_of_server(self) -> Self:
        kinds = [kind for kind in ("command", "factory", "url") if getattr(self, kind)]
        if len(kinds) != 1:
            raise ValueError(
                f"was given {quoted(kinds)}; give exactly one of command=[...], factory=... and url=..., "
                "because they are three ways to reach one server."
            )
        allowed = {
            "command": {"args", "env", "cwd", "start_ahead", "warm"},
            "url": {"transport", "headers"},
            "factory": set(),
        }
        foreign = set().union(*allowed.values()) - allowed[kinds[0]]
        if misplaced := sorted(self.model_fields_set & foreign):
            raise ValueError(f"{quoted(misplaced)} can't go with {kinds[0]!r}, which has no use for it. Leave it out.")
        if self.wait.log is not None and not self.command:
            raise ValueError("Wait.for_log needs a command: only a process that we start lets us read its log.")
        return self

    @property
    def label(self) -> str:
        """What messages and transcripts call it: its `name`, else what it was made from."""
        if self.name is not None:
            return self.name
        if self.url is not None:
            parts = urlsplit(self.url)
            return f"{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
        if self.factory is not None:
            return getattr(self.factory, "__name__", type(self.factory).__name__)
        program, *arguments = (*self.command, *self.args)
        words = (word for word in arguments if not word.startswith("-") and word not in _VERBS)
        word = next(words, program)
        return PurePath(word).stem if word.endswith((".py", ".js", ".exe")) else PurePath(word).name


class Provider(Declaration):
    """A model and how to ask it.

    `model` is a litellm name (`"azure/gpt-5-mini"`), `"builtin"`, or a callable `(messages, tools)` that returns a
    string, an OpenAI-style assistant message or a `ModelAnswer`. What is None is not sent.
    """

    model: Model
    temperature: float | None = None
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    rpm: Annotated[int, Field(gt=0)] | None = None  # requests per minute, over all sessions
    tpm: Annotated[int, Field(gt=0)] | None = None  # tokens per minute, over all sessions
    api_base: NonBlank | None = None
    api_key: NonBlank | None = Field(default=None, repr=False)
    timeout_seconds: Positive = 60.0  # of one model call
    price: tuple[float, float] | None = None  # US dollars per million prompt and completion tokens
    extra: Mapping[str, Any] = Field(default_factory=dict, repr=False)  # passed to litellm as it is; may hold secrets

    @property
    def label(self) -> str:
        """What reports call the model."""
        return self.model if isinstance(self.model, str) else getattr(self.model, "__name__", type(self.model).__name__)


class Agent(Declaration):
    """A model, the tool servers it may use, and its instructions."""

    provider: Provider
    name: NonBlank = "agent"
    mcp_servers: Annotated[Sequence[MCPServer], BeforeValidator(_several), AfterValidator(tuple)] = ()
    system_prompt: str | None = None
    max_model_calls: Annotated[int, Field(gt=0)] = Field(  # per turn
        default=10, validation_alias=AliasChoices("max_model_calls", "max_turns")
    )
    allowed_tools: Words | None = None  # None: all that the servers offer

    @model_validator(mode="after")
    def _servers_differ(self) -> Self:
        for position, server in enumerate(self.mcp_servers):
            if server in self.mcp_servers[:position]:
                raise ValueError(f"server {server.label!r} is listed twice in mcp_servers. List it once.")
        names = [server.name for server in self.mcp_servers if server.name is not None]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two servers are named {quoted(twice)}. Give each a name of its own.")
        return self

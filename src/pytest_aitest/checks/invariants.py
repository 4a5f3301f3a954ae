"""Invariants on an agent's tool calls, ready-made, that read like sentences.

Judges whole conversations. Knows nothing of machines, flows and pytest, which ask it after each turn.
"""

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pytest_aitest.values.errors import DeclarationError, UnknownToolWarning, did_you_mean, quoted
from pytest_aitest.values.model import ToolSpec
from pytest_aitest.values.plain import inert
from pytest_aitest.values.transcript import ToolCall, Turn

from .call import allowed, identity, shown


class Conversation(Protocol):
    """What an invariant judges: a `Session`, a `Transcript`."""

    @property
    def turns(self) -> Sequence[Turn]:
        """The turns so far."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Made:
    """A tool call in its place."""

    turn: int
    call: ToolCall
    tool: ToolSpec | None

    @property
    def worked(self) -> bool:
        return self.call.error is None

    def __str__(self) -> str:
        return f"In turn {self.turn}: {shown(self.call)}"


@dataclass(frozen=True, kw_only=True, repr=False)
class CallInvariant:
    """What must hold of an agent's tool calls after every turn; made by the functions below.

    An attribute of a machine or of a session class is checked by its exploration; `check` does it anywhere else.
    """

    code: str  # "called_at_most('transfer', 1)"
    tools: tuple[str, ...]  # that it speaks of
    judge: Callable[[Sequence[_Made]], str]  # why it does not hold, or nothing

    def check(self, conversation: Conversation) -> None:
        """Judge the calls that the agent made in `conversation`; those of `call_tool` are not its own.

        Raises:
            AssertionError: It does not hold.
        """
        __tracebackhide__ = True
        self._warn_of_typos(conversation.turns)
        made = [
            _Made(turn=number, call=call, tool=next((tool for tool in turn.tools if tool.name == call.name), None))
            for number, turn in enumerate(conversation.turns, 1)
            for call in turn.tool_calls
        ]
        if complaint := self.judge(made):
            raise AssertionError(inert(complaint))

    def _warn_of_typos(self, turns: Sequence[Turn]) -> None:
        # `never_called("delete_acount")` would hold for ever.
        known = {name for turn in turns for name in (*turn.offered_tools, *(call.name for call in turn.tool_calls))}
        for name in self.tools:
            if name not in known and (hint := did_you_mean(name, sorted(known))):
                message = f"{self.code}: no agent of this conversation has a tool {name!r}.{hint}"
                warnings.warn(message, UnknownToolWarning, stacklevel=3)

    def __repr__(self) -> str:
        return self.code


def never_called(name: str) -> CallInvariant:
    """The agent never calls the tool. A call that failed counts: what is wrong is the attempt."""
    code = _code("never_called", name)

    def judge(made: Sequence[_Made]) -> str:
        calls = [each for each in made if each.call.name == name]
        return f"{name} was called, and must never be.\n{calls[0]}" if calls else ""

    return CallInvariant(code=code, tools=(name,), judge=judge)


def called_at_most(name: str, times: int, *, failed_too: bool = False) -> CallInvariant:
    """The agent calls the tool at most so many times in the conversation. A call that failed counts with `failed_too`.

    >>> from pytest_aitest import Transcript
    >>> again = Turn(agent="bank", model="builtin", user="again", tool_calls=(ToolCall(name="pay", arguments={}),))
    >>> called_at_most("pay", 1).check(Transcript(turns=(again, again)))
    Traceback (most recent call last):
    AssertionError: pay was called 2 times without an error, and at most 1 is allowed.
    In turn 2: pay()
    """
    if isinstance(times, bool) or not isinstance(times, int) or times < 0:
        raise DeclarationError(
            f'called_at_most needs a number of calls, and got {times!r}. Write called_at_most("transfer", 1).'
        )
    code = _code("called_at_most", name, most=times, failed_too=failed_too)

    def judge(made: Sequence[_Made]) -> str:
        calls = [each for each in made if each.call.name == name and (each.worked or failed_too)]
        if len(calls) <= times:
            return ""
        how_often = f"{len(calls)} time{'s' * (len(calls) != 1)}{'' if failed_too else ' without an error'}"
        return f"{name} was called {how_often}, and {allowed(times)}.\n{calls[times]}"

    return CallInvariant(code=code, tools=(name,), judge=judge)


def called_only_after(name: str, before: str, *, failed_too: bool = False) -> CallInvariant:
    """The agent calls the tool only once a call of `before` has worked, in this turn or an earlier one.

    Calls of `name` that failed count with `failed_too`.
    """
    code = _code("called_only_after", name, before, failed_too=failed_too)
    if name == before:
        raise DeclarationError(f"{code} could never hold: its first call has none before it. Name two tools.")

    def judge(made: Sequence[_Made]) -> str:
        for each in made:
            if each.call.name == before and each.worked:
                return ""
            if each.call.name == name and (each.worked or failed_too):
                return f"{name} was called, and no call of {before} had worked before.\n{each}"
        return ""

    return CallInvariant(code=code, tools=(name, before), judge=judge)


def no_two_calls_alike(name: str, *, failed_too: bool = False) -> CallInvariant:
    """The agent never calls the tool twice with the same arguments. A call that failed counts with `failed_too`."""
    code = _code("no_two_calls_alike", name, failed_too=failed_too)

    def judge(made: Sequence[_Made]) -> str:
        first: dict[tuple[str, str], _Made] = {}
        for each in made:
            if each.call.name == name and (each.worked or failed_too):
                earlier = first.setdefault(identity(each.call), each)
                if earlier is not each:
                    return f"{name} was called twice with the same arguments.\n{earlier}\n{each}"
        return ""

    return CallInvariant(code=code, tools=(name,), judge=judge)


def arguments_satisfy(name: str, predicate: Callable[..., bool]) -> CallInvariant:
    """Whatever the agent calls the tool with satisfies `predicate`. A call that failed counts.

    The predicate is given the arguments that it names; with `**others`, all. One that a call may leave out needs a
    default.

    >>> from pytest_aitest import Transcript
    >>> small = arguments_satisfy("transfer", lambda amount: amount <= 500)
    >>> much = ToolCall(name="transfer", arguments={"amount": 600, "to": "savings"})
    >>> small.check(Transcript(turns=(Turn(agent="bank", model="builtin", user="hi", tool_calls=(much,)),)))
    Traceback (most recent call last):
    AssertionError: transfer was called with arguments that do not satisfy the predicate.
    In turn 1: transfer(amount=600, to="savings")
    """
    parameters = _parameters(predicate)
    label = getattr(predicate, "__name__", type(predicate).__name__)
    whose = "the predicate" if label == "<lambda>" else label

    def judge(made: Sequence[_Made]) -> str:
        for each in made:
            if each.call.name == name and not _satisfies(each, predicate, parameters):
                return f"{name} was called with arguments that do not satisfy {whose}.\n{each}"
        return ""

    return CallInvariant(code=f"{_code('arguments_satisfy', name)[:-1]}, {label})", tools=(name,), judge=judge)


def _parameters(predicate: object) -> Sequence[inspect.Parameter]:
    if not callable(predicate) or inspect.iscoroutinefunction(predicate):
        raise DeclarationError(
            f"arguments_satisfy needs a plain function of the tool's arguments, and got {predicate!r}. "
            'Write arguments_satisfy("transfer", lambda amount: amount <= 500).'
        )
    try:
        parameters = list(inspect.signature(predicate).parameters.values())
    except ValueError:
        parameters = []
    if not parameters or any(each.kind in (each.POSITIONAL_ONLY, each.VAR_POSITIONAL) for each in parameters):
        raise DeclarationError(
            f"arguments_satisfy gives a predicate the arguments that it names, and {predicate!r} names none. "
            "Write lambda amount: amount <= 500, or lambda **arguments: ... for all of them."
        )
    return parameters


def _satisfies(made: _Made, predicate: Callable[..., bool], parameters: Sequence[inspect.Parameter]) -> bool:
    arguments = made.call.arguments
    if isinstance(arguments, str):
        return False
    if all(each.kind is not each.VAR_KEYWORD for each in parameters):
        named = {each.name for each in parameters}
        arguments = {name: value for name, value in arguments.items() if name in named}
    asked = [each for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    if missing := [each.name for each in asked if each.name not in arguments]:
        _refuse_what_may_be_missing(made, missing)
        return False
    try:
        verdict: object = predicate(**arguments)
    except Exception as error:
        error.add_note(str(made))
        raise
    if verdict is None:
        raise DeclarationError(f"The predicate for {made.call.name} returned None. Let it return True or False.")
    return bool(verdict)


def _refuse_what_may_be_missing(made: _Made, missing: Sequence[str]) -> None:
    """Tell an agent's omission from a test's: the agent can't be blamed for what the schema does not require."""
    if made.tool is None:
        return
    for name in missing:
        takes = list(made.tool.input_schema.get("properties", {}))
        if name not in takes:
            raise DeclarationError(
                f"The predicate for {made.call.name} asks for {name!r}, which is no argument of it. "
                f"Its arguments are {quoted(takes)}.{did_you_mean(name, takes)}"
            )
        if name not in made.tool.input_schema.get("required", ()):
            raise DeclarationError(
                f"The predicate for {made.call.name} asks for {name!r}, which a call may leave out. "
                f"Give it a default: lambda {name}=None: ..."
            )


def _code(function: str, *tools: str, most: int | None = None, failed_too: bool = False) -> str:
    """The call that made an invariant, as one would write it."""
    for tool in tools:
        if not (isinstance(tool, str) and tool.strip()):
            raise DeclarationError(f'{function} needs the name of a tool, such as "transfer", and got {tool!r}.')
    arguments = [
        *map(repr, tools),
        *([] if most is None else [str(most)]),
        *(["failed_too=True"] if failed_too else []),
    ]
    return f"{function}({', '.join(arguments)})"

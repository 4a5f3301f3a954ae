"""What must hold of any agent: checks of each turn that come built in, and invariants on tool calls, ready-made.

Judges what was said and done. Knows nothing of machines, flows and pytest, which ask it after each turn.
"""

import functools
import inspect
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import jsonschema
import referencing

from .values.errors import DeclarationError, UnknownToolWarning, did_you_mean, is_provider_fault, quoted
from .values.model import ToolSpec
from .values.plain import call_text, inert, one_line
from .values.transcript import ToolCall, Transcript, Turn

_MOST = 200  # characters of a call, an answer, an error in our messages


class CheckError(AssertionError):
    """A built-in check that the agent did not pass; `check` names it."""

    def __init__(self, message: str, *, check: str) -> None:
        super().__init__(message)
        self.check = check


@dataclass(frozen=True, kw_only=True)
class Check:
    """A built-in check. `judge` says why a turn does not pass, or nothing; it is given `most` where there is one."""

    name: str
    judge: Callable[..., str] = field(repr=False)
    on_by_default: bool = True
    most: int | None = None

    def complaint(self, turn: Turn) -> str:
        """Why `turn` does not pass; empty where it does."""
        return self.judge(turn) if self.most is None else self.judge(turn, self.most)


def chosen_checks(*wishes: Mapping[str, bool | int]) -> tuple[Check, ...]:
    """The built-in checks that are on by default, changed by each of `wishes` in turn.

    True and False switch a check on and off, a number switches it on with that bound.

    >>> [check.name for check in chosen_checks({"no_repeated_call": 5, "answer_not_empty": False})]
    ['only_offered_tools', 'arguments_fit_schema', 'no_repeated_call']

    Raises:
        DeclarationError: There is no such check, or it has no such bound.
    """
    chosen = {check.name: check if check.on_by_default else None for check in BUILT_IN}
    for wish in wishes:
        if not isinstance(wish, Mapping):
            raise DeclarationError(
                f"checks must map names to True, False or a bound, not be {wish!r}. "
                'Write checks = {"answer_not_empty": False}.'
            )
        for name, value in wish.items():
            chosen[name] = _as_wished(name, value)
    return tuple(check for check in chosen.values() if check is not None)


def _as_wished(name: str, value: object) -> Check | None:
    check = next((check for check in BUILT_IN if check.name == name), None)
    if check is None:
        names = [check.name for check in BUILT_IN]
        hint = did_you_mean(name, names) if isinstance(name, str) else ""
        raise DeclarationError(f"There is no built-in check {name!r}. The checks are {quoted(names)}.{hint}")
    if isinstance(value, bool):
        return check if value else None
    if check.most is not None and isinstance(value, int) and value >= 1:
        return replace(check, most=value)
    bound = "" if check.most is None else ", or a number of at least 1 as its bound"
    raise DeclarationError(f"checks: {name!r} can't be {value!r}. Give True or False to switch it on or off{bound}.")


def read_checks(text: str) -> dict[str, bool | int]:
    """Wishes for `chosen_checks` from a line of an ini file.

    >>> read_checks("no_repeated_call=5, answer_not_empty=false")
    {'no_repeated_call': 5, 'answer_not_empty': False}

    Raises:
        DeclarationError: The line is not made of `name=true`, `name=false` and `name=number`.
    """
    wishes: dict[str, bool | int] = {}
    for word in re.sub(r"\s*=\s*", "=", text).replace(",", " ").split():
        name, _, value = word.partition("=")
        if not re.fullmatch(r"true|false|[0-9]{1,9}", value, re.IGNORECASE):
            raise DeclarationError(
                f"checks can't be read from {word!r}: a check is given true, false or a number. "
                f"Write {name or 'answer_not_empty'}=false, or leave it out."
            )
        wishes[name] = int(value) if value.isdigit() else value.lower() == "true"
    return wishes


def violations(transcript: Transcript, checks: Iterable[Check]) -> Iterator[CheckError]:
    """What `checks` have against the newest turn, as errors that nobody has raised yet.

    A turn that the agent could not end is not judged: its provider failed, a server died, or its time was up.
    """
    for turn in transcript.turns[-1:]:
        if is_provider_fault(turn.error_kind) or turn.error_kind in ("server_died", "turn_timeout"):
            return
        for check in checks:
            if complaint := check.complaint(turn):
                message = f"Turn {len(transcript.turns)}: {complaint}\n"
                switch = f'To switch this off: checks = {{"{check.name}": False}}'
                yield CheckError(inert(message + switch), check=check.name)


def check_turn(transcript: Transcript, checks: Iterable[Check]) -> None:
    """Raise the first of the `violations`.

    >>> turn = Turn(agent="bank", model="builtin", user="hi", tool_calls=(ToolCall(name="pay", arguments={}),))
    >>> check_turn(Transcript(turns=(turn,)), chosen_checks())
    Traceback (most recent call last):
    pytest_aitest.checks.CheckError: Turn 1: the agent called 'pay', which it was not offered.
    In full: pay()
    It was offered no tools.
    To switch this off: checks = {"only_offered_tools": False}

    Raises:
        CheckError: The newest turn does not pass.
    """
    __tracebackhide__ = True
    for violation in violations(transcript, checks):
        raise violation


def _unoffered_tool(turn: Turn) -> str:
    for call in turn.tool_calls:
        if call.name in turn.available_tools:
            continue
        offer = f"It was offered {quoted(turn.available_tools) if turn.available_tools else 'no tools'}."
        withheld = " allowed_tools withholds this one." if call.name in turn.offered_tools else ""
        return (
            f"the agent called {one_line(repr(call.name), most=_MOST)}, which it was not offered.\n"
            f"In full: {_shown(call)}\n"
            f"{one_line(offer, most=_MOST)}{withheld or did_you_mean(call.name, turn.available_tools)}"
        )
    return ""


def _unfit_arguments(turn: Turn) -> str:
    tools = {tool.name: tool for tool in turn.tools}
    for call in turn.tool_calls:
        if call.name in tools and (misfit := _misfit(tools[call.name], call.arguments)):
            return (
                f"the arguments of {call.name} do not fit its schema.\n{one_line(misfit, most=_MOST)}\n"
                f"In full: {_shown(call)}\nSay in the tool's description what it takes."
            )
    return ""


def _misfit(tool: ToolSpec, arguments: Mapping[str, Any] | str) -> str:
    if isinstance(arguments, str):
        return "They are not a JSON object."
    try:
        # Judged as the server gets them: a tuple is sent as a list, and NaN can't be sent.
        sent = json.loads(json.dumps(dict(arguments), allow_nan=False))
    except (TypeError, ValueError) as error:
        return f"They can't be written as JSON: {error}."
    try:
        misfit = jsonschema.exceptions.best_match(_validator(json.dumps(tool.input_schema)).iter_errors(sent))
    except (referencing.exceptions.Unresolvable, re.error, RecursionError, ArithmeticError):
        return ""  # it is the schema that can't be followed, for which no agent is to blame
    return "" if misfit is None else f"{misfit.message} (at {misfit.json_path})"


@functools.lru_cache(maxsize=1024)  # every session of a run has the same tools
def _validator(schema_text: str) -> Any:
    schema = json.loads(schema_text)
    kind: Any = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    return kind(schema, registry=referencing.Registry())  # the default one would fetch a remote $ref


def _repeated_call(turn: Turn, most: int) -> str:
    counts = Counter(_identity(call) for call in turn.tool_calls)
    for call in turn.tool_calls:
        if (count := counts[_identity(call)]) > most:
            return (
                f"{call.name} was called {count} times with the same arguments, and {_allowed(most)}.\n"
                f'In full: {_shown(call)}\nIf it has reason to, allow more: checks = {{"no_repeated_call": {count}}}.'
            )
    return ""


def _identity(call: ToolCall) -> tuple[str, str]:
    """Equal for calls that ask for the same thing: 100 is 100.0, and the order of arguments means nothing."""
    return call.name, json.dumps(_normal(call.arguments), sort_keys=True, default=repr)


def _normal(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _normal(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _empty_answer(turn: Turn) -> str:
    if not turn.success:
        return f"the agent gave no answer ({turn.error_kind}).\n{turn.error}"
    answer = turn.responses[-1] if turn.responses else ""
    if any(char.isprintable() and not char.isspace() for char in answer):
        return ""
    return f"the answer is empty.\nIt is {one_line(repr(answer), most=_MOST)}, in which there is nothing to read."


_ADMISSION = re.compile(
    r"""\?|n['\u2019]t\b|\b(?:no|not|none|nothing|never|cannot|unable|without|unfortunately|sorry|apolog\w+|fail\w*|errors?
    |problems?|issues?|trouble|wrong|invalid|insufficient|unknown|unavailable|missing|denied|refus\w+|reject\w+|declin\w+
    |exceed\w*|only|but|however|although|instead|already|again|until|must|needs?)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_WORD = re.compile(r"[^\W\d_]{5,}|\d[\d,]*(?:\.\d+)?")


def _hidden_error(turn: Turn) -> str:
    answer = turn.responses[-1] if turn.success and turn.responses else ""
    if not answer or _ADMISSION.search(answer):
        return ""
    for position, call in enumerate(turn.tool_calls):
        if call.error is None or call.server is None or _is_made_good(turn, position):
            continue
        said_before = _words(f"{turn.user} {call_text(call.name, call.arguments)} error executing there")
        if not (_words(call.error) - said_before) & _words(answer):
            return (
                f"{call.name} failed, and the answer does not seem to say so.\nIn full: {_shown(call)}\n"
                f"The answer: {one_line(answer, most=_MOST)}\nThis is a guess, made from the answer's words."
            )
    return ""


def _is_made_good(turn: Turn, position: int) -> bool:
    """Whether a later call got done what this one could not; of what only reads, any later one may have."""
    name = turn.tool_calls[position].name
    reads = any(tool.name == name and tool.read_only for tool in turn.tools)
    return any(call.error is None and (reads or call.name == name) for call in turn.tool_calls[position + 1 :])


def _words(text: str) -> set[str]:
    """The long words and the numbers of a text: 2,000.00 is 2000."""
    return {word.lower().replace(",", "").removesuffix(".00") for word in _WORD.findall(text)}


BUILT_IN = (
    Check(name="only_offered_tools", judge=_unoffered_tool),
    Check(name="arguments_fit_schema", judge=_unfit_arguments),
    Check(name="no_repeated_call", judge=_repeated_call, most=3),  # look, act, look again, and one to spare
    Check(name="answer_not_empty", judge=_empty_answer),
    # Off: 8 of 12 honest answers that were written to try it did not pass, those in other languages above all.
    Check(name="no_hidden_tool_error", judge=_hidden_error, on_by_default=False),
)
"""All built-in checks, in the order in which they judge a turn."""


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
        return f"In turn {self.turn}: {_shown(self.call)}"


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
        return f"{name} was called {how_often}, and {_allowed(times)}.\n{calls[times]}"

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
                earlier = first.setdefault(_identity(each.call), each)
                if earlier is not each:
                    return f"{name} was called twice with the same arguments.\n{earlier}\n{each}"
        return ""

    return CallInvariant(code=code, tools=(name,), judge=judge)


def arguments_satisfy(name: str, predicate: Callable[..., bool]) -> CallInvariant:
    """Whatever the agent calls the tool with satisfies `predicate`. A call that failed counts.

    The predicate is given the arguments that it names; with `**others`, all. One that a call may leave out needs a
    default.

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


def _shown(call: ToolCall) -> str:
    outcome = f" failed: {call.error}" if call.error is not None else f" -> {call.result}" if call.result else ""
    return one_line(f"{call_text(call.name, call.arguments)}{outcome}", most=_MOST)


def _allowed(most: int) -> str:
    return f"at most {most} {'is' if most == 1 else 'are'} allowed"

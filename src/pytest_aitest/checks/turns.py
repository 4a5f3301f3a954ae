"""What must hold of any agent's turn: the checks that come built in.

Judges what was said and done. Knows nothing of machines, flows and pytest, which ask it after each turn.
"""

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jsonschema
import referencing

from pytest_aitest.values.errors import DeclarationError, did_you_mean, is_provider_fault, quoted
from pytest_aitest.values.model import ToolSpec
from pytest_aitest.values.plain import call_text, inert, one_line
from pytest_aitest.values.transcript import Transcript, Turn

from .call import MOST, allowed, identity, shown


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
        # Kept on the turn, as a cached property is: a replayed turn is judged whenever it is met, always alike.
        known: dict[tuple[str, int | None], str] = vars(turn).setdefault("_complaints", {})
        if (self.name, self.most) not in known:
            known[self.name, self.most] = self.judge(turn) if self.most is None else self.judge(turn, self.most)
        return known[self.name, self.most]


def chosen_checks(*wishes: Mapping[str, bool | int]) -> tuple[Check, ...]:
    """The built-in checks that are on by default, changed by each of `wishes` in turn.

    True and False switch a check on and off, a number switches it on with that bound.

    >>> [check.name for check in chosen_checks({"no_repeated_call": 5, "answer_not_empty": False})]
    ['servers_stay_alive', 'only_offered_tools', 'arguments_fit_schema', 'no_repeated_call']

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

    A turn that its provider failed, or whose time was up, is not judged; of one in which a server died, only that.
    """
    for turn in transcript.turns[-1:]:
        if is_provider_fault(turn.error_kind) or turn.error_kind == "turn_timeout":
            return
        for check in checks:
            if turn.error_kind == "server_died" and check.judge is not _dead_server:
                continue
            if complaint := check.complaint(turn):
                message = f"Turn {len(transcript.turns)}: {complaint}\n"
                switch = f'To switch this off: checks = {{"{check.name}": False}}'
                yield CheckError(inert(message + switch), check=check.name)


def check_turn(transcript: Transcript, checks: Iterable[Check]) -> None:
    """Raise the first of the `violations`.

    >>> from pytest_aitest import ToolCall, Transcript
    >>> turn = Turn(agent="bank", model="builtin", user="hi", tool_calls=(ToolCall(name="pay", arguments={}),))
    >>> check_turn(Transcript(turns=(turn,)), chosen_checks())
    Traceback (most recent call last):
    pytest_aitest.checks.turns.CheckError: Turn 1: the agent called 'pay', which it was not offered.
    In full: pay()
    It was offered no tools.
    To switch this off: checks = {"only_offered_tools": False}

    Raises:
        CheckError: The newest turn does not pass.
    """
    __tracebackhide__ = True
    for violation in violations(transcript, checks):
        raise violation


def _dead_server(turn: Turn) -> str:
    return f"a server did not live through it.\n{turn.error}" if turn.error_kind == "server_died" else ""


def _unoffered_tool(turn: Turn) -> str:
    for call in turn.tool_calls:
        if call.name in turn.available_tools:
            continue
        offer = f"It was offered {quoted(turn.available_tools) if turn.available_tools else 'no tools'}."
        withheld = " allowed_tools withholds this one." if call.name in turn.offered_tools else ""
        return (
            f"the agent called {one_line(repr(call.name), most=MOST)}, which it was not offered.\n"
            f"In full: {shown(call)}\n"
            f"{one_line(offer, most=MOST)}{withheld or did_you_mean(call.name, turn.available_tools)}"
        )
    return ""


def _unfit_arguments(turn: Turn) -> str:
    tools = {tool.name: tool for tool in turn.tools}
    for call in turn.tool_calls:
        if call.name in tools and (misfit := _misfit(tools[call.name], call.arguments)):
            return (
                f"the arguments of {call.name} do not fit its schema.\n{one_line(misfit, most=MOST)}\n"
                f"In full: {shown(call)}\nSay in the tool's description what it takes."
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
    counts = Counter(identity(call) for call in turn.tool_calls)
    for call in turn.tool_calls:
        if (count := counts[identity(call)]) > most:
            return (
                f"{call.name} was called {count} times with the same arguments, and {allowed(most)}.\n"
                f'In full: {shown(call)}\nIf it has reason to, allow more: checks = {{"no_repeated_call": {count}}}.'
            )
    return ""


def _empty_answer(turn: Turn) -> str:
    if not turn.success:
        return f"the agent gave no answer ({turn.error_kind}).\n{turn.error}"
    answer = turn.responses[-1] if turn.responses else ""
    if any(char.isprintable() and not char.isspace() for char in answer):
        return ""
    return f"the answer is empty.\nIt is {one_line(repr(answer), most=MOST)}, in which there is nothing to read."


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
                f"{call.name} failed, and the answer does not seem to say so.\nIn full: {shown(call)}\n"
                f"The answer: {one_line(answer, most=MOST)}\nThis is a guess, made from the answer's words."
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
    Check(name="servers_stay_alive", judge=_dead_server),
    Check(name="only_offered_tools", judge=_unoffered_tool),
    Check(name="arguments_fit_schema", judge=_unfit_arguments),
    Check(name="no_repeated_call", judge=_repeated_call, most=3),  # look, act, look again, and one to spare
    Check(name="answer_not_empty", judge=_empty_answer),
    # Off: 8 of 12 honest answers that were written to try it did not pass, those in other languages above all.
    Check(name="no_hidden_tool_error", judge=_hidden_error, on_by_default=False),
)
"""All built-in checks, in the order in which they judge a turn."""

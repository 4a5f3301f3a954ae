"""A pinned method read as a plan: its body runs against a recorder, so that loops and f-strings work in it.

Knows rules by name and signature; nothing of theirs is run.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn, TypeVar

from pytest_aitest.search.plan import Given, LeftOut, Plan, Step
from pytest_aitest.values.errors import DeclarationError, did_you_mean, quoted

from .declared import PINNED_MARKER, pinned_of, rules_of

Signatures = Mapping[str, inspect.Signature]
"""Rules by name, and how they are called on an instance."""

Method = TypeVar("Method", bound=Callable[..., object])


def pinned(method: Method) -> Method:
    """Mark a method as an order that is always tried first, and is a test of its own.

    Its body calls rules, and is read rather than run: what a rule returns can be handed on to another, not looked at.
    """
    if not callable(method) or inspect.iscoroutinefunction(method):
        raise DeclarationError(
            f"@pinned stands above {getattr(method, '__name__', method)!r}, which is not a plain method. "
            "Write `def`, and call rules in it: it says their order, and waits for nothing."
        )
    setattr(method, PINNED_MARKER, True)
    return method


def pinned_plans(kind: type, rules: Signatures) -> dict[str, Plan]:
    """What each pinned method of a class says to do, by its name.

    Raises:
        DeclarationError: One does something else than calling `rules`.
    """
    return {name: _plan_of(kind, name, rules) for name in pinned_of(kind)}


def signatures_of(machine: type) -> Signatures:
    """How the rules of a machine are called in a pinned method."""
    signatures = {}
    for rule in rules_of(machine):
        signature = inspect.signature(rule.function)
        signatures[rule.name] = signature.replace(parameters=list(signature.parameters.values())[1:])
    return signatures


def _plan_of(kind: type, name: str, rules: Signatures) -> Plan:
    recorder = _Recorder(kind, name, rules)
    try:
        method = getattr(kind, name)
        written = getattr(method, PINNED_MARKER)
        (method if written is True else written)(recorder)
    except DeclarationError:
        raise
    except Exception as error:
        told = str(error)
        why = "super() does not work in it" if "super(" in told else f"it raised {type(error).__name__}: {told}"
        raise DeclarationError(
            f"{recorder.where} can't be read as a plan: {why}. It is read before anything is said, so it can only "
            "call rules: write `self.rule_name(...)`, also for a parent's rule."
        ) from error
    if not recorder.steps:
        raise DeclarationError(f"{recorder.where} calls no rule, so it is no plan. Call the rules in their order.")
    return tuple(recorder.steps)


class _Recorder:
    """What `self` is in a pinned method."""

    def __init__(self, kind: type, pinned_name: str, rules: Signatures) -> None:
        self._kind = kind
        self._rules = rules
        self.where = f"{kind.__name__}.{pinned_name}"
        self.steps: list[Step] = []

    def __getattr__(self, name: str) -> Any:
        if name in self._rules:
            return partial(self._record, name)
        member = getattr(self._kind, name, None)
        if member is not None and hasattr(member, PINNED_MARKER):
            return partial(member, self)
        if member is not None and not callable(member) and not isinstance(member, property):
            return member
        raise DeclarationError(
            f"{self.where} uses self.{name}, which is not a rule. A pinned method is read as a plan before anything is "
            f"said, so it can only call rules: there are {quoted(self._rules)}.{did_you_mean(name, list(self._rules))}"
        )

    def _record(self, rule: str, /, *positional: Any, **named: Any) -> "_Result":
        parameters = self._rules[rule].parameters
        try:
            bound = self._rules[rule].bind(*positional, **named).arguments
        except TypeError as error:
            raise DeclarationError(
                f"{self.where} calls {rule} with other arguments than it has: {error}. "
                f"Its arguments are {quoted(parameters)}."
            ) from None
        arguments: dict[str, Any] = {}
        for name, value in bound.items():
            arguments |= value if parameters[name].kind is inspect.Parameter.VAR_KEYWORD else {name: value}
        left_out = {name: each.default for name, each in parameters.items() if isinstance(each.default, LeftOut)}
        arguments = left_out | arguments
        result = _Result(f"{rule}_{len(self.steps) + 1}", self)
        handed = {name: value.given for name, value in arguments.items() if isinstance(value, _Result)}
        for used in handed.values():
            self._name_result(used)
        self.steps.append(Step(rule=rule, arguments=arguments | handed))
        return result

    def _name_result(self, given: Given) -> None:
        position = int(given.name.rpartition("_")[2]) - 1
        step = self.steps[position]
        self.steps[position] = Step(rule=step.rule, arguments=step.arguments, gives=given.name)


class _Result:
    """In place of what a rule returns; good for being handed on, and for nothing else."""

    def __init__(self, name: str, recorder: _Recorder) -> None:
        self.given = Given(name)
        self._where = recorder.where

    def _refuse(self, *_: object) -> NoReturn:
        raise DeclarationError(
            f"{self._where} looks at what a rule returned, and a pinned method is read before anything is said. "
            "Hand the result on to another rule as it is, or look at it inside a rule."
        )

    __getattr__ = __getitem__ = __bool__ = __len__ = __iter__ = __contains__ = __call__ = _refuse
    __str__ = __repr__ = __format__ = __int__ = __float__ = __index__ = _refuse
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __neg__ = _refuse
    __hash__ = _refuse

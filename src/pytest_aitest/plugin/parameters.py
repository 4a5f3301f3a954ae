"""What `parametrize` means to the turns of a flow: a conversation for each set, or values that an exploration may try.

Knows tests and their marks. What all turns have makes conversations; what one turn has alone, its exploration tries.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import pytest

from pytest_aitest.values.errors import DeclarationError, quoted

Choices = Sequence[pytest.Function]
"""One turn of one flow: the test that runs in the documented order, then the same one with other values."""


@dataclass(frozen=True, kw_only=True)
class Parametrized:
    """What one mark `parametrize` gives, by name."""

    names: frozenset[str]
    direct: frozenset[str]  # to the test itself, not to a fixture

    @classmethod
    def by(cls, mark: pytest.Mark) -> "Parametrized":
        def read(
            argnames: str | Sequence[str] = "",
            argvalues: object = (),
            indirect: bool | Sequence[str] = False,  # noqa: FBT001, FBT002 - as pytest has it
            **_: object,
        ) -> Parametrized:
            names = frozenset(map(str.strip, argnames.split(",")) if isinstance(argnames, str) else argnames)
            through = indirect if isinstance(indirect, list | tuple) else names if indirect else ()
            return Parametrized(names=names - {""}, direct=names - {""} - {*through})

        return read(*mark.args[:3], **mark.kwargs)


def parametrized(marks: Iterable[pytest.Mark]) -> Iterator[Parametrized]:
    """What these give, one after another."""
    return (Parametrized.by(mark) for mark in marks if mark.name == "parametrize")


def parameters_of(item: pytest.Function) -> Mapping[str, Any]:
    """The values that it has, also those that fixtures have for it."""
    return item.callspec.params if hasattr(item, "callspec") else {}


def parameters_id(item: pytest.Function) -> str:
    """What stands in brackets after its name."""
    return item.callspec.id if hasattr(item, "callspec") else ""


def own_parameters(turns: Sequence[pytest.Function]) -> Mapping[pytest.Function, Sequence[str]]:
    """Of each turn of a session, the parameters that others lack."""
    shared = {*parameters_of(turns[0])}.intersection(*map(parameters_of, turns))
    return {turn: [name for name in parameters_of(turn) if name not in shared] for turn in turns}


def flows_of(name: str, turns: Sequence[pytest.Function], *, is_explored: bool) -> Mapping[str, Sequence[Choices]]:
    """The turns of each flow of a session, by the id of the parameters that they share.

    Raises:
        DeclarationError: A turn has parameters that others lack, and that can't be tried; or lacks values of others.
    """
    own = own_parameters(turns)
    for turn, names in own.items():
        if names and not (is_explored and _are_direct(turn, names)):
            raise _lacking(name, turn, names, turns, is_explored=is_explored)
    flows: dict[str, dict[str, list[pytest.Function]]] = {}
    for turn in turns:
        flows.setdefault(_shared_id(turn, own[turn]), {}).setdefault(turn.originalname, []).append(turn)
    tests = list(dict.fromkeys(turn.originalname for turn in turns))
    for parameters, there in flows.items():
        if missing := [test for test in tests if test not in there]:
            raise DeclarationError(
                f"Session {name!r} has no turn {quoted(missing)} for the parameters [{parameters}], which its other "
                "turns have. Give every turn the same values: put @pytest.mark.parametrize on the class."
            )
    return {
        parameters: [sorted(each, key=is_skipped) if own[each[0]] else each for each in there.values()]
        for parameters, there in flows.items()
    }


def check_values(turn: pytest.Function, own: Sequence[str], phrasings: Collection[str]) -> None:
    """Refuse parameters of its own for which an exploration could not put other values.

    Raises:
        DeclarationError: A fixture depends on one, or one is named as an exploration names other words.
    """
    if "phrasing" in own and phrasings:
        raise DeclarationError(
            f"{turn.originalname} has phrasings, and a parameter 'phrasing': both would be tried under one name. "
            "Name the parameter otherwise."
        )
    definitions_of = turn._fixtureinfo.name2fixturedefs  # noqa: SLF001 - pytest has no other way
    for fixture, definitions in definitions_of.items():
        if asked := [name for name in own if name in definitions[-1].argnames]:
            raise DeclarationError(
                f"The fixture {fixture!r} asks for {quoted(asked)}, which {turn.originalname} alone is parametrized "
                "with: fixtures are set up once for an exploration, and it tries other values in each step. Ask for "
                "it in the test only, or put @pytest.mark.parametrize on the class."
            )


def is_skipped(turn: pytest.Function) -> bool:
    """Whether a marker skips it; one whose condition is text is evaluated by pytest only, and so counts as run."""
    if turn.get_closest_marker("skip") is not None:
        return True
    conditions = [mark.args[0] for mark in turn.iter_markers("skipif") if mark.args]
    return any(condition is True for condition in conditions)


def _are_direct(turn: pytest.Function, names: Sequence[str]) -> bool:
    """Whether the turn's own marks give them to the test itself, and give nothing else with them."""
    giving = [each for each in parametrized(turn.own_markers) if not each.names.isdisjoint(names)]
    given = {name for each in giving for name in each.names}
    return given == {*names} and all(each.names == each.direct for each in giving)


def _shared_id(turn: pytest.Function, own: Sequence[str]) -> str:
    """The id of its parameters without its own."""
    if not own:
        return parameters_id(turn)
    shared = [each.names.isdisjoint(own) for each in parametrized(turn.iter_markers("parametrize"))]
    ids: list[str] = list(turn.callspec._idlist)  # noqa: SLF001 - pytest has no other way
    before = len(ids) - len(shared)  # what fixtures and plugins give comes before what marks give
    if before < 0 and any(shared):
        raise DeclarationError(
            f"{turn.nodeid} has a hidden id, so its own values can't be told from those that its session shares. "
            "Give each an id that is shown."
        )
    return "-".join([*ids[: max(before, 0)], *compress(ids[max(before, 0) :], shared)])


def _lacking(
    session: str, turn: pytest.Function, names: Sequence[str], turns: Iterable[pytest.Function], *, is_explored: bool
) -> DeclarationError:
    other = next(each for each in turns if not parameters_of(each).keys() >= {*names})
    what = (
        f"Turn {turn.originalname} of session {session!r} has a parameter {quoted(sorted(names))} that turn "
        f"{other.originalname} lacks."
    )
    if is_explored:
        return DeclarationError(
            f"{what} An exploration tries the values that a turn's own @pytest.mark.parametrize gives to the test "
            "itself, and these go to a fixture, which is set up once, or come together with others. Make it a direct "
            "parameter in a @pytest.mark.parametrize of its own, or put it on the class."
        )
    fits = turn.cls is not None and _are_direct(turn, names)
    hint = "; a session class with explore=True tries the values of a single turn" if fits else ""
    return DeclarationError(
        f"{what} Each combination of parameters is a conversation of its own, so all its turns need the same ones. "
        f"Put @pytest.mark.parametrize on the class, or on every turn{hint}."
    )

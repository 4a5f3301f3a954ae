"""What is public: every name loads, is documented, and its examples are true."""

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest

import pytest_aitest

MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(pytest_aitest.__path__, f"{pytest_aitest.__name__}.")
]


@pytest.mark.parametrize("name", pytest_aitest.__all__)
def test_every_public_name_loads(name: str) -> None:
    value = getattr(pytest_aitest, name)
    assert name in dir(pytest_aitest)
    if isinstance(value, type):  # the others are names of types
        assert value.__name__ == name
        assert value.__doc__


def test_nothing_else_is_public() -> None:
    assert sorted(pytest_aitest.__all__) == pytest_aitest.__all__
    assert set(pytest_aitest._HOME_OF) == set(pytest_aitest.__all__)
    with pytest.raises(AttributeError, match="module 'pytest_aitest' has no attribute 'Agnet'"):
        pytest_aitest.Agnet  # noqa: B018


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_examples_in_docstrings_are_true(module: ModuleType) -> None:
    assert module.__doc__
    assert doctest.testmod(module).failed == 0

"""The examples in symjax's docstrings hold in float64 and under strict promotion too (pytest runs them in float32)."""

import doctest
import importlib
import pkgutil

import pytest

import symjax

MODULES = ["symjax", *(module.name for module in pkgutil.walk_packages(symjax.__path__, "symjax."))]


@pytest.mark.slow  # the same examples as in float32, once more
@pytest.mark.parametrize("name", MODULES)
def test_examples_hold_in_float64(name: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    results = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert results.failed == 0


@pytest.mark.parametrize("name", ["symjax.symmetry", "symjax.channels", "symjax.actions"])
def test_modules_have_examples(name: str) -> None:
    """A package's examples stand in its files."""
    files = [other for other in MODULES if other == name or other.startswith(f"{name}.")]
    found = (doctest.DocTestFinder().find(importlib.import_module(file)) for file in files)
    assert sum(len(test.examples) for tests in found for test in tests) > 0

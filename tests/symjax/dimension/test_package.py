"""Every public name of the package is what its module defines, however often and in whatever order it is asked for."""

import importlib
import inspect

import symjax.dimension


def test_names_are_no_modules():
    for home in set(symjax.dimension._HOMES.values()):
        importlib.import_module(f"symjax.dimension.{home}")
    for name in symjax.dimension.__all__:
        value = getattr(symjax.dimension, name)
        assert not inspect.ismodule(value) and value.__module__.startswith("symjax.dimension.")

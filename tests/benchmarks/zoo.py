"""The symmetries of every model of the zoo, as a table: traced, checked on the model, and counted where D is small.

    python tests/benchmarks/zoo.py [NAME ...]

The models are those of ``tests/symjax/tracing/test_zoo*.py``, where every count is compared with one made by hand.
``linear`` is the dimension of the matrix groups beyond the scalings that they contain, ``error`` the largest change of
the outputs, relative to the largest of them, under one random element of all groups at once. ``missing`` is
``D - rank of the parameter Jacobian - dimension traced``; it is left out where ReLUs that never switch, or pooling,
would be counted as missing. CPU seconds are those of the analysis from shapes, the second time, without the check.
"""

import argparse
import importlib.util
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import jax.numpy as jnp
import numpy as np

from symjax.dimension import complete
from symjax.tracing import symmetries

TESTS = Path(__file__).parents[1] / "symjax" / "tracing"


def module(name: str) -> Any:
    """A test module, by its file."""
    found = importlib.util.spec_from_file_location(name, TESTS / f"{name}.py")
    made = importlib.util.module_from_spec(found)
    found.loader.exec_module(made)
    return made


def row(name: str, model: Any, x: jax.Array, counted: bool) -> str:
    """One line of the table."""
    variables = model.init(jax.random.key(0), x)
    found = symmetries(model.apply, variables, x)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), (variables, x))
    started = time.process_time()
    symmetries(model.apply, *shapes)
    seconds = time.process_time() - started
    cells = [
        name,
        len(found.permutations),
        sum(scaling.dimension for scaling in found.scalings),
        sum(group.dimension - group.diagonal for group in found.linear),
        sum(int(np.prod(sign.shape)) for sign in found.signs),
        sum(shift.dimension for shift in found.shifts),
        ", ".join(sorted({refusal.primitive for refusal in found.refused})) or "none",
        f"{found.checked.error:.0e}",
        complete(found, variables, x).missing if counted else "",
        f"{seconds:.2f}",
    ]
    return " | ".join(("", *map(str, cells), "")).strip()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    wanted = parser.parse_args().names
    names = ("model", "classes", "scalings", "linear", "signs", "translations", "refused", "error", "missing", "s")
    print(" | ".join(("", *names, "")).strip(), "|".join(("", *("---" for _ in names), "")), sep="\n")
    small, layers = module("test_zoo"), module("test_zoo_of_layers")
    with jax.enable_x64(True):
        for name, case in small.CASES.items():
            if not wanted or name in wanted:
                x = jax.random.normal(jax.random.key(1), case.shape, jnp.float64)
                print(row(name, case.model, x, case.null is not None), flush=True)
    for name, case in layers.CASES.items():
        if not wanted or name in wanted:
            tokens = jnp.arange(10).reshape(2, 5) % 7
            x = jax.random.normal(jax.random.key(1), case.shape, jnp.float32) if case.shape else tokens
            print(row(name, layers.Plain(case.body), x, False), flush=True)


if __name__ == "__main__":
    main()

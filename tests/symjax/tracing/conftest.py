"""What the tests of tracing share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

CONSTANT = {"bias": 0.0, "mean": 0.0, "scale": 1.0, "var": 1.0}


@pytest.fixture(scope="session")
def initialised() -> Callable[[Any, Any], Any]:
    """``initialised(model, x)``: a flax model's first variables, drawn by NumPy: flax compiles a program for each."""

    def initialise(model: Any, x: Any) -> Any:
        numbers = np.random.default_rng(0)

        def draw(path: tuple, leaf: Any) -> jax.Array:
            name = path[-1].key
            drawn = numbers.normal(size=leaf.shape) / np.sqrt(max(np.prod(leaf.shape[:-1], dtype=int), 1))
            return jnp.asarray(np.full(leaf.shape, CONSTANT[name]) if name in CONSTANT else drawn, leaf.dtype)

        return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(model.init, jax.random.key(0), x))

    return initialise

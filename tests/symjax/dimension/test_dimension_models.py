"""The rank of any model is that of the plain network where the model is one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.dimension import batch_dimension, model_dimension
from symjax.dimension import networks as nets


def apply(params: Any, x: jax.Array) -> jax.Array:
    """A ReLU network of (W, b)."""
    for number, (w, b) in enumerate(params):
        x = x @ w.T + b[None]
        x = jnp.maximum(x, 0.0) if number < len(params) - 1 else x
    return x


def test_rank_is_that_of_the_explicit_products() -> None:
    random = np.random.default_rng(0)
    params, points = nets.random_params((3, 4, 4, 2), random), random.normal(size=(200, 3))
    found = model_dimension(apply, params, points)
    assert found.rank == batch_dimension(params, points).rank and not found.undetermined
    assert model_dimension(apply, params, points[:3]).rank == batch_dimension(params, points[:3]).rank


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        model_dimension(lambda p, x: jnp.sqrt(p) * x, np.zeros(2), np.ones(2))
    with pytest.raises(ValueError, match="20,000 parameters, whose row space needs 16,000,000,000 bytes"):
        model_dimension(lambda p, x: p * x, np.zeros(20_000), np.ones(20_000))

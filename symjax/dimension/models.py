"""Batch functional dimension of any model, by autodiff."""

from collections.abc import Callable
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from symjax.arguments import floating_tree
from symjax.dimension.row_space import Evidence, RowSpace

__all__ = ["model_dimension"]

_FLOOR, _NOISE = 1e-10, 1e-11  # what autodiff leaves of a zero, relative to the largest
_CHUNK = 2**24  # entries of the rows computed at once
_MEMORY = 2**33  # bytes


def model_dimension(apply: Callable[[Any, Any], Any], params: Any, x: Any) -> Evidence:
    """Measure how many directions of a model's parameters change its outputs on a batch.

    ``rank [d f(theta, x) / d theta]`` of all outputs together, in double precision, at the parameters themselves

    Source: Grigsby, Lindsey, Rolnick 2023 (arXiv 2306.06179), the batch functional dimension, for any model.

    Args:
      apply: ``apply(params, x) -> array``, pure, with a derivative at these parameters.
      params: pytree of floating arrays.
      x: the batch, any pytree.

    Returns:
      The rank and the singular values that decided it. A rank below the number of outputs and below the number of
      parameters less the dimension of the symmetries may come from few inputs as well as from hidden symmetries.

    Raises:
      ValueError: parameters that are no floating arrays, derivatives that are not finite, or more parameters than a
        dense rank can hold.

    Example:
      >>> def apply(params, x):
      ...     return jnp.tanh(x @ params["in"]) @ params["out"]
      >>> params = {"in": jnp.array([[1.0, 2.0]]), "out": jnp.ones((2, 1))}
      >>> model_dimension(apply, params, jnp.linspace(-1.0, 2.0, 9)[:, None]).rank
      4
    """
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), floating_tree("params", params))
        x = jax.tree.map(lambda leaf: _wide(jnp.asarray(leaf)), x)
        theta, restore = jax.flatten_util.ravel_pytree(params)
        if (needed := 40 * theta.size**2) > _MEMORY:
            raise ValueError(
                f"params hold {theta.size:,} parameters, whose row space needs {needed:,} bytes, more than {_MEMORY:,}"
            )
        size = jax.eval_shape(lambda flat: apply(restore(flat), x).ravel(), theta).size

        @jax.jit
        def rows(theta: jax.Array, x: Any, which: jax.Array) -> jax.Array:
            pull = jax.vjp(lambda flat: apply(restore(flat), x).ravel(), theta)[1]
            return jax.vmap(lambda one: pull(jnp.zeros(size, theta.dtype).at[one].set(1.0))[0])(which)

        space, step = RowSpace(theta.size, _FLOOR, _NOISE), max(1, _CHUNK // theta.size)
        for start in range(0, size, step):
            chunk = np.asarray(rows(theta, x, jnp.arange(start, min(start + step, size))))
            if not np.all(np.isfinite(chunk)):
                raise ValueError("the model's outputs have derivatives that are not finite at these parameters")
            space.add(chunk)
    return space.evidence()


def _wide(leaf: jax.Array) -> jax.Array:
    return leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

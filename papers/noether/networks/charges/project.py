"""Projecting: setting the filters' norms back, without regard to what is measured or predicted of them."""

from typing import Any

import jax
import jax.numpy as jnp

from papers.noether.networks.charges.families import Families, pair, split


def project(
    families: Families, params: Any, *, squares: jax.Array, target: jax.Array, fixed: Any
) -> tuple[Any, jax.Array]:
    """Set every filter's squared norm to its target, where ``fixed`` is true.

    ``q <- q |q(0)| / |q|``

    Args:
      families: of a network with filters.
      params: after the step.
      squares: their filters' squared norms, (filters,).
      target: squared norms to return to, (filters,).
      fixed: a boolean, possibly traced; where it is the constant False, nothing is compiled.

    Returns:
      The parameters, and the squared norms of their filters, measured again.
    """
    if fixed is False:
        return params, squares
    factor = jnp.where(fixed, 0.5 * jnp.log(target / squares), 0.0)
    moved = families.filters.flow(split(factor, families.filters.zero), params)
    return moved, pair(families.filters, moved, moved)

"""Dimension of a symmetry's orbit: by formula, and as the rank of the generators at a point."""

from math import comb
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from symjax import activations
from symjax.activations import Activation
from symjax.arguments import accumulation_dtype, accurate_tree, whole_number
from symjax.magnitude import power_of_two
from symjax.symmetry import Params, Symmetry

__all__ = ["Rank", "generator_matrix", "generator_rank", "orbit_dimension"]


class Rank(NamedTuple):
    """A numerical rank and how far from doubt it is.

    Attributes:
      rank: number of singular values above ``tolerance``; -1 if the generators are not finite.
      singular_values: in descending order.
      tolerance: eps times the larger side times the largest singular value.
      gap: smallest counted over largest uncounted singular value (the tolerance where that is larger); near 1 the rank
        is not to be trusted.
    """

    rank: jax.Array
    singular_values: jax.Array
    tolerance: jax.Array
    gap: jax.Array


def orbit_dimension(symmetry: str | Activation, m: int, h: int, n: int) -> int:
    """Give the dimension of the orbit of generic weights (m, h), (h, n) under the activation's group.

    GL(h): ``h^2 - max(0, h - m) max(0, h - n)``; positive diagonals: ``h``; O(h):
    ``C(h, 2) - C(max(0, h - m - n), 2)``; discrete groups: 0. A homogeneous activation with the group O(h) (radial)
    commutes with positive scalars too: O(h) x R+ has one more, because a scaling is never tangent to a rotation. The
    dimension is a lower bound of the minimum's.

    Source: Zhao et al. 2023, Table 1 and section 3.
    Deviation: the table's dimensions are those of the groups; the subtracted terms are the stabilisers, which are
      not trivial when the hidden layer is wider than both ends (GL) or than their sum by two (O).

    Args:
      symmetry: a group (``"general_linear"``, ``"positive_diagonal"``, ``"orthogonal"``, ``"sign"``,
        ``"permutation"``), an activation or its name.
      m: number of outputs.
      h: number of hidden units.
      n: number of inputs.

    Returns:
      The dimension.

    Raises:
      ValueError: an unknown group or activation, or a size that is no positive integer.

    Example:
      >>> orbit_dimension("general_linear", 2, 3, 2), orbit_dimension("relu", 2, 3, 2)
      (8, 3)
    """
    m, h, n = whole_number("m", m, 1), whole_number("h", h, 1), whole_number("n", n, 1)
    groups = get_args(activations.Group)
    if isinstance(symmetry, str) and symmetry not in (*groups, *activations.names()):
        allowed = ", ".join((*groups, *activations.names()))
        raise ValueError(f"symmetry is {symmetry!r}, but it must be one of {allowed} or an Activation")
    chosen = None if symmetry in groups else activations.get(symmetry)
    match symmetry if chosen is None else chosen.group:
        case "general_linear":
            return h * h - max(0, h - m) * max(0, h - n)
        case "positive_diagonal":
            return h
        case "orthogonal":
            scalars = chosen is not None and chosen.degree is not None
            return comb(h, 2) - comb(max(0, h - m - n), 2) + int(scalars)
    return 0


def generator_matrix(symmetry: Symmetry, params: Params) -> jax.Array:
    """Write the generators of a flow at a point as the columns of a matrix.

    ``d flow(s, params) / ds`` at ``s = 0``, both sides flattened.

    Source: Zhao et al. 2023, section 3 (infinitesimal action); the tangent space of the orbit is its image.

    Args:
      symmetry: the flow and its zero.
      params: pytree of arrays, P numbers in all, taken to one dtype of at least float32.

    Returns:
      An array (P, dim of the algebra).
    """
    params = accurate_tree("params", params)
    dtype = accumulation_dtype(*(leaf.dtype for leaf in jax.tree.leaves(params)))
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), symmetry.zero))
    if flat.size == 0:
        return jnp.zeros((sum(leaf.size for leaf in jax.tree.leaves(params)), 0), dtype)
    return jax.jacfwd(lambda s: ravel_pytree(symmetry.flow(unravel(s), params))[0])(flat)


def generator_rank(symmetry: Symmetry, params: Params) -> Rank:
    """Count the independent generators of a flow at a point: the dimension of its orbit there.

    Source: Zhao et al. 2023, section 3 (dimension of the orbit is that of the group minus the stabiliser's).

    Args:
      symmetry: the flow and its zero.
      params: pytree of arrays.

    Returns:
      A :class:`Rank`; its ``rank`` is -1 for parameters that are not finite, and 0 for a flow without coordinates, as
      that of the rotations of one dimension.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.symmetry import Symmetry
      >>> scale = Symmetry(lambda s, q: jnp.exp(s) * q, jnp.zeros(()))
      >>> int(generator_rank(scale, jnp.array([3.0, 4.0])).rank)
      1
    """
    return _rank(generator_matrix(symmetry, params))


@jax.jit
def _rank(matrix: jax.Array) -> Any:
    if matrix.shape[1] == 0:
        zero = jnp.zeros((), matrix.dtype)
        return Rank(jnp.zeros((), int), jnp.zeros((0,), matrix.dtype), zero, zero + jnp.inf)
    scale = power_of_two(matrix)
    values = jnp.linalg.svd(matrix / scale, compute_uv=False)
    tolerance = values[0] * max(matrix.shape) * jnp.finfo(matrix.dtype).eps
    counted = values > tolerance
    smallest = jnp.min(jnp.where(counted, values, jnp.inf))
    largest = jnp.maximum(jnp.max(jnp.where(counted, 0, values)), tolerance)
    rank = jnp.where(jnp.all(jnp.isfinite(values)), jnp.sum(counted), -1)
    gap = smallest / jnp.where(largest > 0, largest, 1)
    return Rank(rank, scale * values, scale * tolerance, jnp.where(largest > 0, gap, jnp.inf))

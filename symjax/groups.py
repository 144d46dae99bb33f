"""Matrix groups: their coordinates, exponentials, inverse transposes, and who belongs to them."""

from functools import partial
from math import prod
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from symjax.arguments import accumulation_dtype, floating_array

__all__ = [
    "Group",
    "algebra_shape",
    "contragredient",
    "exponential",
    "is_element",
    "require_element",
    "skew",
]

Group = Literal["general_linear", "orthogonal", "special_orthogonal"]


def algebra_shape(group: Group, n: int) -> tuple[int, ...]:
    """Shape of the coordinates of a group's Lie algebra: (n, n), or (n (n - 1) / 2,) for rotations.

    Source: the standard bases of gl(n) and so(n).

    Example:
      >>> algebra_shape("general_linear", 3), algebra_shape("orthogonal", 4)
      ((3, 3), (6,))
    """
    if group not in get_args(Group):
        raise ValueError(f"group is {group!r}, but must be one of {', '.join(map(repr, get_args(Group)))}")
    return (n, n) if group == "general_linear" else (n * (n - 1) // 2,)


def skew(s: jax.Array, n: int) -> jax.Array:
    """Fill an antisymmetric matrix: ``s`` below the diagonal, row by row, ``-s`` above it.

    Source: the standard basis of so(n); rotation in Tanaka & Kunin 2021, section 3.

    Args:
      s: array (n (n - 1) / 2,), coordinates of the Lie algebra so(n) in the order (1, 0), (2, 0), (2, 1), ...
      n: the dimension.

    Returns:
      An array (n, n) of the dtype of ``s``.

    Raises:
      ValueError: the wrong number of coordinates, or what holds no real numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> print(skew(jnp.array([2.0]), 2))
      [[ 0. -2.]
       [ 2.  0.]]
    """
    s = floating_array("s", s)
    require_rotation_count(s, n)
    return _skew(s, n)


def exponential(group: Group, s: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """Exponentiate coordinates of a Lie algebra: the element ``g`` and its inverse transpose.

    ``expm(s)`` and ``expm(-s)^T``, or the rotation ``expm(skew(s))`` twice.

    Source: the exponential map.

    Args:
      group: the group.
      s: array (*batch, *algebra_shape(group, n)), floating.
      n: the dimension.

    Returns:
      Two arrays (*batch, n, n) of at least float32.
    """
    s = s.astype(accumulation_dtype(s.dtype))
    shape = algebra_shape(group, n)
    batch = s.shape[: s.ndim - len(shape)]
    flat = s.reshape(prod(batch), *shape)
    if group != "general_linear":
        g = jax.vmap(lambda one: jax.scipy.linalg.expm(_skew(one, n)))(flat).reshape(*batch, n, n)
        return g, g
    g, inverse = (jax.vmap(jax.scipy.linalg.expm)(sign).reshape(*batch, n, n) for sign in (flat, -flat))
    return g, jnp.swapaxes(inverse, -1, -2)


def contragredient(group: Group, g: jax.Array) -> jax.Array:
    """The inverse transpose of an element: an orthogonal one is its own.

    Source: the contragredient representation.

    Args:
      group: the group.
      g: array (..., n, n) of at least float32.

    Returns:
      An array like ``g``.
    """
    return jnp.swapaxes(jnp.linalg.inv(g), -1, -2) if group == "general_linear" else g


def require_element(name: str, g: jax.Array, group: Group) -> None:
    """Refuse concrete matrices outside their group, by a ValueError that names the argument.

    The limits: a condition number of 0.01/eps, ``|g^T g - 1|`` of 1000 eps, for rotations a positive determinant.

    Source: this library's bookkeeping.
    """
    if isinstance(g, jax.core.Tracer):
        return
    value = np.asarray(g, accumulation_dtype(g.dtype))
    eps = float(np.finfo(value.dtype).eps)
    if group == "general_linear":
        condition = float(np.max(np.linalg.cond(value))) if np.isfinite(value).all() else np.inf
        if not condition <= 0.01 / eps:
            raise ValueError(
                f"{name} has the condition number {condition:.3g}, but at most {0.01 / eps:.3g} is allowed"
            )
        return
    error = np.abs(np.swapaxes(value, -1, -2) @ value - np.eye(value.shape[-1], dtype=value.dtype)).max()
    if not error <= 1000 * eps:
        raise ValueError(
            f"{name} is not orthogonal: |g^T g - 1| is {error:.3g}, and at most {1000 * eps:.3g} is allowed"
        )
    if group == "special_orthogonal" and (np.linalg.det(value) < 0).any():
        raise ValueError(f"{name} has a negative determinant, but a rotation has a positive one")


@partial(jax.jit, static_argnums=1)
def is_element(g: jax.Array, group: Group) -> jax.Array:
    """Say whether a matrix belongs to a group, with the limits of :func:`require_element`, in compiled code too.

    Source: this library's bookkeeping.

    Args:
      g: array (n, n), floating.
      group: the group.

    Returns:
      A boolean scalar.
    """
    g = g.astype(accumulation_dtype(g.dtype))
    finite, eps = jnp.all(jnp.isfinite(g)), float(jnp.finfo(g.dtype).eps)
    if group == "general_linear":
        values = jnp.linalg.svd(jnp.where(finite, g, jnp.zeros_like(g)), compute_uv=False)
        return finite & (values[0] <= 0.01 / eps * values[-1]) & (values[0] > 0)
    error = jnp.abs(jnp.matmul(g.T, g, precision="highest") - jnp.eye(len(g), dtype=g.dtype))
    orthogonal = finite & jnp.all(error <= 1000 * eps)
    return orthogonal & (jnp.linalg.det(g) > 0) if group == "special_orthogonal" else orthogonal


def require_rotation_count(s: jax.Array, n: int) -> None:
    """Refuse coordinates that are not the n (n - 1) / 2 of a rotation."""
    count = n * (n - 1) // 2
    if jnp.shape(s) != (count,):
        raise ValueError(f"s has shape {jnp.shape(s)}, but rotations of {n} dimensions have {count} coordinates")


@partial(jax.jit, static_argnums=1)
def _skew(s: Any, n: int) -> jax.Array:
    lower = jnp.zeros((n, n), s.dtype).at[jnp.tril_indices(n, -1)].set(s)
    return lower - lower.T

"""Sizes of arrays whose squares would leave the range of their dtype.

Squares of float32 numbers below 1e-19 are lost and above 1e19 infinite. Dividing by a power of two first is exact, so
what follows is the same for arrays 1e-30 and 1e30 times as large.
"""

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["norm", "over_square", "power_of_two"]

Axes = int | tuple[int, ...] | None


def power_of_two(x: jax.Array, axis: Axes = None, keepdims: bool = False) -> jax.Array:
    """Find a power of two of the size of the largest entry: between 1/2 and 2 times it; 1 where all are zero.

    No derivative passes through it. It stays far enough from the ends of the range to have an inverse.

    Source: this library's bookkeeping.

    Args:
      x: array of float32 or float64.
      axis: the axes over which the largest entry is sought; None for all.
      keepdims: whether those axes stay, with length 1.

    Returns:
      An array of the shape that is left; 1 where an entry is not finite.

    Example:
      >>> import jax.numpy as jnp
      >>> print(power_of_two(jnp.array([0.0, -5.0])))
      4.0
    """
    info = jnp.finfo(x.dtype)
    peak = jnp.max(jnp.abs(jax.lax.stop_gradient(x)), axis=axis, keepdims=keepdims, initial=0)
    usable = jnp.isfinite(peak) & (peak > 0)
    peak = jnp.clip(jnp.where(usable, peak, 1), float(4 * info.tiny), float(0.25 / info.tiny))
    return jax.lax.reduce_precision(peak, exponent_bits=info.nexp, mantissa_bits=0)


def over_square(x: jax.Array, scale: jax.Array) -> jax.Array:
    """Divide by the square of a scale, which may itself be out of range.

    Source: this library's bookkeeping.

    Args:
      x: array.
      scale: array that broadcasts with it.

    Returns:
      ``x/scale/scale``, in this order also when compiled: XLA would divide by the product.

    Example:
      >>> print(over_square(jnp.array([0.0, 3e-30]), jnp.array(1e-25)).round(3) / 1e20)
      [0. 3.]
    """
    return jax.lax.optimization_barrier(x / scale) / scale


def norm(x: jax.Array, axis: Axes = None, keepdims: bool = False) -> jax.Array:
    """Give the Euclidean norm, however small or large the entries; its derivative at zero is 0.

    Source: this library's bookkeeping.

    Args:
      x: array of float32 or float64.
      axis: the axes to sum over; None for all.
      keepdims: whether those axes stay, with length 1.

    Returns:
      An array of the shape that is left.

    Example:
      >>> import jax.numpy as jnp
      >>> print(f"{norm(1e-30 * jnp.array([3.0, 4.0])):.3g}")
      5e-30
    """
    scale = power_of_two(x, axis, keepdims=True)
    square = jnp.sum(jnp.square(x / scale), axis=axis, keepdims=True)
    seen = square > 0
    found = scale * jnp.where(seen, jnp.sqrt(jnp.where(seen, square, 1)), square)
    return found if keepdims else jnp.squeeze(found, axis=_all(x, axis))


def _all(x: jax.Array, axis: Axes) -> Any:
    return tuple(range(x.ndim)) if axis is None else axis

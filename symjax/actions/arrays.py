"""Translations and rotations of one array."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from symjax.arguments import accumulation_dtype, floating_array
from symjax.groups import exponential, require_rotation_count

__all__ = ["require_finite_move", "rotate", "translate"]


def translate(s: jax.Array, kernel: jax.Array, axis: int = -1) -> jax.Array:
    """Flow of a translation: add ``s`` along one axis, the same amount to every entry of it.

    ``kernel + s`` with ``s`` broadcast over ``axis``. The softmax does not see a constant added to all logits, so
    translating a classifier's kernel (in, classes) by one ``s`` for each input feature, and its bias (classes,) by a
    scalar, leaves the loss unchanged. The generators are constant: ``<grad, 1> = 0`` over classes, ``H 1 = 0``.

    Source: Tanaka & Kunin 2021, section 3 (translation); Kunin et al. 2021, section 3.

    Args:
      s: array of the kernel's shape without ``axis``.
      kernel: array.
      axis: the axis over which nothing changes, the classes.

    Returns:
      An array like ``kernel``, of its dtype; integers become jax's default float.

    Raises:
      ValueError: no such axis, or the shape of ``s`` is not the kernel's without ``axis``.

    Example:
      >>> import jax.numpy as jnp
      >>> print(translate(jnp.array([1.0]), jnp.zeros((1, 3))))
      [[1. 1. 1.]]
    """
    s, kernel = floating_array("s", s), floating_array("kernel", kernel)
    shape = list(kernel.shape)
    del shape[_known(axis, kernel)]
    if s.shape != tuple(shape):
        raise ValueError(f"s has shape {s.shape}, but the kernel without axis {axis} has {tuple(shape)}")
    return _translate(s, kernel, axis)


def rotate(s: jax.Array, q: jax.Array, axis: int = 0) -> jax.Array:
    """Flow of a rotation: ``expm(skew(s)) q`` along one axis.

    In two dimensions ``s`` is the angle, counter-clockwise. The generator is antisymmetric, the charge the angular
    momentum, and the Euclidean kinetic energy is kept.

    Source: Tanaka & Kunin 2021, section 3 (rotation); Zhao et al. 2023, section 4 (radial rescaling activations).

    Args:
      s: array (n (n - 1) / 2,), n the length of the axis.
      q: array.
      axis: the axis to rotate.

    Returns:
      An array like ``q``, of its dtype; integers become jax's default float.

    Raises:
      ValueError: no such axis, or the wrong number of coordinates.

    Example:
      >>> import jax.numpy as jnp
      >>> rotated = rotate(jnp.array([jnp.pi / 2]), jnp.array([2.0, 0.0]))
      >>> print(bool(jnp.allclose(rotated, jnp.array([0.0, 2.0]), atol=1e-6)))
      True
    """
    s, q = floating_array("s", s), floating_array("q", q)
    n = q.shape[_known(axis, q)]
    require_rotation_count(s, n)
    moved = _rotate(s, q, axis)
    require_finite_move("s", s, moved, q)
    return moved


def require_finite_move(name: str, s: jax.Array, after: Any, before: Any) -> None:
    """Refuse concrete coordinates so large that the flow left the finite numbers, by a ValueError that names them."""
    before, after = jax.tree.leaves(before), jax.tree.leaves(after)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in (s, *after, *before)):
        return
    lost = [not bool(jnp.all(jnp.isfinite(leaf))) for leaf in after]
    if any(lost) and all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in before):
        largest = float(jnp.max(jnp.abs(s)))
        raise ValueError(f"{name} has the largest entry {largest:.3g}, but its exponential must stay finite")


def _known(axis: int, array: jax.Array) -> int:
    if isinstance(axis, bool) or not isinstance(axis, int) or not -array.ndim <= axis < array.ndim:
        raise ValueError(f"axis {axis} does not exist in an array of shape {array.shape}")
    return axis


@partial(jax.jit, static_argnums=2)
def _translate(s: jax.Array, kernel: jax.Array, axis: int) -> jax.Array:
    return kernel + jnp.expand_dims(s.astype(kernel.dtype), axis)


@partial(jax.jit, static_argnums=2)
def _rotate(s: jax.Array, q: jax.Array, axis: int) -> jax.Array:
    dtype = accumulation_dtype(q.dtype)
    rotation = exponential("orthogonal", s, q.shape[axis])[0].astype(dtype)
    moved = jnp.tensordot(rotation, q.astype(dtype), axes=((1,), (axis,)), precision="highest")
    return jnp.moveaxis(moved, 0, axis).astype(q.dtype)

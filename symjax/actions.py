"""Group actions on single arrays: translations and rotations."""

from functools import partial

import jax
import jax.numpy as jnp

__all__ = ["rotate", "skew", "translate"]


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
      An array like ``kernel``, of its dtype.

    Raises:
      ValueError: no such axis, or the shape of ``s`` is not the kernel's without ``axis``.

    Example:
      >>> import jax.numpy as jnp
      >>> print(translate(jnp.array([1.0]), jnp.zeros((1, 3))))
      [[1. 1. 1.]]
    """
    shape = list(jnp.shape(kernel))
    del shape[_known(axis, kernel)]
    if jnp.shape(s) != tuple(shape):
        raise ValueError(f"s has shape {jnp.shape(s)}, but the kernel without axis {axis} has {tuple(shape)}")
    return _translate(s, kernel, axis)


def skew(s: jax.Array, n: int) -> jax.Array:
    """Fill an antisymmetric matrix: ``s`` below the diagonal, row by row, ``-s`` above it.

    Source: the standard basis of so(n); rotation in Tanaka & Kunin 2021, section 3.

    Args:
      s: array (n (n - 1) / 2,), coordinates of the Lie algebra so(n) in the order (1, 0), (2, 0), (2, 1), ...
      n: the dimension.

    Returns:
      An array (n, n) of the dtype of ``s``.

    Raises:
      ValueError: the wrong number of coordinates.

    Example:
      >>> import jax.numpy as jnp
      >>> print(skew(jnp.array([2.0]), 2))
      [[ 0. -2.]
       [ 2.  0.]]
    """
    _right_count(s, n)
    return _skew(s, n)


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
      An array like ``q``, of its dtype.

    Raises:
      ValueError: no such axis, or the wrong number of coordinates.

    Example:
      >>> import jax.numpy as jnp
      >>> rotated = rotate(jnp.array([jnp.pi / 2]), jnp.array([2.0, 0.0]))
      >>> print(bool(jnp.allclose(rotated, jnp.array([0.0, 2.0]), atol=1e-6)))
      True
    """
    n = jnp.shape(q)[_known(axis, q)]
    _right_count(s, n)
    return _rotate(s, q, axis)


def _known(axis: int, array: jax.Array) -> int:
    if not -jnp.ndim(array) <= axis < jnp.ndim(array):
        raise ValueError(f"axis {axis} does not exist in an array of shape {jnp.shape(array)}")
    return axis


def _right_count(s: jax.Array, n: int) -> None:
    count = n * (n - 1) // 2
    if jnp.shape(s) != (count,):
        raise ValueError(f"s has shape {jnp.shape(s)}, but rotations of {n} dimensions have {count} coordinates")


@partial(jax.jit, static_argnums=2)
def _translate(s: jax.Array, kernel: jax.Array, axis: int) -> jax.Array:
    return kernel + jnp.expand_dims(s.astype(kernel.dtype), axis)


@partial(jax.jit, static_argnums=1)
def _skew(s: jax.Array, n: int) -> jax.Array:
    lower = jnp.zeros((n, n), s.dtype).at[jnp.tril_indices(n, -1)].set(s)
    return lower - lower.T


@partial(jax.jit, static_argnums=2)
def _rotate(s: jax.Array, q: jax.Array, axis: int) -> jax.Array:
    rotation = jax.scipy.linalg.expm(_skew(s, q.shape[axis])).astype(q.dtype)
    return jnp.moveaxis(jnp.tensordot(rotation, q, axes=((1,), (axis,)), precision="highest"), 0, axis)

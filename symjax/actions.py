"""Group actions on single arrays: translations and rotations."""

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
      An array like ``kernel``.

    Raises:
      ValueError: the shape of ``s`` is not the kernel's without ``axis``.

    Example:
      >>> import jax.numpy as jnp
      >>> print(translate(jnp.array([1.0]), jnp.zeros((1, 3))))
      [[1. 1. 1.]]
    """
    shape = list(jnp.shape(kernel))
    del shape[axis]
    if jnp.shape(s) != tuple(shape):
        raise ValueError(f"s has shape {jnp.shape(s)}, but the kernel without axis {axis} has {tuple(shape)}")
    return kernel + jnp.expand_dims(s, axis)


def skew(s: jax.Array, n: int) -> jax.Array:
    """Antisymmetric matrix (n, n) with ``s`` (n (n - 1) / 2,) below the diagonal, row by row."""
    count = n * (n - 1) // 2
    if jnp.shape(s) != (count,):
        raise ValueError(f"s has shape {jnp.shape(s)}, but rotations of {n} dimensions have {count} coordinates")
    lower = jnp.zeros((n, n), s.dtype).at[jnp.tril_indices(n, -1)].set(s)
    return lower - lower.T


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
      An array like ``q``.

    Raises:
      ValueError: the wrong number of coordinates.
    """
    n = jnp.shape(q)[axis]
    rotation = jax.scipy.linalg.expm(skew(s, n))
    return jnp.moveaxis(jnp.tensordot(rotation, q, axes=((1,), (axis,)), precision="highest"), 0, axis)

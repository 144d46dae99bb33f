"""Scaled rotations ``R_z = |z| Q_z`` with a given first column z, and products with them in O(h), nothing formed.

``Q_z`` is a product of h - 1 rotations of neighbouring planes, so that a product with it is a linear recurrence.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from symjax.arguments import accurate_array, accurate_arrays, is_concrete

__all__ = ["Product", "carry", "r_matrix", "require_vector", "rotate_by", "rotates"]

Product = Literal["matrix", "transpose", "inverse"]


class _Rotation(NamedTuple):
    """``R_z`` as its norm, in two factors that do not overflow, and the cosines and sines of h - 1 plane rotations."""

    largest: jax.Array
    share: jax.Array
    cosines: jax.Array
    sines: jax.Array


def r_matrix(z: jax.Array) -> jax.Array:
    """Form the matrix ``R_z``: its first column is z, and ``R_z R_z^T = R_z^T R_z = |z|^2 I``.

    With the signed tail norms ``rho_j = |(z_j, ..., z_h)|``, ``rho_h = z_h``, and ``cos_j = z_j / rho_j``,
    ``sin_j = rho_{j+1} / rho_j``, it is ``|z| G_{h-1} ... G_1``, G_j the rotation of the plane (j, j + 1). Its
    determinant is ``|z|^h`` (h >= 2). Where a tail is zero, or so small beside the largest entry that its square loses
    digits, the angle is 0.

    Source: Zhao et al. 2023, section 3 and its appendix on the nonlinear action (the matrix R_z).
    Deviation: the authors' code takes the last angle by arccos and loses the sign of z_h, and divides 0 by 0 at
      trailing zeros; signed tail norms do neither.

    Args:
      z: array (h,), floating, no entry above 1/tiny (:func:`rotates`). Zero gives the zero matrix.

    Returns:
      An array (h, h).

    Raises:
      ValueError: z is not a vector.

    Example:
      >>> import jax.numpy as jnp
      >>> print(r_matrix(jnp.array([3.0, -4.0])))
      [[ 3.  4.]
       [-4.  3.]]
    """
    z = accurate_array("z", z)
    require_vector("z", z)
    return _form(z)


def rotate_by(z: jax.Array, x: jax.Array, product: Product = "matrix") -> jax.Array:
    """Multiply vectors by ``R_z``, its transpose or its inverse without forming it, in O(h) operations a vector.

    Source: Zhao et al. 2023, section 3; ``R_z^-1 = R_z^T / |z|^2``.

    Args:
      z: array (h,), floating.
      x: array (h, ...), the vectors along the first axis.
      product: ``"matrix"``, ``"transpose"`` or ``"inverse"``.

    Returns:
      An array like ``x``, of at least float32; NaN for the inverse of a traced zero.

    Raises:
      ValueError: z is not a vector, x has another length, an unknown product, or the inverse of a concrete zero.

    Example:
      >>> import jax.numpy as jnp
      >>> print(rotate_by(jnp.array([3.0, -4.0]), jnp.array([1.0, 0.0])))
      [ 3. -4.]
    """
    z, x = accurate_arrays(z=z, x=x)
    require_vector("z", z)
    if jnp.ndim(x) < 1 or jnp.shape(x)[0] != jnp.shape(z)[0]:
        raise ValueError(f"x has shape {jnp.shape(x)}, but its first axis must have the length of z, {jnp.shape(z)[0]}")
    if product not in get_args(Product):
        raise ValueError(f"product is {product!r}, but it must be one of {', '.join(map(repr, get_args(Product)))}")
    if product == "inverse" and is_concrete(z) and not bool(jnp.any(z != 0)):
        raise ValueError("z is zero, but only a vector that is not has an inverse R_z")
    return _rotate_by(z, x, product)


def carry(u: jax.Array, before: jax.Array, after: jax.Array) -> jax.Array:
    """Carry a reader of a hidden layer along: ``U R_before R_after^-1``, neither matrix formed.

    Then ``carry(u, before, after) @ after == u @ before``.

    Source: Zhao et al. 2023, section 3 (the action on U).

    Args:
      u: array (m, h), floating.
      before: activations (h,) that U reads.
      after: activations (h,) in their place. Where either is zero or not finite there is no such map.

    Returns:
      An array (m, h); NaN where there is no such map and nothing can be raised, under a transformation of jax.

    Raises:
      ValueError: shapes that do not compose, or a concrete ``before`` or ``after`` that is zero or not finite.

    Example:
      >>> import jax.numpy as jnp
      >>> moved = carry(jnp.array([[1.0, 2.0]]), jnp.array([1.0, 1.0]), jnp.array([0.0, -2.0]))
      >>> print(moved @ jnp.array([0.0, -2.0]))
      [3.]
    """
    u, before, after = accurate_arrays(u=u, before=before, after=after)
    require_vector("before", before)
    require_vector("after", after)
    if jnp.shape(before) != jnp.shape(after) or jnp.ndim(u) != 2 or jnp.shape(u)[1] != jnp.shape(before)[0]:
        raise ValueError(
            f"u {jnp.shape(u)}, before {jnp.shape(before)} and after {jnp.shape(after)} do not compose: "
            "they must be (m, h), (h,) and (h,)"
        )
    for name, value in (("before", before), ("after", after)):
        if is_concrete(value) and not bool(rotates(value)):
            raise ValueError(f"{name} is zero or not finite, but only other vectors have a scaled rotation to undo")
    return _carry(u, before, after)


def require_vector(name: str, value: jax.Array) -> None:
    """Refuse what is not a vector with at least one entry, by a ValueError that names the argument."""
    if jnp.ndim(value) != 1 or jnp.shape(value)[0] == 0:
        raise ValueError(f"{name} has shape {jnp.shape(value)}, but must be a vector with at least one entry")


def rotates(z: jax.Array) -> jax.Array:
    """Tell whether a vector has an invertible scaled rotation: not zero, and no entry above 1/tiny.

    XLA divides by the reciprocal, which is flushed to zero above that (4.5e307 in float64, 8.5e37 in float32).

    Source: this library's bookkeeping.

    Args:
      z: array (h,), floating.

    Returns:
      A boolean scalar.
    """
    z = accurate_array("z", z)
    return jnp.any(z != 0) & jnp.all(jnp.abs(z) <= float(1 / jnp.finfo(z.dtype).tiny))


def _tail_norms(z: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Largest entry m, ``z/m``, and its signed tail norms, those too small to be squared set to zero."""
    largest = jnp.max(jnp.abs(z))
    y = z / jnp.where(largest > 0, largest, 1)
    squares = jnp.cumsum(jnp.square(y)[::-1])[::-1]
    info = jnp.finfo(z.dtype)
    seen = squares > info.tiny / info.eps**2
    tails = jnp.where(seen, jnp.sqrt(jnp.where(seen, squares, 1)), 0)
    return largest, y, tails.at[-1].set(jnp.where(seen[-1], y[-1], 0))


def _rotation(z: jax.Array) -> _Rotation:
    largest, y, tails = _tail_norms(z)
    head, rest = tails[:-1], tails[1:]
    seen = head > 0
    safe = jnp.where(seen, head, 1)
    cosines, sines = jnp.where(seen, y[:-1] / safe, 1), jnp.where(seen, rest / safe, 0)
    # h = 1 keeps its sign, a longer vector's first tail is its norm
    return _Rotation(largest, tails[0], cosines, sines)


def _forward(rotation: _Rotation, x: jax.Array) -> jax.Array:
    """``Q x`` for a vector: ``t_{j+1} = sin_j t_j + cos_j x_{j+1}``, out_j = ``cos_j t_j - sin_j x_{j+1}``."""
    _, _, cosines, sines = rotation
    carried = _recurrence(sines, cosines * x[1:], x[0])
    return jnp.append(cosines * carried[:-1] - sines * x[1:], carried[-1])


def _backward(rotation: _Rotation, x: jax.Array) -> jax.Array:
    """``Q^T x`` for a vector, the plane rotations undone from the last to the first."""
    _, _, cosines, sines = rotation
    carried = _recurrence(sines[::-1], (cosines * x[:-1])[::-1], x[-1])[::-1]
    return jnp.append(carried[:1], cosines * carried[1:] - sines * x[:-1])


def _recurrence(factors: jax.Array, terms: jax.Array, first: jax.Array) -> jax.Array:
    """All values of ``t_{j+1} = a_j t_j + b_j`` from ``t_0 = first``, as a parallel scan; stable for ``|a_j| <= 1``."""

    def compose(one: tuple[jax.Array, jax.Array], two: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return one[0] * two[0], two[0] * one[1] + two[1]

    if factors.shape[0] == 0:
        return first[None]
    scale, shift = jax.lax.associative_scan(compose, (factors, terms))
    return jnp.concatenate([first[None], scale * first + shift])


def _on_columns(one: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    columns = x.reshape(x.shape[0], -1)
    return jax.vmap(one, in_axes=1, out_axes=1)(columns).reshape(x.shape)


@jax.jit
def _form(z: jax.Array) -> jax.Array:
    rotation = _rotation(z)
    turned = _on_columns(partial(_forward, rotation), jnp.eye(z.shape[0], dtype=z.dtype))
    return rotation.largest * (rotation.share * turned)


@partial(jax.jit, static_argnums=2)
def _rotate_by(z: jax.Array, x: jax.Array, product: Product) -> jax.Array:
    rotation = _rotation(z)
    if product == "matrix":
        return rotation.largest * (rotation.share * _on_columns(partial(_forward, rotation), x))
    turned = _on_columns(partial(_backward, rotation), x)
    if product == "transpose":
        return rotation.largest * (rotation.share * turned)
    exists = rotation.largest != 0
    return jnp.where(
        exists, turned / jnp.where(exists, rotation.share, 1) / jnp.where(exists, rotation.largest, 1), jnp.nan
    )


@jax.jit
def _carry(u: jax.Array, before: jax.Array, after: jax.Array) -> jax.Array:
    one, two = _rotation(before), _rotation(after)
    rows = _on_columns(lambda row: _forward(two, _backward(one, row)), u.T).T
    exists = rotates(before) & rotates(after)
    ratio = one.largest / jnp.where(exists, two.largest, 1) * (one.share / jnp.where(exists, two.share, 1))
    return jnp.where(exists, ratio, jnp.nan) * rows

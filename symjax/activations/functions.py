"""The formulas of the registry that need more than a line: each with the value, derivative or primitive it is named by.

Nothing here checks its arguments: the functions are called through :class:`symjax.activations.Activation`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from symjax.magnitude import norm, power_of_two

Map = Callable[[jax.Array], jax.Array]

_SLOPE, _SHIFT = 0.1, 0.01  # of leaky_square

LEAKY_SQUARE_MINIMUM = -(_SHIFT**2) / (4 * _SLOPE**2)
"""Its smallest value, at -1/2."""


@dataclass(frozen=True)
class Leaky:
    """A leaky ReLU; equal and of one hash for equal slopes, as its two companions."""

    slope: float

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.nn.leaky_relu(x, self.slope)


@dataclass(frozen=True)
class LeakyDerivative:
    slope: float

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.where(x > 0, 1.0, self.slope).astype(x.dtype)


@dataclass(frozen=True)
class LeakyInverse:
    slope: float

    def __call__(self, y: jax.Array) -> jax.Array:
        return jnp.where(y > 0, y, y / self.slope)


def half_square(x: jax.Array) -> jax.Array:
    return x * x / 2


def leaky_square(x: jax.Array) -> jax.Array:
    return jnp.square(jax.nn.leaky_relu(x, _SLOPE)) + _SHIFT * x


def leaky_square_derivative(x: jax.Array) -> jax.Array:
    return 2 * _curvature(x) * x + _SHIFT


def leaky_square_defined(x: jax.Array) -> jax.Array:
    return leaky_square_derivative(x) > 0


def leaky_square_inverse(y: jax.Array) -> jax.Array:
    return 2 * y / (_SHIFT + jnp.sqrt(_SHIFT**2 + 4 * _curvature(y) * y))


@jax.custom_jvp
def leaky_square_primitive(x: jax.Array) -> jax.Array:
    """``x^2/4 + b^2/8 (y - log(1 + y))``, ``y = 2 x/b``, ``sigma = c x^2 + a x``, ``b = a/c`` on either side."""
    b = _SHIFT / _curvature(x)
    y = 2 * x / b
    near = jnp.abs(y) < 0.25
    w = jnp.where(near, y, 0) / (2 + jnp.where(near, y, 0))
    series = sum(w ** (2 * n) / (2 * n + 3) for n in range(11))
    # log(1 + y) = 2 artanh(w), w = y/(2 + y): near 0 the difference is y w less a series of one sign
    small = y * w - 2 * w**3 * series
    large = y - jnp.log1p(jnp.where(near, 0, y))
    return x * x / 4 + b * b / 8 * jnp.where(near, small, large)


@leaky_square_primitive.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    return leaky_square_primitive(x), leaky_square(x) / leaky_square_derivative(x) * dx


def _curvature(x: jax.Array) -> jax.Array:
    return jnp.where(x > 0, 1.0, _SLOPE**2).astype(x.dtype)


def softplus_ratio(x: jax.Array) -> jax.Array:
    # softplus/sigmoid = (1 + w) log(1 + w)/w with w = e^x, which tends to 1; for x > 0 the plain quotient is exact.
    w = jnp.exp(jnp.minimum(x, 0))
    small = w < jnp.finfo(x.dtype).eps
    w = jnp.where(small, 1, w)
    left = jnp.where(small, 1, (1 + w) * jnp.log1p(w) / w)
    return jnp.where(x > 0, jax.nn.softplus(x) / jax.nn.sigmoid(x), left).astype(x.dtype)


@jax.custom_jvp
def softplus_primitive(x: jax.Array) -> jax.Array:
    # -Li2(-e^x) + x - softplus/sigmoid, with Li2's inversion where e^x > 1. The dilogarithm of the small argument is
    # the integral of log(1 + w t)/t over the unit interval, exact to rounding with 16 nodes for w <= 1.
    node, weight = np.polynomial.legendre.leggauss(16)
    node, weight = (jnp.asarray(each, x.dtype).reshape((1,) * x.ndim + (-1,)) for each in ((1 + node) / 2, weight / 2))
    w = jnp.exp(-jnp.abs(x))
    dilogarithm = jnp.sum(weight * jnp.log1p(w[..., None] * node) / node, axis=-1)  # -Li2(-w)
    right = np.pi**2 / 6 + x * x / 2 - dilogarithm
    return jnp.where(x > 0, right, dilogarithm) + x - softplus_ratio(x)


@softplus_primitive.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    return softplus_primitive(x), softplus_ratio(x) * dx


def radially(profile: Map, axis: int, z: jax.Array) -> jax.Array:
    """Give the direction along an axis times a function of the norm; 0, with derivative 0, where the norm is 0."""
    size = norm(z, axis=axis, keepdims=True)
    zero = size == 0
    safe = jnp.where(zero, 1, size)
    return jnp.where(zero, 0, profile(safe)).astype(z.dtype) * (z / safe)


def over_square(axis: int, z: jax.Array) -> jax.Array:
    """Give ``z/|z|^2`` along an axis; 0, with derivative 0, where the norm is 0.

    Through a power of two of z's size, so that the square stays in range and every bit is that of the plain formula
    where that has one: trajectories beyond the stability of their step amplify the last bit.
    """
    scale = power_of_two(z, axis, keepdims=True)
    near = z / scale
    square = jnp.sum(near * near, axis=axis, keepdims=True)
    zero = square == 0
    return jnp.where(zero, 0, 1 / jnp.where(zero, 1, square)).astype(z.dtype) * near / scale

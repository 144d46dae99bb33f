"""Models whose gradient flow is solved: what Q decides about the rate of convergence and about sharpness.

| model | Q | rate of the loss near the minimum | largest Hessian eigenvalue there |
|---|---|---|---|
| ``(y - u v)^2`` | ``u^2 - v^2`` | ``4 sqrt(Q^2 + 4 y^2)`` | ``2 sqrt(Q^2 + 4 y^2)`` |
| ``(s - u/v)^2`` | ``u^2 + v^2`` | ``4 (1 + s^2)^2/Q`` | ``2 (1 + s^2)^2/Q`` |
| ``w_1^2 + a w_2^2`` | ``a log w_1 - log w_2`` | 4 min(1, a) | 2 max(1, a) |

Q has the scale of the paper here, twice that of :mod:`symjax.conserved`. Everything broadcasts.

Source: Zhao et al. 2023, section 5 and appendix (Q against convergence); the rates and spectra are derived.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Pair = tuple[jax.Array, jax.Array]


class Limit(NamedTuple):
    """What happens near a minimum: ``L ~ e^(-rate t)``, and the largest eigenvalue of the Hessian."""

    rate: jax.Array
    sharpness: jax.Array


def product_loss(params: Pair, target: jax.Array) -> jax.Array:
    """Evaluate ``(y - u v)^2``."""
    u, v = params
    return (target - u * v) ** 2


def product_charge(params: Pair) -> jax.Array:
    """Evaluate ``Q = u^2 - v^2``, which gradient flow on :func:`product_loss` keeps."""
    u, v = params
    return (u - v) * (u + v)


def product_minimum(charge: jax.Array, target: jax.Array) -> Pair:
    """Find the point of ``u v = y`` with the given Q and u >= 0.

    ``u^2 = (Q + sqrt(Q^2 + 4 y^2))/2``, ``v^2 = u^2 - Q``: Q is a global coordinate of each branch.

    Source: Zhao et al. 2023, section 4 (Q as coordinates of the minimum).

    Args:
      charge: Q, any real numbers.
      target: y.

    Returns:
      ``(u, v)``; where y = 0 the end of the ray with that Q.

    Example:
      >>> print(*product_minimum(jnp.array(3.0), jnp.array(2.0)))
      2.0 1.0
    """
    larger = (jnp.abs(charge) + jnp.hypot(charge, 2 * target)) / 2
    smaller = target**2 / jnp.where(larger > 0, larger, 1)  # without cancellation
    big, small = jnp.sqrt(larger), jnp.sqrt(smaller)
    sign = jnp.where(target < 0, -1, 1)
    return jnp.where(charge >= 0, big, small), sign * jnp.where(charge >= 0, small, big)


def product_limit(charge: jax.Array, target: jax.Array) -> Limit:
    """Give rate ``4 sqrt(Q^2 + 4 y^2)`` and sharpness ``2 sqrt(Q^2 + 4 y^2)`` of :func:`product_loss`.

    The residual obeys ``r' = -2 r (u^2 + v^2)`` exactly, and ``u^2 + v^2 = sqrt(Q^2 + 4 (uv)^2)``: the larger |Q|, the
    faster and the sharper.

    Source: Zhao et al. 2023, section 5; derived.
    """
    root = jnp.hypot(charge, 2 * target)
    return Limit(4 * root, 2 * root)


def quotient_loss(params: Pair, target: jax.Array) -> jax.Array:
    """Evaluate ``(s - u/v)^2``."""
    u, v = params
    return (target - u / v) ** 2


def quotient_charge(params: Pair) -> jax.Array:
    """Evaluate ``Q = u^2 + v^2``, which gradient flow on :func:`quotient_loss` keeps."""
    u, v = params
    return u * u + v * v


def quotient_minimum(charge: jax.Array, target: jax.Array) -> Pair:
    """Find the point of ``u/v = s`` with the given Q > 0 and v > 0: ``v^2 = Q/(1 + s^2)``."""
    v = jnp.sqrt(charge / (1 + target**2))
    return target * v, v


def quotient_limit(charge: jax.Array, target: jax.Array) -> Limit:
    """Give rate ``4 (1 + s^2)^2/Q`` and sharpness ``2 (1 + s^2)^2/Q`` of :func:`quotient_loss`.

    Here the smaller Q is the faster and the sharper. In Figure 7 the loss is a mean over m n entries, which divides
    both by m n.

    Source: Zhao et al. 2023, section 5 and Figure 7; derived.
    """
    square = (1 + target**2) ** 2 / charge
    return Limit(4 * square, 2 * square)


def quotient_bound(loss: jax.Array, charge: jax.Array, time: jax.Array) -> jax.Array:
    """Bound the loss at a time of gradient flow on :func:`quotient_loss` from above: ``L(0) e^(-4 t/Q)``."""
    return loss * jnp.exp(-4 * time / charge)


def ellipse_loss(params: Pair, ratio: jax.Array) -> jax.Array:
    """Evaluate ``w_1^2 + a w_2^2``."""
    w1, w2 = params
    return w1 * w1 + ratio * w2 * w2


def ellipse_charge(params: Pair, ratio: jax.Array) -> jax.Array:
    """Evaluate ``Q = a log |w_1| - log |w_2|``, the logarithm of ``|w_1|^a/|w_2|``: the power itself overflows."""
    w1, w2 = params
    return ratio * jnp.log(jnp.abs(w1)) - jnp.log(jnp.abs(w2))


def ellipse_flow(start: Pair, ratio: jax.Array, time: jax.Array) -> Pair:
    """Follow gradient flow on :func:`ellipse_loss`: ``w_1 = w_10 e^(-2t)``, ``w_2 = w_20 e^(-2at)``.

    Source: Zhao et al. 2023, appendix (ellipse).
    """
    return start[0] * jnp.exp(-2 * time), start[1] * jnp.exp(-2 * ratio * time)


class Model(NamedTuple):
    """A model with one parameter beside its two weights: loss, minimum at a given Q, and what happens near it."""

    loss: Callable[[Pair, jax.Array], jax.Array]
    minimum: Callable[[jax.Array, jax.Array], Pair]
    limit: Callable[[jax.Array, jax.Array], Limit]


PRODUCT = Model(product_loss, product_minimum, product_limit)
QUOTIENT = Model(quotient_loss, quotient_minimum, quotient_limit)

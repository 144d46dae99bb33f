"""The implicit adaptive optimiser: a normalised network under SGD as RMSProp on the unit sphere.

The loss depends on the direction `qh = q/r` alone, and the direction sees the learning rate `eta/((1 - beta) r^2)`. As
r^2 accumulates squared gradients and weight decay forgets them, the norm plays the part of RMSProp's denominator.

Source: Tanaka & Kunin 2021, Noether's Learning Dynamics, Sec. 4 and Eq. 18; angles: Wan et al. 2021, Spherical Motion
Dynamics.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from symjax.arguments import accurate_array, accurate_arrays, real_numbers


class Correspondence(NamedTuple):
    """The RMSProp that a scale-symmetric filter under SGD follows, `qh -= learning_rate gh/sqrt(G)`."""

    rho: jax.Array  #: forgetting of G, 1 - 4 eta k/(1 - beta)
    learning_rate: jax.Array  #: sqrt(2 eta k/(1 + beta))
    average: jax.Array  #: G at the start, r_0^4 2 k (1 - beta)^2/(eta (1 + beta))
    prefactor: jax.Array  #: of the integral of |gh|^2 in r^4, 2 eta (1 + beta)/(1 - beta)^3; RMSProp ties it to rho


class RMSPropState(NamedTuple):
    """Unit vectors, shape (..., n), and their running mean of squared gradient norms, shape (...)."""

    direction: jax.Array
    average: jax.Array


def rmsprop_correspondence(
    squared_norm: jax.Array, *, learning_rate: ArrayLike, momentum: ArrayLike, weight_decay: ArrayLike
) -> Correspondence:
    """Map SGD's hyper-parameters and the first squared norm to RMSProp's.

    `rho = 1 - 4 eta k/(1 - beta)`, and from `eta/((1 - beta) r^2) = sqrt(2 eta k/(1 + beta))/sqrt(G)` the learning rate
    and `G(0) = r_0^4 2 k (1 - beta)^2/(eta (1 + beta))`. Needs k > 0: without decay nothing is forgotten (AdaGrad).

    Source: Tanaka & Kunin 2021, Sec. 4, Eq. 17-18; the equivalent learning rate is derived.

    Args:
        squared_norm: r_0^2, any shape, floating.
        learning_rate: eta, constant.
        momentum: beta < 1.
        weight_decay: k > 0.
    """
    squared_norm = accurate_array("squared_norm", squared_norm)
    eta, beta, decay = real_numbers(
        squared_norm.dtype, learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay
    )
    return Correspondence(
        rho=1 - 4 * eta * decay / (1 - beta),
        learning_rate=jnp.sqrt(2 * eta * decay / (1 + beta)),
        average=squared_norm**2 * (2 * decay * (1 - beta) ** 2 / (eta * (1 + beta))),
        prefactor=2 * eta * (1 + beta) / (1 - beta) ** 3,
    )


def rmsprop_step(state: RMSPropState, gradient: jax.Array, *, learning_rate: ArrayLike, rho: ArrayLike) -> RMSPropState:
    """Take one step of norm-wise RMSProp on the unit sphere.

    `q <- (q - eta gh/sqrt(G))/|.|`, `G <- rho G + (1 - rho)|gh|^2`: one denominator for a whole filter.

    Source: Tanaka & Kunin 2021, Eq. 18.
    Deviation: renormalised after each step, as the direction of a filter is.

    Args:
        state: directions (..., n) and averages (...).
        gradient: gh, of the loss at the unit vector, shape (..., n).
        learning_rate: of RMSProp.
        rho: forgetting factor.

    Returns:
        The state after the step.

    Raises:
        ValueError: what holds no real numbers, or shapes that do not fit.

    >>> state = RMSPropState(jnp.array([1.0, 0.0]), jnp.array(1.0))
    >>> print(rmsprop_step(state, jnp.array([0.0, 2.0]), learning_rate=0.5, rho=0.5).average)
    2.5
    """
    if not isinstance(state, RMSPropState):
        raise ValueError(f"state is a {type(state).__name__}, but must be an RMSPropState")
    direction, average, gradient = accurate_arrays(direction=state.direction, average=state.average, gradient=gradient)
    if gradient.shape != direction.shape or average.shape != direction.shape[:-1]:
        raise ValueError(
            f"direction {direction.shape}, average {average.shape} and gradient {gradient.shape} must be (..., n), "
            "(...) and (..., n)"
        )
    rho, rate = real_numbers(gradient.dtype, rho=rho, learning_rate=learning_rate)
    return _rmsprop_step(RMSPropState(direction, average), gradient, rate, rho)


@jax.jit
def _rmsprop_step(state: RMSPropState, gradient: jax.Array, rate: jax.Array, rho: jax.Array) -> RMSPropState:
    moved = state.direction - (rate / jnp.sqrt(state.average))[..., None] * gradient
    norm = jnp.sqrt(jnp.sum(moved**2, axis=-1, keepdims=True))
    average = rho * state.average + (1 - rho) * jnp.sum(gradient**2, axis=-1)
    return RMSPropState(moved / norm, average)


def effective_learning_rate(
    squared_norm: jax.Array, *, learning_rate: ArrayLike, momentum: ArrayLike, weight_decay: ArrayLike = 0.0
) -> jax.Array:
    """Return the learning rate of a filter's direction, `eta/((1 - beta - eta k) r^2)`.

    Exact at beta = 0, where one step of SGD is a step of that size from the unit vector along gh, renormalised; with
    momentum of leading order in eta k/(1 - beta), where Tanaka & Kunin 2021, Eq. 15, has `eta/((1 - beta) r^2)`.

    Source: Tanaka & Kunin 2021, Eq. 15; the decay's part is derived.

    Args:
        squared_norm: r^2, any shape, floating.
        learning_rate: eta.
        momentum: beta < 1.
        weight_decay: k < (1 - beta)/eta.

    Returns:
        Learning rate on the unit sphere, shape and dtype of r^2.

    >>> print(effective_learning_rate(jnp.array(4.0), learning_rate=0.5, momentum=0.5))
    0.25
    """
    squared_norm = accurate_array("squared_norm", squared_norm)
    eta, beta, decay = real_numbers(
        squared_norm.dtype, learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay
    )
    return eta / ((1 - beta - eta * decay) * squared_norm)


def angular_update(
    squared_norm: jax.Array, squared_gradient: jax.Array, *, learning_rate: ArrayLike, weight_decay: ArrayLike
) -> jax.Array:
    """Return the angle in radians by which one step turns a filter, exactly, without momentum.

    `tan(theta_n) = eta |gh|/((1 - eta k) r_n^2)`, `|gh|^2 = r_n^2 |g_n|^2`, the gradient being tangent.

    Source: derived.

    Args:
        squared_norm: r_n^2, any shape.
        squared_gradient: `|gh|^2`, same shape.
        learning_rate: eta.
        weight_decay: k < 1/eta.
    """
    squared_norm, squared_gradient = accurate_arrays(squared_norm=squared_norm, squared_gradient=squared_gradient)
    rate = effective_learning_rate(squared_norm, learning_rate=learning_rate, momentum=0.0, weight_decay=weight_decay)
    return jnp.arctan(rate * jnp.sqrt(squared_gradient))


def equilibrium_angle(*, learning_rate: ArrayLike, momentum: ArrayLike, weight_decay: ArrayLike) -> jax.Array:
    """Return the angle in radians between successive filters once their norm is stationary.

    `cos(theta) = 1 - eta k/(1 + beta)`: the gradient's size does not matter. It follows from the exact discrete law
    with constant `R` and `|v|^2` (`eta |v|^2 (1 + beta)/2 = k R`); at beta = 0 it is `cos(theta) = 1 - eta k`.

    Source: derived; to leading order `sqrt(2 eta k/(1 + beta))`, Wan et al. 2021.

    Args:
        learning_rate: eta, a scalar or an array; the three broadcast.
        momentum: beta < 1.
        weight_decay: k, `eta k <= 2 (1 + beta)`.

    Returns:
        The angle in radians, of the broadcast shape, floating.
    """
    eta, beta, decay = accurate_arrays(learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay)
    share = eta * decay / (1 + beta)
    return 2 * jnp.arcsin(jnp.sqrt(share / 2))


def equilibrium_squared_norm_without_momentum(
    squared_gradient: jax.Array, *, learning_rate: ArrayLike, weight_decay: ArrayLike
) -> jax.Array:
    """Return the exact fixed point of the discrete law at beta = 0, `r^4 = eta |gh|^2/(k (2 - eta k))`.

    Source: derived from `R <- (1 - eta k)^2 R + eta^2 |gh|^2/R`.

    Args:
        squared_gradient: `|gh|^2` at the unit vector, any shape, floating.
        learning_rate: eta.
        weight_decay: k, `0 < eta k < 2`.

    Returns:
        r^2, shape and dtype of `|gh|^2`.

    >>> gradient = jnp.array(4.0)
    >>> print(equilibrium_squared_norm_without_momentum(gradient, learning_rate=1.0, weight_decay=1.0))
    2.0
    """
    squared_gradient = accurate_array("squared_gradient", squared_gradient)
    eta, decay = real_numbers(squared_gradient.dtype, learning_rate=learning_rate, weight_decay=weight_decay)
    return jnp.sqrt(eta / (decay * (2 - eta * decay)) * squared_gradient)

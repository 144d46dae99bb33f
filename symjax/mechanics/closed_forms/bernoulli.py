"""Eq. 17: the squared norm of a scale-symmetric filter, linear in its square, and where growth and decay balance."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from symjax.arguments import accurate_array, accurate_arrays, real_numbers
from symjax.mechanics.closed_forms.oscillator import relaxation_step

Gradients = Literal["smooth", "noise"]


class BernoulliState(NamedTuple):
    """State of Eq. 17, relative to its start so that no fourth power leaves the range of float32."""

    start: jax.Array  #: r_0^2
    ratio: jax.Array  #: r^4/r_0^4, a compensated sum
    compensation: jax.Array  #: what the sum still owes to `ratio`


def bernoulli_start(squared_norm: jax.Array) -> BernoulliState:
    """Open Eq. 17 at `r_0^2 > 0`, any shape, floating.

    Source: Tanaka & Kunin 2021, Eq. 17.
    """
    squared_norm = accurate_array("squared_norm", squared_norm)
    return BernoulliState(squared_norm, jnp.ones_like(squared_norm), jnp.zeros_like(squared_norm))


def bernoulli_value(state: BernoulliState) -> jax.Array:
    """Return the predicted `r^2 = r_0^2 sqrt(r^4/r_0^4)`, shape and dtype of r_0^2.

    Source: Tanaka & Kunin 2021, Eq. 17.
    """
    return state.start * jnp.sqrt(state.ratio)


def bernoulli_step(
    state: BernoulliState,
    *,
    squared_gradient: jax.Array,
    learning_rate: ArrayLike,
    momentum: ArrayLike,
    weight_decay: ArrayLike,
    dampening: ArrayLike = 0.0,
) -> BernoulliState:
    """Advance the squared norm of a scale-symmetric filter by one step of Eq. 17.

    With `u = r^4` and `dt = eta (1 - delta)`: `u' = -(4 k/(1 - beta)) u + (2 dt (1 + beta)/(1 - beta)^3) |gh|^2`,
    solved exactly over the step for a constant `|gh|`, so that

        r^2(t) = sqrt( (2 eta (1 + beta)/(1 - beta)^3) int_0^t e^{-(4k/(1-beta))(t-tau)} |gh|^2 dtau
                       + e^{-(4k/(1-beta)) t} r^4(0) ).

    Source: Tanaka & Kunin 2021, Eq. 16-17.
    Caution: the equation takes gradients to be smooth over the momentum's memory. Independent minibatch gradients add
    in squares, `|v|^2 = |g|^2/(1 - beta^2)`, not `|g|^2/(1 - beta)^2`: the source is then `2 eta/(1 - beta)^2`, an
    amplification of 100 and not 1900 at beta = 0.9, and r^2 fed with raw minibatch squares comes out up to 4.36 times
    too large. `smooth_squared_gradient` of the measured buffer mends it; `discrete.quadratic_step` is exact anyway.

    Args:
        state: what `bernoulli_start` or the step before returned.
        squared_gradient: `|gh|^2 = r^2 |g|^2`, both at the step's start, shape of r^2.
        learning_rate: eta of this step.
        momentum: beta < 1.
        weight_decay: k; zero is exact.
        dampening: delta.
    """
    if not isinstance(state, BernoulliState):
        raise ValueError(f"state is a {type(state).__name__}, but must be the BernoulliState of bernoulli_start")
    numbers = real_numbers(
        state.start.dtype,
        squared_gradient=squared_gradient,
        learning_rate=learning_rate,
        momentum=momentum,
        weight_decay=weight_decay,
        dampening=dampening,
    )
    return _bernoulli_step(state, *numbers)


@jax.jit
def _bernoulli_step(
    state: BernoulliState,
    squared_gradient: jax.Array,
    eta: jax.Array,
    beta: jax.Array,
    decay: jax.Array,
    delta: jax.Array,
) -> BernoulliState:
    duration = eta * (1 - delta)
    rate = 4 * decay / (1 - beta)
    source = fourth_power_source(learning_rate=duration, momentum=beta, gradients="smooth")
    force = source * (squared_gradient / state.start / state.start)
    lost = jnp.expm1(-rate * duration) * state.ratio
    gained = relaxation_step(jnp.zeros_like(force), force=force, rate=rate, duration=duration)
    term = gained + lost - state.compensation
    ratio = state.ratio + term
    return BernoulliState(state.start, ratio, (ratio - state.ratio) - term)


def smooth_squared_gradient(
    momentum: ArrayLike, squared_norm: jax.Array, squared_velocity: jax.Array, dampening: ArrayLike = 0.0
) -> jax.Array:
    """Return `((1 - beta)/(1 - delta))^2 r^2 |v|^2`: the `|gh|^2` that Eq. 17 means, measured by the momentum buffer.

    Source: derived; see the caution at `bernoulli_step`. Args: beta, r^2, |v|^2 of the buffer after the step, delta.
    """
    squared_norm, squared_velocity = accurate_arrays(squared_norm=squared_norm, squared_velocity=squared_velocity)
    beta, delta = real_numbers(squared_norm.dtype, momentum=momentum, dampening=dampening)
    return ((1 - beta) / (1 - delta)) ** 2 * squared_norm * squared_velocity


def fourth_power_source(*, learning_rate: ArrayLike, momentum: ArrayLike, gradients: Gradients = "smooth") -> jax.Array:
    """Return the factor of `|gh|^2` in `(r^4)'`.

    `2 eta (1 + beta)/(1 - beta)^3` for gradients smooth over the momentum's memory, `2 eta/(1 - beta)^2` for
    independent ones.

    Source: Tanaka & Kunin 2021, Eq. 17; for independent gradients derived, see the caution at `bernoulli_step`.

    Args:
        learning_rate: eta, a scalar or an array; broadcasts with beta.
        momentum: beta < 1.
        gradients: which of the two.

    Raises:
        ValueError: if `gradients` is neither 'smooth' nor 'noise'.

    >>> round(float(fourth_power_source(learning_rate=0.5, momentum=0.9)))
    1900
    """
    if gradients not in ("smooth", "noise"):
        raise ValueError(f"gradients must be 'smooth' or 'noise', got {gradients!r}; choose one of them")
    eta, beta = accurate_arrays(learning_rate=learning_rate, momentum=momentum)
    source = 2 * eta / (1 - beta) ** 2
    return source * (1 + beta) / (1 - beta) if gradients == "smooth" else source


def equilibrium_squared_norm(
    squared_gradient: jax.Array,
    *,
    learning_rate: ArrayLike,
    momentum: ArrayLike,
    weight_decay: ArrayLike,
    gradients: Gradients = "smooth",
) -> jax.Array:
    """Return the r^2 at which growth and decay balance, for a constant `|gh|^2` and k > 0.

    Smooth: `r^4 = eta (1 + beta) |gh|^2/(2 k (1 - beta)^2)`. Independent: `r^4 = eta |gh|^2/(2 k (1 - beta))`.

    Source: fixed point of Tanaka & Kunin 2021, Eq. 16, and its correction for noise (derived).

    Args:
        squared_gradient: `|gh|^2` at the unit vector, any shape, floating.
        learning_rate: eta.
        momentum: beta < 1.
        weight_decay: k > 0.
        gradients: as for `fourth_power_source`.

    Returns:
        r^2, shape and dtype of `|gh|^2`.
    """
    squared_gradient = accurate_array("squared_gradient", squared_gradient)
    eta, beta, decay = real_numbers(
        squared_gradient.dtype, learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay
    )
    source = fourth_power_source(learning_rate=eta, momentum=beta, gradients=gradients)
    return jnp.sqrt(source * (1 - beta) / (4 * decay) * squared_gradient)

"""The driven damped oscillator and its limit without momentum, a step at a time: the laws linear in x."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from symjax.arguments import accurate_array, accurate_arrays, real_numbers

Symmetry = Literal["translation", "scale", "rescale"]


class Oscillator(NamedTuple):
    """Position and velocity of a driven damped oscillator, of one shape."""

    position: jax.Array
    velocity: jax.Array


class Coefficients(NamedTuple):
    """What one step of SGD is to the oscillator."""

    damping: jax.Array  #: Gam
    stiffness: jax.Array  #: om^2
    duration: jax.Array  #: time of one step, eta (1 - delta)


def oscillator_coefficients(
    symmetry: Symmetry,
    *,
    learning_rate: ArrayLike,
    momentum: ArrayLike,
    weight_decay: ArrayLike,
    dampening: ArrayLike = 0.0,
) -> Coefficients:
    """Return Gam, om^2 and the duration of a step for the symmetry's law.

    `om^2 = 2 k/(eta (1 - delta)(1 + beta))` for translation, twice that for scale and rescale. The force F is 0 for
    translation, `2 |v|^2/(1 - delta)^2` for scale and `2 (|v_2|^2 - |v_1|^2)/(1 - delta)^2` for rescale, v the buffer.

    Sign: this rescale force belongs to the imbalance taken as out minus in, `x = |q_2|^2 - |q_1|^2`, 1 the incoming
    and 2 the outgoing weights. `laws` (and `discrete` with M = +1 on the incoming side) takes in minus out,
    `|q_1|^2 - |q_2|^2`, whose force is `2 (|v_1|^2 - |v_2|^2)/(1 - delta)^2`; the coefficients are the same.

    Source: Kunin et al. 2021.

    Args:
        symmetry: whose law.
        learning_rate: eta, a scalar or an array; all four broadcast.
        momentum: beta < 1.
        weight_decay: k.
        dampening: delta < 1.

    Returns:
        Gam (per time), om^2 (per time squared) and the duration of a step in the time `eta (1 - delta) n`, floating.

    Raises:
        ValueError: if the symmetry is unknown.
    """
    if symmetry not in ("translation", "scale", "rescale"):
        raise ValueError(f"symmetry must be 'translation', 'scale' or 'rescale', got {symmetry!r}; choose one of them")
    eta, beta, decay, delta = accurate_arrays(
        learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay, dampening=dampening
    )
    duration = eta * (1 - delta)
    inertia = duration * (1 + beta)  # 2 m
    springs = 2 if symmetry == "translation" else 4
    return Coefficients((1 - beta) / inertia, springs * decay / inertia, duration)


def _modes(time: jax.Array, damping: jax.Array, stiffness: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return `e^{-Gam t} cosh(sqrt(d) t)` and `e^{-Gam t} sinh(sqrt(d) t)/sqrt(d)`, d = Gam^2 - om^2 of any sign."""
    disc = damping**2 - stiffness
    over, under = disc > 0, disc < 0
    root = jnp.sqrt(jnp.where(over | under, jnp.abs(disc), 1))
    slow = jnp.exp(-stiffness / jnp.where(over, damping + root, 1) * time)  # -Gam + root without cancellation
    gap = jnp.expm1(-2 * root * time)
    envelope = jnp.exp(-damping * time)
    even = jnp.where(over, slow * (1 + gap / 2), envelope * jnp.where(under, jnp.cos(root * time), 1))
    sine = jnp.where(under, jnp.sin(root * time) / root, time)
    return even, jnp.where(over, -slow * gap / (2 * root), envelope * sine)


def homogeneous(time: jax.Array, *, damping: ArrayLike, stiffness: ArrayLike) -> jax.Array:
    """Return `h(t)`, the undriven motion from rest at 1, in every damping regime.

    `h = (a_+ e^{a_- t} - a_- e^{a_+ t})/(a_+ - a_-)` overdamped, `e^{-Gam t}(1 + Gam t)` critical,
    `e^{-Gam t}(cos w t + (Gam/w) sin w t)` underdamped, `w^2 = om^2 - Gam^2`; one expression through all three.

    Source: Kunin et al. 2021.

    Args:
        time: t >= 0, any shape, floating.
        damping: Gam >= 0.
        stiffness: om^2 >= 0.
    """
    time = accurate_array("time", time)
    damping, stiffness = real_numbers(time.dtype, damping=damping, stiffness=stiffness)
    even, odd = _modes(time, damping, stiffness)
    return even + damping * odd


def green(time: jax.Array, *, damping: ArrayLike, stiffness: ArrayLike) -> jax.Array:
    """Return Green's function `G(t)`: the motion after a unit kick at rest at 0.

    `G = (e^{a_+ t} - e^{a_- t})/(a_+ - a_-)`, `t e^{-Gam t}` or `e^{-Gam t} sin(w t)/w`. From rest,
    `x(t) = x(0) h(t) + int_0^t G(t - tau) F(tau) dtau`.

    Source: Kunin et al. 2021.

    Args:
        time: t >= 0, any shape, floating.
        damping: Gam >= 0.
        stiffness: om^2 >= 0.

    Returns:
        G, a time, shape and dtype of t.

    >>> print(green(jnp.array(2.0), damping=0.0, stiffness=0.0))
    2.0
    """
    time = accurate_array("time", time)
    return _modes(time, *real_numbers(time.dtype, damping=damping, stiffness=stiffness))[1]


def _green_integral(time: jax.Array, damping: jax.Array, stiffness: jax.Array) -> jax.Array:
    """Return `int_0^t G`, each regime by the form that does not cancel there."""
    # Short times: Taylor coefficients of G from its own equation, integrated term by term.
    before, now = jnp.zeros_like(time), time
    series = now * time / 2
    for n in range(16):
        before, now = now, -(2 * damping * (n + 1) * now * time + stiffness * before * time**2) / ((n + 1) * (n + 2))
        series = series + now * time / (n + 3)
    # Long times, well overdamped: difference of the two modes' integrals.
    disc = damping**2 - stiffness
    apart = disc > damping**2 / 4
    root = jnp.sqrt(jnp.where(apart, disc, 1))
    slow, fast = stiffness / jnp.where(apart, damping + root, 1), damping + root
    slow_integral = jnp.where(slow * time > 0, -jnp.expm1(-slow * time) / jnp.where(slow > 0, slow, 1), time)
    fast_integral = -jnp.expm1(-fast * time) / jnp.where(fast > 0, fast, 1)
    # Long times, near critical or underdamped: 1 - h is no small difference any more.
    even, odd = _modes(time, damping, stiffness)
    rest = (1 - even - damping * odd) / jnp.where(apart, 1, jnp.where(stiffness > 0, stiffness, 1))
    long = jnp.where(apart, (slow_integral - fast_integral) / (2 * root), rest)
    return jnp.where(jnp.maximum(damping, jnp.sqrt(stiffness)) * time < 0.5, series, long)


def oscillator_start(value: jax.Array) -> Oscillator:
    """Return the oscillator at rest at `value`, any shape, floating: SGD's buffer starts at zero.

    Source: Kunin et al. 2021 (the homogeneous solution starts at rest).
    """
    value = accurate_array("value", value)
    return Oscillator(value, jnp.zeros_like(value))


def oscillator_step(
    state: Oscillator, *, force: jax.Array, damping: ArrayLike, stiffness: ArrayLike, duration: ArrayLike
) -> Oscillator:
    """Advance `x'' + 2 Gam x' + om^2 x = F` over a duration, exactly for a force constant over it.

        x <- h x + G x' + F int_0^dt G,    x' <- -om^2 G x + (h - 2 Gam G) x' + F G.

    The quadrature is therefore piecewise constant (the force of the step, held): of first order in the duration if F is
    sampled at the step's start, of second if at its middle. Coefficients may change from step to step.

    Source: Kunin et al. 2021, whose integrating factors `e^{+Gam t}` overflow.
    Deviation: the exponential is applied step by step, so schedules are allowed and nothing grows.

    Args:
        state: position and velocity, any shape, floating.
        force: F, held over the step, shape of the position.
        damping: Gam >= 0.
        stiffness: om^2 >= 0.
        duration: dt >= 0.
    """
    if not isinstance(state, Oscillator):
        raise ValueError(f"state is a {type(state).__name__}, but must be an Oscillator(position, velocity)")
    state = Oscillator(*accurate_arrays(position=state.position, velocity=state.velocity))
    numbers = real_numbers(state.position.dtype, force=force, damping=damping, stiffness=stiffness, duration=duration)
    return _oscillator_step(state, *numbers)


@jax.jit
def _oscillator_step(
    state: Oscillator, force: jax.Array, damping: jax.Array, stiffness: jax.Array, duration: jax.Array
) -> Oscillator:
    even, odd = _modes(duration, damping, stiffness)
    position = (even + damping * odd) * state.position + odd * state.velocity
    velocity = -stiffness * odd * state.position + (even - damping * odd) * state.velocity
    return Oscillator(position + force * _green_integral(duration, damping, stiffness), velocity + force * odd)


def relaxation_step(value: jax.Array, *, force: jax.Array, rate: ArrayLike, duration: ArrayLike) -> jax.Array:
    """Advance `x' = -rate x + F` over a duration, exactly for a force constant over it: the laws at beta = 0.

    Translation: rate = k, F = 0. Scale: rate = 2 k, `F = eta |g|^2`; rescale: `eta` times the difference
    of the two sides' `|g|^2`, in the order in which the imbalance is taken (in minus out in `laws`).
    A rate of zero is exact: `x + F dt`, conservation when F = 0.

    Source: Kunin et al. 2021 (gradient flow with decay and finite step).
    Deviation: the reference code drives with `g + k q`; g alone is what the derivation gives.

    Args:
        value: x, any shape, floating.
        force: F, held over the step, shape of x, in its unit per time.
        rate: >= 0, per time.
        duration: dt >= 0.

    Returns:
        x after the duration, shape and dtype of x.

    >>> print(relaxation_step(jnp.array(1.0), force=jnp.array(0.5), rate=0.0, duration=2.0))
    2.0
    """
    value = accurate_array("value", value)
    rate, duration, force = real_numbers(value.dtype, rate=rate, duration=duration, force=force)
    lost = jnp.expm1(-rate * duration)
    span = jnp.where(rate * duration > 0, -lost / jnp.where(rate > 0, rate, 1), duration)
    return value + lost * value + force * span

"""Closed forms of the continuous norm dynamics, as recursions that neither overflow nor lose the slow mode.

Along a broken or kept symmetry the modified equation of SGD is a driven damped oscillator,

    x'' + 2 Gam x' + om^2 x = F,   Gam = (1 - beta)/(eta (1 - delta)(1 + beta)),

with x the sum along a translation, a filter's squared norm or a unit's imbalance. Its solution as an integral against
`e^{+Gam t}` overflows in float32 after 840 steps at beta = 0.9; here each step multiplies by the exact 2x2 matrix
exponential, whose entries all decay.

Source: Kunin et al. 2021, Neural Mechanics; Tanaka & Kunin 2021, Noether's Learning Dynamics, Eq. 16-17.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

Symmetry = Literal["translation", "scale", "rescale"]
Gradients = Literal["smooth", "noise"]


class Oscillator(NamedTuple):
    """Position and velocity of a driven damped oscillator, of one shape."""

    position: jax.Array
    velocity: jax.Array


class Coefficients(NamedTuple):
    """What one step of SGD is to the oscillator."""

    damping: jax.Array  #: Gam
    stiffness: jax.Array  #: om^2
    duration: jax.Array  #: time of one step, eta (1 - delta)


class BernoulliState(NamedTuple):
    """State of Eq. 17, relative to its start so that no fourth power leaves the range of float32."""

    start: jax.Array  #: r_0^2
    ratio: jax.Array  #: r^4/r_0^4, a compensated sum
    compensation: jax.Array  #: what the sum still owes to `ratio`


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
    duration = jnp.asarray(learning_rate) * (1 - jnp.asarray(dampening))
    inertia = duration * (1 + jnp.asarray(momentum))  # 2 m
    springs = 2 if symmetry == "translation" else 4
    return Coefficients((1 - jnp.asarray(momentum)) / inertia, springs * jnp.asarray(weight_decay) / inertia, duration)


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
    damping, stiffness = jnp.asarray(damping, time.dtype), jnp.asarray(stiffness, time.dtype)
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
    return _modes(time, jnp.asarray(damping, time.dtype), jnp.asarray(stiffness, time.dtype))[1]


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
    return Oscillator(value, jnp.zeros_like(value))


@jax.jit
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
    dtype = state.position.dtype
    damping, stiffness, duration = (jnp.asarray(x, dtype) for x in (damping, stiffness, duration))
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
    rate, duration = jnp.asarray(rate, value.dtype), jnp.asarray(duration, value.dtype)
    lost = jnp.expm1(-rate * duration)
    span = jnp.where(rate * duration > 0, -lost / jnp.where(rate > 0, rate, 1), duration)
    return value + lost * value + force * span


def bernoulli_start(squared_norm: jax.Array) -> BernoulliState:
    """Open Eq. 17 at `r_0^2 > 0`, any shape, floating.

    Source: Tanaka & Kunin 2021, Eq. 17.
    """
    return BernoulliState(squared_norm, jnp.ones_like(squared_norm), jnp.zeros_like(squared_norm))


def bernoulli_value(state: BernoulliState) -> jax.Array:
    """Return the predicted `r^2 = r_0^2 sqrt(r^4/r_0^4)`, shape and dtype of r_0^2.

    Source: Tanaka & Kunin 2021, Eq. 17.
    """
    return state.start * jnp.sqrt(state.ratio)


@jax.jit
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
    dtype = state.start.dtype
    eta, beta, decay, delta = (jnp.asarray(x, dtype) for x in (learning_rate, momentum, weight_decay, dampening))
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
    beta, delta = (jnp.asarray(x, squared_norm.dtype) for x in (momentum, dampening))
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
    eta, beta = jnp.asarray(learning_rate), jnp.asarray(momentum)
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
    dtype = squared_gradient.dtype
    eta, beta, decay = (jnp.asarray(x, dtype) for x in (learning_rate, momentum, weight_decay))
    source = fourth_power_source(learning_rate=eta, momentum=beta, gradients=gradients)
    return jnp.sqrt(source * (1 - beta) / (4 * decay) * squared_gradient)

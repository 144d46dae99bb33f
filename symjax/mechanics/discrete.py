"""Exact laws of the discrete update: what SGD with momentum does to `<q, M q>` and `<q, n>`.

PyTorch's rule, for a parameter q with gradient g_n of the loss at q_n,

    v_{n+1} = beta v_n + (1 - delta)(g_n + k q_n),   v_1 = g_0 + k q_0,   q_{n+1} = q_n - eta_n u_n,

with `u_n = v_{n+1}` (heavy ball) or `u_n = g_n + k q_n + beta v_{n+1}` (Nesterov), fixes the squared norm of a filter
(M = 1), the imbalance of a homogeneous unit (M = +1 on one side, -1 on the other) and the sum along a translation
without any approximation: no small step, no smooth gradient, any schedule. What enters is measured at the same step:
the square of the update, and the residual `e_n = <M q_n, g_n>`, which an exact symmetry makes zero. With M = +1 on the
incoming weights the imbalance is in minus out, as in `laws`; `closed_forms` writes its rescale force for out minus in.

Source: derived from the update; the continuous laws it replaces are Kunin et al. 2021, Neural Mechanics, and
Tanaka & Kunin 2021, Noether's Learning Dynamics, Eq. 8 and 16.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


class QuadraticState(NamedTuple):
    """State of the recursion for `R_n = <q_n, M q_n>`; all arrays but `step` have the shape of R."""

    start: jax.Array  #: R_0
    increment: jax.Array  #: R_n - R_0, a compensated sum
    compensation: jax.Array  #: what the sum still owes to `increment`
    inner: jax.Array  #: a_{n-1} = <M q_{n-1}, v_n>
    drop: jax.Array  #: eta_{n-1} <u_{n-1}, M v_n>
    gain: jax.Array  #: factor by which the last step's projection rescaled q (1 without one)
    unprojected: jax.Array  #: R_n before that projection
    step: jax.Array  #: n, a scalar int32


class LinearState(NamedTuple):
    """State of the recursion for `s_n = <q_n, n>`; all arrays but `step` have the shape of s."""

    start: jax.Array  #: s_0
    increment: jax.Array  #: s_n - s_0, a compensated sum
    compensation: jax.Array  #: what the sum still owes to `increment`
    velocity: jax.Array  #: <v_n, n>
    step: jax.Array  #: n, a scalar int32


def _add(total: jax.Array, compensation: jax.Array, term: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Kahan's sum: the rounding of each addition is carried to the next."""
    term = term - compensation
    new = total + term
    return new, (new - total) - term


def _undamped(step: jax.Array, momentum: jax.Array, dampening: jax.Array) -> jax.Array:
    """`1 - delta`, but 1 where PyTorch does not dampen: the first buffer, and a rule without a buffer."""
    return jnp.where((step == 0) | (momentum == 0), jnp.ones_like(dampening), 1 - dampening)


def quadratic_start(value: jax.Array) -> QuadraticState:
    """Open the recursion at `R_0 = <q_0, M q_0>`, the momentum buffer being zero.

    Source: derived from the update.

    Args:
        value: R_0, one entry for each filter or unit, any shape, floating.

    Returns:
        The state of step 0.

    >>> quadratic_value(quadratic_start(jnp.array([1.0, 2.0]))).tolist()
    [1.0, 2.0]
    """
    zero = jnp.zeros_like(value)
    return QuadraticState(value, zero, zero, zero, zero, jnp.ones_like(value), value, jnp.zeros((), jnp.int32))


def quadratic_value(state: QuadraticState) -> jax.Array:
    """Return the predicted `R_n = <q_n, M q_n>`, after the last step's projection if it had one.

    Source: derived from the update.
    """
    return (state.start + state.increment) - state.compensation


@functools.partial(jax.jit, static_argnames=("nesterov",))
def quadratic_step(
    state: QuadraticState,
    *,
    square: jax.Array,
    residual: jax.Array,
    learning_rate: ArrayLike,
    momentum: ArrayLike,
    weight_decay: ArrayLike,
    dampening: ArrayLike = 0.0,
    nesterov: bool = False,
    cross: jax.Array | None = None,
    project_to: jax.Array | None = None,
) -> QuadraticState:
    """Advance `R_n` by one step of SGD, exactly.

    With `a_n = <M q_n, v_{n+1}>`, `c_n` the factor of the last projection and `k_n = k R_n + e_n`,

        a_n     = beta c_n (a_{n-1} - eta_{n-1} <u_{n-1}, M v_n>) + (1 - delta) k_n
        R_{n+1} = R_n - 2 eta_n <M q_n, u_n> + eta_n^2 <u_n, M u_n>

    where `<M q_n, u_n>` is `a_n` (heavy ball) or `k_n + beta a_n` (Nesterov). A projection `q <- c q` after the step,
    `c = sqrt(project_to / R_{n+1})`, leaves the buffer alone, so only `<M q, v>` takes up the factor.

    Source: derived; generalises `R_{n+1} = R_n + eta^2 |g|^2` (Kunin et al. 2021) to the whole rule.

    Args:
        state: what `quadratic_start` or the step before returned.
        square: `<u_n, M u_n>`, measured, shape of R. The update direction u is the new buffer for heavy ball.
        residual: `e_n = <M q_n, g_n>` with the gradient of the loss alone, measured before the step;
            zeros to trust the symmetry.
        learning_rate: eta_n of this step.
        momentum: beta.
        weight_decay: k, coupled (inside the gradient).
        dampening: delta; as in PyTorch without effect on the first buffer, and without effect when beta is 0.
        nesterov: whether the update is Nesterov's.
        cross: `<u_n, M v_{n+1}>`, measured; needed by Nesterov, where the update is not the buffer.
        project_to: squared norm to which q is rescaled after the step, shape of R; an infinite entry leaves
            its filter free.

    Returns:
        The state of step n+1, of the same dtype.

    Raises:
        ValueError: if `nesterov` is set without `cross`.

    >>> one, zero = jnp.array(1.0), jnp.array(0.0)  # a gradient of length 1 at right angles to q of length 1
    >>> hyper = {"learning_rate": 0.5, "momentum": 0.9, "weight_decay": 0.0}
    >>> print(quadratic_value(quadratic_step(quadratic_start(one), square=one, residual=zero, **hyper)))
    1.25
    """
    if nesterov and cross is None:
        raise ValueError("quadratic_step with nesterov=True needs cross = <u_n, M v_{n+1}>, got None; pass it")
    dtype = state.start.dtype
    eta, beta, decay, delta = (jnp.asarray(x, dtype) for x in (learning_rate, momentum, weight_decay, dampening))
    value = quadratic_value(state)
    source = decay * value + residual
    inner = beta * state.gain * (state.inner - state.drop) + _undamped(state.step, beta, delta) * source
    slope = source + beta * inner if nesterov else inner
    change = eta * (eta * square - 2 * slope)
    increment, compensation = _add(state.increment, state.compensation, change)
    unprojected = (state.start + increment) - compensation
    gain = jnp.ones_like(value)
    if project_to is not None:
        free = jnp.isinf(project_to)
        gain = jnp.where(free, gain, jnp.sqrt(jnp.where(free, unprojected, project_to) / unprojected))
        increment = jnp.where(free, increment, project_to - state.start)
        compensation = jnp.where(free, compensation, jnp.zeros_like(compensation))
    drop = eta * (cross if nesterov else square)
    return QuadraticState(state.start, increment, compensation, inner, drop, gain, unprojected, state.step + 1)


def linear_start(value: jax.Array) -> LinearState:
    """Open the recursion at `s_0 = <q_0, n>`, the momentum buffer being zero; any shape, floating.

    Source: derived from the update.
    """
    zero = jnp.zeros_like(value)
    return LinearState(value, zero, zero, zero, jnp.zeros((), jnp.int32))


def linear_value(state: LinearState) -> jax.Array:
    """Return the predicted `s_n = <q_n, n>`.

    Source: derived from the update.
    """
    return (state.start + state.increment) - state.compensation


@functools.partial(jax.jit, static_argnames=("nesterov",))
def linear_step(
    state: LinearState,
    *,
    residual: jax.Array,
    learning_rate: ArrayLike,
    momentum: ArrayLike,
    weight_decay: ArrayLike,
    dampening: ArrayLike = 0.0,
    nesterov: bool = False,
) -> LinearState:
    """Advance `s_n = <q_n, n>` by one step of SGD, exactly.

    With `w_n = <v_n, n>`: `w_{n+1} = beta w_n + (1 - delta)(k s_n + e_n)` and `s_{n+1} = s_n - eta_n w_{n+1}`, or with
    `k s_n + e_n + beta w_{n+1}` in place of `w_{n+1}` for Nesterov.

    Source: derived; the discrete form of Kunin et al. 2021, translation.

    Args:
        state: what `linear_start` or the step before returned.
        residual: `e_n = <g_n, n>`, the gradient of the loss alone; zeros to trust the symmetry.
        learning_rate: eta_n of this step.
        momentum: beta.
        weight_decay: k, coupled.
        dampening: delta; as in PyTorch without effect on the first buffer, and without effect when beta is 0.
        nesterov: whether the update is Nesterov's.

    Returns:
        The state of step n+1, of the same dtype.
    """
    dtype = state.start.dtype
    eta, beta, decay, delta = (jnp.asarray(x, dtype) for x in (learning_rate, momentum, weight_decay, dampening))
    source = decay * linear_value(state) + residual
    velocity = beta * state.velocity + _undamped(state.step, beta, delta) * source
    update = source + beta * velocity if nesterov else velocity
    increment, compensation = _add(state.increment, state.compensation, -eta * update)
    return LinearState(state.start, increment, compensation, velocity, state.step + 1)


def noether_charge_one_sided(inner: jax.Array, *, learning_rate: ArrayLike, momentum: ArrayLike) -> jax.Array:
    """Return the Noether charge at step n from the step that leaves it.

    `C_n = m <M q_n, (q_{n+1} - q_n)/eta> = -m a_n`, m = eta (1 + beta)/2. With dampening, time runs as
    eta (1 - delta) n and `m q'` does not change. Heavy ball.

    Source: the discrete form of `m <q', q>`, Tanaka & Kunin 2021, Eq. 8.

    Args:
        inner: a_n, field `inner` of the state after the step (or `velocity` of a `LinearState`).
        learning_rate: eta_n.
        momentum: beta.
    """
    eta, beta = jnp.asarray(learning_rate, inner.dtype), jnp.asarray(momentum, inner.dtype)
    return -eta * (1 + beta) / 2 * inner


def noether_charge_central(
    before: QuadraticState, after: QuadraticState, *, learning_rate: ArrayLike, momentum: ArrayLike
) -> jax.Array:
    """Return the Noether charge at step n by the central difference, of second order in eta.

    `C_n = m <M q_n, q_{n+1} - q_{n-1}>/(2 eta) = -(m/2)(a_n + c_n (a_{n-1} - eta V_n))`. Heavy ball, constant eta.

    Source: derived; the central form of `m <q', q>`, Tanaka & Kunin 2021, Eq. 8.

    Args:
        before: state of step n.
        after: state of step n+1.
        learning_rate: eta.
        momentum: beta.
    """
    inner = (after.inner + before.gain * (before.inner - before.drop)) / 2
    return noether_charge_one_sided(inner, learning_rate=learning_rate, momentum=momentum)


def quadratic_three_term(
    value: jax.Array,
    previous: jax.Array,
    *,
    displacement: jax.Array,
    previous_displacement: jax.Array,
    learning_rate: ArrayLike,
    momentum: ArrayLike,
    weight_decay: ArrayLike,
) -> jax.Array:
    """Return `R_{n+1}` from `R_n`, `R_{n-1}` and squared displacements: the second-order law in closed discrete form.

    `R_{n+1} = (1 + beta - 2 eta k) R_n - beta R_{n-1} + dq2_n + beta dq2_{n-1}`, `dq2_n = <dq_n, M dq_n>`,
    `dq_n = q_{n+1} - q_n`; started by `R_{-1} = R_0`, `dq2_{-1} = 0`. Heavy ball, constant eta, no dampening,
    exact symmetry.

    Source: derived; the discrete `m R'' + mu R' + 2 k R = 2 m |q'|^2` of Kunin et al. 2021.

    Args:
        value: R_n, any shape, floating.
        previous: R_{n-1}, like R_n.
        displacement: dq2_n, like R_n and in its unit.
        previous_displacement: dq2_{n-1}, like R_n.
        learning_rate: eta.
        momentum: beta.
        weight_decay: k.

    Returns:
        R_{n+1}, shape and dtype of R_n.
    """
    eta, beta, decay = (jnp.asarray(x, value.dtype) for x in (learning_rate, momentum, weight_decay))
    return (1 + beta - 2 * eta * decay) * value - beta * previous + displacement + beta * previous_displacement


def linear_roots(*, learning_rate: ArrayLike, momentum: ArrayLike, weight_decay: ArrayLike) -> jax.Array:
    """Return the two roots of `z^2 - (1 + beta - eta k) z + beta`, complex, the larger modulus first (last axis).

    Source: derived; characteristic polynomial of `linear_step`'s heavy ball.

    >>> print(linear_roots(learning_rate=0.1, momentum=0.5, weight_decay=0.0).real)
    [1.  0.5]
    """
    beta = jnp.asarray(momentum, float)
    half = (1 + beta - jnp.asarray(learning_rate, float) * jnp.asarray(weight_decay, float)) / 2
    root = jnp.sqrt(jnp.asarray(half**2 - beta, complex))
    root = jnp.where(half < 0, -root, root)
    half = jnp.asarray(half, complex)
    return jnp.stack([half + root, half - root], axis=-1)


@jax.jit
def linear_closed_form(
    start: jax.Array, step: ArrayLike, *, learning_rate: ArrayLike, momentum: ArrayLike, weight_decay: ArrayLike
) -> jax.Array:
    """Return `s_n = A z_+^n + B z_-^n` for a constant learning rate, without loss near the double root.

    `s_n = s_0 (E_n + (1 - beta - eta k)/2 D_n)`, `E_n = (z_+^n + z_-^n)/2`, `D_n = (z_+^n - z_-^n)/(z_+ - z_-)`; the
    quotient is taken as `expm1` for real roots and `sin(n x)/sin x` for complex ones. Heavy ball, exact symmetry.

    Source: derived; `(1 - eta k)^n s_0` at beta = 0; cf. Kunin et al. 2021, translation with momentum.

    Args:
        start: s_0, any shape.
        step: n >= 0, an integer or an array of the rank of `start`.
        learning_rate: eta.
        momentum: beta >= 0.
        weight_decay: k.
    """
    dtype = start.dtype
    eta, beta, decay, n = (jnp.asarray(x, dtype) for x in (learning_rate, momentum, weight_decay, step))
    half = (1 + beta - eta * decay) / 2
    disc = half**2 - beta
    big = jnp.sqrt(jnp.where(disc > 0, disc, 0)) + jnp.abs(half)  # the larger modulus when the roots are real
    size = jnp.where(disc > 0, big, jnp.sqrt(beta))
    gap = jnp.where(disc > 0, 2 * jnp.sqrt(jnp.where(disc > 0, disc, 1)) / jnp.where(big > 0, big, 1), 0)  # 1 - z_-/z_+
    angle = jnp.arctan2(jnp.sqrt(jnp.where(disc > 0, 0, -disc)), jnp.abs(half))
    ratio = jnp.where(n == 0, 1, jnp.where(gap < 1, 1 - gap, 0) ** jnp.where(n == 0, 1, n))  # (z_-/z_+)^n
    few = jnp.where(n == 0, 0, -jnp.expm1(n * jnp.log1p(-jnp.where(gap < 1, gap, 0.5)))) / jnp.where(gap > 0, gap, 1)
    few = jnp.where(gap < 1, few, jnp.where(n == 0, 0, 1))
    sine = jnp.where(angle > 0, jnp.sin(n * angle) / jnp.sin(jnp.where(angle > 0, angle, 1)), n)
    quotient = jnp.where(gap > 0, few, sine)
    even = jnp.where(gap > 0, (1 + ratio) / 2, jnp.cos(n * angle))
    power = size ** jnp.maximum(n - 1, 0)  # size^(n-1); the n = 0 terms carry no quotient
    odd_sign = jnp.where((half < 0) & (n % 2 == 1), -1.0, 1.0).astype(dtype)
    last_sign = jnp.where(half < 0, -odd_sign, odd_sign)
    half_step = (1 - beta - eta * decay) / 2
    total = jnp.where(n == 0, 1, power * size) * even * odd_sign + half_step * power * quotient * last_sign
    return start * jnp.where(n == 0, 1, total)

"""The recursion of `R_n = <q_n, M q_n>`: squared norms and imbalances."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from symjax.arguments import accurate_array, accurate_arrays, real_numbers
from symjax.mechanics.discrete.rule import compensated_add, flag, hyper_parameters, require_state, undamped


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
    value = accurate_array("value", value)
    zero = jnp.zeros_like(value)
    return QuadraticState(value, zero, zero, zero, zero, jnp.ones_like(value), value, jnp.zeros((), jnp.int32))


def quadratic_value(state: QuadraticState) -> jax.Array:
    """Return the predicted `R_n = <q_n, M q_n>`, after the last step's projection if it had one.

    Source: derived from the update.
    """
    return (state.start + state.increment) - state.compensation


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
        ValueError: if `nesterov` is set without `cross`, a state of another kind, or what holds no real numbers.

    >>> one, zero = jnp.array(1.0), jnp.array(0.0)  # a gradient of length 1 at right angles to q of length 1
    >>> hyper = {"learning_rate": 0.5, "momentum": 0.9, "weight_decay": 0.0}
    >>> print(quadratic_value(quadratic_step(quadratic_start(one), square=one, residual=zero, **hyper)))
    1.25
    """
    if nesterov and cross is None:
        raise ValueError("quadratic_step with nesterov=True needs cross = <u_n, M v_{n+1}>, got None; pass it")
    require_state(state, QuadraticState, "quadratic_start")
    hyper = hyper_parameters(state.start.dtype, learning_rate, momentum, weight_decay, dampening)
    measured = {"square": square, "residual": residual}
    optional = {name: given for name, given in (("cross", cross), ("project_to", project_to)) if given is not None}
    arrays = {
        name: real_numbers(state.start.dtype, **{name: given})[0] for name, given in (measured | optional).items()
    }
    return _quadratic_step(state, hyper, nesterov=flag("nesterov", nesterov), **arrays)


@functools.partial(jax.jit, static_argnames=("nesterov",))
def _quadratic_step(
    state: QuadraticState,
    hyper: tuple[jax.Array, ...],
    *,
    square: jax.Array,
    residual: jax.Array,
    nesterov: bool,
    cross: jax.Array | None = None,
    project_to: jax.Array | None = None,
) -> QuadraticState:
    eta, beta, decay, delta = hyper
    value = quadratic_value(state)
    source = decay * value + residual
    inner = beta * state.gain * (state.inner - state.drop) + undamped(state.step, beta, delta) * source
    slope = source + beta * inner if nesterov else inner
    change = eta * (eta * square - 2 * slope)
    increment, compensation = compensated_add(state.increment, state.compensation, change)
    unprojected = (state.start + increment) - compensation
    gain = jnp.ones_like(value)
    if project_to is not None:
        free = jnp.isinf(project_to)
        gain = jnp.where(free, gain, jnp.sqrt(jnp.where(free, unprojected, project_to) / unprojected))
        increment = jnp.where(free, increment, project_to - state.start)
        compensation = jnp.where(free, compensation, jnp.zeros_like(compensation))
    drop = eta * (cross if nesterov else square)
    return QuadraticState(state.start, increment, compensation, inner, drop, gain, unprojected, state.step + 1)


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
    value, previous, displacement, previous_displacement = accurate_arrays(
        value=value, previous=previous, displacement=displacement, previous_displacement=previous_displacement
    )
    eta, beta, decay, _ = hyper_parameters(value.dtype, learning_rate, momentum, weight_decay, 0.0)
    return (1 + beta - 2 * eta * decay) * value - beta * previous + displacement + beta * previous_displacement

"""The recursion of `s_n = <q_n, n>`, the sum along a translation, and its closed form."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from symjax.arguments import accurate_array, accurate_arrays, real_numbers
from symjax.mechanics.discrete.rule import compensated_add, flag, hyper_parameters, require_state, undamped


class LinearState(NamedTuple):
    """State of the recursion for `s_n = <q_n, n>`; all arrays but `step` have the shape of s."""

    start: jax.Array  #: s_0
    increment: jax.Array  #: s_n - s_0, a compensated sum
    compensation: jax.Array  #: what the sum still owes to `increment`
    velocity: jax.Array  #: <v_n, n>
    step: jax.Array  #: n, a scalar int32


def linear_start(value: jax.Array) -> LinearState:
    """Open the recursion at `s_0 = <q_0, n>`, the momentum buffer being zero; any shape, floating.

    Source: derived from the update.

    >>> print(linear_value(linear_start(2)))
    2.0
    """
    value = accurate_array("value", value)
    zero = jnp.zeros_like(value)
    return LinearState(value, zero, zero, zero, jnp.zeros((), jnp.int32))


def linear_value(state: LinearState) -> jax.Array:
    """Return the predicted `s_n = <q_n, n>`.

    Source: derived from the update.
    """
    return (state.start + state.increment) - state.compensation


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

    Raises:
        ValueError: a state of another kind, or what holds no real numbers.
    """
    require_state(state, LinearState, "linear_start")
    hyper = hyper_parameters(state.start.dtype, learning_rate, momentum, weight_decay, dampening)
    (residual,) = real_numbers(state.start.dtype, residual=residual)
    return _linear_step(state, hyper, residual=residual, nesterov=flag("nesterov", nesterov))


@functools.partial(jax.jit, static_argnames=("nesterov",))
def _linear_step(
    state: LinearState, hyper: tuple[jax.Array, ...], *, residual: jax.Array, nesterov: bool
) -> LinearState:
    eta, beta, decay, delta = hyper
    source = decay * linear_value(state) + residual
    velocity = beta * state.velocity + undamped(state.step, beta, delta) * source
    update = source + beta * velocity if nesterov else velocity
    increment, compensation = compensated_add(state.increment, state.compensation, -eta * update)
    return LinearState(state.start, increment, compensation, velocity, state.step + 1)


def linear_roots(*, learning_rate: ArrayLike, momentum: ArrayLike, weight_decay: ArrayLike) -> jax.Array:
    """Return the two roots of `z^2 - (1 + beta - eta k) z + beta`, complex, the larger modulus first (last axis).

    Source: derived; characteristic polynomial of `linear_step`'s heavy ball.

    >>> print(linear_roots(learning_rate=0.1, momentum=0.5, weight_decay=0.0).real)
    [1.  0.5]
    """
    eta, beta, decay = accurate_arrays(learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay)
    half = (1 + beta - eta * decay) / 2
    root = jnp.sqrt((half**2 - beta).astype(complex))
    root = jnp.where(half < 0, -root, root)
    half = half.astype(complex)
    return jnp.stack([half + root, half - root], axis=-1)


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
    start = accurate_array("start", start)
    eta, beta, decay, _ = hyper_parameters(start.dtype, learning_rate, momentum, weight_decay, 0.0)
    (n,) = real_numbers(start.dtype, step=step)
    return _linear_closed_form(start, n, eta, beta, decay)


@jax.jit
def _linear_closed_form(start: jax.Array, n: jax.Array, eta: jax.Array, beta: jax.Array, decay: jax.Array) -> jax.Array:
    dtype = start.dtype
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

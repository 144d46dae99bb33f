"""The Noether charge `m <M q, q'>` of a discrete path, from the states of its recursion."""

import jax
from jax.typing import ArrayLike

from symjax.arguments import accurate_array, real_numbers
from symjax.mechanics.discrete.quadratic import QuadraticState
from symjax.mechanics.discrete.rule import require_state


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
    inner = accurate_array("inner", inner)
    eta, beta = real_numbers(inner.dtype, learning_rate=learning_rate, momentum=momentum)
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
    require_state(before, QuadraticState, "quadratic_start")
    require_state(after, QuadraticState, "quadratic_step")
    inner = (after.inner + before.gain * (before.inner - before.drop)) / 2
    return noether_charge_one_sided(inner, learning_rate=learning_rate, momentum=momentum)

"""Gradient flow by Runge-Kutta's method of order 4 and by an adaptive solver."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from symjax.arguments import accumulation_dtype, floating_array, floating_tree
from symjax.integrate.march import (
    Gradient,
    Params,
    Path,
    Record,
    increasing,
    march,
    moved,
    path_of,
    recorded_arrays,
    slope,
)
from symjax.mechanics.modified_ode import solve


def rk4(
    gradient: Gradient,
    start: Params,
    *,
    step_size: ArrayLike,
    steps: Sequence[int] | ArrayLike,
    record: Record = lambda params: params,
) -> Path:
    """Integrate gradient flow by the classical Runge-Kutta method and record quantities.

    ``theta <- theta - eta (k1 + 2 k2 + 2 k3 + k4)/6``, gradients at the step's start, twice in its middle and at its
    end.

    The drift of a conserved quantity over a fixed time is of order eta^4 where the gradient is smooth; the kinks of a
    ReLU on data lower the order.

    Source: Kutta 1901; drift of order 4 as in Zhao et al. 2023, section 4 (conserved quantities), measured here.

    Args:
      gradient: from parameters to a pytree like them.
      start: theta at time 0, as in :func:`gradient_descent`.
      step_size: eta, the time of a step, a scalar.
      steps: as in :func:`gradient_descent`.
      record: as in :func:`gradient_descent`.

    Returns:
      A :class:`Path`.

    Raises:
      ValueError: as :func:`gradient_descent`.

    Example:
      >>> path = rk4(lambda q: q, jnp.array(1.0), step_size=0.1, steps=(10,))
      >>> bool(abs(path.params - jnp.exp(-1.0)) < 1e-6)
      True
    """
    eta = floating_array("step_size", step_size, ())

    def update(params: Params, _: Any) -> Params:
        first = slope(gradient, params)
        second = slope(gradient, moved(params, first, eta / 2))
        third = slope(gradient, moved(params, second, eta / 2))
        fourth = slope(gradient, moved(params, third, eta))
        mean = jax.tree.map(lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, first, second, third, fourth)
        return moved(params, mean, eta)

    return march(update, start, steps, record)


def adaptive(
    gradient: Gradient,
    start: Params,
    *,
    times: ArrayLike,
    record: Record = lambda params: params,
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> Path:
    """Integrate gradient flow adaptively (Dormand-Prince 5(4)) and record quantities at given times.

    ``theta' = -grad L(theta)``. The states at all times are held in memory at once.

    For smooth gradients: at the kinks of a ReLU on data the error estimate makes steps so small that it may not end
    in reasonable time; take larger tolerances or :func:`rk4` there.

    Source: Dormand & Prince 1980, as in `jax.experimental.ode.odeint`; the flow of Zhao et al. 2023.

    Args:
      gradient: from parameters to a pytree like them.
      start: theta at ``times[0]``, any pytree of floating arrays; all become of the widest dtype, float32 at least.
      times: increasing, shape (records,), the first being the start's.
      record: from parameters to any pytree of arrays.
      rtol: relative tolerance of a step.
      atol: absolute tolerance of a step.

    Returns:
      A :class:`Path`.

    Raises:
      ValueError: times that do not increase, or a tolerance finer than the parameters' precision.

    Example:
      >>> times = jnp.array([0.0, 1.0])
      >>> path = adaptive(lambda q: q, jnp.array(1.0), times=times, rtol=1e-5, atol=1e-6)
      >>> bool(abs(path.params - jnp.exp(-1.0)) < 1e-4)
      True
    """
    start = floating_tree("start", start)
    dtype = accumulation_dtype(*(leaf.dtype for leaf in jax.tree.leaves(start)))
    start = jax.tree.map(lambda leaf: leaf.astype(dtype), start)
    finest = 4 * float(jnp.finfo(dtype).eps)
    if not rtol >= finest:
        raise ValueError(
            f"rtol is {rtol}, but {dtype.name} parameters allow at least {finest:.1g}: raise it, or use float64 "
            "(jax_enable_x64)"
        )
    times = floating_array("times", times).astype(dtype)
    increasing("times", times)
    states = solve(
        lambda params, time: jax.tree.map(lambda g: (-g).astype(dtype), slope(gradient, params)),
        start,
        times,
        rtol=rtol,
        atol=atol,
    )
    return path_of(jax.tree.map(lambda leaf: leaf[-1], states), jax.vmap(partial(recorded_arrays, record))(states))

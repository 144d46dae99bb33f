"""Gradient flow and its discretisations, with quantities recorded along the way.

``theta' = -grad L(theta)``, by gradient descent (order 1), the classical Runge-Kutta method (order 4) and an adaptive
solver, on any pytree. A quantity conserved by the flow drifts under the discrete ones: in one step of gradient descent
by O(eta^2), over a fixed time by O(eta), and by O(eta^4) under Runge-Kutta.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from symjax.mechanics.modified_ode import solve

__all__ = ["Path", "adaptive", "gradient_descent", "log_spaced", "rk4"]

Params = Any  # a pytree of floating arrays
Gradient = Callable[[Params], Params]
Record = Callable[[Params], Any]


class Path(NamedTuple):
    """What was recorded along a path, and its end.

    Attributes:
      params: pytree like the start, at the last recorded step or time.
      recorded: what ``record`` returns, with a leading axis of records on every leaf.
      finite: booleans (records,), whether all that was recorded is finite; the last one asks it of ``params`` as well.
    """

    params: Params
    recorded: Any
    finite: jax.Array


def gradient_descent(
    gradient: Gradient,
    start: Params,
    *,
    learning_rate: ArrayLike,
    steps: Sequence[int] | ArrayLike,
    record: Record = lambda params: params,
) -> Path:
    """Descend the gradient and record quantities before the first step and after others.

    ``theta <- theta - eta grad L(theta)``; compared with gradient flow at time ``t = eta step``. The loops are
    compiled, the gradient must be traceable; under an own jit, with ``steps`` traced, one program serves every
    schedule of the same number of records. Each step recorded is cheap where ``record`` shares its work with the
    gradient.

    Source: Zhao et al. 2023, section 4 and appendix (experiments by gradient descent).

    Args:
      gradient: from parameters to a pytree like them.
      start: theta at step 0, any pytree of floating arrays.
      learning_rate: eta, a scalar.
      steps: at which to record, increasing integers (records,), 0 for the start; the last one ends the path.
      record: from parameters to any pytree of arrays; the parameters themselves by default.

    Returns:
      A :class:`Path`. A path that diverges is told by ``finite`` and goes on without an error.

    Raises:
      ValueError: concrete ``steps`` that do not increase from 0 on, or a learning rate that is not a scalar.

    Example:
      >>> path = gradient_descent(lambda q: q, jnp.array(1.0), learning_rate=0.5, steps=(0, 1, 3))
      >>> print(path.recorded, path.params)
      [1. 0.5 0.125] 0.125
    """
    _scalar("learning_rate", learning_rate)

    def update(params: Params) -> Params:
        return _moved(params, gradient(params), learning_rate)

    return _march(update, start, steps, record)


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
      start: theta at time 0, any pytree of floating arrays.
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
    _scalar("step_size", step_size)

    def update(params: Params) -> Params:
        eta = jnp.asarray(step_size)
        first = gradient(params)
        second = gradient(_moved(params, first, eta / 2))
        third = gradient(_moved(params, second, eta / 2))
        fourth = gradient(_moved(params, third, eta))
        mean = jax.tree.map(lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, first, second, third, fourth)
        return _moved(params, mean, eta)

    return _march(update, start, steps, record)


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
      start: theta at ``times[0]``, any pytree of floating arrays of one dtype.
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
    dtype = jnp.result_type(*jax.tree.leaves(start))
    finest = 4 * float(jnp.finfo(dtype).eps)
    if rtol < finest:
        raise ValueError(
            f"rtol is {rtol}, but {dtype.name} parameters allow at least {finest:.1g}: raise it, or use float64 "
            "(jax_enable_x64)"
        )
    _increasing("times", times)
    states = solve(
        lambda params, time: jax.tree.map(jnp.negative, gradient(params)),
        start,
        jnp.asarray(times, dtype),
        rtol=rtol,
        atol=atol,
    )
    return _path(jax.tree.map(lambda leaf: leaf[-1], states), jax.vmap(record)(states))


def log_spaced(last: int, per_decade: int = 100) -> np.ndarray:
    """List steps evenly spaced in their logarithm, with 0, 1, every power of ten and the last one.

    Source: this library's bookkeeping, no equation of a paper.

    Args:
      last: the last step, at least 1.
      per_decade: points between a power of ten and the next, before rounding merges some.

    Returns:
      Increasing integers.

    Raises:
      ValueError: a number below 1.

    Example:
      >>> print(log_spaced(200, 3))
      [  0   1   2   5  10  22  46 100 200]
    """
    for name, value in (("last", last), ("per_decade", per_decade)):
        if value < 1:
            raise ValueError(f"{name} is {value}, but it must be at least 1")
    exponents = np.arange(int(np.ceil(np.log10(last) * per_decade)) + 1) / per_decade
    steps = np.rint(10.0**exponents).astype(np.int64)
    return np.unique(np.concatenate([[0], steps[steps < last], [last]]))


def _moved(params: Params, gradient: Params, by: ArrayLike) -> Params:
    return jax.tree.map(lambda q, g: q - jnp.asarray(by, q.dtype) * g, params, gradient)


def _march(update: Callable[[Params], Params], start: Params, steps: Any, record: Record) -> Path:
    """Repeat an update, recording; a gap between all records that is known and equal is compiled as such."""
    start = jax.tree.map(jnp.asarray, start)
    first, gaps, every = _schedule(steps)

    def advance(params: Params, count: Any) -> Params:
        if isinstance(count, int) and count == 1:
            return update(params)
        return lax.fori_loop(0, count, lambda _, params: update(params), params)

    def between(params: Params, gap: Any) -> tuple[Params, Any]:
        # recorded before the step, so that the step's gradient and the record share their common parts
        return advance(params, gap if every is None else every), record(params)

    params = start if isinstance(first, int) and first == 0 else advance(start, first)
    params, recorded = lax.scan(between, params, gaps)
    final = record(params)
    return _path(params, jax.tree.map(lambda many, one: jnp.concatenate([many, one[None]]), recorded, final))


def _schedule(steps: Any) -> tuple[Any, jax.Array, int | None]:
    """Steps before the first record, steps between records, and these as one static number where they are equal."""
    if isinstance(steps, jax.core.Tracer):
        return steps[0], jnp.diff(steps), None
    _increasing("steps", steps)
    steps = np.asarray(steps)
    if not np.issubdtype(steps.dtype, np.integer) or steps[0] < 0:
        raise ValueError(f"steps begin with {steps[0]} of type {steps.dtype}, but must be integers from 0 on")
    gaps = np.diff(steps)
    equal = len(gaps) > 0 and (gaps == gaps[0]).all()
    return int(steps[0]), jnp.asarray(gaps), int(gaps[0]) if equal else None


def _increasing(name: str, values: Any) -> None:
    if isinstance(values, jax.core.Tracer):
        return
    values = np.asarray(values)
    if values.ndim != 1 or values.size == 0 or not (np.diff(values) > 0).all():
        raise ValueError(f"{name} are {values.tolist()}, but must be a list of at least one, each above the last")


def _scalar(name: str, value: Any) -> None:
    if jnp.ndim(value) != 0:
        raise ValueError(f"{name} has shape {jnp.shape(value)}, but must be a scalar: vmap over several")


def _path(params: Params, recorded: Any) -> Path:
    def every_finite(leaf: jax.Array) -> jax.Array:
        return jnp.isfinite(leaf).reshape(len(leaf), -1).all(axis=1)

    finite = jax.tree.reduce(jnp.logical_and, jax.tree.map(every_finite, recorded))
    end = jax.tree.reduce(jnp.logical_and, jax.tree.map(lambda leaf: jnp.isfinite(leaf).all(), params))
    return Path(params, recorded, finite.at[-1].set(finite[-1] & end))

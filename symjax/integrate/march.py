"""Repeating an update with records before some steps: what every integrator here is made of."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from symjax.arguments import accumulation_dtype, floating_tree

Params = Any  # a pytree of floating arrays
Gradient = Callable[..., Params]
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


def slope(gradient: Gradient, params: Params, *given: Any) -> Params:
    """The gradient, in float32 at least."""
    found = _like("gradient", gradient(params, *given), params)
    return jax.tree.map(lambda g, q: g.astype(accumulation_dtype(q.dtype)), found, params)


def like_parameters(name: str, found: Any, params: Params) -> Params:
    """Take what a user's function gives: of the parameters' structure and shapes, in their dtypes."""
    return jax.tree.map(lambda p, q: p.astype(q.dtype), _like(name, found, params), params)


def _like(name: str, found: Any, params: Params) -> Params:
    found = floating_tree(f"what {name} gives", found)
    if jax.tree.map(jnp.shape, found) != jax.tree.map(jnp.shape, params):
        raise ValueError(
            f"{name} gives {jax.tree.map(jnp.shape, found)}, but must give arrays like the parameters, "
            f"{jax.tree.map(jnp.shape, params)}"
        )
    return found


def moved(params: Params, gradient: Params, by: jax.Array) -> Params:
    """Step against the gradient, in its dtype, and keep the parameters'."""

    def move(q: jax.Array, g: jax.Array) -> jax.Array:
        return (q.astype(g.dtype) - by.astype(g.dtype) * g).astype(q.dtype)

    return jax.tree.map(move, params, gradient)


def recorded_arrays(record: Record, params: Params) -> Any:
    """Record: numbers become arrays."""

    def array(leaf: Any) -> jax.Array:
        try:
            return jnp.asarray(leaf)
        except TypeError:
            raise ValueError(f"record gives a {type(leaf).__name__}, but must give arrays or numbers") from None

    return jax.tree.map(array, record(params))


def march(update: Callable[[Params, Any], Params], start: Params, steps: Any, record: Record) -> Path:
    """Repeat an update, recording; a gap between all records that is known and equal is compiled as such."""
    start = floating_tree("start", start)
    first, begins, gaps, every = _schedule(steps)

    def advance(params: Params, step: Any, count: Any) -> Params:
        if isinstance(count, int) and count == 1:
            return update(params, step)
        return lax.fori_loop(0, count, lambda i, params: update(params, step + i), params)

    def between(params: Params, scheduled: tuple[Any, Any]) -> tuple[Params, Any]:
        # recorded before the step, so that the step's gradient and the record share their common parts
        begin, gap = scheduled
        return advance(params, begin, gap if every is None else every), recorded_arrays(record, params)

    params = start if isinstance(first, int) and first == 0 else advance(start, 0, first)
    params, recorded = lax.scan(between, params, (begins, gaps))
    final = recorded_arrays(record, params)
    return path_of(params, jax.tree.map(lambda many, one: jnp.concatenate([many, one[None]]), recorded, final))


def _schedule(steps: Any) -> tuple[Any, jax.Array, jax.Array, int | None]:
    """Steps before the first record; where each gap begins and its length, and this as one number where all agree."""
    if isinstance(steps, jax.core.Tracer):
        return steps[0], steps[:-1], jnp.diff(steps), None
    steps = whole_steps("steps", steps)
    gaps = np.diff(steps)
    equal = len(gaps) > 0 and (gaps == gaps[0]).all()
    return int(steps[0]), jnp.asarray(steps[:-1]), jnp.asarray(gaps), int(gaps[0]) if equal else None


def whole_steps(name: str, steps: Any) -> np.ndarray:
    """Take increasing steps from 0 on at the door."""
    increasing(name, steps)
    steps = np.asarray(steps)
    most = jnp.iinfo(jnp.result_type(int)).max
    if not np.issubdtype(steps.dtype, np.integer) or steps[0] < 0:
        raise ValueError(f"{name} begin with {steps[0]} of type {steps.dtype}, but must be integers from 0 on")
    if steps[-1] > most:
        raise ValueError(f"{name} end with {steps[-1]}, but at most {most} can be counted (jax_enable_x64 for more)")
    return steps


def increasing(name: str, values: Any) -> None:
    """Refuse concrete values that do not increase."""
    if isinstance(values, jax.core.Tracer):
        return
    values = np.asarray(values)
    numbers = values.dtype.kind in "iuf"
    if not numbers or values.ndim != 1 or values.size == 0 or not (np.diff(values) > 0).all():
        raise ValueError(f"{name} are {values.tolist()}, but must be a list of at least one, each above the last")


def path_of(params: Params, recorded: Any) -> Path:
    """Tell where everything is finite."""

    def every_finite(leaf: jax.Array) -> jax.Array:
        return jnp.isfinite(leaf).reshape(len(leaf), -1).all(axis=1)

    end = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()
    finite = [every_finite(leaf) for leaf in jax.tree.leaves(recorded)]
    if not finite:
        return Path(params, recorded, end[None])
    finite = jnp.stack(finite).all(axis=0)
    return Path(params, recorded, finite.at[-1].set(finite[-1] & end))

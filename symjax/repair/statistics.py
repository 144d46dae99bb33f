"""Means and variances of hidden units while a network is being corrected, batch after batch."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.arguments import accumulation_dtype
from symjax.magnitude import power_of_two
from symjax.matching.moments import examples, iterable_batches
from symjax.matching.sites import require_variables, take_units
from symjax.repair.places import Place
from symjax.tracing import Symmetries
from symjax.tracing.action import positions
from symjax.tracing.activations import Hidden
from symjax.tracing.program import evaluate

__all__ = ["Statistics", "by_batch", "changed", "fetched", "looker", "moments_at", "pooled", "runner", "statistics"]

# place number, mean and deviation of the batch -> factor and summand of each unit
Rule = Callable[[int, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


class Statistics(NamedTuple):
    """Means and population variances of the units at one place.

    Attributes:
      mean: array (units,), float64.
      variance: array (units,), float64.
    """

    mean: np.ndarray
    variance: np.ndarray

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviations (units,)."""
        return np.sqrt(self.variance)


def spread(values: jax.Array, segments: Sequence[Hidden], array: jax.Array, rest: float) -> jax.Array:
    """One number a unit, laid out along a tensor's axis; ``rest`` where no unit of the class stands."""
    axis = segments[0].axis
    unit = np.full(array.shape[axis], -1)
    for each in segments:
        rows = np.moveaxis(positions(each.span), each.digit, 0)
        unit[rows.ravel()] = np.repeat(np.arange(rows.shape[0]), rows[0].size)
    along = jnp.where(unit >= 0, values[np.maximum(unit, 0)], jnp.asarray(rest, values.dtype))
    return along.reshape((-1,) + (1,) * (array.ndim - axis - 1))[(None,) * axis]


def runner(traced: Symmetries, places: Sequence[Place], outputs: bool = False) -> Callable[..., Any]:
    """A function ``(rule, leaves, inputs)`` that runs a network with ``rule``'s corrections at the places.

    Each tensor is looked at before it is corrected; its batch's mean and variance are taken in two passes over it.

    Source: this library's bookkeeping.

    Args:
      traced: from :func:`symjax.tracing.symmetries`.
      places: to look at and correct.
      outputs: whether the network's outputs are returned beside the statistics.

    Returns:
      The function; it returns a list of (mean, deviation) and the outputs' leaves.
    """
    program = traced.model.program

    def run(rule: Rule | None, leaves: Sequence[Any], inputs: Sequence[jax.Array]) -> Any:
        times = inputs[0].shape[0] // program.inputs[0].shape[0]

        def one(*arrays: jax.Array) -> Any:
            seen: list[Any] = [None] * len(places)

            def change(number: int, segments: Sequence[Hidden]) -> Callable[[jax.Array], jax.Array]:
                def look(array: jax.Array) -> jax.Array:
                    seen[number] = moments_at(array, segments, times)
                    return array if rule is None else changed(array, segments, *rule(number, *seen[number]))

                return look

            values: dict[Any, Callable[[jax.Array], jax.Array]] = {}
            for n, place in enumerate(places):  # the parts of a concatenation are places of one tensor
                before, now = values.get(place.value, lambda array: array), change(n, place.segments)
                values[place.value] = lambda array, before=before, now=now: now(before(array))
            wanted = [*program.outputs] if outputs else [place.value for place in places]
            results = evaluate(program, leaves, arrays, wanted, changed=values)
            return seen, results if outputs else []

        if times == 1:
            seen, results = one(*inputs)
            return seen, results
        stacked = [leaf.reshape(times, -1, *leaf.shape[1:]) for leaf in inputs]
        seen, results = jax.vmap(one, axis_name="examples", out_axes=(None, 0))(*stacked)
        return seen, [array.reshape(-1, *array.shape[2:]) if array.ndim > 1 else array for array in results]

    return run


def moments_at(array: jax.Array, segments: Sequence[Hidden], times: int) -> tuple[jax.Array, jax.Array]:
    """Mean and deviation (units,) of a tensor of each of ``times`` vmapped examples, in two passes over it."""
    units = jnp.concatenate([take_units(array, [each]) for each in segments])
    units = units.astype(accumulation_dtype(units.dtype))
    scale = _largest(power_of_two(units, axis=0), times)  # squares leave the range of float32 early
    centre = _over_all(jnp.mean(units / scale[None], 0), times)
    variance = _over_all(jnp.mean((units / scale[None] - centre[None]) ** 2, 0), times)
    return scale * centre, scale * jnp.sqrt(variance)


def changed(array: jax.Array, segments: Sequence[Hidden], factor: Any, summand: Any) -> jax.Array:
    """A tensor with ``x -> factor x + summand`` on the units that stand at the segments."""
    wide = array.astype(jnp.promote_types(jnp.result_type(factor), jnp.result_type(summand)))
    return (wide * spread(factor, segments, array, 1.0) + spread(summand, segments, array, 0.0)).astype(array.dtype)


def _over_all(mean: jax.Array, times: int) -> jax.Array:
    return mean if times == 1 else jax.lax.pmean(mean, "examples")


def _largest(scale: jax.Array, times: int) -> jax.Array:
    return scale if times == 1 else jax.lax.pmax(scale, "examples")


def statistics(traced: Symmetries, variables: Any, batches: Iterable[Any], places: Sequence[Place]) -> list[Statistics]:
    """Means and pooled population variances of the units at each place of a network as it is.

    Source: Chan, Golub & LeVeque 1983 (joining the moments of batches).

    Args:
      traced: from :func:`symjax.tracing.symmetries`.
      variables: pytree like the variables traced.
      batches: inputs, each a multiple of the traced number of examples.
      places: from :func:`symjax.repair.writers` or :func:`symjax.repair.streams`.

    Returns:
      The statistics of each place.

    Raises:
      ValueError: variables unlike those traced, no batch, a batch of another shape, or activations that are not finite,
        with the place named.
    """
    require_variables(traced, variables=variables)
    leaves = [*map(jnp.asarray, jax.tree.leaves(variables))]
    return pooled(by_batch(partial(looker(traced, places), leaves), traced, batches, places))


def looker(traced: Symmetries, places: Sequence[Place]) -> Callable[..., Any]:
    """A function ``(leaves, inputs)``, compiled once: mean and deviation of a batch at each place, uncorrected."""
    run = runner(traced, places)
    return traced.model.once(("look", *places), lambda: jax.jit(lambda leaves, inputs: run(None, leaves, inputs)[0]))


def by_batch(
    measure: Callable[[Any], Any], traced: Symmetries, batches: Iterable[Any], places: Sequence[Place]
) -> list[tuple[int, list[Statistics]]]:
    """Number of examples of each batch and the moments that ``measure`` gives for it, fetched when all are measured."""
    times, found = [], []
    for batch in iterable_batches(batches):
        many, inputs = examples(traced.model.program, batch)
        times.append(many)
        found.append(measure(inputs))
    if not found:
        raise ValueError("batches holds nothing, but the network must be run on some inputs")
    return fetched(times, found, places)


def fetched(times: Sequence[int], found: Sequence[Any], places: Sequence[Place]) -> list[tuple[int, list[Statistics]]]:
    """Number of examples and moments of each batch, from the device; refused by the place where they are not finite."""
    each = [
        [Statistics(np.asarray(mean, np.float64), np.asarray(deviation, np.float64) ** 2) for mean, deviation in batch]
        for batch in jax.device_get(found)
    ]
    for batch in each:
        for place, one in zip(places, batch, strict=True):
            if not all(np.isfinite(array).all() for array in one):
                raise ValueError(f"the activations at {place.name!r} are not finite, so they cannot be corrected")
    return list(zip(times, each, strict=True))


def pooled(batches: Iterable[tuple[int, Sequence[Statistics]]]) -> list[Statistics]:
    """Join the moments of batches, weighted by their sizes."""
    seen, joined = 0.0, None
    for times, now in batches:
        seen += times
        joined = now if joined is None else [_joined(*pair, times / seen) for pair in zip(joined, now, strict=True)]
    return list(joined)


def _joined(before: Statistics, now: Statistics, weight: float) -> Statistics:
    step = now.mean - before.mean
    variance = (1 - weight) * before.variance + weight * now.variance + weight * (1 - weight) * step**2
    return Statistics(before.mean + weight * step, variance)

"""Correlations of all layers in one streamed pass, by moments that are merged and never subtracted."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.arguments import accumulation_dtype
from symjax.magnitude import power_of_two
from symjax.matching.sites import Read, take_units
from symjax.tracing import Symmetries
from symjax.tracing.program import Program, evaluate

__all__ = ["Moments", "batched", "cross_moments", "examples", "iterable_batches", "moment_pass", "moments_of", "pooled"]


class Moments(NamedTuple):
    """First and second moments of units of two networks, over all samples.

    Attributes:
      mean_a: array (units,).
      mean_b: array (units,).
      variance_a: array (units,), population.
      variance_b: array (units,), population.
      covariance: array (units, units), of the first network's units against the second one's.
    """

    mean_a: Any
    mean_b: Any
    variance_a: Any
    variance_b: Any
    covariance: Any


def examples(program: Program, batch: Any, name: str = "a batch") -> tuple[int, list[jax.Array]]:
    """Number of times the traced number of examples that a batch holds, and its leaves.

    Source: this library's bookkeeping.

    Raises:
      ValueError: leaves of another shape than those traced, or examples that are no multiple of those traced.
    """
    leaves, wanted = jax.tree.leaves(batch), program.inputs
    if len(leaves) != len(wanted):
        raise ValueError(f"{name} holds {len(leaves)} arrays, but the model was traced with {len(wanted)}")
    times = []
    for leaf, value in zip(leaves, wanted, strict=True):
        shape = jnp.shape(leaf)
        if len(shape) != len(value.shape) or shape[1:] != value.shape[1:] or not shape or not shape[0]:
            raise ValueError(f"{name} has shape {shape}, but the model was traced with shape {value.shape}")
        if shape[0] % value.shape[0]:
            raise ValueError(
                f"{name} has {shape[0]} examples, which is no multiple of the {value.shape[0]} that the model was "
                f"traced with; trace it with one example, or leave the rest out"
            )
        if jnp.issubdtype(value.dtype, jnp.floating) and jnp.iscomplexobj(leaf):
            raise ValueError(f"{name} is complex, but the model was traced with {value.dtype}")
        times.append(shape[0] // value.shape[0])
    if len(set(times)) > 1:
        raise ValueError(f"{name} holds arrays of different numbers of examples: {times} times those traced")
    cast = [jnp.asarray(leaf, value.dtype) for leaf, value in zip(leaves, wanted, strict=True)]
    return times[0], cast


def iterable_batches(batches: Any) -> Iterable[Any]:
    """Refuse what is no collection of batches.

    Source: this library's bookkeeping.

    Raises:
      ValueError: something one cannot go through, such as None.
    """
    if not isinstance(batches, Iterable):
        raise ValueError(f"batches is {batches!r}, but must be a list of inputs (or anything that yields them)")
    return batches


def batched(function: Callable[..., Any], times: int, inputs: Sequence[jax.Array]) -> Any:
    """Call a function of the traced number of examples on ``times`` as many; results have a first axis for it."""
    if times == 1:
        return jax.tree.map(lambda leaf: leaf[None], function(*inputs))
    stacked = [leaf.reshape(times, -1, *leaf.shape[1:]) for leaf in inputs]
    return jax.vmap(function)(*stacked)


def cross_moments(
    traced: Symmetries,
    variables_a: Any,
    others: Sequence[Any],
    batches: Iterable[Any],
    reads: Mapping[str, Sequence[Read]],
) -> list[dict[str, list[Moments]]]:
    """Moments of every class of one network against those of others, on the host, from one pass over the batches.

    Permuting the layers before one does not change its activations, so no layer waits for another. Each batch is
    centred by its own means and joined to what came before, weighted by its number of examples.

    Source: Bökman & Kahl 2023 (activation matching after Li et al. 2015); Chan, Golub & LeVeque 1983 (joining moments).

    Args:
      traced: from :func:`symjax.tracing.symmetries`.
      variables_a: pytree like the variables traced.
      others: pytrees like it.
      batches: inputs, each a multiple of the traced number of examples.
      reads: from :func:`symjax.matching.sites.reads`.

    Returns:
      For each of the others class name -> moments at each place.

    Raises:
      ValueError: no batch, a batch of another shape, or activations that are not finite, with the class named.

    Example:
      >>> from symjax.matching import reads
      >>> from symjax.tracing import symmetries
      >>> apply = lambda v, x: jnp.maximum(x @ v["in"], 0.0) @ v["out"]
      >>> v = {"in": jnp.array([[1.0, -1.0]]), "out": jnp.ones((2, 1))}
      >>> found = symmetries(apply, v, jnp.ones((1, 1)))
      >>> batches = [jnp.array([[2.0]]), jnp.array([[-2.0]])]
      >>> cross_moments(found, v, [v], batches, reads(found, ["in"]))[0]["in"][0].covariance.tolist()
      [[1.0, -1.0], [-1.0, 1.0]]
    """
    return moment_pass(traced, reads)(variables_a, others, batches)


def moment_pass(
    traced: Symmetries, reads: Mapping[str, Sequence[Read]]
) -> Callable[..., list[dict[str, list[Moments]]]]:
    """A function ``(variables_a, others, batches)`` that does what :func:`cross_moments` does, compiled once.

    Source: this library's bookkeeping.

    Args:
      traced: from :func:`symjax.tracing.symmetries`.
      reads: from :func:`symjax.matching.sites.reads`.

    Returns:
      The function, for whoever calls it several times.
    """
    program = traced.model.program
    flat = tuple(read for each in reads.values() for read in each)
    units = traced.model.once(("units", *(read[:2] for read in flat)), lambda: jax.jit(partial(_units, program, flat)))

    def run(variables_a: Any, others: Sequence[Any], batches: Iterable[Any]) -> list[dict[str, list[Moments]]]:
        leaves_a, *leaves_others = ([*map(jnp.asarray, jax.tree.leaves(one))] for one in (variables_a, *others))
        states: list[Any] = [None] * len(others)
        scales: list[Any] = []
        seen = 0.0
        for batch in iterable_batches(batches):
            times, inputs = examples(program, batch)
            a = _settled(units(leaves_a, inputs))
            scales += [] if scales else [[*map(_scale_of, a)]]
            for number, leaves in enumerate(leaves_others):
                b = _settled(units(leaves, inputs))
                scales += [[*map(_scale_of, b)]] if len(scales) == 1 + number else []
                # a program for each place: one for all of them takes three times as long on CPU
                now = [*map(_scaled_moments, a, b, scales[0], scales[1 + number])]
                before, share = states[number], times / (seen + times)
                joined = now if before is None else [_pooled(*pair, share) for pair in zip(before, now, strict=True)]
                states[number] = _settled(joined)
            seen += times
        if not seen:
            raise ValueError("batches holds nothing, but the networks must be run on some inputs")
        first, *rest = jax.device_get(scales)
        host = [
            [_unscaled(*each) for each in zip(state, first, other, strict=True)]
            for state, other in zip(jax.device_get(states), rest, strict=True)
        ]
        return [_by_class(state, reads) for state in host]

    return run


def _units(program: Program, reads: Sequence[Read], leaves: Any, inputs: Any) -> list[jax.Array]:
    """Samples of the units at each place, (samples, units)."""

    def one(*arrays: jax.Array) -> list[jax.Array]:
        values = evaluate(program, leaves, arrays, [read.value for read in reads])
        return [take_units(value, read.places) for value, read in zip(values, reads, strict=True)]

    times = inputs[0].shape[0] // program.inputs[0].shape[0]
    return [array.reshape(-1, array.shape[-1]) for array in batched(one, times, inputs)]


def _settled(arrays: Any) -> Any:
    """On a CPU wait for them: programs that run there at once drive each other's activations out of its caches."""
    on_cpu = all(device.platform == "cpu" for leaf in jax.tree.leaves(arrays) for device in leaf.devices())
    return jax.block_until_ready(arrays) if on_cpu else arrays


@jax.jit
def _scale_of(units: jax.Array) -> jax.Array:
    """A power of two for each unit, of the size that its place has in the first batch, so that squares keep in range.

    Units are free to be scaled, one by one; one that says nothing yet gets the scale of its place.
    """
    units = units.astype(accumulation_dtype(units.dtype))
    place = power_of_two(units)
    return jnp.where(jnp.any(units != 0, 0), power_of_two(units, axis=0), place)


def _unscaled(moments: Moments, a: np.ndarray, b: np.ndarray) -> Moments:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    sizes = Moments(a, b, a * a, b * b, a[:, None] * b[None])
    return Moments(*(size * np.asarray(one, np.float64) for size, one in zip(sizes, moments, strict=True)))


def _by_class(state: list[Moments], reads: Mapping[str, Sequence[Read]]) -> dict[str, list[Moments]]:
    rows, found = iter(state), {}
    for name, each in reads.items():
        found[name] = [Moments(*(np.asarray(array, np.float64) for array in next(rows))) for _ in each]
        for moments in found[name]:
            if not all(np.isfinite(array).all() for array in moments):
                raise ValueError(f"the activations of {name!r} are not finite, so its units cannot be matched")
    return found


def moments_of(a: jax.Array, b: jax.Array) -> Moments:
    """Moments of samples of two networks' units, each array (samples, units), by two passes over them."""
    ones = [jnp.ones(array.shape[1], accumulation_dtype(a.dtype, b.dtype)) for array in (a, b)]
    return _scaled_moments(a, b, *ones)


def _scaled_moments(a: jax.Array, b: jax.Array, scale_a: jax.Array, scale_b: jax.Array) -> Moments:
    """Moments of ``a / scale_a`` and ``b / scale_b``."""
    means, variances = _spreads(a, b, scale_a, scale_b)
    return Moments(*means, *variances, _covariance(a, b, scale_a, scale_b, *means))


# two programs: in one, what is centred for the covariances is written down for the variances too, a quarter slower
@jax.jit
def _spreads(
    a: jax.Array, b: jax.Array, scale_a: jax.Array, scale_b: jax.Array
) -> tuple[list[jax.Array], list[jax.Array]]:
    wide = [array.astype(scale.dtype) / scale[None] for array, scale in ((a, scale_a), (b, scale_b))]
    means = [jnp.mean(array, 0) for array in wide]
    return means, [jnp.mean((array - mean[None]) ** 2, 0) for array, mean in zip(wide, means, strict=True)]


@jax.jit
def _covariance(
    a: jax.Array, b: jax.Array, scale_a: jax.Array, scale_b: jax.Array, mean_a: jax.Array, mean_b: jax.Array
) -> jax.Array:
    a, b = a.astype(mean_a.dtype) / scale_a[None] - mean_a[None], b.astype(mean_b.dtype) / scale_b[None] - mean_b[None]
    return jnp.matmul(a.T, b, precision="highest") / a.shape[0]


def pooled(left: Moments, right: Moments, weight: Any) -> Moments:
    """Moments of two sets of samples together, of which the right one has the share ``weight``.

    ``mean = m + w (m' - m)``, ``cov = (1 - w) c + w c' + w (1 - w) (m' - m)(m' - m)^T``: every term of a variance is
    non-negative.

    Source: Chan, Golub & LeVeque 1983, equation 1.5.

    Example:
      >>> import jax.numpy as jnp
      >>> x = jnp.arange(6.0)[:, None]
      >>> both = pooled(moments_of(x[:2], x[:2]), moments_of(x[2:], x[2:]), 4 / 6)
      >>> print(both.mean_a, both.covariance.round(4))
      [2.5] [[2.9167]]
    """
    w = jnp.asarray(weight, left.mean_a.dtype)
    step_a, step_b = right.mean_a - left.mean_a, right.mean_b - left.mean_b

    def second(before: jax.Array, now: jax.Array, between: jax.Array) -> jax.Array:
        return (1 - w) * before + w * now + w * (1 - w) * between

    return Moments(
        left.mean_a + w * step_a,
        left.mean_b + w * step_b,
        second(left.variance_a, right.variance_a, step_a * step_a),
        second(left.variance_b, right.variance_b, step_b * step_b),
        second(left.covariance, right.covariance, step_a[:, None] * step_b[None]),
    )


_pooled = jax.jit(pooled)

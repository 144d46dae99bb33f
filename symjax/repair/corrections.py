"""Corrections of a merged network's hidden units: :func:`repair`, fused into the leaves where leaves write them."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from symjax.arguments import scalar
from symjax.channels import leaf_paths
from symjax.matching.moments import cross_moments, examples, iterable_batches
from symjax.matching.moments import pooled as pooled_moments
from symjax.matching.sites import Read, require_variables
from symjax.repair.places import Place, Places, streams, writers
from symjax.repair.stages import place_after_place
from symjax.repair.statistics import Statistics, by_batch, looker, pooled, runner
from symjax.repair.steps import Affine, Correction, Mode, Step, correct, running, step
from symjax.tracing import Symmetries
from symjax.tracing.describe import Path

__all__ = ["Repaired", "outputs", "repair"]


class Repaired(NamedTuple):
    """A corrected network.

    Attributes:
      variables: with all that leaves can take up; ``apply(variables, x)`` is the corrected network if ``inserted`` is
        empty.
      inserted: corrections of streams, which :func:`outputs` applies.
      goals: name of each corrected place -> statistics it was to have; empty for a reset.
      statistics: name of each corrected place -> statistics that the merged network had there when it was corrected.
    """

    variables: Any
    inserted: tuple[tuple[Place, Affine], ...]
    goals: dict[str, Statistics]
    statistics: dict[str, Statistics]

    def __repr__(self) -> str:
        return f"<Repaired: {len(self.statistics)} places corrected, {len(self.inserted)} of them inserted>"


def repair(
    traced: Symmetries,
    merged: Any,
    variables_a: Any,
    variables_b: Any,
    batches: Sequence[Any],
    *,
    correction: Correction = "repair",
    mode: Mode = "exact",
    places: Places = "writers",
    alpha: float = 0.5,
) -> Repaired:
    """Correct a merged network by the statistics of the two it was merged from.

    With ``m, s`` of the merged network's units and goals ``mu* = (1 - alpha) mu_a + alpha mu_b``, ``s*`` alike:
    "repair" ``x -> s* (x - m) / s + mu*``; "std" ``x -> s* (x - m) / s + m``; "mean" ``x -> x - m + mu*``; "reset" the
    running statistics of every normalisation become the merged network's own (no goals; where there are none it is
    refused); "none" nothing. A later place sees the earlier ones corrected. Means alone can kill a deep network without
    normalisations: where units are silent on most inputs their means are far below zero, and units whose deviations
    merging has shrunk, put there, are silent on all.

    "exact": pooled population statistics, place after place, in one forward pass (each place goes on from the tensors
    kept behind the one before, of all batches up to 1 GiB): the goals are met to rounding on these batches. "torch":
    one pass in which every batch is normalised by its own statistics, whose unweighted means (the variance unbiased,
    epsilon 1e-5) are kept. "closed": the merged network is not run; its statistics are predicted from the two networks'
    own, ``m = mu*`` and ``s^2 = (1 - alpha)^2 s_a^2 + alpha^2 s_b^2 + 2 alpha (1 - alpha) rho s_a s_b`` with the
    correlation rho of the aligned units: exact where units read the input, not further on (at "writers", without
    "reset").

    At "writers" (before the nonlinearity) everything is fused into bias and gain or kernel. At "streams" (outputs of
    residual blocks, after the nonlinearity) the correction has to be inserted, and all normalisations are reset in the
    same pass, as for the published ResNet50.

    Source: Jordan et al. 2023 (REPAIR), section 4; Bökman & Kahl 2023. Deviation: the goals of networks with
      normalisations come from their evaluation mode; rho is that of the tensors corrected, not of activations.

    Args:
      traced: from :func:`symjax.tracing.symmetries`.
      merged: variables, from :func:`symjax.matching.merge`.
      variables_a: of the first network.
      variables_b: of the second one, aligned with the first.
      batches: inputs, run several times; flipped beside unflipped ones keep a flip's invariance.
      correction: what is corrected.
      mode: how the merged network's statistics are taken.
      places: where.
      alpha: place on the line at which the networks were merged.

    Returns:
      The corrected network.

    Raises:
      ValueError: an unknown option; a network without anything to correct; variables or batches unlike those traced;
        activations that are not finite.

    Example:
      >>> from symjax.tracing import symmetries
      >>> apply = lambda v, x: jnp.maximum(x @ v["in"] + v["bias"][None], 0.0) @ v["out"]
      >>> one = {"in": jnp.ones((1, 2)), "bias": jnp.zeros(2), "out": jnp.ones((2, 1))}
      >>> two, x = {**one, "in": 3 * one["in"]}, jnp.array([[-1.0], [2.0]])
      >>> fixed = repair(symmetries(apply, one, x), one, one, two, [x])  # towards the middle of the two
      >>> print(fixed.variables["in"][0], fixed.variables["bias"])
      [2. 2.] [0. 0.]
    """
    for name, (value, kind) in {
        "correction": (correction, Correction),
        "mode": (mode, Mode),
        "places": (places, Places),
    }.items():
        if value not in get_args(kind):
            raise ValueError(f"{name} is {value!r}, but must be one of {', '.join(map(repr, get_args(kind)))}")
    require_variables(traced, merged=merged, variables_a=variables_a, variables_b=variables_b)
    alpha, batches = scalar("alpha", alpha), list(iterable_batches(batches))
    if correction == "none":
        return Repaired(merged, (), {}, {})
    if not batches:
        raise ValueError("batches holds nothing, but the networks must be run on some inputs")
    batches = [examples(traced.model.program, batch)[1] for batch in batches]  # moved to the device once
    chosen = planned(traced, correction, places)
    kept = [place for place, how in chosen if how != "reset"]
    if mode == "closed" and (len(kept) < len(chosen) or places != "writers"):
        raise ValueError(f"mode 'closed' predicts no {correction!r} at {places!r}; take 'exact' or 'torch'")
    ends = ends_of(traced, (variables_a, variables_b), batches, kept, mode) if kept else ([], [])
    goals = {place.name: _between(*pair, alpha) for place, *pair in zip(kept, *ends, strict=True)}
    steps = [step(place, how, goals.get(place.name), merged, mode) for place, how in chosen]
    if mode == "closed":
        measured = _predicted(traced, variables_a, variables_b, batches, kept, alpha)
    else:
        measured = measured_at(traced, merged, batches, [place for place, _ in chosen], steps, mode)
    return fused(merged, chosen, measured, steps, goals)


def outputs(traced: Symmetries, repaired: Repaired, x: Any) -> Any:
    """Run a corrected network, with the corrections that no leaf could take up.

    Source: this library's bookkeeping.

    Args:
      traced: from :func:`symjax.tracing.symmetries`.
      repaired: from :func:`repair`.
      x: input, a multiple of the traced number of examples; results of examples stand one after the other.

    Returns:
      The network's output; a list where there are several.

    Raises:
      ValueError: an input of another shape than the one traced.
    """
    _, inputs = examples(traced.model.program, x, "x")
    places, affine = [place for place, _ in repaired.inserted], [one for _, one in repaired.inserted]
    run = runner(traced, places, outputs=True)
    given = traced.model.once(
        ("corrected", *places),
        lambda: jax.jit(lambda affine, leaves, inputs: run(lambda n, *_: affine[n], leaves, inputs)[1]),
    )
    results = given(affine, jax.tree.leaves(repaired.variables), inputs)
    return results[0] if len(results) == 1 else results


def ends_of(
    traced: Symmetries, networks: Sequence[Any], batches: Sequence[Any], places: Sequence[Place], mode: Mode
) -> list[list[Statistics]]:
    """Statistics of networks as they are, by one program: pooled, or unweighted means over batches of unbiased ones."""
    look, found = looker(traced, places), []
    for network in networks:
        each = by_batch(partial(look, _leaves(network)), traced, batches, places)
        found.append(_means_of(each, traced, places) if mode == "torch" else pooled(each))
    return found


def _leaves(variables: Any) -> list[jax.Array]:
    """On the device, whatever they were."""
    return [*map(jnp.asarray, jax.tree.leaves(variables))]


def _means_of(
    batches: Sequence[tuple[int, Sequence[Statistics]]], traced: Symmetries, places: Sequence[Place]
) -> list[Statistics]:
    """Unweighted means over the batches, the variances unbiased."""
    found = []
    for place, column in zip(places, zip(*(each for _, each in batches), strict=True), strict=True):
        counts = [samples(traced, place, times) for times, _ in batches]
        unbiased = [one.variance * n / max(n - 1, 1) for one, n in zip(column, counts, strict=True)]
        found.append(Statistics(np.mean([one.mean for one in column], 0), np.mean(unbiased, 0)))
    return found


def samples(traced: Symmetries, place: Place, times: int) -> int:
    """How many numbers a unit has in a batch."""
    return times * int(np.prod(place.value.shape)) // place.size


def planned(traced: Symmetries, correction: Correction, places: Places) -> list[tuple[Place, Correction]]:
    """The places to correct and how, in the order of the program."""
    found = writers(traced)
    normalised = [(place, "reset") for place in found if place.normalisation is not None]
    if correction == "reset":
        chosen = normalised
    elif places == "streams":
        order = {value: n for n, equation in enumerate(traced.model.program.equations) for value in equation.outputs}
        chosen = [*normalised, *((place, correction) for place in streams(traced))]
        chosen = sorted(chosen, key=lambda pair: order[pair[0].value])
        chosen = chosen if len(chosen) > len(normalised) else []
    else:
        chosen = [(place, correction) for place in found]
    if not chosen:
        lacks = {"reset": "no normalisation with running statistics", "streams": "no residual stream"}
        what = lacks["reset"] if correction == "reset" else lacks.get(places, "no bias added to hidden units")
        raise ValueError(f"the network has {what}, so {correction!r} has nothing to correct there")
    return chosen


def _between(first: Statistics, second: Statistics, alpha: float) -> Statistics:
    mean = (1 - alpha) * first.mean + alpha * second.mean
    return Statistics(mean, ((1 - alpha) * first.deviation + alpha * second.deviation) ** 2)


def measured_at(
    traced: Symmetries, merged: Any, batches: Sequence[Any], places: list[Place], steps: list[Step], mode: Mode
) -> list[Statistics]:
    """Statistics of the merged network at each place, the earlier places corrected."""
    leaves = _leaves(merged)
    if mode == "torch":
        run = runner(traced, places)
        measure = traced.model.once(
            ("torch", *places),
            lambda: jax.jit(lambda steps, *at: run(lambda n, mean, s: correct(steps[n], mean, s**2), *at)[0]),
        )
        return _means_of(by_batch(partial(measure, steps, leaves), traced, batches, places), traced, places)
    return place_after_place(traced, leaves, batches, places, steps)


def _predicted(
    traced: Symmetries, first: Any, second: Any, batches: Sequence[Any], places: Sequence[Place], alpha: float
) -> list[Statistics]:
    """Statistics of the weighted mean of two networks' tensors."""
    reads = {place.name: [Read(place.value, (each,), None) for each in place.segments] for place in places}
    found = []
    for each in cross_moments(traced, first, [second], batches, reads)[0].values():
        one = each[0]
        for count, other in enumerate(each[1:], 1):
            one = pooled_moments(one, other, 1 / (1 + count))
        mean = (1 - alpha) * one.mean_a + alpha * one.mean_b
        mixed = 2 * alpha * (1 - alpha) * np.diagonal(one.covariance)
        variance = (1 - alpha) ** 2 * one.variance_a + alpha**2 * one.variance_b + mixed
        found.append(Statistics(mean, np.clip(variance, 0.0, None)))
    return found


def fused(
    merged: Any,
    chosen: Sequence[tuple[Place, Correction]],
    measured: Sequence[Statistics],
    steps: Sequence[Step],
    goals: dict[str, Statistics],
) -> Repaired:
    """Put the corrections into the leaves: kernels where they are, vectors in float64."""
    leaves, inserted = dict(leaf_paths(merged)), []
    for (place, how), seen, wanted in zip(chosen, measured, steps, strict=True):
        affine = Affine(*correct(wanted, *seen))
        if how == "reset":
            old = running(place, merged)
            moved = old.slope != 0
            mean = np.where(moved, old.mean + (seen.mean - old.bias) / old.safe, old.mean)
            _put(leaves, place.normalisation.mean, mean)
            _put(leaves, place.normalisation.var, np.where(moved, seen.variance / old.safe**2, old.var))
        elif place.bias is None:
            inserted.append((place, affine))
        else:
            for leaf in place.gains:
                leaves[leaf.path] = _scaled(leaves[leaf.path], affine.factor, leaf.axis)
            _put(leaves, place.bias, affine.factor * np.asarray(leaves[place.bias]) + affine.summand)
    variables = jax.tree.unflatten(jax.tree.structure(merged), [jnp.asarray(leaf) for leaf in leaves.values()])
    seen = {place.name: one for (place, _), one in zip(chosen, measured, strict=True)}
    return Repaired(variables, tuple(inserted), goals, seen)


def _put(leaves: dict[Path, Any], path: Path, value: np.ndarray) -> None:
    leaves[path] = jnp.asarray(value.astype(leaves[path].dtype))


@partial(jax.jit, static_argnums=2)
def _scaled(leaf: jax.Array, factor: jax.Array, axis: int) -> jax.Array:
    """A leaf multiplied along one axis, in the wider of the two precisions."""
    shape = [1] * leaf.ndim
    shape[axis] = -1
    return (leaf.astype(factor.dtype) * factor.reshape(shape)).astype(leaf.dtype)

"""A network merged with all its images under a group, corrected: :func:`repair_group`."""

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from symjax.matching.moments import examples, iterable_batches
from symjax.matching.sites import require_variables
from symjax.repair.corrections import Repaired, ends_of, fused, measured_at, planned
from symjax.repair.statistics import Statistics
from symjax.repair.steps import Correction, Mode, step
from symjax.tracing import Symmetries

__all__ = ["repair_group"]


def repair_group(
    traced: Symmetries,
    merged: Any,
    images: Sequence[Any],
    batches: Sequence[Any],
    *,
    correction: Correction = "repair",
    mode: Mode = "exact",
) -> Repaired:
    """Correct the mean of several networks by the means of their statistics.

    As :func:`symjax.repair.repair` at "writers", with goals ``mu* = mean_g mu_g`` and ``s* = mean_g s_g``. For images
    under a group, each in the network's order by permutations that obey the group's law, and batches that hold every
    input with all its images, the corrected network is as invariant as the merged one.

    Source: Jordan et al. 2023 (REPAIR) for two networks; any number: derived.

    Args:
      traced: from :func:`symjax.tracing.symmetries`.
      merged: variables, from :func:`symjax.matching.merge_group`.
      images: variables of the networks merged, all in one order, as :func:`symjax.matching.aligned_group` gives them.
      batches: inputs, run several times.
      correction: what is corrected, as for :func:`symjax.repair.repair`.
      mode: "exact" or "torch", as there.

    Returns:
      The corrected network.

    Raises:
      ValueError: as :func:`symjax.repair.repair`; no networks.

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.tracing import symmetries
      >>> apply = lambda v, x: jnp.maximum(x @ v["in"] + v["bias"][None], 0.0) @ v["out"]
      >>> one = {"in": jnp.ones((1, 2)), "bias": jnp.zeros(2), "out": jnp.ones((2, 1))}
      >>> three = [{**one, "in": scale * one["in"]} for scale in (1.0, 2.0, 6.0)]
      >>> x = jnp.array([[-1.0], [2.0]])
      >>> print(repair_group(symmetries(apply, one, x), one, three, [x]).variables["in"][0])
      [3. 3.]
    """
    allowed = {"correction": (correction, get_args(Correction)), "mode": (mode, ("exact", "torch"))}
    for name, (value, options) in allowed.items():
        if value not in options:
            raise ValueError(f"{name} is {value!r}, but must be one of {', '.join(map(repr, options))}")
    if not len(images):
        raise ValueError("images holds nothing, but must hold the networks that were merged")
    require_variables(traced, merged=merged, **{f"images[{g}]": one for g, one in enumerate(images)})
    if correction == "none":
        return Repaired(merged, (), {}, {})
    program = traced.model.program
    batches = [examples(program, batch)[1] for batch in iterable_batches(batches)]  # moved to the device once
    if not batches:
        raise ValueError("batches holds nothing, but the networks must be run on some inputs")
    chosen = planned(traced, correction, "writers")
    kept = [place for place, how in chosen if how != "reset"]
    ends = zip(*ends_of(traced, images, batches, kept, mode), strict=True) if kept else ()
    goals = {place.name: _mean(each) for place, each in zip(kept, ends, strict=True)}
    steps = [step(place, how, goals.get(place.name), merged, mode) for place, how in chosen]
    measured = measured_at(traced, merged, batches, [place for place, _ in chosen], steps, mode)
    return fused(merged, chosen, measured, steps, goals)


def _mean(each: Sequence[Statistics]) -> Statistics:
    deviation = np.mean([one.deviation for one in each], 0)
    return Statistics(np.mean([one.mean for one in each], 0), deviation**2)

"""The families of symmetries of a network in training: each a flow and a vector, an entry a filter, unit or feature.

- filters (scale symmetry, only with BatchNorm): the squared norm ``R = |q|^2`` of a filter and its Noether charge;
- units (rescale symmetry): the imbalance ``D = |writers|^2 - |readers|^2``, of the hidden dense units with BatchNorm,
  of every hidden channel without;
- classifier (translation symmetry): the sums over classes of the last layer's bias and of its kernel, one an input
  feature.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.actions import translate
from symjax.channels import Channel, restrict, scalings, unsigned
from symjax.symmetry import Symmetry, pairing


class Families(NamedTuple):
    """The symmetries of a network's three families, None where there is none; ``unsigned`` gives the units' size."""

    filters: Symmetry | None
    units: Symmetry | None
    classifier: Symmetry
    unsigned: Symmetry | None


def families(channels: Mapping[str, Channel], params: Any, last: str = "dense3") -> Families:
    """Find the symmetries that hold in training mode, from the description of the channels.

    A filter's scale symmetry is taken with its kernel alone: the batch's own statistics take out the bias. Where
    filters have the scale symmetry their norms may be fixed, which breaks the rescale symmetry of the layers around
    them, so only channels without it count as units.

    Args:
      channels: description with paths from ``{"params", "batch_stats"}``.
      params: the parameters.
      last: name of the layer that gives the logits.
    """
    relative = restrict(channels, "params") if channels else {}  # a single layer has no hidden channels
    filters = {name: _kernel_only(channel) for name, channel in relative.items() if _has(channel, "scale")}
    units = {name: channel for name, channel in relative.items() if not _has(channel, "scale")}

    def classifier(s: dict[str, jax.Array], params: Any) -> Any:
        layer = params[last]
        moved = {"kernel": translate(s["kernel"], layer["kernel"]), "bias": translate(s["bias"], layer["bias"])}
        return {**params, last: moved}

    zero = {"kernel": jnp.zeros(params[last]["kernel"].shape[0]), "bias": jnp.zeros(())}
    return Families(
        scalings(filters, "scale") if filters else None,
        scalings(units, "rescale") if units else None,
        Symmetry(classifier, zero),
        scalings({name: unsigned(channel) for name, channel in units.items()}, "rescale") if units else None,
    )


def layer_names(found: Families) -> dict[str, np.ndarray]:
    """Name the channel of every entry of the filters' and units' vectors; a family that is absent has no entry."""
    named = {}
    for family in ("filters", "units"):
        symmetry = getattr(found, family)
        if symmetry is not None:
            zero = symmetry.zero
            names = sorted(zero)
            named[f"{family[:-1]}_layer"] = np.repeat(names, [zero[name].shape[0] for name in names])
    return named


def pair(family: Symmetry, point: Any, covector: Any) -> jax.Array:
    """Pair a covector with all generators of a family, as one vector; each is linear, or constant, in the point."""
    paired = pairing(family, point, covector)
    return jnp.concatenate([jnp.atleast_1d(paired[name]) for name in sorted(paired)])


def split(vector: jax.Array, zero: dict[str, jax.Array]) -> dict[str, jax.Array]:
    names = sorted(zero)
    cuts = np.cumsum([zero[name].shape[0] for name in names])[:-1]
    return dict(zip(names, jnp.split(vector, cuts), strict=True))


def _has(channel: Channel, kind: str) -> bool:
    return any(scaling.name == kind for scaling in channel.scalings)


def _kernel_only(channel: Channel) -> Channel:
    scale = next(scaling for scaling in channel.scalings if scaling.name == "scale")
    terms = tuple((site, degree) for site, degree in scale.terms if site.path[-1] == "kernel")
    return channel._replace(scalings=(scale._replace(terms=terms),))

"""The families of symmetries of a network in training: each a flow and vectors, an entry a filter, unit or feature.

- filter (scale symmetry, only with BatchNorm): the squared norm ``R = |q|^2`` of a filter and its Noether charge;
- unit (rescale symmetry): the imbalance ``D = |writers|^2 - |readers|^2``, of the hidden dense units with BatchNorm,
  of every hidden channel without;
- classifier (translation symmetry): the sums over classes of the last layer's bias and of its kernel, one an input
  feature.

Those are the paper's, of a network whose channels are described. Of any other network :func:`traced` finds

- scaling: every positive scaling, ``<q, M q>`` with the degrees in M;
- mixing: the general linear groups, as of attention heads, a symmetric matrix of charges each;
- translation: the sum along every translation that other parameters do not take up.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.actions import translate
from symjax.channels import Channel, restrict, scalings
from symjax.symmetry import Symmetry, compose
from symjax.tracing import symmetries


class Families(NamedTuple):
    """The symmetries of a network's families.

    Attributes:
      symmetry: of all families at once; coordinates are family -> layer -> a vector.
      form: "quadratic" or "linear" in the place of each vector, as :func:`symjax.watch.watch` takes it.
      layers: family -> the layer of every entry, text; of the families whose entries have one.
      filters: the filters' symmetry alone, which fixes their norms; None without BatchNorm.
    """

    symmetry: Symmetry
    form: dict[str, str]
    layers: dict[str, np.ndarray]
    filters: Symmetry | None


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

    def classifier(s: dict[str, Any], params: Any) -> Any:
        layer = params[last]
        moved = {"kernel": translate(s["kernel"], layer["kernel"]), "bias": translate(s["bias"], layer["bias"])}
        return {**params, last: moved}

    whole = {
        "filter": scalings(filters, "scale") if filters else None,
        "unit": scalings(units, "rescale") if units else None,
        "classifier": Symmetry(
            classifier, {"kernel": jnp.zeros(params[last]["kernel"].shape[0]), "bias": jnp.zeros(())}
        ),
    }
    found = {family: symmetry for family, symmetry in whole.items() if symmetry is not None}
    form = {
        family: dict.fromkeys(symmetry.zero, "linear" if family == "classifier" else "quadratic")
        for family, symmetry in found.items()
    }
    layers = {family: _names(symmetry) for family, symmetry in found.items() if family != "classifier"}
    return Families(compose(**found), form, layers, whole["filter"])


def traced(apply: Callable[[Any, Any], Any], params: Any, x: Any) -> Families:
    """Find the symmetries of any network from its program, those with a charge.

    Args:
      apply: ``apply(params, x) -> logits`` in training mode, without randomness; the softmax after it is added here.
      params: the parameters.
      x: a batch of images, its shape is enough.

    Raises:
      ValueError: nothing with a charge was found.
    """
    found = symmetries(lambda params, x: jax.nn.log_softmax(apply(params, x)), params, x)
    form: dict[str, dict[str, str]] = {"scaling": {}, "mixing": {}, "translation": {}}
    contained = {group.scaling for group in found.linear}
    form["scaling"] = {one.name: "quadratic" for one in found.scalings if one.name not in contained}
    form["mixing"] = {one.name: "matrix" for one in found.linear if one.group == "general_linear"}
    form["translation"] = {
        one.name: "linear"
        for one in found.shifts
        if not one.absorbed and all(term.weight is None for term in one.terms)
    }
    form = {family: words for family, words in form.items() if words}
    if not form:
        raise ValueError("no symmetry with a charge was found in the network")
    whole, kinds = found.symmetry, {"scaling": "scalings", "mixing": "linear", "translation": "shifts"}

    def flow(s: dict[str, dict[str, jax.Array]], params: Any) -> Any:
        every = {kinds[family]: own for family, own in s.items()}
        return whole.flow({kind: zero | every.get(kind, {}) for kind, zero in whole.zero.items()}, params)

    zero = {family: {name: whole.zero[kinds[family]][name] for name in words} for family, words in form.items()}
    layers = {
        family: np.repeat(sorted(leaves), [leaves[name].size for name in sorted(leaves)])
        for family, leaves in zero.items()
    }
    return Families(Symmetry(flow, zero), form, layers, None)


def vector(tree: Any) -> jax.Array:
    """One vector of a family's vectors, layer after layer in alphabetical order."""
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def layer_names(found: Families) -> dict[str, np.ndarray]:
    """Name the layer of every entry of the families' vectors; a family that is absent has no entry."""
    return {f"{family}_layer": names for family, names in found.layers.items()}


def _names(symmetry: Symmetry) -> np.ndarray:
    names = sorted(symmetry.zero)
    return np.repeat(names, [symmetry.zero[name].shape[0] for name in names])


def _has(channel: Channel, kind: str) -> bool:
    return any(scaling.name == kind for scaling in channel.scalings)


def _kernel_only(channel: Channel) -> Channel:
    scale = next(scaling for scaling in channel.scalings if scaling.name == "scale")
    terms = tuple((site, degree) for site, degree in scale.terms if site.path[-1] == "kernel")
    return channel._replace(scalings=(scale._replace(terms=terms),))

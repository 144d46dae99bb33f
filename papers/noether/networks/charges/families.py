"""The families of symmetries of a network in training, found from its program: each a flow with vectors of coordinates.

- filter: scale symmetry, all degrees +1: the weights before a normalisation. The squared norm ``R = |q|^2`` and its
  Noether charge; a norm may be fixed, since the function does not depend on it;
- unit: rescale symmetry, degrees of both signs: the imbalance ``D = |writers|^2 - |readers|^2`` of a hidden unit;
- gain: the same where the writers are the gain and bias of a normalisation;
- mixing: the general linear groups, as of attention heads, a symmetric matrix of charges each;
- translation: the sum along every translation that no other parameter takes up, as over the classes of a softmax.

The program is traced in training mode, which decides what holds there. A batch's own statistics normalise, so the
running ones are written and never read: the scaling of a filter is that of its kernel alone (a bias before BatchNorm is
not read either), and the scaling of a running variance against the gain, which evaluation has, does not exist. Dropout
is traced at rate 0: a mask multiplies units, and what is multiplied unit by unit has the same scalings; the rate is for
networks without linear groups.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax.symmetry import Symmetry
from symjax.tracing import Symmetries, symmetries
from symjax.tracing.action import leaf_paths, mix, rescale, spread_on

FORMS = {"filter": "quadratic", "unit": "quadratic", "gain": "quadratic", "mixing": "matrix", "translation": "linear"}
"""Family -> its charges' form, as :func:`symjax.watch.watch` takes it."""


class Families(NamedTuple):
    """The symmetries of a network's families.

    Attributes:
      symmetry: of all families at once; coordinates are family -> name -> an array. To first order where a group is
        linear: charges ask for generators alone, and a matrix exponential takes long to compile.
      form: "quadratic", "matrix" or "linear" in the place of each array, as :func:`symjax.watch.watch` takes it.
      layers: family -> the name of every entry, text.
      filters: the filters' symmetry alone, which fixes their norms; None without a filter.
      stretch: ``stretch(params, factor)`` multiplies all filters, NumPy; None without a filter.
    """

    symmetry: Symmetry
    form: dict[str, dict[str, str]]
    layers: dict[str, np.ndarray]
    filters: Symmetry | None
    stretch: Callable[[Any, float], Any] | None


def families(
    model: Any, variables: Any, image_shape: tuple[int, ...], fixed: bool = False, gains: bool = False
) -> Families:
    """Find the symmetries of a network that have a charge in training.

    Args:
      model: a Flax module with ``apply(variables, images, train=...) -> logits``; the softmax after it is added here.
      variables: its variables, whose shapes are read.
      image_shape: the shape of one input, without the batch axis.
      fixed: whether the filters' norms may be fixed, which breaks every other symmetry that moves a filter: left out.
      gains: whether gains are watched, which are as many again as filters; the paper has none.

    Raises:
      ValueError: nothing with a charge was found.
    """
    params, stats = variables["params"], variables.get("batch_stats", {})
    quiet = model.clone(dropout=0.0) if hasattr(model, "dropout") else model

    def apply(params: Any, images: jax.Array) -> jax.Array:
        whole = {"params": params, "batch_stats": stats}
        return jax.nn.log_softmax(quiet.apply(whole, images, train=True, mutable=["batch_stats"])[0])

    found = _families(symmetries(apply, params, jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)))
    found["gain"] = found["gain"] if gains else []
    if fixed:
        held = {term.place.path for one in found["filter"] for term in one.terms}
        for family in found.keys() - {"filter"}:
            found[family] = [one for one in found[family] if held.isdisjoint(term.place.path for term in one.terms)]
    found = {family: {_name(family, one): one for one in own} for family, own in found.items() if own}
    if not found:
        raise ValueError("no symmetry with a charge was found in the network")
    zero = {family: {name: jnp.zeros(_shape(one)) for name, one in own.items()} for family, own in found.items()}

    def flow(s: dict[str, dict[str, jax.Array]], params: Any) -> Any:
        leaves, structure = leaf_paths(params)
        leaves = {path: jnp.asarray(leaf) for path, leaf in leaves.items()}
        for family, own in s.items():
            leaves = _ACTIONS[FORMS[family]](own, found[family], leaves)
        return jax.tree.unflatten(structure, list(leaves.values()))

    def stretch(params: Any, factor: float) -> Any:
        leaves, structure = leaf_paths(params)
        own = found["filter"].values()
        moved = rescale([np.full(one.shape, np.log(factor)) for one in own], leaves, list(own))
        return jax.tree.unflatten(structure, list(moved.values()))

    filters = Symmetry(lambda s, params: flow({"filter": s}, params), zero["filter"]) if "filter" in found else None
    return Families(
        Symmetry(flow, zero),
        {family: dict.fromkeys(own, FORMS[family]) for family, own in zero.items()},
        {family: np.repeat(sorted(own), [own[name].size for name in sorted(own)]) for family, own in zero.items()},
        filters,
        stretch if filters else None,
    )


def vector(tree: Any) -> jax.Array:
    """One vector of a family's arrays, one after the other in alphabetical order."""
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def layer_names(found: Families) -> dict[str, np.ndarray]:
    """Name the layer of every entry of the families' vectors; a family that is absent has no entry."""
    return {f"{family}_layer": names for family, names in found.layers.items()}


def _families(found: Symmetries) -> dict[str, list[Any]]:
    """Sort what was found; a scaling that a linear group contains is left to the group."""
    groups = [one for one in found.linear if one.group == "general_linear"]
    contained = {one.scaling for one in groups}
    result: dict[str, list[Any]] = {family: [] for family in FORMS} | {"mixing": groups}
    for one in found.scalings:
        sides = {sign: [term for term in one.terms if sign * term.degree > 0] for sign in (1, -1)}
        if not one.centred and all(term.degree == 1 for term in one.terms):
            result["filter"].append(one)
        elif any(all(len(term.place.shape) == 1 for term in side) for side in sides.values()):
            result["gain"].append(one)
        elif one.name not in contained:
            result["unit"].append(one)
    result["translation"] = [
        one for one in found.shifts if not one.absorbed and not one.centred and all(t.weight is None for t in one.terms)
    ]
    return result


def _name(family: str, one: Any) -> str:
    """A filter's layer where it is one; otherwise the name that tracing gave."""
    layers = {"/".join(map(str, term.place.path[:-1])) for term in one.terms}
    return layers.pop() if family == "filter" and len(layers) == 1 else one.name


def _shape(one: Any) -> tuple[int, ...]:
    return one.shape if hasattr(one, "shape") else (*(size for _, size in one.batch), one.size, one.size)


def _scale(s: dict[str, jax.Array], own: dict[str, Any], leaves: dict) -> dict:
    return rescale([s[name] for name in own], leaves, list(own.values()))


def _mix(s: dict[str, jax.Array], own: dict[str, Any], leaves: dict) -> dict:
    for name, one in own.items():
        for degree, near in ((1, s[name]), (-1, -jnp.swapaxes(s[name], -1, -2))):
            # by a matrix as it is, which an orthogonal group allows to both sides
            side = one._replace(group="orthogonal", terms=tuple(t for t in one.terms if t.degree == degree))
            leaves = mix([jnp.broadcast_to(jnp.eye(one.size, dtype=near.dtype), near.shape) + near], leaves, [side])
    return leaves


def _shift(s: dict[str, jax.Array], own: dict[str, Any], leaves: dict) -> dict:
    moved = dict(leaves)
    for name, one in own.items():
        for term in one.terms:
            moved[term.place.path] = spread_on(moved[term.place.path], float(term.degree) * s[name], term)
    return moved


_ACTIONS = {"quadratic": _scale, "matrix": _mix, "linear": _shift}

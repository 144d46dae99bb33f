"""Functional dimension: how many directions of a network's parameters change its function, and which do not.

The parameters of a model have ``rank of the Jacobian + dimension of its symmetries`` directions; what is left over is a
*hidden* symmetry, one that no permutation and no positive scaling explains.

* :mod:`~symjax.dimension.networks`: multilayer perceptrons as plain arrays, their sizes and activation patterns;
  :mod:`~symjax.dimension.gradients`: their gradients with the patterns frozen.
* :mod:`~symjax.dimension.units`: ReLU, leaky ReLU, maxout, a maximum over ReLUs: one description.
* :mod:`~symjax.dimension.trivial`: permutations and scalings of their units, as channels.
* :mod:`~symjax.dimension.regions`: every activation region of a network, in all of the input space.
* :mod:`~symjax.dimension.arrangement`: what the regions say: counts, conditions;
  :mod:`~symjax.dimension.pictures`: for two inputs, what they look like.
* :mod:`~symjax.dimension.exact`: the dimension from all of them, without sampling.
* :mod:`~symjax.dimension.mechanisms`: which mechanism takes a missing dimension, unit by unit;
  :mod:`~symjax.dimension.examples`: a small network for each.
* :mod:`~symjax.dimension.constructor`: parameters without hidden symmetries, for any architecture.
* :mod:`~symjax.dimension.equality`: whether two networks are one function, and by which kind of symmetry.
* :mod:`~symjax.dimension.rank`: the dimension of ReLU networks at points, on the regions sampled, and the generic one.
* :mod:`~symjax.dimension.wide`: the same with many inputs, such as pixels: no triangle of D x D.
* :mod:`~symjax.dimension.certificate`: a proof of a sampled rank, without a tolerance.
* :mod:`~symjax.dimension.models`: the rank of any model on a batch, by autodiff.
* :mod:`~symjax.dimension.completeness`: for any traced model, whether a symmetry is missing.
* :mod:`~symjax.dimension.matrix_free`: how many directions a large model forgets, from products with its Jacobian.
* :mod:`~symjax.dimension.directions`: the directions that change nothing and are no scalings.

Names are loaded when they are first used. Everything is NumPy in float64, because a rank is decided by singular values
far below the rounding of float32.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "RELU": "units",
    "activation_regions": "regions",
    "affine_maps": "arrangement",
    "always_on_drop": "examples",
    "batch_dimension": "rank",
    "bent_hyperplanes": "pictures",
    "bound": "networks",
    "canonical_form": "equality",
    "certify": "certificate",
    "check_complete": "regions",
    "complete": "completeness",
    "construct": "constructor",
    "count": "arrangement",
    "dimensions": "rank",
    "estimate_nullity": "matrix_free",
    "exact_dimension": "exact",
    "explain": "mechanisms",
    "generic_dimension": "rank",
    "hidden_directions": "directions",
    "largest_dimension": "exact",
    "leaky": "units",
    "linear_regions_assumption": "arrangement",
    "max_pool": "units",
    "maxout": "units",
    "mechanism_examples": "examples",
    "model_dimension": "models",
    "outputs": "units",
    "patterns_at": "units",
    "polygons": "pictures",
    "predicted_regions": "regions",
    "pruned_drop": "examples",
    "relation": "equality",
    "same_function": "equality",
    "sampled_dimension": "rank",
    "transverse_pairs": "arrangement",
    "trivial_group": "trivial",
    "visibility": "mechanisms",
    "wide_batch_dimension": "wide",
    "wide_sampled_dimension": "wide",
    "widths": "networks",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"symjax.dimension.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'symjax.dimension' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

"""Flips and turns of images and networks: f^g, the conditions under which f^g(g x) = g f(x), and groups.

* :func:`find_spatial`, :func:`transform`: which axes of a model's leaves are rows and columns, and the network moved.
* :func:`commutation_error`, :func:`broken`, :func:`exact_sizes`, :func:`advice`: whether the moved network sees the
  moved image.
* :func:`flip_group`, :func:`rotation_group`, :func:`dihedral_group`, :func:`spatial_group`: C2, C4, D4, one's own.
* :class:`NetworkAction` joins space with permutations of channels: :func:`layerwise_errors`, the nearest
  group-equivariant network by :func:`reynolds`, its free parameters by :func:`tying`, :func:`tie` and :func:`untie`.
* :func:`invariance_error`, :func:`invariance_loss`.
* Theory: :func:`commutes_with_relu`, :func:`normalise_representation`, :func:`two_layer_representation`,
  :func:`counterexample` and :func:`best_alignment`.
"""

from symjax.equivariance.exactness import Break, advice, broken, exact_sizes
from symjax.equivariance.groups import SpatialGroup, dihedral_group, flip_group, rotation_group, spatial_group
from symjax.equivariance.invariance import invariance_error, invariance_loss
from symjax.equivariance.projection import NetworkAction, Tying, layerwise_errors, reynolds, tie, tying, untie
from symjax.equivariance.relu import (
    Counterexample,
    PermutationRepresentation,
    TwoLayers,
    best_alignment,
    commutes_with_relu,
    counterexample,
    normalise_representation,
    two_layer_representation,
)
from symjax.equivariance.spatial import (
    SpatialLayout,
    commutation_error,
    find_spatial,
    transform,
    transform_input,
    transform_output,
)

__all__ = [
    "Break",
    "Counterexample",
    "NetworkAction",
    "PermutationRepresentation",
    "SpatialGroup",
    "SpatialLayout",
    "TwoLayers",
    "Tying",
    "advice",
    "best_alignment",
    "broken",
    "commutation_error",
    "commutes_with_relu",
    "counterexample",
    "dihedral_group",
    "exact_sizes",
    "find_spatial",
    "flip_group",
    "invariance_error",
    "invariance_loss",
    "layerwise_errors",
    "normalise_representation",
    "reynolds",
    "rotation_group",
    "spatial_group",
    "tie",
    "transform",
    "transform_input",
    "transform_output",
    "two_layer_representation",
    "tying",
    "untie",
]

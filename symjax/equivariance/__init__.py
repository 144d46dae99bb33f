"""Flips and turns of images and networks: f^g, the conditions under which f^g(g x) = g f(x), and groups.

* :func:`find_spatial`, :func:`transform`: which axes of a model's leaves are rows and columns, and the network moved.
* :func:`commutation_error`, :func:`broken`, :func:`exact_sizes`: whether the moved network sees the moved image.
* :func:`flip_group`, :func:`rotation_group`, :func:`dihedral_group`, :func:`spatial_group`: C2, C4, D4, one's own.
"""

from symjax.equivariance.exactness import Break, broken, exact_sizes
from symjax.equivariance.groups import SpatialGroup, dihedral_group, flip_group, rotation_group, spatial_group
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
    "SpatialGroup",
    "SpatialLayout",
    "broken",
    "commutation_error",
    "dihedral_group",
    "exact_sizes",
    "find_spatial",
    "flip_group",
    "rotation_group",
    "spatial_group",
    "transform",
    "transform_input",
    "transform_output",
]

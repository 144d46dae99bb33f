"""Linear group actions: translations and rotations of an array, the hidden symmetry group of an activation."""

from symjax.actions.arrays import rotate, translate
from symjax.actions.hidden import (
    admissible,
    general_linear,
    hidden_coordinates,
    move_hidden,
    require_floating,
    transform,
)
from symjax.groups import skew

__all__ = [
    "admissible",
    "general_linear",
    "hidden_coordinates",
    "move_hidden",
    "require_floating",
    "rotate",
    "skew",
    "transform",
    "translate",
]

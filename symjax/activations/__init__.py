"""Activations and what their symmetries need: derivative, primitive of sigma/sigma', degree, equivariance group.

A hidden layer is ``z -> sigma(z)`` with ``z`` of shape (h, ...): the hidden axis comes first, columns are samples. A
pointwise activation acts entry by entry; a radial one multiplies each column by a function of its norm, and commutes
with rotations of the hidden space.
"""

from symjax.activations.finite_flow import defined, flow, ratio, valid
from symjax.activations.own import custom
from symjax.activations.registry import Activation, Group, compiled, get, is_library, leaky_relu, names

__all__ = [
    "Activation",
    "Group",
    "compiled",
    "custom",
    "defined",
    "flow",
    "get",
    "is_library",
    "leaky_relu",
    "names",
    "ratio",
    "valid",
]

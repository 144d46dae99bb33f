"""Symmetries of neural-network parameters: flows, charges and the mechanics of learning.

A continuous symmetry is a *flow*, a pure function ``flow(s, params) -> params`` with ``flow(0, params) == params``.
Generators, gradient identities, Noether charges and kinetic symmetry breaking follow from the flow by automatic
differentiation (:mod:`symjax.symmetry`), once, for every symmetry and every network. Hidden channels are described by
data (:mod:`symjax.channels`), so that permuting and rescaling need no code for each architecture.
"""

from symjax import (
    actions,
    activations,
    channels,
    check,
    conserved,
    curvature,
    data_dependent,
    integrate,
    mechanics,
    scaled_rotation,
    symmetry,
    tracing,
    transport,
    watch,
)

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "actions",
    "activations",
    "channels",
    "check",
    "conserved",
    "curvature",
    "data_dependent",
    "integrate",
    "mechanics",
    "scaled_rotation",
    "symmetry",
    "tracing",
    "transport",
    "watch",
]

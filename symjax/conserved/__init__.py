"""Conserved quantities of gradient flow: what they are, where they start, how to move to a prescribed value.

A symmetry with a symmetric linear generator M conserves ``Q = <theta, M theta>/2``; everything here is normalised by
that 1/2, and signs are those of ``U^T U - V V^T``: the weights that read a neuron minus the weights that write it.
"""

from symjax.conserved.moments import Moments, xavier_moments
from symjax.conserved.orbits import Rank, generator_matrix, generator_rank, orbit_dimension
from symjax.conserved.prescribe import Prescribed, PrescribedFlow, prescribe, prescribe_commuting
from symjax.conserved.quantities import (
    PolarForm,
    angular_momentum,
    deep_linear,
    discrete_drift,
    homogeneous,
    homogeneous_layers,
    homogeneous_total,
    matrix,
    pointwise,
    polar_form,
    quadratic,
)

__all__ = [
    "Moments",
    "PolarForm",
    "Prescribed",
    "PrescribedFlow",
    "Rank",
    "angular_momentum",
    "deep_linear",
    "discrete_drift",
    "generator_matrix",
    "generator_rank",
    "homogeneous",
    "homogeneous_layers",
    "homogeneous_total",
    "matrix",
    "orbit_dimension",
    "pointwise",
    "polar_form",
    "prescribe",
    "prescribe_commuting",
    "quadratic",
    "xavier_moments",
]

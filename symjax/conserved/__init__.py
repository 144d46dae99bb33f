"""Conserved quantities of gradient flow: what they are, where they start, how to move to a prescribed value.

A symmetry with a symmetric linear generator M conserves ``Q = <theta, M theta>/2``; everything here is normalised by
that 1/2. There are two signs, those of the formulas they come from:

- readers minus writers, ``U^T U - V V^T``: :func:`matrix`, :func:`homogeneous`, :func:`homogeneous_layers`,
  :func:`pointwise`, :func:`deep_linear`, :func:`discrete_drift`, and the targets of :func:`prescribe`;
- the flow's own, ``<theta, M theta>/2``: :func:`quadratic` and the targets of :func:`prescribe_commuting`. For
  :func:`symjax.channels.rescale`, whose writers have degree +1, that is writers minus readers: minus the others.

``symjax.symmetry.pairing(flow, zero, params, params)`` is twice :func:`quadratic`. Two layers are U (m, h), V (h, n) in
``F = U sigma(V X)``; as :class:`symjax.channels.Layer` they are the transposed kernels, ``kernel`` (in, out).
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

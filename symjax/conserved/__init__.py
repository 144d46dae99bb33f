"""Conserved quantities of gradient flow: what they are, where they start, how to move to a prescribed value.

A symmetry with a symmetric linear generator M conserves ``Q = <theta, M theta>/2``; everything here is normalised by
that 1/2. There are two signs, those of the formulas they come from:

| function | Q of one unit, writers w and readers u | sign |
|---|---|---|
| :func:`quadratic`, targets of :func:`prescribe_commuting` | ``(|w|^2 - alpha |u|^2)/2`` | the flow's own: for |
| | | :func:`symjax.channels.scalings` writers minus readers |
| ``symjax.symmetry.pairing`` of the parameters with themselves | ``|w|^2 - alpha |u|^2`` | the same, twice as large |
| :func:`homogeneous`, :func:`homogeneous_layers`, :func:`homogeneous_total` | ``(alpha |u|^2 - |w|^2)/2`` | readers |
| | | minus writers |
| :func:`matrix`, :func:`deep_linear` | ``(U^T U - V V^T)/2`` | readers minus writers |
| :func:`discrete_drift` | change of :func:`matrix` in a step | readers minus writers |
| :func:`pointwise` | ``|u|^2/2 - sum P(w)`` | readers minus writers |
| targets of :func:`prescribe` | as :func:`homogeneous` or :func:`matrix` | readers minus writers |

Two layers are U (m, h), V (h, n) in ``F = U sigma(V X)``: rows of V write a hidden unit, columns of U read it; as
:class:`symjax.channels.Layer` they are the transposed kernels, ``kernel`` (in, out).
"""

from symjax.conserved.charge import Charge, Form, charge, forms
from symjax.conserved.commuting import PrescribedFlow, prescribe_commuting
from symjax.conserved.counting import Count, count, independent_charges
from symjax.conserved.moments import Moments, xavier_moments
from symjax.conserved.networks import deep_linear, homogeneous_layers
from symjax.conserved.orbits import Rank, generator_matrix, generator_rank, orbit_dimension
from symjax.conserved.prescribe import Prescribed, prescribe
from symjax.conserved.quantities import PolarForm, has_quadratic, polar_form, quadratic
from symjax.conserved.two_layers import (
    angular_momentum,
    discrete_drift,
    homogeneous,
    homogeneous_total,
    matrix,
    pointwise,
)

__all__ = [
    "Charge",
    "Count",
    "Form",
    "Moments",
    "PolarForm",
    "Prescribed",
    "PrescribedFlow",
    "Rank",
    "angular_momentum",
    "charge",
    "count",
    "deep_linear",
    "discrete_drift",
    "forms",
    "generator_matrix",
    "generator_rank",
    "has_quadratic",
    "homogeneous",
    "homogeneous_layers",
    "homogeneous_total",
    "independent_charges",
    "matrix",
    "orbit_dimension",
    "pointwise",
    "polar_form",
    "prescribe",
    "prescribe_commuting",
    "quadratic",
    "xavier_moments",
]

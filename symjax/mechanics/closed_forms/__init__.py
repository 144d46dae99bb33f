"""Closed forms of the continuous norm dynamics, as recursions that neither overflow nor lose the slow mode.

Along a broken or kept symmetry the modified equation of SGD is a driven damped oscillator,

    x'' + 2 Gam x' + om^2 x = F,   Gam = (1 - beta)/(eta (1 - delta)(1 + beta)),

with x the sum along a translation, a filter's squared norm or a unit's imbalance. Its solution as an integral against
`e^{+Gam t}` overflows in float32 after 840 steps at beta = 0.9; here each step multiplies by the exact 2x2 matrix
exponential, whose entries all decay.

Source: Kunin et al. 2021, Neural Mechanics; Tanaka & Kunin 2021, Noether's Learning Dynamics, Eq. 16-17.
"""

from symjax.mechanics.closed_forms.bernoulli import (
    BernoulliState,
    Gradients,
    bernoulli_start,
    bernoulli_step,
    bernoulli_value,
    equilibrium_squared_norm,
    fourth_power_source,
    smooth_squared_gradient,
)
from symjax.mechanics.closed_forms.oscillator import (
    Coefficients,
    Oscillator,
    Symmetry,
    green,
    homogeneous,
    oscillator_coefficients,
    oscillator_start,
    oscillator_step,
    relaxation_step,
)

__all__ = [
    "BernoulliState",
    "Coefficients",
    "Gradients",
    "Oscillator",
    "Symmetry",
    "bernoulli_start",
    "bernoulli_step",
    "bernoulli_value",
    "equilibrium_squared_norm",
    "fourth_power_source",
    "green",
    "homogeneous",
    "oscillator_coefficients",
    "oscillator_start",
    "oscillator_step",
    "relaxation_step",
    "smooth_squared_gradient",
]

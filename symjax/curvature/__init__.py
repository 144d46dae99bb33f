"""Curvature of a loss: Hessian products, the dense Hessian, extreme eigenvalues, spectral density and trace.

Every function takes ``loss(params, *args) -> scalar`` with ``params`` any pytree. What is too large for a dense Hessian
goes by products with it alone: Krylov decompositions and stochastic estimators are matfree's, restarts and stopping
rules are added here. Nothing compiled is kept between calls; ``split`` tells a symmetry's orbit from the rest.
"""

from symjax.curvature.lanczos import Eigenvalues, eigenvalues
from symjax.curvature.orbit import Split, split
from symjax.curvature.products import hessian, hvp
from symjax.curvature.stochastic import Density, Trace, density, trace

__all__ = [
    "Density",
    "Eigenvalues",
    "Split",
    "Trace",
    "density",
    "eigenvalues",
    "hessian",
    "hvp",
    "split",
    "trace",
]

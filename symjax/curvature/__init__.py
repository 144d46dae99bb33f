"""Curvature of a loss: Hessian products, the dense Hessian, extreme eigenvalues, spectral density and trace.

Every function takes ``loss(params, *args) -> scalar`` with ``params`` any pytree. What is too large for a dense Hessian
goes by products with it alone: Krylov decompositions and stochastic estimators are matfree's, restarts and stopping
rules are added here.
"""

from symjax.curvature.lanczos import Eigenvalues, eigenvalues
from symjax.curvature.products import hessian, hvp
from symjax.curvature.stochastic import Density, Trace, density, trace

__all__ = ["Density", "Eigenvalues", "Trace", "density", "eigenvalues", "hessian", "hvp", "trace"]

"""Curvature of a loss: Hessian products, the dense Hessian, extreme eigenvalues, spectral density and trace.

Every function takes ``loss(params, *args) -> scalar`` with ``params`` any pytree. What is too large for a dense Hessian
goes by products with it alone: Krylov decompositions and stochastic estimators are matfree's, restarts and stopping
rules are added here.
"""

from symjax.curvature.lanczos import Eigenvalues as Eigenvalues
from symjax.curvature.lanczos import eigenvalues as eigenvalues
from symjax.curvature.products import hessian as hessian
from symjax.curvature.products import hvp as hvp
from symjax.curvature.stochastic import Density as Density
from symjax.curvature.stochastic import Trace as Trace
from symjax.curvature.stochastic import density as density
from symjax.curvature.stochastic import trace as trace

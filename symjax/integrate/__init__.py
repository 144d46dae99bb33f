"""Gradient flow and its discretisations, with quantities recorded along the way.

``theta' = -grad L(theta)``, by gradient descent (order 1), the classical Runge-Kutta method (order 4) and an adaptive
solver, on any pytree. A quantity conserved by the flow drifts under the discrete ones: in one step of gradient descent
by O(eta^2), over a fixed time by O(eta), and by O(eta^4) under Runge-Kutta.

The flow is that of the full batch, ``gradient = jax.grad(lambda params: loss(params, data))``; only gradient descent
also takes minibatches, noise, a schedule of the rate, and jumps along the way. Nothing compiled is kept: the gradient
is traced anew at every call, and who calls often compiles the caller.
"""

from symjax.integrate.descent import gradient_descent
from symjax.integrate.flow import adaptive, rk4
from symjax.integrate.march import Path, log_spaced

__all__ = ["Path", "adaptive", "gradient_descent", "log_spaced", "rk4"]

"""The two-layer network of Figures 3, 6, 7 and 9: its loss, its gradient, and each neuron's conserved quantity.

``F = U sigma(V^T)`` with the identity as data, in the layout of the authors' scripts: target Y (m, n), output weights U
(m, h), input weights V (n, h). The loss is the mean of ``(F - Y)^2`` over the m n entries. Lanes of runs may lie along
further axes at the end of every array; the products are broadcast, multiplied and summed, which XLA fuses at these
sizes where it would call a library for each ``dot`` (``tests/benchmarks/bench_gradient_flow.py`` measures it).

Source: Zhao et al. 2023, section 4 and appendix (experiments on two-layer networks).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from symjax import activations

PAPER_SCALE = {"linear": 2, "relu": 2, "tanh": 2, "sigmoid": 1, "row_radial": -2, "radial": -2}
"""What the authors' code returns over the quantity normalised by 1/2; the column version has the row version's."""


def loss(params: tuple[Any, Any], target: Any, activation: str) -> Any:
    """Evaluate ``mean (U sigma(V^T) - Y)^2``, run by run.

    Args:
      params: U (m, h, ...) and V (n, h, ...); lanes of runs in the axes behind, if any.
      target: (m, n, ...).
      activation: its name.

    Returns:
      Array (...).
    """
    output, given = params
    hidden = hidden_layer(given, activation)
    error = jnp.sum(output[:, None] * hidden[None], axis=2) - target
    return jnp.sum(error * error, axis=(0, 1)) / (target.shape[0] * target.shape[1])


def hidden_layer(given: Any, activation: str) -> Any:
    """Evaluate sigma(V) in the layout of V, (n, h, ...) with lanes of runs in the axes behind."""
    chosen = activations.get(activation)
    if chosen.pointwise:
        return chosen.function(given)
    function = chosen.function  # of (h, n): hidden units first
    for _ in range(given.ndim - 2):
        function = jax.vmap(function, in_axes=-1, out_axes=-1)
    return jnp.swapaxes(function(jnp.swapaxes(given, 0, 1)), 0, 1)


def charge(params: tuple[Any, Any], activation: str) -> Any:
    """Evaluate each neuron's conserved quantity, normalised by 1/2 as :mod:`symjax.conserved` does.

    ``|U_i|^2/2 - sum_a P(V_ai)``; for the radial ones of degree -1 ``-(|U_i|^2 + |V_i|^2)/2``, of which the column
    version conserves the sum alone.

    Args:
      params: as for :func:`loss`.
      activation: its name.

    Returns:
      Array (h, ...).
    """
    output, given = params
    chosen = activations.get(activation)
    if chosen.pointwise:
        return jnp.sum(output * output, axis=0) / 2 - jnp.sum(chosen.primitive(given), axis=0)
    return -(jnp.sum(output * output, axis=0) + jnp.sum(given * given, axis=0)) / 2


def scaled_gradient(target: Any, rates: Any, activation: str) -> Callable[[Any], Any]:
    """Make the function that gives the learning rate times the loss's gradient, of all lanes at once."""

    def total(params: Any) -> Any:
        return jnp.sum(rates * loss(params, target, activation))

    return jax.grad(total)


def paper_charge(charges: np.ndarray, activation: str) -> np.ndarray:
    """Sum each neuron's Q, over the last axis and in float64, to the number that the authors' code plots."""
    return PAPER_SCALE[activation] * charges.sum(axis=-1, dtype=np.float64)

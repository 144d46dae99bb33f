"""Minima of the two-layer networks of Figure 9, and the spectrum of the Hessian there.

10 outputs, 5 inputs, 50 hidden units, 750 parameters, gradient descent with learning rate 0.1 until the loss is zero.
There the Hessian of the squared Frobenius loss is ``2 J^T J``, J the derivative of ``F = U sigma(V^T)``: exactly
m n = 50 eigenvalues are positive, those of ``2 J J^T``, and the minimum is flat in the other 700 directions.

Source: Zhao et al. 2023, Figure 9; the closed forms are derived.
"""

from collections.abc import Callable
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from papers.gradient_flow.networks.config import ExperimentConfig
from papers.gradient_flow.networks.two_layer.descent import Job, train
from papers.gradient_flow.networks.two_layer.model import hidden_layer, loss, paper_charge
from papers.gradient_flow.networks.two_layer.starts import Start, draw_elementwise, stack
from symjax import activations, curvature

LEARNING_RATE = 0.1
STEPS = {"linear": 4000, "relu": 4000, "tanh": 4000, "sigmoid": 8000}
QUICK_SHARE = 4  # of the steps


def trained(activation: str, scales: tuple[float, ...], config: ExperimentConfig) -> tuple[Start, np.ndarray]:
    """Train networks of the shape of Figure 9 from every seed and scale.

    Source: Zhao et al. 2023, Figure 9.

    Args:
      activation: one of ``STEPS``.
      scales: standard deviations of the initial weights.
      config: gives seeds, initialisation and whether the run is quick.

    Returns:
      The targets with the trained U and V, leading axes (seeds, scales), and Q at the start (seeds, scales) in the
      paper's scale.
    """
    members = [
        draw_elementwise(seed, scale, config.initialisation, "tall") for seed in config.all_seeds for scale in scales
    ]
    start = stack(members)
    steps = STEPS[activation] // (QUICK_SHARE if config.quick else 1)
    job = Job(activation, start, np.full(len(members), LEARNING_RATE), np.array([0, steps]))
    curves = train(job)
    charge = paper_charge(curves.charge, activation)[:, 0]
    shape = (len(config.all_seeds), len(scales))
    end = Start(start.target, curves.output, curves.input)
    return Start(*(leaf.reshape(*shape, *leaf.shape[1:]) for leaf in end)), charge.reshape(shape)


@lru_cache
def squared_loss(activation: str) -> Callable[..., jax.Array]:
    """Make ``loss((U, V), Y) = |U sigma(V^T) - Y|^2``, one function for each activation."""

    def squared(params: tuple[jax.Array, jax.Array], target: jax.Array) -> jax.Array:
        return target.size * loss(params, target, activation)

    return squared


def hessian_eigenvalues(networks: Start, activation: str) -> np.ndarray:
    """Compute all Hessian eigenvalues of :func:`squared_loss` for a batch of networks.

    Source: Zhao et al. 2023, Figure 9.

    Args:
      networks: targets, U and V with one leading axis B.
      activation: its name.

    Returns:
      Array (B, P), in descending order.
    """
    matrices = _hessians(activation)((networks.output, networks.input), networks.target)
    return np.linalg.eigvalsh(np.asarray(matrices))[..., ::-1]


@lru_cache
def _hessians(activation: str) -> Callable[..., jax.Array]:
    return jax.jit(jax.vmap(partial(curvature.hessian, squared_loss(activation))))


def linear_spectrum(output: jax.Array, given: jax.Array) -> jax.Array:
    """Give the m n non-zero Hessian eigenvalues of ``|Y - U V^T|^2`` at zero loss.

    ``2 (lambda_i(V V^T) + mu_j(U U^T))``, in descending order; all others are 0, one for each direction in which the
    minimum goes on.

    Source: derived; Zhao et al. 2023, Figure 9 (spectra against Q).

    Args:
      output: U (m, h), floating.
      given: V (n, h), of the same dtype.

    Returns:
      An array (m n,).

    Example:
      >>> print(linear_spectrum(jnp.array([[2.0]]), jnp.array([[1.0]])))
      [10.]
    """
    mu, lam = (jnp.linalg.eigvalsh(jnp.matmul(w, w.T, precision="highest")) for w in (output, given))
    return jnp.sort((2 * (lam[:, None] + mu[None])).ravel())[::-1]


def linear_trace(output: jax.Array, given: jax.Array) -> jax.Array:
    """Give the Hessian's trace of ``|Y - U V^T|^2``, at any residual: ``2 (m |V|^2 + n |U|^2)``.

    With ``S = |U|^2 + |V|^2`` and ``Q = |U|^2 - |V|^2`` that is ``(m + n) S + (n - m) Q``: the weights' scale decides
    it with Q, and alone where m = n.

    Source: derived; Zhao et al. 2023, Figure 9.

    Args:
      output: U (m, h), floating.
      given: V (n, h), of the same dtype.
    """
    return 2 * (output.shape[0] * jnp.sum(given * given) + given.shape[0] * jnp.sum(output * output))


def tangent_gram(output: jax.Array, given: jax.Array, activation: str) -> jax.Array:
    """Build ``K = 2 J J^T``, J the derivative of ``F = U sigma(V^T)`` in all weights.

    ``K[(a,b), (c,d)] = 2 (delta_ac sigma(V_b).sigma(V_d) + delta_bd sum_i U_ai U_ci sigma'(V_bi)^2)``. At zero loss its
    eigenvalues are the non-zero ones of the Hessian of ``|F - Y|^2``; under gradient flow the residual obeys
    ``r' = -K r`` exactly, so that close to the minimum ``L(t) = |e^(-K t) r(0)|^2``.

    Source: derived.

    Args:
      output: U (m, h), floating.
      given: V (n, h), of the same dtype.
      activation: a pointwise one, its name.

    Returns:
      A symmetric array (m n, m n), the entries of F in row-major order.
    """
    m, n = output.shape[0], given.shape[0]
    hidden = hidden_layer(given, activation)
    slopes = activations.get(activation).derivative(given)
    features = jnp.einsum("bi,di->bd", hidden, hidden, precision="highest")
    readers = jnp.einsum("ai,ci,bi->abc", output, output, slopes**2, precision="highest")
    eye_m, eye_n = jnp.eye(m, dtype=output.dtype), jnp.eye(n, dtype=output.dtype)
    blocks = eye_m[:, None, :, None] * features[None, :, None, :] + readers[:, :, :, None] * eye_n[None, :, None, :]
    return 2 * blocks.reshape(m * n, m * n)

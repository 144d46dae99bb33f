"""Spectral density and trace of a Hessian from random probes, on matfree's decompositions and estimators."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from symjax.curvature.products import Operator, flat_product, size
from symjax.symmetry import Params

Batching = Literal["map", "vmap"]
Estimator = Literal["hutchinson", "xtrace"]


class Density(NamedTuple):
    """Gauss quadrature of a spectral density: ``tr f(A) / P`` is about the mean over probes of ``sum w f(nodes)``.

    The spread of that sum over the probes is its error; few probes leave much of it.

    Attributes:
      nodes: (probes, steps), Ritz values of each probe, rising.
      weights: (probes, steps), non-negative, a probe's sum is one.
    """

    nodes: jax.Array
    weights: jax.Array

    def at(self, points: jax.Array, width: jax.Array | float) -> jax.Array:
        """Smooth by a Gaussian of standard deviation ``width``: the density at ``points``, of the same shape.

        Raises:
          ValueError: a concrete width that is not positive.
        """
        if not isinstance(width, jax.core.Tracer) and not width > 0:
            raise ValueError(f"width is {width}, but a standard deviation must be positive")
        width = jnp.asarray(width, self.nodes.dtype)
        nodes = self.nodes.reshape((1,) * points.ndim + self.nodes.shape)
        distance = (points[..., None, None] - nodes) / width
        kernel = jnp.exp(-(distance**2) / 2) / (width * jnp.sqrt(jnp.asarray(2 * jnp.pi, width.dtype)))
        return jnp.einsum("...pi,pi->...", kernel, self.weights, precision="highest") / self.nodes.shape[0]


class Trace(NamedTuple):
    """An estimate of a trace.

    Attributes:
      value: scalar.
      error: scalar, its standard error over the probes.
    """

    value: jax.Array
    error: jax.Array


def density(
    function: Callable[..., Any],
    params: Params,
    *args: Any,
    key: jax.Array,
    steps: int = 80,
    probes: int = 4,
    operator: Operator = "hessian",
    batching: Batching = "vmap",
) -> Density:
    """Estimate the spectral density of a Hessian by stochastic Lanczos quadrature.

    ``tr f(H) / P ~ mean over probes v of sum_i (e_1^T w_i)^2 f(theta_i)`` with the eigenpairs of the tridiagonal matrix
    that fully re-orthogonalised Lanczos makes of H from v; exact for polynomials up to degree 2 steps - 1 in the mean
    over v. Without re-orthogonalisation ghosts of the outer eigenvalues would take weight.

    Source: Golub & Welsch 1969; Ghorbani, Krishnan & Xiao 2019, An investigation into neural net optimization via
    Hessian eigenvalue density, section 2 and appendix A.

    Args:
      function: ``loss(params, *args) -> scalar``; with ``operator="product"`` a symmetric ``product(vector, *args)``.
      params: pytree of floating arrays with P entries.
      *args: what else ``function`` takes.
      key: of the probes.
      steps: nodes of each quadrature, at most P. Those past the end of an invariant subspace have weight zero.
      probes: random signs, normalised.
      operator: what ``function`` is.
      batching: probes at once, with about ``probes steps`` vectors of P held, or one after the other, with ``steps``;
        at once is two to three times faster on a CPU.

    Returns:
      Nodes and weights; ``.at(points, width)`` smooths them.

    Raises:
      ValueError: steps, probes, batching or operator is not allowed.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> found = density(lambda q: 1.5 * jnp.sum(q**2), jnp.ones(4), key=jax.random.key(0), steps=1)
      >>> print(found.nodes[0], found.weights[0])
      [3.] [1.]
    """
    count, _ = size(params)
    if not 1 <= steps <= count:
        raise ValueError(f"steps is {steps}, but must be from 1 to the {count} parameters")
    if probes < 1:
        raise ValueError(f"probes is {probes}, but must be at least 1")
    if batching not in ("map", "vmap"):
        raise ValueError(f'batching is {batching!r}, but must be "map" or "vmap"')
    return _density((function, operator, steps, probes, batching), params, args, key)


def trace(
    function: Callable[..., Any],
    params: Params,
    *args: Any,
    key: jax.Array,
    probes: int = 32,
    operator: Operator = "hessian",
    estimator: Estimator = "hutchinson",
) -> Trace:
    """Estimate the trace of a Hessian.

    "hutchinson": the mean of ``v^T H v`` over random signs v, variance ``2 (|H|_F^2 - sum H_ii^2) / probes``.
    "xtrace": the leave-one-out estimate that projects the leading directions out, about twice the products, far better
    for a falling spectrum; it needs ``probes <= P``.

    Source: Hutchinson 1990; Epperly, Tropp & Webber 2024, XTrace (which supersedes Hutch++ of Meyer et al. 2021).

    Args:
      function: ``loss(params, *args) -> scalar``; with ``operator="product"`` a symmetric ``product(vector, *args)``.
      params: pytree of floating arrays with P entries.
      *args: what else ``function`` takes.
      key: of the probes.
      probes: random vectors, at least 2; all are held at once.
      operator: what ``function`` is.
      estimator: which.

    Returns:
      The estimate and its standard error.

    Raises:
      ValueError: probes, estimator or operator is not allowed.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> print(trace(lambda q: jnp.sum(jnp.array([1.0, 2.0]) * q**2), jnp.ones(2), key=jax.random.key(0)).value)
      6.0
    """
    count, _ = size(params)
    if estimator not in ("hutchinson", "xtrace"):
        raise ValueError(f'estimator is {estimator!r}, but must be "hutchinson" or "xtrace"')
    if probes < 2 or (estimator == "xtrace" and probes > count):
        most = f" and at most the {count} parameters" if estimator == "xtrace" else ""
        raise ValueError(f"probes is {probes}, but must be at least 2{most}")
    return _trace((function, operator, probes, estimator), params, args, key)


@partial(jax.jit, static_argnums=0)
def _density(plan: tuple, params: Params, args: tuple[Any, ...], key: jax.Array) -> Density:
    from matfree import decomp  # late: importing symjax stays light

    function, operator, steps, probes, batching = plan
    flat, _ = ravel_pytree(params)
    product = flat_product(function, params, args, operator)
    lanczos = decomp.tridiag_sym(steps, materialize=False, reortho="full", custom_vjp=False)

    def quadrature(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        probe = jax.random.rademacher(key, flat.shape, flat.dtype)
        _, (diagonal, off_diagonal), _, _ = lanczos(product, probe)
        scale = jnp.max(jnp.where(jnp.isfinite(diagonal), jnp.abs(diagonal), 0))
        floor = jnp.asarray(30 * jnp.finfo(flat.dtype).eps, flat.dtype) * scale
        # past the end of an invariant subspace there is only noise or 0/0: decoupled, it has weight zero
        inside = jnp.cumprod(off_diagonal > floor).astype(bool)
        diagonal = jnp.concatenate((diagonal[:1], jnp.where(inside, diagonal[1:], diagonal[0])))
        off_diagonal = jnp.where(inside, off_diagonal, 0)
        nodes, vectors = jnp.linalg.eigh(jnp.diag(diagonal) + jnp.diag(off_diagonal, 1) + jnp.diag(off_diagonal, -1))
        return nodes, vectors[0] ** 2

    keys = jax.random.split(key, probes)
    run = jax.vmap(quadrature) if batching == "vmap" else partial(jax.lax.map, quadrature)
    return Density(*run(keys))


@partial(jax.jit, static_argnums=0)
def _trace(plan: tuple, params: Params, args: tuple[Any, ...], key: jax.Array) -> Trace:
    from matfree import stochtrace

    function, operator, probes, estimator = plan
    flat, _ = ravel_pytree(params)
    product = flat_product(function, params, args, operator)
    if estimator == "hutchinson":
        integrand, sampler = stochtrace.monte_carlo_trace(), stochtrace.sampler_signs(flat, num=probes)
        estimate = stochtrace.estimator_monte_carlo_mean_and_sem(integrand, sampler)
    else:
        integrand, sampler = stochtrace.leave_one_out_xtrace(), stochtrace.sampler_sphere(flat, num=probes)
        estimate = stochtrace.estimator_leave_one_out_mean_and_sem(integrand, sampler)
    with jax.numpy_rank_promotion("allow"):  # matfree's XTrace broadcasts a vector over a matrix
        return Trace(*estimate(product, key))

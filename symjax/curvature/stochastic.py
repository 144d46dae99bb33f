"""Spectral density and trace of a Hessian from random probes."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from symjax.arguments import floating_array
from symjax.curvature.operators import (
    Kind,
    Layout,
    Params,
    Product,
    flat_product,
    operator_kind,
    order_one,
    parameters,
    run,
    whole,
)

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
          ValueError: points or a width that are no real numbers, or a concrete width that is not positive.
        """
        points = floating_array("points", points).astype(self.nodes.dtype)
        width = floating_array("width", width, ()).astype(self.nodes.dtype)
        if not isinstance(width, jax.core.Tracer) and not width > 0:
            raise ValueError(f"width is {width}, but a standard deviation must be positive")
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
    operator: Kind = "hessian",
    batching: Batching = "vmap",
) -> Density:
    """Estimate the spectral density of a Hessian by stochastic Lanczos quadrature.

    ``tr f(H) / P ~ mean over probes v of sum_i (e_1^T w_i)^2 f(theta_i)`` with the eigenpairs of the tridiagonal matrix
    that Lanczos makes of H from v; exact for polynomials up to degree 2 steps - 1 in the mean over v.

    The three-term recurrence is not re-orthogonalised: once an outer eigenvalue has converged, copies of it appear, and
    share the weight of the one. Sums over nodes keep their accuracy, at two vectors of memory and the cost of the
    products; a count of the nodes says nothing about multiplicity.

    The function is traced anew at every call, since it may read what has changed; who calls often compiles the caller.
    Multiplying the loss by a constant multiplies the nodes, within the range of the dtype.

    Source: Golub & Welsch 1969; Ghorbani, Krishnan & Xiao 2019, An investigation into neural net optimization via
    Hessian eigenvalue density, section 2 and appendix A; without re-orthogonalisation Knizhnerman 1996 and Chen,
    Trogdon & Ubaru 2021, Analysis of stochastic Lanczos quadrature for spectrum approximation.

    Args:
      function: ``loss(params, *args) -> scalar``; with ``operator="product"`` a symmetric ``product(vector, *args)``.
      params: pytree of floating arrays with P entries; integers are promoted.
      *args: what else ``function`` takes; arrays are traced, all else reaches it as it is.
      key: of the probes.
      steps: nodes of each quadrature. Those past the end of an invariant subspace have weight zero.
      probes: random signs, normalised.
      operator: what ``function`` is.
      batching: probes at once, with two vectors of P and the activations of a product held for each, or one after the
        other.

    Returns:
      Nodes and weights; ``.at(points, width)`` smooths them.

    Raises:
      ValueError: steps, probes, batching or operator is not allowed, or what ``function`` gives.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> found = density(lambda q: 1.5 * jnp.sum(q**2), jnp.ones(4), key=jax.random.key(0), steps=1)
      >>> print(found.nodes[0], found.weights[0])
      [3.] [1.]
    """
    params, form = parameters(params)
    operator_kind(operator)
    steps, probes = whole("steps", steps, 1), whole("probes", probes, 1)
    if batching not in ("map", "vmap"):
        raise ValueError(f'batching is {batching!r}, but must be "map" or "vmap"')

    def compute(params: Params, args: Any, key: jax.Array) -> Density:
        product, scale = order_one(flat_product(function, params, args, operator), key, form)
        each = partial(_quadrature, product, form, steps)
        run_all = jax.vmap(each) if batching == "vmap" else partial(jax.lax.map, each)
        nodes, weights = run_all(jax.random.split(key, probes))
        return Density(scale * nodes, weights)

    return run(compute, params, args, key)


def trace(
    function: Callable[..., Any],
    params: Params,
    *args: Any,
    key: jax.Array,
    probes: int = 32,
    operator: Kind = "hessian",
    estimator: Estimator = "hutchinson",
) -> Trace:
    """Estimate the trace of a Hessian.

    "hutchinson": the mean of ``v^T H v`` over random signs v, variance ``2 (|H|_F^2 - sum H_ii^2) / probes``.
    "xtrace": the leave-one-out estimate that projects the leading directions out, about twice the products, far better
    for a falling spectrum; it needs ``probes <= P``.

    The function is traced anew at every call, since it may read what has changed; who calls often compiles the caller.
    Multiplying the loss by a constant multiplies the estimate, within the range of the dtype.

    Source: Hutchinson 1990; Epperly, Tropp & Webber 2024, XTrace (which supersedes Hutch++ of Meyer et al. 2021).

    Args:
      function: ``loss(params, *args) -> scalar``; with ``operator="product"`` a symmetric ``product(vector, *args)``.
      params: pytree of floating arrays with P entries; integers are promoted.
      *args: what else ``function`` takes; arrays are traced, all else reaches it as it is.
      key: of the probes.
      probes: random vectors, at least 2; all are held at once.
      operator: what ``function`` is.
      estimator: which.

    Returns:
      The estimate and its standard error.

    Raises:
      ValueError: probes, estimator or operator is not allowed, or what ``function`` gives.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> print(trace(lambda q: jnp.sum(jnp.array([1.0, 2.0]) * q**2), jnp.ones(2), key=jax.random.key(0)).value)
      6.0
    """
    params, form = parameters(params)
    operator_kind(operator)
    if estimator not in ("hutchinson", "xtrace"):
        raise ValueError(f'estimator is {estimator!r}, but must be "hutchinson" or "xtrace"')
    probes = whole("probes", probes, 2, form.size if estimator == "xtrace" else None)

    def compute(params: Params, args: Any, key: jax.Array) -> Trace:
        product, scale = order_one(flat_product(function, params, args, operator), key, form)
        found = _estimate(product, form, key, probes, estimator)
        return Trace(scale * found.value, scale * found.error)

    return run(compute, params, args, key)


def _quadrature(product: Product, form: Layout, steps: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Nodes and weights of one probe, by Lanczos' three-term recurrence in Paige's order of operations."""

    def step(carry: tuple[jax.Array, ...], _: None) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, jax.Array]]:
        before, vector, length, largest = carry
        image = product(vector) - length * before
        entry = jnp.vdot(vector, image, precision="highest")
        image = image - entry * vector
        following = jnp.linalg.norm(image)
        largest = jnp.maximum(largest, jnp.abs(entry) + length)
        # past the end of an invariant subspace there is only noise: decoupled, it has weight zero
        alive = following > floor * largest
        after = jnp.where(alive, image / jnp.where(alive, following, 1), 0)
        return (vector, after, jnp.where(alive, following, 0), largest), (entry, jnp.where(alive, following, 0))

    floor = jnp.asarray(30 * jnp.finfo(form.dtype).eps, form.dtype)
    zero = jnp.zeros((), form.dtype)
    start = jax.random.rademacher(key, (form.size,), form.dtype) / jnp.sqrt(jnp.asarray(form.size, form.dtype))
    _, (diagonal, lengths) = jax.lax.scan(step, (jnp.zeros_like(start), start, zero, zero), length=steps)
    inside = jnp.cumprod(lengths[:-1] > 0).astype(bool)
    diagonal = jnp.concatenate((diagonal[:1], jnp.where(inside, diagonal[1:], diagonal[0])))
    lengths = jnp.where(inside, lengths[:-1], 0)
    nodes, vectors = jnp.linalg.eigh(jnp.diag(diagonal) + jnp.diag(lengths, 1) + jnp.diag(lengths, -1))
    return nodes, vectors[0] ** 2


def _estimate(product: Product, form: Layout, key: jax.Array, probes: int, estimator: Estimator) -> Trace:
    from matfree import stochtrace  # late: importing symjax stays light

    like = jnp.zeros(form.size, form.dtype)
    if estimator == "hutchinson":
        integrand, sampler = stochtrace.monte_carlo_trace(), stochtrace.sampler_signs(like, num=probes)
        estimate = stochtrace.estimator_monte_carlo_mean_and_sem(integrand, sampler)
    else:
        integrand, sampler = stochtrace.leave_one_out_xtrace(), stochtrace.sampler_sphere(like, num=probes)
        estimate = stochtrace.estimator_leave_one_out_mean_and_sem(integrand, sampler)
    with jax.numpy_rank_promotion("allow"):  # matfree's XTrace broadcasts a vector over a matrix
        return Trace(*estimate(product, key))

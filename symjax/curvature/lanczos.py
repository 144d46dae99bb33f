"""Extreme eigenvalues of a Hessian or of any symmetric product, each with a residual that was measured."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from symjax.arguments import floating_array
from symjax.curvature.operators import (
    Kind,
    Params,
    Product,
    flat_product,
    operator_kind,
    order_one,
    parameters,
    run,
    whole,
)
from symjax.curvature.thick_restart import Pairs, allowed, roundoff, thick_restart

Which = Literal["largest", "smallest"]

PROBES = 4  # random vectors that test an operator's symmetry
SAFETY = 0.9  # of the tolerance, for the iteration: what is measured afterwards differs a little


class Eigenvalues(NamedTuple):
    """Eigenvalues of one end of a spectrum, the outermost first.

    Attributes:
      values: (k,).
      vectors: pytree like the parameters, each leaf with a leading axis k; orthonormal, in float32 at least.
      residuals: (k,), ``|A v - lambda v|`` by a true product with each vector, and what the products themselves lack:
        their noise, and half of ``asymmetry``. An eigenvalue of the operator, or of its symmetric part, lies within
        it, as far as random vectors can tell; inf for NaN values.
      converged: bool, every residual is below its tolerance and the last search found no further value.
      products: int, products with the operator.
      asymmetry: (k,), ``|(A - A^T) v|``, estimated; round-off for a Hessian in good arithmetic.
    """

    values: jax.Array
    vectors: Params
    residuals: jax.Array
    converged: jax.Array
    products: jax.Array
    asymmetry: jax.Array


def eigenvalues(
    function: Callable[..., Any],
    params: Params,
    *args: Any,
    k: int,
    which: Which = "largest",
    operator: Kind = "hessian",
    tolerance: float = 1e-3,
    max_products: int | None = None,
    keep: int | None = None,
    steps: int | None = None,
    key: jax.Array | None = None,
) -> Eigenvalues:
    """Compute the k largest or smallest eigenvalues of a Hessian by products with it.

    Thick-restart Lanczos, fully re-orthogonalised, from a random vector. A pair has converged when
    ``|A v - lambda v| <= max(tolerance |lambda|, tolerance^2 |lambda|_max)`` (or is at round-off, 300 units of it); its
    value is then off by at most that, and by about its square over the gap to the next one. A single Krylov space holds
    one copy of a repeated eigenvalue, so once all pairs have converged a cycle from a fresh random vector orthogonal to
    them looks for a further value, and the iteration goes on if it finds one: a cycle's length of evidence, no proof.
    Up to ``keep + steps`` parameters the operator is formed and diagonalised instead.

    Either way a true product with each vector found decides. Half precision in the loss, a saturated softmax or a
    product that is not symmetric leave residuals of their size, and do not converge: ``A - A^T`` is tested on random
    vectors, and linearity on a sum. An error that is the same in every product, as of a batch in half precision, is a
    property of the operator and cannot be seen.

    The function is traced anew at every call, since it may read what has changed. Who calls often compiles the caller,
    ``jax.jit(lambda params, batch: eigenvalues(loss, params, batch, k=3))``. Multiplying the loss by a constant
    multiplies values and residuals, within the range of the dtype. On a CPU products with convolutions are slow inside
    compiled loops, as this one is.

    Source: Wu & Simon 2000, section 2; Zhao et al. 2023, Fig. 9 (eigenvalues of the Hessian).

    Args:
      function: ``loss(params, *args) -> scalar``; with ``operator="product"`` a symmetric linear map
        ``product(vector, *args) -> vector`` on pytrees like ``params``.
      params: pytree of floating arrays with P entries, the point. Integers are promoted; leaves of low precision keep
        their dtype before ``function``, and the vectors are in float32.
      *args: what else ``function`` takes, such as a batch. Arrays are traced, all else reaches it as it is.
      k: how many, from 1 to P.
      which: the algebraically largest, in falling order, or smallest, in rising order.
      operator: what ``function`` is.
      tolerance: of the residual, relative to the eigenvalue.
      max_products: stop, not converged, rather than take more; at least ``k + 6``, which measure, and ``steps``, or P
        where the operator is formed; 40 + k cycles if not given.
      keep: Ritz vectors that a restart keeps, at least k.
      steps: products in a cycle. Memory is about ``keep + 3 steps`` vectors of P.
      key: of the random vectors; fixed if not given, because the answer depends on it within the tolerance only.

    Returns:
      Values, vectors, residuals, whether they converged, the number of products, and the asymmetry.

    Raises:
      ValueError: k, keep, steps, tolerance, max_products, which or operator is not allowed, or what ``function`` gives.

    Example:
      >>> import jax.numpy as jnp
      >>> found = eigenvalues(lambda q: 1.5 * q[0] ** 2 + q[1] ** 2, jnp.ones(3), k=2)
      >>> print(found.values, found.converged)
      [3. 2.] True
    """
    params, form = parameters(params)
    operator_kind(operator)
    k = whole("k", k, 1, form.size)
    if which not in ("largest", "smallest"):
        raise ValueError(f'which is {which!r}, but must be "largest" or "smallest"')
    tolerance = floating_array("tolerance", tolerance, ()).astype(form.dtype)
    if not isinstance(tolerance, jax.core.Tracer) and not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}, but must not be negative")
    keep = min(whole("keep", k + max(5, k // 2) if keep is None else keep, k, note=" (k)"), form.size)
    steps = whole("steps", max(10, k // 2) if steps is None else steps, 2)
    dense, measuring = keep + steps >= form.size, k + PROBES + 2
    limit = _limit(max_products, (form.size if dense else steps) + measuring, (40 + k) * steps + measuring)
    sign = 1 if which == "largest" else -1

    def compute(params: Params, args: Any, tolerance: jax.Array, limit: jax.Array, key: jax.Array) -> Eigenvalues:
        first, second = jax.random.split(key)
        product, scale = order_one(flat_product(function, params, args, operator), first, form)

        def signed(vector: jax.Array) -> jax.Array:
            return sign * product(vector)

        vector = jnp.zeros(form.size, form.dtype)
        if dense:
            pairs = _formed(signed, vector, k)
        else:
            rest = {"tolerance": SAFETY * tolerance, "limit": limit - measuring, "keep": keep, "steps": steps}
            pairs = thick_restart(signed, vector, k, key=key, **rest)
        residuals, asymmetry = _measured(signed, pairs, second)
        converged = pairs.converged & jnp.all(residuals <= allowed(pairs.values, pairs.scale, tolerance))
        vectors = jax.vmap(form.unravel_wide)(pairs.vectors)
        products = pairs.products + measuring
        return Eigenvalues(
            sign * scale * pairs.values, vectors, scale * residuals, converged, products, scale * asymmetry
        )

    return run(compute, params, args, tolerance, limit, jax.random.key(0) if key is None else key)


def _limit(given: Any, least: int, default: int) -> jax.Array:
    # A traced limit cannot be refused: too small for a cycle it leaves NaN and infinite residuals.
    if given is None or isinstance(given, jax.core.Tracer):
        return jnp.asarray(default if given is None else given)
    return jnp.asarray(whole("max_products", given, least, note=", to find and to measure"))


def _formed(product: Product, like: jax.Array, k: int) -> Pairs:
    """All eigenvalues of a small operator, or of its symmetric part, from its products with the unit vectors."""
    matrix = jax.lax.map(product, jnp.eye(like.size, dtype=like.dtype), batch_size=min(128, like.size))
    values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2)
    scale = jnp.max(jnp.abs(values))
    return Pairs(
        values=values[::-1][:k],
        vectors=vectors[:, ::-1][:, :k].T,
        converged=jnp.isfinite(scale),
        scale=scale,
        products=jnp.asarray(like.size),
    )


def _measured(product: Product, pairs: Pairs, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Residuals by one true product for each vector, with the products' own errors; and the asymmetry.

    For standard normal u, ``E (<u, A v> - <A u, v>)^2 = |(A - A^T) v|^2``, and the symmetric part's residual is at most
    ``|A v - lambda v| + |(A - A^T) v|/2``. Products that are not exact are not linear either: what the product with a
    random sum of all vectors lacks is one sample of their noise.
    """
    values, vectors, scale = pairs.values, pairs.vectors, pairs.scale
    images = jax.lax.map(product, vectors)
    residuals = jnp.linalg.norm(images - values[:, None] * vectors, axis=1)

    probes = jax.random.normal(key, (PROBES, vectors.shape[1]), vectors.dtype)
    reflected = jax.lax.map(product, probes)
    defects = _dot(images, probes.T) - _dot(vectors, reflected.T)
    asymmetry = jnp.sqrt(jnp.mean(defects**2, axis=1))

    # half of a unit vector's square from the vectors found, half from a probe
    signs = jax.random.rademacher(key, values.shape, vectors.dtype) * (0.5 / values.size) ** 0.5
    share = 0.5**0.5 / jnp.linalg.norm(probes[0])
    together = product(_dot(signs, vectors) + share * probes[0])
    noise = jnp.linalg.norm(together - _dot(signs, images) - share * reflected[0])

    residuals = jnp.maximum(residuals + noise + asymmetry / 2, roundoff(scale))
    finite = jnp.isfinite(values) & jnp.isfinite(residuals)
    return jnp.where(finite, residuals, jnp.inf), asymmetry


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")

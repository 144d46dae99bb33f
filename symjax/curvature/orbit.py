"""Sharpness along the orbit of a symmetry and across it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from symjax.curvature.lanczos import eigenvalues
from symjax.curvature.operators import Layout, Params, flat_product, order_one, parameters, run
from symjax.symmetry import Symmetry


class Split(NamedTuple):
    """The largest eigenvalues of a Hessian restricted to an orbit's tangent space and to its complement.

    Attributes:
      along: scalar, the largest within the span of the generators; NaN where that is empty.
      across: scalar, the largest within its orthogonal complement; NaN where that is empty.
      residual: scalar, of ``across``, measured as :func:`symjax.curvature.eigenvalues` does.
      converged: bool, of ``across``; ``along`` is from a dense matrix.
      rank: int, independent generators: the dimension of the orbit.
    """

    along: jax.Array
    across: jax.Array
    residual: jax.Array
    converged: jax.Array
    rank: jax.Array


def split(
    loss: Callable[..., Any],
    params: Params,
    symmetry: Symmetry,
    *args: Any,
    tolerance: float = 1e-3,
    limit_bytes: int = 2**30,
    key: jax.Array | None = None,
) -> Split:
    """Compute the sharpness of a loss along the orbit of a symmetry and across it.

    ``max eig B H B^T`` and ``max eig (I - B^T B) H (I - B^T B)`` on the complement, the rows of B an orthonormal basis
    of the generators at ``params``. At a minimum the first is zero; elsewhere ``<M theta, H M theta> = -<M^2 theta,
    grad L>`` for a linear generator M, so that it tells how the gradient pulls along the orbit.

    Only products with H are taken: one for each coordinate, and those of :func:`symjax.curvature.eigenvalues`. The
    loss is traced anew at every call; who calls often compiles the caller.

    Source: derived; sharpness along orbits as in Zhao et al. 2023, section 5 (conserved quantities and sharpness).

    Args:
      loss: ``loss(params, *args) -> scalar``.
      params: pytree of floating arrays with P entries; integers are promoted.
      symmetry: of d coordinates; the basis takes d vectors of P.
      *args: what else ``loss`` takes; arrays are traced, all else reaches it as it is.
      tolerance: of ``across``.
      limit_bytes: the largest basis to build.
      key: of the random vectors.

    Returns:
      A :class:`Split`.

    Raises:
      ValueError: a basis larger than ``limit_bytes``, a symmetry without coordinates, or a loss that is not a scalar.

    Example:
      >>> import jax.numpy as jnp
      >>> turn = Symmetry(lambda s, q: jnp.cos(s) * q + jnp.sin(s) * jnp.stack([-q[1], q[0]]), jnp.array(0.0))
      >>> found = split(lambda q: (jnp.sum(q**2) - 1.0) ** 2, jnp.array([1.0, 0.0]), turn)
      >>> print(abs(round(float(found.along), 4)), round(float(found.across), 4))
      0.0 8.0
    """
    params, form = parameters(params)
    zero = ravel_pytree(symmetry.zero)[0]
    needed = zero.size * form.size * form.dtype.itemsize
    if not zero.size:
        raise ValueError("symmetry has no coordinates, so that it has no orbit")
    if needed > limit_bytes:
        raise ValueError(
            f"the basis of {zero.size} generators has {needed} bytes, more than limit_bytes={limit_bytes}; raise it, "
            "or take fewer symmetries at a time"
        )
    key = jax.random.key(0) if key is None else key

    def compute(params: Params, args: Any, tolerance: Any, key: jax.Array) -> Split:
        first, second, third = jax.random.split(key, 3)
        product, scale = order_one(flat_product(loss, params, args, "hessian"), first, form)
        basis, valid = _tangent_basis(symmetry, params, form)
        within = _dot(jax.lax.map(product, basis), basis.T)
        lowest = -2 * jnp.max(jnp.sum(jnp.abs(within), axis=1)) - 1
        entries = jnp.where(valid[:, None] & valid[None], (within + within.T) / 2, 0)
        along = jnp.linalg.eigvalsh(entries + jnp.diag(jnp.where(valid, 0, lowest)))[-1]

        # twice the Frobenius norm or so: what the projector removes lies below the complement's spectrum
        probes = jax.random.normal(second, (4, form.size), form.dtype)
        below = -jnp.linalg.norm(jax.lax.map(product, probes))

        def across(vector: jax.Array) -> jax.Array:
            components = _dot(basis, vector)
            image = product(vector - _dot(components, basis))
            return image + _dot(below * components - _dot(basis, image), basis)

        found = eigenvalues(across, jnp.zeros_like(probes[0]), k=1, operator="product", tolerance=tolerance, key=third)
        rank = jnp.sum(valid)
        value = jnp.where(rank < form.size, found.values[0], jnp.nan)
        along = jnp.where(rank > 0, along, jnp.nan)
        return Split(scale * along, scale * value, scale * found.residuals[0], found.converged, rank)

    return run(compute, params, args, tolerance, key)


def _tangent_basis(symmetry: Symmetry, params: Params, form: Layout) -> tuple[jax.Array, jax.Array]:
    """Orthonormal rows that span the generators, and which of them do; the others are zero."""
    zero, unravel = ravel_pytree(symmetry.zero)

    def moved(s: jax.Array) -> jax.Array:
        return form.ravel(symmetry.flow(unravel(s), params))

    rows = jax.vmap(lambda direction: jax.jvp(moved, (zero,), (direction,))[1])(jnp.eye(zero.size, dtype=zero.dtype))
    largest = jnp.max(jnp.abs(rows))
    rows = rows / jnp.where(largest > 0, largest, 1)
    _, sizes, basis = jnp.linalg.svd(rows, full_matrices=False)
    smallest = max(rows.shape) * jnp.asarray(jnp.finfo(form.dtype).eps, form.dtype)
    valid = sizes > smallest * sizes[0]
    return jnp.where(valid[:, None], basis, 0), valid


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")

"""Extreme eigenvalues by Lanczos with thick restart and a residual stop, on matfree's tridiagonalisation.

After a cycle the basis is cut to its best Ritz vectors Y with values ``Theta`` and the next Lanczos direction r, for
which ``A Y = Y Theta + r s^T``. The next cycle is matfree's fully re-orthogonalised Lanczos from r with the operator
projected on the complement of Y: in the basis ``[Y Q]`` it is then diagonal and tridiagonal, coupled by s alone,

    [ Theta  s e_1^T ]
    [ e_1 s^T    T   ],    residual  beta q_next e_last^T.

Source: Wu & Simon 2000, Thick-restart Lanczos method for large symmetric eigenvalue problems; matfree's
``decomp.tridiag_sym``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from symjax.curvature.products import Operator, flat_product, size
from symjax.symmetry import Params

Which = Literal["largest", "smallest"]
Product = Callable[[jax.Array], jax.Array]


class Eigenvalues(NamedTuple):
    """Eigenvalues of one end of a spectrum, the outermost first.

    Attributes:
      values: (k,).
      vectors: pytree like the parameters, each leaf with a leading axis k; orthonormal.
      residuals: (k,), ``|A v - lambda v|`` or round-off: an eigenvalue lies within it; inf for NaN values.
      converged: bool, every residual is below its tolerance and the last search found no further value.
      products: int, products with the operator.
    """

    values: jax.Array
    vectors: Params
    residuals: jax.Array
    converged: jax.Array
    products: jax.Array


def eigenvalues(
    function: Callable[..., Any],
    params: Params,
    *args: Any,
    k: int,
    which: Which = "largest",
    operator: Operator = "hessian",
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
    Up to ``keep + steps`` parameters the operator is formed and diagonalised instead. On a CPU products with
    convolutions are slow inside compiled loops, as this one is.

    Source: Wu & Simon 2000, section 2; Zhao et al. 2023, Fig. 9 (eigenvalues of the Hessian).

    Args:
      function: ``loss(params, *args) -> scalar``; with ``operator="product"`` a symmetric linear map
        ``product(vector, *args) -> vector`` on pytrees like ``params``.
      params: pytree of floating arrays with P entries, the point.
      *args: what else ``function`` takes, such as a batch.
      k: how many, from 1 to P.
      which: the algebraically largest, in falling order, or smallest, in rising order.
      operator: what ``function`` is.
      tolerance: of the residual, relative to the eigenvalue.
      max_products: stop, not converged, rather than take more; at least ``steps``, or P where the operator is formed;
        40 + k cycles if not given.
      keep: Ritz vectors that a restart keeps, at least k.
      steps: products in a cycle. Memory is about ``keep + 3 steps`` vectors of P.
      key: of the random vectors; fixed if not given, because the answer depends on it within the tolerance only.

    Returns:
      Values, vectors, residuals, whether they converged, and the number of products. The residuals follow from the
      Lanczos relation without further products; in float64 they agree with the true ones to 1e-10 of the largest
      eigenvalue.

    Raises:
      ValueError: k, keep, steps, tolerance, max_products, which or operator is not allowed.

    Example:
      >>> import jax.numpy as jnp
      >>> found = eigenvalues(lambda q: 1.5 * q[0] ** 2 + q[1] ** 2, jnp.ones(3), k=2)
      >>> print(found.values, found.converged)
      [3. 2.] True
    """
    count, dtype = size(params)
    if k != int(k) or not 1 <= k <= count:
        raise ValueError(f"k is {k}, but must be a whole number from 1 to the {count} parameters")
    if not isinstance(tolerance, jax.core.Tracer) and not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}, but must not be negative")
    k = int(k)
    if which not in ("largest", "smallest"):
        raise ValueError(f'which is {which!r}, but must be "largest" or "smallest"')
    keep = k + max(5, k // 2) if keep is None else keep
    steps = max(10, k // 2) if steps is None else steps
    if keep < k or steps < 2:
        raise ValueError(f"keep is {keep} and steps {steps}, but keep must be at least k={k} and steps at least 2")
    keep = min(keep, count)
    dense = keep + steps >= count
    # A traced limit cannot be refused: too small for a cycle it leaves NaN and infinite residuals.
    if max_products is not None and not isinstance(max_products, jax.core.Tracer):
        needed = count if dense else steps
        if max_products < needed:
            reason = f"to form the operator of {count} parameters" if dense else f"for a cycle of steps={steps}"
            raise ValueError(f"max_products is {max_products}, but at least {needed} are needed {reason}")
    limit = jnp.asarray((40 + k) * steps if max_products is None else max_products)
    key = jax.random.key(0) if key is None else key
    plan = (function, operator, which, k, keep, steps)
    return _eigenvalues(plan, params, args, jnp.asarray(tolerance, dtype), limit, key)


@partial(jax.jit, static_argnums=0)
def _eigenvalues(
    plan: tuple, params: Params, args: tuple[Any, ...], tolerance: jax.Array, limit: jax.Array, key: jax.Array
) -> Eigenvalues:
    function, operator, which, k, keep, steps = plan
    flat, unravel = ravel_pytree(params)
    plain = flat_product(function, params, args, operator)
    sign = jnp.asarray(1 if which == "largest" else -1, flat.dtype)

    def product(vector: jax.Array) -> jax.Array:
        return sign * plain(vector)

    solve = _dense if keep + steps >= flat.size else partial(_restarted, keep=keep, steps=steps)
    values, vectors, residuals, converged, products = solve(product, flat, k, tolerance=tolerance, limit=limit, key=key)
    return Eigenvalues(sign * values, jax.vmap(unravel)(vectors), residuals, converged, products)


def _dense(
    product: Product, like: jax.Array, k: int, *, tolerance: jax.Array, limit: jax.Array, key: jax.Array
) -> tuple[jax.Array, ...]:
    """All eigenvalues of a small operator from its products with the unit vectors."""
    matrix = jax.vmap(product)(jnp.eye(like.size, dtype=like.dtype))
    values, vectors = jnp.linalg.eigh(matrix)
    values, vectors = values[::-1][:k], vectors[:, ::-1][:, :k].T
    residuals = jnp.linalg.norm(_dot(vectors, matrix) - values[:, None] * vectors, axis=1)
    finite = jnp.isfinite(values)
    return values, vectors, jnp.where(finite, residuals, jnp.inf), jnp.all(finite), jnp.asarray(like.size)


class _State(NamedTuple):
    kept: jax.Array  # (keep, n) Ritz vectors as rows, zero where not valid
    values: jax.Array  # (keep,) falling, zero where not valid
    valid: jax.Array  # (keep,)
    couplings: jax.Array  # (keep,) s of the module's docstring
    frozen: jax.Array  # (keep,) residuals left behind when a random start replaced the Lanczos direction
    residuals: jax.Array  # (keep,)
    start: jax.Array  # (n,) unit, orthogonal to kept
    shift: jax.Array  # somewhere inside what is left of the spectrum
    searching: jax.Array  # the next cycle starts at random to look for what the Krylov space could not hold
    converged: jax.Array
    products: jax.Array
    key: jax.Array


class _Ritz(NamedTuple):
    vectors: jax.Array  # (keep, n)
    values: jax.Array  # (keep,)
    valid: jax.Array  # (keep,)
    couplings: jax.Array  # (keep,) with the next Lanczos direction
    frozen: jax.Array  # (keep,)
    following: jax.Array  # (n,) that direction
    intact: jax.Array  # there is one
    scale: jax.Array  # of the spectrum
    shift: jax.Array  # the median of the Lanczos vectors' Rayleigh quotients


def _restarted(
    product: Product,
    like: jax.Array,
    k: int,
    *,
    tolerance: jax.Array,
    limit: jax.Array,
    key: jax.Array,
    keep: int,
    steps: int,
) -> tuple[jax.Array, ...]:
    """Cycles until the k outermost pairs have converged and a random start finds no other."""
    cycle = partial(_cycle, _tridiagonalise(product, steps))

    def going(state: _State) -> jax.Array:
        return ~state.converged & (state.products + steps <= limit) & jnp.all(jnp.isfinite(state.values))

    def advance(state: _State) -> _State:
        return _next(state, cycle(state), k, steps, tolerance)

    zeros, false = jnp.zeros(keep, like.dtype), jnp.zeros((), bool)
    kept = jnp.zeros((keep, like.size), like.dtype)
    start = _random(jax.random.fold_in(key, 0), kept)
    first = _State(kept, zeros, zeros.astype(bool), zeros, zeros, zeros, start, zeros[0], false, false, 0 * limit, key)
    last = jax.lax.while_loop(going, advance, first)
    values = jnp.where(last.valid, last.values, jnp.nan)[:k]
    residuals = jnp.where(jnp.isfinite(values), last.residuals[:k], jnp.inf)
    return values, last.kept[:k], residuals, last.converged, last.products


def _tridiagonalise(product: Product, steps: int) -> Callable[..., tuple[jax.Array, ...]]:
    """matfree's Lanczos in the complement of ``kept``: ``(kept, start, shift) -> basis, two diagonals, remainder``."""
    from matfree import decomp  # late: it doubles the time to import symjax

    lanczos = decomp.tridiag_sym(steps, materialize=False, reortho="full", custom_vjp=False)
    precision = jax.config.jax_default_matmul_precision  # the user's, for the product; matfree sets none of its own

    def run(kept: jax.Array, start: jax.Array, shift: jax.Array) -> tuple[jax.Array, ...]:
        def deflated(vector: jax.Array) -> jax.Array:
            along = _dot(kept, vector)
            with jax.default_matmul_precision(precision):
                image = product(vector - _dot(along, kept))
            # The projectors alone give kept the eigenvalue zero; where that lies outside the rest of the spectrum,
            # round-off along kept would grow from step to step, so it is moved inside.
            return image + _dot(shift * along - _dot(kept, image), kept)

        with jax.default_matmul_precision("highest"):
            basis, (diagonal, off_diagonal), remainder, _ = lanczos(deflated, start)
        return basis, diagonal, off_diagonal, remainder

    return run


def _cycle(lanczos: Callable[..., tuple[jax.Array, ...]], state: _State) -> _Ritz:
    """One cycle of Lanczos and the best Ritz pairs of the enlarged basis."""
    keep = state.values.size
    basis, diagonal, off_diagonal, remainder = lanczos(state.kept, state.start, state.shift)
    beta = jnp.linalg.norm(remainder)
    lengths = jnp.concatenate((jnp.abs(off_diagonal), beta[None]))
    sizes = jnp.concatenate((jnp.abs(state.values), jnp.abs(diagonal), lengths))
    scale = jnp.max(jnp.where(jnp.isfinite(sizes), sizes, 0))
    # Where the Krylov space has ended, the next vector is noise, NaN (0/0, which fails both comparisons) or falls back
    # into the vectors kept.
    long_enough = lengths > _noise(scale)
    overlap = _dot(basis, state.kept.T)
    basis = basis - _dot(overlap, state.kept)
    clean = jnp.max(jnp.abs(overlap), axis=1) < jnp.sqrt(jnp.finfo(scale.dtype).eps).astype(scale.dtype)
    good = (long_enough[:-1] & clean[1:]).astype(int)
    inside = jnp.concatenate((jnp.ones(1, bool), jnp.cumprod(good).astype(bool)))
    valid = jnp.concatenate((state.valid, inside))

    small = _projected(state, diagonal, off_diagonal, valid)
    values, weights = jnp.linalg.eigh(small)
    values, weights = values[::-1][:keep], weights[:, ::-1][:, :keep]
    chosen = jnp.sum(jnp.where(valid[:, None], weights**2, 0), axis=0) > 0.5
    weights = jnp.where(valid[:, None] & chosen[None], weights, 0)
    vectors = _dot(weights[:keep].T, state.kept) + _dot(weights[keep:].T, jnp.where(inside[:, None], basis, 0))
    values = jnp.where(chosen, values, 0)
    frozen = jnp.sqrt(_dot(weights[:keep].T ** 2, state.frozen**2))
    shift = jnp.nanmedian(jnp.where(inside, diagonal, jnp.nan))

    end = jnp.sum(inside) - 1
    following = jnp.concatenate((basis[1:], remainder[None] / beta))[end]
    following = _project(vectors, _project(vectors, following))
    length = jnp.linalg.norm(following)
    intact = long_enough[end] & (length > 0.5)
    couplings = jnp.where(jnp.isfinite(lengths[end]), lengths[end], 0) * weights[keep + end]
    return _Ritz(vectors, values, chosen, couplings, frozen, following / length, intact, scale, shift)


def _projected(state: _State, diagonal: jax.Array, off_diagonal: jax.Array, valid: jax.Array) -> jax.Array:
    """The operator in the basis of kept and Lanczos vectors; what is not valid is decoupled below the spectrum."""
    keep, steps = state.values.size, diagonal.size
    inside = valid[keep:]
    entries = jnp.where(valid, jnp.concatenate((state.values, diagonal)), 0)
    off_diagonal = jnp.where(inside[1:], off_diagonal, 0)
    couplings = jnp.where(valid[:keep], state.couplings, 0)
    first, lanczos = jnp.arange(keep), keep + jnp.arange(steps - 1)
    upper = jnp.zeros((keep + steps,) * 2, entries.dtype).at[first, keep].set(couplings)
    upper = upper.at[lanczos, lanczos + 1].set(off_diagonal)
    matrix = upper + upper.T + jnp.diag(entries)
    bound = jnp.max(jnp.sum(jnp.abs(matrix), axis=1))
    below = -2 * jnp.where(bound > 0, bound, 1)
    return matrix + jnp.diag(jnp.where(valid, 0, below))


def _next(state: _State, ritz: _Ritz, k: int, steps: int, tolerance: jax.Array) -> _State:
    """Judge the Ritz pairs and choose where the next cycle starts."""
    residuals = jnp.hypot(ritz.frozen, jnp.abs(ritz.couplings))
    floor = jnp.maximum(tolerance**2 * ritz.scale, 10 * _roundoff(ritz.scale))
    allowed = jnp.maximum(tolerance * jnp.abs(ritz.values), floor)
    all_small = jnp.all((ritz.valid & (residuals <= allowed))[:k])
    nothing_new = jnp.all((jnp.abs(ritz.values - state.values) <= allowed)[:k])
    converged = all_small & state.searching & nothing_new
    searching = all_small & ~converged
    fresh = searching | ~ritz.intact
    # A search keeps the converged pairs alone: what is dropped is then below the tolerance.
    valid = ritz.valid & (~searching | (jnp.arange(residuals.size) < k))
    kept = jnp.where(valid[:, None], ritz.vectors, 0)
    key = jax.random.fold_in(state.key, state.products)
    start = jax.lax.cond(fresh, lambda: _random(key, kept), lambda: ritz.following)
    return _State(
        kept=kept,
        values=jnp.where(valid, ritz.values, 0),
        valid=valid,
        couplings=jnp.where(fresh, 0, ritz.couplings),
        frozen=jnp.where(fresh, residuals, ritz.frozen),
        residuals=jnp.maximum(residuals, _roundoff(ritz.scale)),
        start=start,
        shift=ritz.shift,
        searching=searching,
        converged=converged,
        products=state.products + steps,
        key=state.key,
    )


def _random(key: jax.Array, kept: jax.Array) -> jax.Array:
    """A random unit vector orthogonal to the rows of ``kept``."""
    vector = jax.random.normal(key, kept.shape[1:], kept.dtype)
    vector = _project(kept, _project(kept, vector))
    return vector / jnp.linalg.norm(vector)


def _project(kept: jax.Array, vector: jax.Array) -> jax.Array:
    return vector - _dot(_dot(kept, vector), kept)


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")


def _noise(scale: jax.Array) -> jax.Array:
    """A Lanczos direction shorter than this is mostly round-off, and its space invariant."""
    return (jnp.finfo(scale.dtype).eps ** 0.75).astype(scale.dtype) * scale


def _roundoff(scale: jax.Array) -> jax.Array:
    return jnp.asarray(30 * jnp.finfo(scale.dtype).eps, scale.dtype) * scale

"""Lanczos with thick restart and a residual stop, on matfree's tridiagonalisation.

After a cycle the basis is cut to its best Ritz vectors Y with values ``Theta`` and the next Lanczos direction r, for
which ``A Y = Y Theta + r s^T``. The next cycle is matfree's fully re-orthogonalised Lanczos from r with the operator
projected on the complement of Y: in the basis ``[Y Q]`` it is then diagonal and tridiagonal, coupled by s alone,

    [ Theta  s e_1^T ]
    [ e_1 s^T    T   ],    residual  beta q_next e_last^T.

The residuals here follow from this relation and know nothing of the products' own errors: the caller measures.

Source: Wu & Simon 2000, Thick-restart Lanczos method for large symmetric eigenvalue problems; matfree's
``decomp.tridiag_sym``.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from symjax.curvature.operators import Product


class Pairs(NamedTuple):
    """The outermost eigenpairs that an iteration found, falling.

    Attributes:
      values: (k,), NaN where there is none.
      vectors: (k, n), orthonormal rows.
      converged: bool, they are below the tolerance and a random start found no further value.
      scale: scalar, about the largest absolute eigenvalue.
      products: int.
    """

    values: jax.Array
    vectors: jax.Array
    converged: jax.Array
    scale: jax.Array
    products: jax.Array


class _State(NamedTuple):
    kept: jax.Array  # (keep, n) Ritz vectors as rows, zero where not valid
    values: jax.Array  # (keep,) falling, zero where not valid
    valid: jax.Array  # (keep,)
    couplings: jax.Array  # (keep,) s of the module's docstring
    frozen: jax.Array  # (keep,) residuals left behind when a random start replaced the Lanczos direction
    start: jax.Array  # (n,) unit, orthogonal to kept
    shift: jax.Array  # somewhere inside what is left of the spectrum
    scale: jax.Array  # of the spectrum
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


def thick_restart(
    product: Product,
    like: jax.Array,
    k: int,
    *,
    tolerance: jax.Array,
    limit: jax.Array,
    key: jax.Array,
    keep: int,
    steps: int,
) -> Pairs:
    """Run cycles until the k outermost pairs have converged and a random start finds no other, or products run out.

    Args:
      product: a symmetric operator of order one on vectors (n,).
      like: a vector, for its size and dtype.
      k: how many pairs.
      tolerance: of :func:`allowed`.
      limit: of the products.
      key: of the random starts.
      keep: Ritz vectors that a restart keeps, at least k.
      steps: products in a cycle.
    """
    cycle = partial(_cycle, _tridiagonalise(product, steps))

    def going(state: _State) -> jax.Array:
        return ~state.converged & (state.products + steps <= limit) & jnp.all(jnp.isfinite(state.values))

    def advance(state: _State) -> _State:
        return _next(state, cycle(state), k, steps, tolerance)

    zeros, false = jnp.zeros(keep, like.dtype), jnp.zeros((), bool)
    first = _State(
        kept=jnp.zeros((keep, like.size), like.dtype),
        values=zeros,
        valid=zeros.astype(bool),
        couplings=zeros,
        frozen=zeros,
        start=_random(jax.random.fold_in(key, 0), jnp.zeros((keep, like.size), like.dtype)),
        shift=zeros[0],
        scale=zeros[0],
        searching=false,
        converged=false,
        products=0 * limit,
        key=key,
    )
    last = jax.lax.while_loop(going, advance, first)
    values = jnp.where(last.valid, last.values, jnp.nan)[:k]
    return Pairs(values, last.kept[:k], last.converged, last.scale, last.products)


def allowed(values: jax.Array, scale: jax.Array, tolerance: jax.Array) -> jax.Array:
    """The largest residual of a converged pair: relative to its value, or to the spectrum where that is near zero."""
    floor = jnp.maximum(tolerance**2 * scale, 10 * roundoff(scale))
    return jnp.maximum(tolerance * jnp.abs(values), floor)


def roundoff(scale: jax.Array) -> jax.Array:
    """What residuals cannot fall below in the dtype of ``scale``."""
    return jnp.asarray(30 * jnp.finfo(scale.dtype).eps, scale.dtype) * scale


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
    # what round-off put into it along the vectors dropped would stay in the relation from cycle to cycle
    following = _project(state.kept, following)
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
    bound = allowed(ritz.values, ritz.scale, tolerance)
    all_small = jnp.all((ritz.valid & (residuals <= bound))[:k])
    nothing_new = jnp.all((jnp.abs(ritz.values - state.values) <= bound)[:k])
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
        start=start,
        shift=ritz.shift,
        scale=ritz.scale,
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

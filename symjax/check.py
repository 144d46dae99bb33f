"""Check a symmetry on the function it is said to keep: at random parameters, finite elements and generators."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from symjax.arguments import accumulation_dtype, floating_tree, scalar
from symjax.conserved.orbits import generator_rank
from symjax.symmetry import Coordinates, Params, Symmetry, generator, symmetry_residual

__all__ = ["Check", "check"]

LARGEST = 2**22
"""Entries of the matrix of generators up to which its rank is counted, and every coordinate looked at by itself."""


class Check(NamedTuple):
    """What a symmetry was found to do; errors are relative and not negative, at random parameters.

    Attributes:
      holds: whether identity, invariance and residual are below the tolerance.
      identity: how far ``flow(zero, params)`` is from ``params``.
      invariance: largest change of the outputs under a finite element, over all outputs beside their size.
      residual: largest ``|<grad, M theta>| / (|grad| |M theta|)``, over the coordinates.
      rank: independent generators; -1 where the matrix of generators is too large to be formed.
      coordinates: how many there are.
      commuting: how far ``flow(a, flow(b, .))`` is from ``flow(b, flow(a, .))``.
      linear: how far a generator is from linear.
      symmetric: how far a generator is from symmetric; 1 or so where it is antisymmetric.
      worst: where it fails, in words: the coordinate, and the leaf that explains it; empty where it holds.
    """

    holds: bool
    identity: float
    invariance: float
    residual: float
    rank: int
    coordinates: int
    commuting: float
    linear: float
    symmetric: float
    worst: str


def check(
    symmetry: Symmetry,
    function: Callable[..., Any],
    params: Params,
    *args: Any,
    key: jax.Array,
    draws: int = 3,
    tolerance: float | None = None,
) -> Check:
    """Check that a function does not change along a symmetry.

    At ``draws`` random parameters of the sizes of the given ones (a forgotten bias is invisible where biases are zero),
    each with random coordinates of size 1/2. Where it fails, the leaf is sought without which it would hold.

    Source: this library's; the residual is Tanaka & Kunin 2021, section 3.

    Args:
      symmetry: the flow and its zero.
      function: ``function(params, *args)``, a loss or a model's outputs: any pytree of arrays.
      params: pytree of arrays; integers are taken for real numbers.
      *args: whatever else the function takes; not differentiated, never traced.
      key: of the random parameters and coordinates.
      draws: random parameters to look at, at least 1.
      tolerance: of the errors; None means ``eps**0.6``, 4e-10 in float64 and 7e-5 in float32. A symmetry up to the
        epsilon of a normalisation, as :func:`symjax.tracing.symmetries` may find them ("up to epsilon" in its table),
        needs a larger one, such as 1e-3; otherwise it fails, and ``worst`` names a leaf that is not to blame.

    Returns:
      A :class:`Check`.

    Raises:
      ValueError: what is no array of real numbers, a flow that changes structure or shapes, or outputs that are not
        finite at random parameters.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> scale = Symmetry(lambda s, q: jnp.exp(s) * q, jnp.zeros(()))
      >>> direction_only = lambda q: q / jnp.linalg.norm(q)
      >>> found = check(scale, direction_only, jnp.array([3.0, 4.0]), key=jax.random.key(0))
      >>> found.holds, found.rank, found.coordinates
      (True, 1, 1)
    """
    params, zero = floating_tree("params", params), floating_tree("symmetry.zero", symmetry.zero)
    flow = symmetry.flow
    # a fresh function, as below, compiled: each derivative of it is one program instead of hundreds
    symmetry = symmetry._replace(flow=jax.jit(lambda s, q: flow(s, q)), zero=zero)
    dtype = accumulation_dtype(*(leaf.dtype for leaf in jax.tree.leaves(params)))
    limit = float(jnp.finfo(dtype).eps) ** 0.6 if tolerance is None else float(scalar("tolerance", tolerance))
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise ValueError(f"draws is {draws!r}, but must be a positive integer")
    identity = _error(symmetry.flow(zero, params), params)
    # a fresh function each time: what the user's own reads may have changed since the last call
    apply = jax.jit(lambda q: ravel_pytree(function(q, *args))[0])
    rows, worst = [], ""
    for one in jax.random.split(key, draws) if identity <= limit else ():
        row, where = _at_random(symmetry, apply, params, one, limit)
        rows.append(row)
        worst = worst or where
    count = sum(leaf.size for leaf in jax.tree.leaves(zero))
    if not rows:
        worst = "the flow moves the parameters at its zero, which must be the identity"
        return Check(False, identity, np.inf, np.inf, -1, count, np.inf, np.inf, np.inf, worst)
    invariance, residual, commuting, linear, symmetric = (float(max(column)) for column in zip(*rows, strict=True))
    small = count * sum(leaf.size for leaf in jax.tree.leaves(params)) <= LARGEST
    rank = int(generator_rank(symmetry, _random_like(params, key)).rank) if small else -1
    holds = invariance <= limit and residual <= limit
    return Check(holds, identity, invariance, residual, rank, count, commuting, linear, symmetric, worst)


def _at_random(
    symmetry: Symmetry, apply: Callable[[Params], jax.Array], params: Params, key: jax.Array, limit: float
) -> tuple[tuple[float, ...], str]:
    """Errors at one draw, and in words where it fails."""
    keys = jax.random.split(key, 6)
    params = _random_like(params, keys[0])
    a, b = (_coordinates(symmetry, params, one) for one in keys[1:3])
    before, after = apply(params), apply(symmetry.flow(a, params))
    if not bool(jnp.all(jnp.isfinite(before))):
        raise ValueError("function is not finite at random parameters of the sizes of params: nothing can be checked")
    invariance = _error(after, before)
    weights = jax.random.normal(keys[3], before.shape, before.dtype)

    def loss(q: Params) -> jax.Array:
        return jnp.vdot(weights, apply(q))

    residuals, place = _residuals(symmetry, loss, params, keys[4])
    other = _random_like(params, keys[5])
    commuting = _error(symmetry.flow(a, symmetry.flow(b, params)), symmetry.flow(b, symmetry.flow(a, params)))

    def field(q: Params) -> jax.Array:
        return ravel_pytree(generator(symmetry, q, b))[0]

    one, two, both = field(params), field(other), field(jax.tree.map(jnp.add, params, other))
    x, y = ravel_pytree(params)[0], ravel_pytree(other)[0]
    linear = _error(both, one + two)
    cross, size = jnp.vdot(y, one) - jnp.vdot(x, two), _norm(x) * _norm(two) + _norm(y) * _norm(one)
    symmetric = float(jnp.abs(cross) / jnp.where(size > 0, size, 1))
    where = ""
    if residuals > limit or invariance > limit:
        where = _explain(symmetry, loss, params, keys[4], place, residuals)
    return (invariance, residuals, commuting, linear, symmetric), where


def _residuals(
    symmetry: Symmetry, loss: Callable[[Params], jax.Array], params: Params, key: jax.Array
) -> tuple[float, int]:
    """Largest relative residual, and the coordinate that has it."""
    residual = ravel_pytree(symmetry_residual(symmetry, loss, params))[0]
    zero, unravel = ravel_pytree(symmetry.zero)
    gradient = _norm(ravel_pytree(jax.grad(loss)(params))[0])
    each = zero.size * sum(leaf.size for leaf in jax.tree.leaves(params)) <= LARGEST
    directions = jnp.eye(zero.size, dtype=zero.dtype) if each else jax.random.normal(key, (8, zero.size), zero.dtype)

    def moved(direction: jax.Array) -> jax.Array:
        return _norm(ravel_pytree(jax.jvp(lambda s: symmetry.flow(unravel(s), params), (zero,), (direction,))[1])[0])

    sizes = gradient * jax.lax.map(moved, directions)
    along = jnp.abs(jnp.matmul(directions.astype(residual.dtype), residual, precision="highest"))
    relative = along / jnp.where(sizes > 0, sizes, jnp.ones_like(sizes)).astype(along.dtype)
    return float(jnp.max(relative)), int(jnp.argmax(relative if each else jnp.abs(residual)))


def _explain(
    symmetry: Symmetry, loss: Callable[[Params], jax.Array], params: Params, key: jax.Array, place: int, worst: float
) -> str:
    """Name the worst coordinate, and the leaf with which zero, all else equal, the residual is smallest.

    A leaf that the symmetry forgets, or scales by a wrong degree, adds nothing where it is zero.
    """
    flat, unravel = ravel_pytree(symmetry.zero)
    unit = unravel(flat.at[place].set(1))
    names = [
        f"{jax.tree_util.keystr(path)}{np.argwhere(np.asarray(leaf))[0].tolist() if jnp.ndim(leaf) else ''}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(unit)
        if np.any(np.asarray(leaf))
    ]
    leaves, structure = jax.tree.flatten(params)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    tangent = jax.tree.leaves(generator(symmetry, params, unit))
    found = []
    for i, leaf in enumerate(leaves):
        without = jax.tree.unflatten(structure, [*leaves[:i], jnp.zeros_like(leaf), *leaves[i + 1 :]])
        alive = float(_norm(ravel_pytree(jax.grad(loss)(without))[0])) > 0
        residual = _residuals(symmetry, loss, without, key)[0] if alive else np.inf
        untouched = not np.any(np.asarray(tangent[i]))
        # what is left is compared in powers of ten: below them it is rounding, and a leaf that is not moved comes first
        found.append((np.ceil(np.log10(max(residual, 1e-3 * worst))), not untouched, i, untouched))
    _, _, i, untouched = min(found)
    said = "which the flow does not move" if untouched else "whose degree or place is perhaps wrong"
    return f"coordinate {names[0] or 's'}; leaf params{paths[i]}, {said}"


def _random_like(params: Params, key: jax.Array) -> Params:
    """Random parameters of the same sizes: positive leaves stay positive, zeros become numbers of size 1."""
    leaves, structure = jax.tree.flatten(params)
    drawn = []
    for leaf, one in zip(leaves, jax.random.split(key, len(leaves)), strict=True):
        noise = jax.random.normal(one, leaf.shape, accumulation_dtype(leaf.dtype))
        wide = leaf.astype(noise.dtype)
        if bool(jnp.all(wide > 0)):
            drawn.append((wide * jnp.exp(noise / 2)).astype(leaf.dtype))
        else:
            size = jnp.sqrt(jnp.mean(jnp.square(wide)))
            drawn.append((wide + jnp.where(size > 0, size, jnp.ones_like(size)) * noise).astype(leaf.dtype))
    return jax.tree.unflatten(structure, drawn)


def _coordinates(symmetry: Symmetry, params: Params, key: jax.Array) -> Coordinates:
    """Random coordinates of size 1/2, where the flow is defined there."""
    flat, unravel = ravel_pytree(symmetry.zero)
    s = jax.random.normal(key, flat.shape, flat.dtype) / 2
    for drawn in (s, jnp.abs(s), *(jnp.abs(s) / 4**power for power in range(1, 6))):
        if symmetry.valid is None or bool(jnp.all(symmetry.valid(unravel(drawn), params))):
            return unravel(drawn)
    raise ValueError("symmetry.valid allows no coordinates of sizes from 1/2 to 1/2000 at random parameters")


def _error(value: Any, expected: Any) -> float:
    """Distance relative to the size of what is expected; infinite where it is not finite."""
    value, expected = (ravel_pytree(tree)[0] for tree in (value, expected))
    if value.shape != expected.shape:
        raise ValueError(f"symmetry.flow gives {value.size} numbers where {expected.size} were given")
    size = _norm(expected)
    gap = float(_norm(value - expected) / jnp.where(size > 0, size, jnp.ones_like(size)))
    return gap if np.isfinite(gap) else np.inf


def _norm(x: jax.Array) -> jax.Array:
    return jnp.linalg.norm(x.astype(accumulation_dtype(x.dtype)))

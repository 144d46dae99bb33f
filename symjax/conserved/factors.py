"""Factors of a linear network's function with a prescribed conserved matrix: in closed form, and by Newton's method.

Wanted are ``U' V' = U V`` with ``U'^T U' - V' V'^T = 2 target``. Both solvers are compiled and raise nothing.
"""

from functools import partial

import jax
import jax.numpy as jnp

__all__ = ["closed_factors", "newton_element"]

_product = partial(jnp.matmul, precision="highest")


@jax.jit
def closed_factors(u: jax.Array, v: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Build factors of ``U V`` with the prescribed Q from singular vectors of U V and eigenvectors of the target.

    In the basis of the eigenvectors W of ``C = 2 target``, eigenvalues c descending, and of the singular vectors of
    ``U V = Phi diag(sigma) Psi^T`` the problem falls apart: one eigenvalue with one sigma has the factors' squares
    ``p - q = c``, ``p q = sigma^2``; a non-negative and a non-positive one can share one sigma (needed if h exceeds the
    wider end); what is left of the negative ones lies in V alone. With m > n the two layers change places.

    Source: derived; Zhao et al. 2023, section 4, has the case m = h = n = 1.

    Args:
      u: array (m, h).
      v: array (h, n).
      target: symmetric array (h, h) with at most m positive and n negative eigenvalues.

    Returns:
      ``(u, v)``, of the same shapes.
    """
    (m, h), n = u.shape, v.shape[1]
    if m > n:
        moved_v, moved_u = closed_factors(v.T, u.T, -target)
        return moved_u.T, moved_v.T
    phi, sigma, psi = jnp.linalg.svd(_product(u, v), full_matrices=True)
    values, vectors = jnp.linalg.eigh(target + target.T)
    values, vectors = values[::-1], vectors[:, ::-1]
    paired, shared, both = min(m, h), min(max(h - n, 0), m), min(h, n)
    a, b = jnp.zeros((m, h), u.dtype), jnp.zeros((n, h), u.dtype)
    one = jnp.arange(shared, paired)
    p, q = _one_value(values[one], sigma[one])
    a, b = a.at[one, one].set(p), b.at[one, one].set(q)
    first = jnp.arange(shared)
    last = h - 1 - first
    a1, a2, b1, b2 = _two_values(values[first], values[last], sigma[first])
    a, b = a.at[first, first].set(a1).at[first, last].set(a2), b.at[first, first].set(b1).at[first, last].set(b2)
    alone = h - shared - both + jnp.arange(paired, both)
    b = b.at[jnp.arange(paired, both), alone].set(_root(-values[alone]))
    return _product(_product(phi, a), vectors.T), _product(_product(vectors, b.T), psi)


@partial(jax.jit, static_argnums=3)
def newton_element(
    u: jax.Array, v: jax.Array, target: jax.Array, steps: int = 100
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Find an element g of GL(h) with ``Q(U g^-1, g V) = target`` by Newton's method from the identity.

    Along ``g = exp(M)``, M symmetric, ``dQ = -(M K + K M)/2`` with ``K = U^T U + V V^T``: each step is a Lyapunov
    equation, solved in the eigenbasis of K, and the step along the one-parameter group is halved until the error falls.
    The last step is differentiable, so derivatives of the result are those of the solution.

    Source: derived from the group law on Q, Zhao et al. 2023, section 4.

    Args:
      u: array (m, h).
      v: array (h, n).
      target: symmetric array (h, h).
      steps: largest number of steps.

    Returns:
      ``(u, v, g)``; whether they solve the problem is for the caller to see.
    """
    frozen_u, frozen_v, frozen_target = jax.lax.stop_gradient((u, v, target))
    identity = jnp.eye(u.shape[1], dtype=u.dtype)

    def missing(g: jax.Array, inverse: jax.Array) -> jax.Array:
        return frozen_target - _quantity(_product(frozen_u, inverse), _product(g, frozen_v))

    def unfinished(state: tuple[jax.Array, ...]) -> jax.Array:
        step, _, _, error, improved = state
        return (step < steps) & (error > 0) & improved

    def advance(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        step, g, inverse, error, _ = state
        moved_u, moved_v = _product(frozen_u, inverse), _product(g, frozen_v)
        direction = _lyapunov(moved_u, moved_v, missing(g, inverse))
        logarithms, vectors = jnp.linalg.eigh(direction)
        # A step of the group by more than e^2 leaves the region where the linear model means anything.
        farthest = jnp.max(jnp.abs(logarithms))
        longest = jnp.where(farthest > 2, 2 / jnp.where(farthest > 2, farthest, 1), 1)

        def candidate(t: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            factor = jnp.exp(t * logarithms)
            forward = _product(vectors * factor[None], vectors.T)
            backward = _product(vectors / factor[None], vectors.T)
            new, new_inverse = _product(forward, g), _product(inverse, backward)
            return new, new_inverse, jnp.linalg.norm(missing(new, new_inverse))

        tries = jax.vmap(candidate)(longest * 2.0 ** -jnp.arange(8).astype(u.dtype))
        errors = jnp.where(jnp.isfinite(tries[2]), tries[2], jnp.inf)
        best = jnp.argmin(errors)
        improved = errors[best] < error
        g, inverse = (jnp.where(improved, tried[best], old) for tried, old in zip(tries, (g, inverse), strict=False))
        return step + 1, g, inverse, jnp.where(improved, errors[best], error), improved

    first = (0, identity, identity, jnp.linalg.norm(missing(identity, identity)), jnp.array(True))
    _, g, inverse, _, _ = jax.lax.while_loop(unfinished, advance, first)
    moved_u, moved_v = _product(u, inverse), _product(g, v)
    fixed = jax.lax.stop_gradient((moved_u, moved_v))
    polish = _lyapunov(*fixed, target - _quantity(moved_u, moved_v))
    # Without convergence the linear model is no help, and its exponential could be infinite.
    polish = jnp.where(jnp.linalg.norm(polish) < 0.1, polish, 0)
    forward, backward = jax.scipy.linalg.expm(polish), jax.scipy.linalg.expm(-polish)
    return _product(moved_u, backward), _product(forward, moved_v), _product(forward, g)


def _quantity(u: jax.Array, v: jax.Array) -> jax.Array:
    return (_product(u.T, u) - _product(v, v.T)) / 2


def _lyapunov(u: jax.Array, v: jax.Array, change: jax.Array) -> jax.Array:
    """Solve ``-(M K + K M)/2 = change`` for symmetric M."""
    values, vectors = jnp.linalg.eigh(_product(u.T, u) + _product(v, v.T))
    sums = values[:, None] + values[None]
    # Directions that neither layer sees cannot change Q: leave them alone instead of dividing by rounding.
    seen = sums > values[-1] * values.size * jnp.finfo(u.dtype).eps
    rotated = _product(_product(vectors.T, change), vectors)
    solved = jnp.where(seen, -2 * rotated / jnp.where(seen, sums, 1), 0)
    return _product(_product(vectors, solved), vectors.T)


def _root(x: jax.Array) -> jax.Array:
    """Square root, 0 with derivative 0 left of and at 0."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0)


def _one_value(c: jax.Array, sigma: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Roots of p and q in ``p - q = c``, ``p q = sigma^2``, without cancellation."""
    larger = (jnp.hypot(c, 2 * sigma) + jnp.abs(c)) / 2
    smaller = sigma**2 / jnp.where(larger > 0, larger, 1)
    return _root(jnp.where(c >= 0, larger, smaller)), _root(jnp.where(c >= 0, smaller, larger))


def _two_values(up: jax.Array, down: jax.Array, sigma: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Vectors a, b in a plane with ``a a^T - b b^T = diag(up, down)``, ``a . b = sigma``, for up >= 0 >= down."""
    up, down = jnp.maximum(up, 0), jnp.maximum(-down, 0)
    total = up + down
    root = jnp.hypot(total, 2 * sigma)
    share = jnp.where(total > 0, up / jnp.where(total > 0, total, 1), 0.5)
    # root - total, without cancellation
    rest = 4 * sigma**2 / jnp.where(root + total > 0, root + total, 1)
    a1, b2 = _root((up + share * root) / 2), _root((down + (1 - share) * root) / 2)
    return a1, _root((1 - share) * rest / 2), _root(share * rest / 2), b2

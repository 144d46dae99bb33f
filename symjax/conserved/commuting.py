"""Moving along commuting symmetric generators to prescribed values of all their conserved quantities at once."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from symjax.arguments import accumulation_dtype, accurate_tree, is_concrete, require_same_shapes, whole_number
from symjax.conserved.quantities import require_quadratic, unchecked_quadratic
from symjax.magnitude import norm, over_square, power_of_two
from symjax.symmetry import Coordinates, Flow, Params, Symmetry

__all__ = ["PrescribedFlow", "prescribe_commuting", "require_commuting"]


class PrescribedFlow(NamedTuple):
    """Parameters moved along a flow to a prescribed Q.

    Attributes:
      params: pytree like the given one.
      s: coordinates of the element that moved them, like ``zero``.
      residual: scalar, largest ``|Q_i - target_i|`` over the larger of ``|target_i|`` and the sum of the squared
        entries, times half their degrees, that cancel in ``Q_i``.
      converged: whether it is below a thousand eps, and finite.
    """

    params: Params
    s: Coordinates
    residual: jax.Array
    converged: jax.Array


def prescribe_commuting(symmetry: Symmetry, params: Params, target: Coordinates, steps: int = 100) -> PrescribedFlow:
    """Move parameters along commuting symmetric generators to prescribed values of all their Q at once.

    Q of ``flow(s, theta)`` is half the gradient in s of the convex function ``|flow(s, theta)|^2/2``, so the wanted s
    is the minimum of ``|flow(s, theta)|^2/4 - <target, s>``: damped Newton with the dense Hessian, as many rows as
    there are coordinates. For all hidden layers of a network together, whose quantities are coupled.

    Source: Zhao et al. 2023, section 4 (monotone Q); the convex form is derived.

    Args:
      symmetry: of commuting, symmetric, linear generators, such as ``symjax.channels.scalings(channels, "rescale")``.
      params: pytree of arrays; taken to one dtype, the widest of theirs and at least float32.
      target: pytree like ``zero``, for :func:`symjax.conserved.quadratic`.
      steps: largest number of Newton steps.

    Returns:
      A :class:`PrescribedFlow`; an impossible target has ``converged = False``.

    Raises:
      ValueError: a target of another structure or shape than ``zero``, no coordinates at all, or generators that are
        not linear and symmetric or do not commute (seen at random vectors, as by :func:`quadratic`).

    Example:
      >>> import jax.numpy as jnp
      >>> from symjax.symmetry import Symmetry
      >>> opposite = Symmetry(lambda s, q: (jnp.exp(s) * q[0], jnp.exp(-s) * q[1]), jnp.zeros(()))
      >>> moved = prescribe_commuting(opposite, (jnp.array(2.0), jnp.array(0.5)), jnp.zeros(()))
      >>> bool(jnp.allclose(moved.params[0], 1.0)), bool(moved.converged)
      (True, True)
    """
    flow, zero = symmetry.flow, symmetry.zero
    if not jax.tree.leaves(zero) or all(0 in jnp.shape(leaf) for leaf in jax.tree.leaves(zero)):
        raise ValueError("zero has no coordinates: the channels have no scaling of the kind asked for")
    steps, zero, target = whole_number("steps", steps, 1), accurate_tree("zero", zero), accurate_tree("target", target)
    require_same_shapes("target", target, "zero", zero)
    params = _of_one_dtype(accurate_tree("params", params))
    dtype = jax.tree.leaves(params)[0].dtype
    zero = jax.tree.map(lambda leaf: leaf.astype(dtype), zero)
    require_quadratic(Symmetry(flow, zero), params)
    require_commuting(flow, zero, params)
    start, unravel = ravel_pytree(zero)
    wanted = ravel_pytree(jax.tree.map(lambda leaf: leaf.astype(dtype), target))[0]
    # Q is quadratic: parameters and targets near 1, by powers of two, so that no square leaves the range.
    sizes = [jnp.max(jnp.abs(leaf), initial=0) for leaf in jax.tree.leaves(params)]
    scale = power_of_two(jnp.stack([*sizes, jnp.sqrt(jnp.max(jnp.abs(wanted)))]))
    near = jax.tree.map(lambda leaf: leaf / scale, params)
    wanted = over_square(wanted, scale)

    def potential(s: jax.Array) -> jax.Array:
        moved = ravel_pytree(flow(unravel(s), near))[0]
        return jnp.sum(moved * moved) / 4 - jnp.sum(wanted * s)

    s = _minimum(potential, start, steps)
    residual = _residual(flow, unravel, start, flow(unravel(s), near), wanted)
    converged = (residual <= 1e3 * float(jnp.finfo(dtype).eps)) & jnp.all(jnp.isfinite(s))
    return PrescribedFlow(flow(unravel(s), params), unravel(s), residual, converged)


def require_commuting(flow: Flow, zero: Coordinates, params: Params) -> None:
    """Refuse a flow with ``flow(a, flow(b, x)) != flow(a + b, x)`` at random a, b, x, where that can be computed."""
    rng = np.random.default_rng(1)
    with jax.ensure_compile_time_eval():
        a, b = (jax.tree.map(lambda leaf: _normal(rng, leaf) / 4, zero) for _ in range(2))
        x = jax.tree.map(lambda leaf: _normal(rng, leaf), params)
        one, two = flow(a, flow(b, x)), flow(jax.tree.map(jnp.add, a, b), x)
        flat = [ravel_pytree(each)[0] for each in (one, two)]
        gap = norm(flat[0] - flat[1])
        if is_concrete(gap) and not bool(gap <= 1e-4 * norm(flat[1])):
            raise ValueError(
                "flow(a, flow(b, x)) is not flow(a + b, x): only commuting generators can be prescribed together"
            )


def _residual(
    flow: Flow, unravel: Callable[[jax.Array], Coordinates], zero: jax.Array, moved: Params, wanted: jax.Array
) -> jax.Array:
    """Largest miss, each by its own terms: beside a whole network's norm that of one small unit would look like
    round-off."""
    found = ravel_pytree(unchecked_quadratic(Symmetry(flow, unravel(zero)), moved))[0]
    flat = ravel_pytree(moved)[0]
    generator = jax.linearize(lambda t: ravel_pytree(flow(unravel(t), moved))[0], zero)[1]

    def terms(e: jax.Array) -> tuple[jax.Array, jax.Array]:
        image = jnp.abs(generator(e))
        return jnp.sum(jnp.abs(flat) * image) / 2, jnp.max(image)

    cancelling, largest = jax.lax.map(terms, jnp.eye(zero.size, dtype=zero.dtype))
    size = jnp.maximum(jnp.abs(wanted), cancelling)
    info = jnp.finfo(zero.dtype)
    # Squares of a unit so much smaller than the rest are lost: nothing is known of it.
    lost = (largest > 0) & (size < float(info.tiny / info.eps))
    return jnp.max(jnp.where(lost, jnp.inf, jnp.abs(found - wanted) / jnp.where(size == 0, 1, size)))


def _of_one_dtype(params: Params) -> Params:
    dtype = accumulation_dtype(*(leaf.dtype for leaf in jax.tree.leaves(params)))
    return jax.tree.map(lambda leaf: leaf.astype(dtype), params)


def _normal(rng: np.random.Generator, leaf: jax.Array) -> jax.Array:
    return jnp.asarray(rng.standard_normal(jnp.shape(leaf)), leaf.dtype)


def _minimum(potential: Callable[[jax.Array], jax.Array], start: jax.Array, steps: int) -> jax.Array:
    """Damped Newton on a convex function: a step is halved until the norm of the gradient falls."""
    gradient, hessian = jax.grad(potential), jax.hessian(potential)

    def size(s: jax.Array) -> jax.Array:
        norm = jnp.linalg.norm(gradient(s))
        return jnp.where(jnp.isfinite(norm), norm, jnp.inf)

    def advance(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        step, s, error, _ = state
        matrix = hessian(s)
        # Coordinates that nothing depends on (a dead unit) must not make the system singular.
        ridge = jnp.finfo(s.dtype).eps * jnp.max(jnp.abs(jnp.diagonal(matrix)))
        direction = -jnp.linalg.solve(matrix + ridge * jnp.eye(s.size, dtype=s.dtype), gradient(s))
        farthest = jnp.max(jnp.abs(direction))
        longest = jnp.where(farthest > 2, 2 / jnp.where(farthest > 2, farthest, 1), 1)

        def worse(t: jax.Array) -> jax.Array:
            return (size(s + t * direction) >= error) & (t > 1e-6)

        t = jax.lax.while_loop(worse, lambda t: t / 2, longest)
        moved = s + t * direction
        improved = size(moved) < error
        return step + 1, jnp.where(improved, moved, s), jnp.where(improved, size(moved), error), improved

    def unfinished(state: tuple[jax.Array, ...]) -> jax.Array:
        return (state[0] < steps) & (state[2] > 0) & state[3]

    return jax.lax.while_loop(unfinished, advance, (0, start, size(start), jnp.array(True)))[1]

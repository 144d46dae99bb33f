"""Moving along the orbit of a symmetry to where any scalar is largest, at an unchanged loss.

Teleportation to the largest gradient, the flattest point of a valley, the balanced or otherwise canonical form of a
network: only the objective differs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from symjax.arguments import accumulation_dtype, accurate_tree, scalar, whole_number
from symjax.magnitude import norm
from symjax.symmetry import Params, Symmetry

__all__ = ["Ascended", "ascend"]

_RISE = 1e-4  # share of the first-order rise that a step must bring (Armijo)


class Ascended(NamedTuple):
    """Parameters moved along an orbit.

    Attributes:
      params: pytree like the given one, on its orbit.
      values: array (steps + 1,), the objective before and after each step; the last value is repeated once it has
        stopped.
      steps: how many steps were taken, int32.
      gradient_norm: scalar, of the objective along the generators at the end.
      converged: whether it stopped because no step along the gradient raises the objective by more than rounding, 8 eps
        of its value, down to a length of sqrt(eps): it is stationary to rounding (or at a kink). False when all steps
        were used up, as on an orbit on which the objective has no largest value, or when something is not finite.
    """

    params: Params
    values: jax.Array
    steps: jax.Array
    gradient_norm: jax.Array
    converged: jax.Array


def ascend(
    symmetry: Symmetry,
    objective: Callable[..., jax.Array],
    params: Params,
    *args: Any,
    steps: int = 100,
    longest: float = 1.0,
) -> Ascended:
    """Climb a scalar along the orbit of a symmetry, composing group elements.

    ``theta <- flow(t g/|g|, theta)`` with ``g = d/ds objective(flow(s, theta))`` at the identity and the length t, at
    most ``longest``, halved until the objective rises by a ten-thousandth of ``t |g|`` and doubled for the next step.
    The direction has length one, so objectives 1e-30 and 1e30 times as large have one path. The loss changes by the
    flow's own rounding only: for a minimum give minus the objective.

    Source: Zhao et al. 2022, Symmetry Teleportation for Accelerated Optimization, Algorithm 1 (ascent of the gradient's
    norm on the group); Zhao et al. 2023, section 4 (positions on the flat minimum).
    Deviation: a clipped step of unit direction with backtracking, where the paper has a fixed rate and few steps.

    Args:
      symmetry: its flow is composed with itself; steps outside its domain ``valid`` are not taken.
      objective: ``objective(params, *args) -> scalar``, for the largest gradient of any pytree
        ``lambda q: sum(jnp.sum(g**2) for g in jax.tree.leaves(jax.grad(loss)(q)))``.
      params: pytree of arrays, where to start; taken to one dtype of at least float32.
      *args: whatever else the objective takes, a batch for instance.
      steps: largest number of steps. On an orbit without a largest value (the gradient of a rescaled or mixed network)
        ``steps`` and ``longest`` say how far to go.
      longest: largest Euclidean length of the coordinates of one step.

    Returns:
      An :class:`Ascended`.

    Raises:
      ValueError: an objective that is not one real number, a symmetry without coordinates, or ``steps`` or ``longest``
        that are not positive.

    Example:
      >>> import jax.numpy as jnp
      >>> opposite = Symmetry(lambda s, q: (jnp.exp(s) * q[0], jnp.exp(-s) * q[1]), jnp.zeros(()))
      >>> balanced = ascend(opposite, lambda q: -(q[0] ** 2) - q[1] ** 2, (jnp.array(8.0), jnp.array(0.5)))
      >>> print(f"{balanced.params[0]:.3f} {balanced.params[1]:.3f} {balanced.values[-1]:.3f} {balanced.converged}")
      2.000 2.000 -8.000 True

      The largest gradient on a level set of ``x^2 + 9 y^2``; as ``jump`` of
      :func:`symjax.integrate.gradient_descent` it is teleportation (``notebooks/teleportation.ipynb``):

      >>> import jax
      >>> from symjax.actions import rotate
      >>> stretch = jnp.array([1.0, 3.0])
      >>> turned = Symmetry(lambda s, q: rotate(s, stretch * q) / stretch, jnp.zeros(1))
      >>> steepness = lambda q: jnp.sum(jax.grad(lambda q: jnp.sum((stretch * q) ** 2))(q) ** 2)
      >>> steepest = ascend(turned, steepness, jnp.array([3.0, 0.1])).params
      >>> print(f"{abs(steepest[0]):.1f} {abs(steepest[1]):.2f}")
      0.0 1.00
    """
    steps, longest = whole_number("steps", steps, 1), scalar("longest", longest)
    if not 0 < longest < float("inf"):
        raise ValueError(f"longest is {longest:g}, but must be a positive finite number")
    if not isinstance(symmetry, Symmetry):
        raise ValueError(f"symmetry is a {type(symmetry).__name__}, but must be a Symmetry(flow, zero)")
    if not any(jnp.size(leaf) for leaf in jax.tree.leaves(symmetry.zero)):
        raise ValueError("symmetry has no coordinates, so its orbit is one point")
    params, zero = accurate_tree("params", params), accurate_tree("symmetry.zero", symmetry.zero)
    dtype = accumulation_dtype(*(leaf.dtype for leaf in jax.tree.leaves(params)))
    params, zero = jax.tree.map(lambda leaf: leaf.astype(dtype), (params, zero))
    zero, unravel = ravel_pytree(zero)
    found = jax.eval_shape(objective, params, *args)
    if getattr(found, "shape", None) != () or not jnp.issubdtype(found.dtype, jnp.floating):
        raise ValueError(f"objective returns {found}, but must return one real number")

    def move(s: jax.Array, q: Params) -> Params:
        moved = symmetry.flow(unravel(s), q)
        return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), moved, q)

    def value_at(s: jax.Array, q: Params) -> jax.Array:
        return objective(move(s, q), *args)

    def allowed(s: jax.Array, q: Params) -> jax.Array:
        return jnp.asarray(True) if symmetry.valid is None else jnp.all(symmetry.valid(unravel(s), q))

    shortest = float(jnp.finfo(zero.dtype).eps) ** 0.5
    climb = _climber(value_at, allowed, zero, shortest)

    def unfinished(state: tuple[Any, ...]) -> jax.Array:
        step, _, _, _, going = state
        return (step < steps) & going

    def advance(state: tuple[Any, ...]) -> tuple[Any, ...]:
        step, q, values, length, _ = state
        s, reached, length, rose = climb(q, values[step], jnp.minimum(2 * length, longest))
        q = jax.tree.map(lambda new, old: jnp.where(rose, new, old), move(s, q), q)
        later = jnp.arange(steps + 1, dtype=jnp.int32) > step
        values = jnp.where(later, jnp.where(rose, reached, values[step]), values)
        return step + rose.astype(jnp.int32), q, values, length, rose

    first = objective(params, *args)
    state = (jnp.int32(0), params, jnp.full(steps + 1, first), jnp.asarray(longest / 2, zero.dtype), jnp.asarray(True))
    taken, moved, values, _, going = jax.lax.while_loop(unfinished, advance, state)
    slope = norm(jax.grad(value_at)(zero, moved))
    return Ascended(moved, values, taken, slope, ~going & jnp.isfinite(slope) & jnp.isfinite(values[-1]))


def _climber(
    value_at: Callable[[jax.Array, Params], jax.Array],
    allowed: Callable[[jax.Array, Params], jax.Array],
    zero: jax.Array,
    shortest: float,
) -> Callable[..., tuple[jax.Array, jax.Array, jax.Array, jax.Array]]:
    """One step: ``(params, value, first length) -> (coordinates, value, length, whether it rose)``."""

    def climb(q: Params, value: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        gradient = jax.grad(value_at)(zero, q)
        slope = norm(gradient)
        direction = gradient / jnp.where(slope > 0, slope, 1)

        def attempt(t: jax.Array) -> tuple[jax.Array, jax.Array]:
            s = zero + t * direction
            reached = value_at(s, q)
            # What rounding alone can raise is no rise: it would be taken again and again, away from the orbit.
            noise = 8 * float(jnp.finfo(reached.dtype).eps) * jnp.maximum(jnp.abs(reached), jnp.abs(value))
            rise = jnp.maximum(_RISE * (t * slope).astype(reached.dtype), noise)
            return reached, (reached - value >= rise) & (reached > value) & allowed(s, q)

        def falls(state: tuple[jax.Array, ...]) -> jax.Array:
            t, _, rose = state
            return ~rose & (t > shortest)

        def halve(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            t, _, _ = state
            return t / 2, *attempt(t / 2)

        t, reached, rose = jax.lax.while_loop(falls, halve, (length, *attempt(length)))
        return zero + t * direction, reached, t, rose

    return climb

"""Moving two layers to a prescribed conserved quantity while the network's function, and so the loss, stays the same.

Along a symmetric generator Q moves strictly monotonically, so Q labels the points of the flat valley: neuron by neuron
for homogeneous activations (:mod:`symjax.conserved.diagonal`), as a matrix for linear networks
(:mod:`symjax.conserved.factors`), and for all commuting scalings of a network together
(:mod:`symjax.conserved.commuting`).
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from symjax import activations
from symjax.activations import Activation
from symjax.arguments import floating_array, is_concrete
from symjax.conserved import diagonal, factors
from symjax.conserved.diagonal import tolerance
from symjax.conserved.two_layers import degree_of, matrix, two_layers
from symjax.magnitude import norm, over_square, power_of_two

__all__ = ["Prescribed", "prescribe"]


class Prescribed(NamedTuple):
    """Two layers moved to a prescribed Q.

    Attributes:
      u: array (m, h).
      v: array (h, n).
      element: what moved them: the logarithms s (h,) of ``diag(e^s)``, or g (h, h), with ``V -> g V``. The closed form
        of a matrix finds the factors without g: None from ``method="closed"``, NaN where "auto" took it.
      residual: scalar, largest ``|Q - target|`` over what cancels in that neuron's Q and the target; for a matrix entry
        by entry, with the largest entry's over 32 as a floor, because round-off of one entry reaches the others.
      function_error: scalar, relative change of ``U V`` for linear networks; the scaling's own rounding is not counted
        for homogeneous ones, where it is 0.
      converged: whether they are finite and below a thousand and ten thousand eps, and nothing left the range.
    """

    u: jax.Array
    v: jax.Array
    element: jax.Array | None
    residual: jax.Array
    function_error: jax.Array
    converged: jax.Array


def prescribe(
    u: jax.Array,
    v: jax.Array,
    target: jax.Array,
    activation: float | str | Activation = "linear",
    method: Literal["auto", "newton", "closed"] = "auto",
) -> Prescribed:
    """Move two layers to a prescribed Q at unchanged function.

    A target (h,) is reached neuron by neuron, ``U_i -> U_i e^(-alpha s_i)``, ``V_i -> V_i e^(s_i)``: Q_i falls strictly
    with s_i, so the root is unique; it is found by a Newton iteration on logarithms that converges from any start, from
    the closed form at alpha = 1. The result is differentiable in all its arguments.

    A target (h, h), for linear networks only, is reached by ``U -> U g^-1``, ``V -> g V``, or in the limit of such g.
    It can be reached if and only if it has at most m positive and n negative eigenvalues. ``"newton"`` solves a
    Lyapunov equation in each step and finds a g near the identity; where the hidden layer is wider than an end, the g
    wanted can be singular or nearly so, and it may not converge. ``"closed"`` builds the factors from the
    eigenvectors of the target and the singular vectors of U V: always possible, but as a rule far from the start.
    ``"auto"`` is Newton's answer if it converged and the closed form otherwise; ``element`` tells which.

    Weights and targets of any size: c u, c v and c^2 Q give c times the result, also in float32 where the squares are
    out of range. Half precision is moved, and returned, in float32.

    Source: Zhao et al. 2023, section 4 (Q as coordinates of the minimum) and the group law on Q; solvers derived.

    Args:
      u: array (m, h).
      v: array (h, n); for biases a further column.
      target: array (h,) for :func:`symjax.conserved.homogeneous`, or symmetric (h, h) for
        :func:`symjax.conserved.matrix`.
      activation: alpha, or an activation or its name.
      method: for a matrix.

    Returns:
      A :class:`Prescribed`. Under a transformation of jax nothing can raise: an impossible target has
      ``converged = False``.

    Raises:
      ValueError: shapes that do not fit, an activation without the symmetry, or a concrete target that cannot be
        reached.

    Example:
      >>> import jax.numpy as jnp
      >>> moved = prescribe(jnp.array([[2.0]]), jnp.array([[0.5]]), jnp.array([0.0]))
      >>> print(moved.u, moved.v, moved.converged)
      [[1.]] [[1.]] True
    """
    u, v = two_layers(u, v)
    target = floating_array("target", target).astype(u.dtype)
    degree = degree_of(activation)
    h = jnp.shape(u)[1]
    if method not in _SOLVERS:
        raise ValueError(f"method is {method!r}, but it must be one of {', '.join(_SOLVERS)}")
    if jnp.shape(target) == (h,):
        _reachable_diagonal(u, v, target, degree)
        return Prescribed(*diagonal.scaled(u, v, target, degree))
    if jnp.shape(target) != (h, h):
        raise ValueError(f"target has shape {jnp.shape(target)}, but it must be ({h},) or, if linear, ({h}, {h})")
    chosen = activations.get(activation) if isinstance(activation, str | Activation) else None
    if chosen is None or chosen.group != "general_linear":
        name = activation if chosen is None else chosen.name
        raise ValueError(
            f"activation is {name!r}, but a matrix can only be prescribed with the group 'general_linear', as 'linear'"
        )
    _reachable_matrix(u, v, target)
    return _SOLVERS[method](u, v, target)


def _reachable_diagonal(u: jax.Array, v: jax.Array, target: jax.Array, degree: float) -> None:
    """A neuron without a reader or without a writer keeps the sign of its Q; with degree < 0 it is always negative."""
    if not is_concrete(u, v, target):
        return
    wanted = np.asarray(target)
    smallest = float(jnp.finfo(u.dtype).tiny)  # what is below is zero to the compiled program
    reader, writer = ((np.abs(np.asarray(x)) >= smallest).any(axis=axis) for x, axis in ((u, 0), (v, 1)))
    above = reader if degree > 0 else np.zeros_like(reader)
    below = writer if degree > 0 else reader | writer
    idle = ~reader & ~writer
    possible = np.isfinite(wanted) & (
        (wanted < 0) & below | (wanted > 0) & above | (wanted == 0) & (above & below | idle)
    )
    if not possible.all():
        i = int(np.argmin(possible))
        signs = " or ".join(
            sign
            for sign, can in (("negative", below[i]), ("zero", above[i] & below[i] | idle[i]), ("positive", above[i]))
            if can
        )
        raise ValueError(
            f"target is {wanted[i]} for neuron {i}, but with these weights and degree {degree} it must be {signs}"
        )


def _reachable_matrix(u: jax.Array, v: jax.Array, target: jax.Array) -> None:
    if not is_concrete(u, v, target):
        return
    wanted = np.asarray(target, np.float64)
    m, n, size = u.shape[0], v.shape[1], np.abs(wanted).max()
    least = tolerance(target.dtype) * size
    if not np.isfinite(size) or np.abs(wanted - wanted.T).max() > least:
        raise ValueError("target is not a finite symmetric matrix, but Q of a linear network is one")
    values = np.linalg.eigvalsh(wanted)
    positive, negative = int((values > least).sum()), int((values < -least).sum())
    if positive > m or negative > n:
        raise ValueError(
            f"target has {positive} positive and {negative} negative eigenvalues, but with {m} outputs and {n} inputs "
            f"it can have at most {m} and {n}"
        )


@jax.jit
def _closed(u: jax.Array, v: jax.Array, target: jax.Array) -> Prescribed:
    # Only the product counts: both layers of one size, that of the product or of the target.
    first, second = power_of_two(u), power_of_two(v)
    balanced = jnp.sqrt(first) * jnp.sqrt(second)
    scale = power_of_two(jnp.stack([balanced, jnp.sqrt(jnp.max(jnp.abs(target)))]))
    share = balanced / scale
    moved_u, moved_v = factors.closed_factors(u / first * share, v / second * share, over_square(target, scale))
    return _judged(u, v, target, None, moved_u * scale, moved_v * scale)


@jax.jit
def _newton(u: jax.Array, v: jax.Array, target: jax.Array) -> Prescribed:
    scale = power_of_two(jnp.stack([jnp.max(jnp.abs(u)), jnp.max(jnp.abs(v)), jnp.sqrt(jnp.max(jnp.abs(target)))]))
    moved_u, moved_v, g = factors.newton_element(u / scale, v / scale, over_square(target, scale))
    return _judged(u, v, target, g, moved_u * scale, moved_v * scale)


@jax.jit
def _auto(u: jax.Array, v: jax.Array, target: jax.Array) -> Prescribed:
    near = _newton(u, v, target)
    far = _closed(u, v, target)._replace(element=jnp.full_like(near.element, jnp.nan))
    return jax.tree.map(lambda a, b: jnp.where(near.converged, a, b), near, far)


_SOLVERS = {"auto": _auto, "newton": _newton, "closed": _closed}


def _judged(
    u: jax.Array, v: jax.Array, target: jax.Array, g: jax.Array | None, moved_u: jax.Array, moved_v: jax.Array
) -> Prescribed:
    sizes = [jnp.max(jnp.abs(moved_u)), jnp.max(jnp.abs(moved_v)), jnp.sqrt(jnp.max(jnp.abs(target)))]
    scale = power_of_two(jnp.stack(sizes))
    a, b, wanted = moved_u / scale, moved_v / scale, over_square(target, scale)
    terms = (_product(jnp.abs(a).T, jnp.abs(a)) + _product(jnp.abs(b), jnp.abs(b).T)) / 2
    # Rotations of the hidden space mix the entries' round-off, so an entry of small terms has a floor.
    size = jnp.maximum(jnp.maximum(jnp.abs(wanted), terms), jnp.max(terms) / 32)
    residual = jnp.max(jnp.abs(matrix(a, b) - wanted) / jnp.where(size == 0, 1, size))
    scales = [power_of_two(each) for each in (u, v, moved_u, moved_v)]
    before, after = _product(u / scales[0], v / scales[1]), _product(moved_u / scales[2], moved_v / scales[3])
    length = norm(before)
    change = norm(after * (scales[2] / scales[0]) * (scales[3] / scales[1]) - before)
    function_error = change / jnp.where(length > 0, length, 1)
    # The function's error grows with the condition of g. Not-a-number compares false, so it is not converged.
    least = tolerance(u.dtype)
    converged = (residual <= least) & (function_error <= 10 * least)
    return Prescribed(moved_u, moved_v, g, residual, function_error, converged)


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")

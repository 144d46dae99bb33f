"""Moving to a prescribed conserved quantity while the network's function, and so the loss, stays the same.

Along a symmetric generator Q moves strictly monotonically, so Q labels the points of the flat valley: neuron by neuron
for homogeneous activations, as a matrix for linear networks, and for all commuting scalings of a network together.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from symjax import activations
from symjax.activations import Activation
from symjax.conserved import factors
from symjax.conserved.quantities import _matrix, _two_layers, degree_of, quadratic
from symjax.symmetry import Coordinates, Flow, Params

__all__ = ["Prescribed", "PrescribedFlow", "prescribe", "prescribe_commuting"]


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
      converged: whether they are finite and below a thousand and ten thousand eps.
    """

    u: jax.Array
    v: jax.Array
    element: jax.Array | None
    residual: jax.Array
    function_error: jax.Array
    converged: jax.Array


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

    Source: Zhao et al. 2023, section 4 (Q as coordinates of the minimum) and the group law on Q; solvers derived.

    Args:
      u: array (m, h), floating.
      v: array (h, n), of the same dtype; for biases a further column.
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
    _two_layers(u, v)
    degree = degree_of(activation)
    h = jnp.shape(u)[1]
    solvers = {"auto": _auto, "newton": _newton, "closed": _closed}
    if method not in solvers:
        raise ValueError(f"method is {method!r}, but it must be one of {', '.join(solvers)}")
    if jnp.shape(target) == (h,):
        _reachable_diagonal(u, v, target, degree)
        return _diagonal(u, v, target, degree)
    if jnp.shape(target) != (h, h):
        raise ValueError(f"target has shape {jnp.shape(target)}, but it must be ({h},) or, if linear, ({h}, {h})")
    chosen = activations.get(activation) if isinstance(activation, str | Activation) else None
    if chosen is None or chosen.group != "general_linear":
        name = activation if chosen is None else chosen.name
        raise ValueError(
            f"activation is {name!r}, but a matrix can only be prescribed with the group 'general_linear', as 'linear'"
        )
    _reachable_matrix(u, v, target)
    return solvers[method](u, v, target)


def prescribe_commuting(
    flow: Flow, zero: Coordinates, params: Params, target: Coordinates, steps: int = 100
) -> PrescribedFlow:
    """Move parameters along commuting symmetric generators to prescribed values of all their Q at once.

    Q of ``flow(s, theta)`` is half the gradient in s of the convex function ``|flow(s, theta)|^2/2``, so the wanted s
    is the minimum of ``|flow(s, theta)|^2/4 - <target, s>``: damped Newton with the dense Hessian, as many rows as
    there are coordinates. For all hidden layers of a network together, whose quantities are coupled.

    Source: Zhao et al. 2023, section 4 (monotone Q); the convex form is derived.

    Args:
      flow: a symmetry of commuting, symmetric, linear generators, such as ``partial(rescale, channels=...,
        kind="rescale")``.
      zero: coordinates of the identity.
      params: pytree of arrays of one dtype.
      target: pytree like ``zero``, for :func:`symjax.conserved.quadratic`.
      steps: largest number of Newton steps.

    Returns:
      A :class:`PrescribedFlow`; an impossible target has ``converged = False``.

    Raises:
      ValueError: a target of another structure or shape than ``zero``, or no coordinates at all.

    Example:
      >>> import jax.numpy as jnp
      >>> opposite = lambda s, q: (jnp.exp(s) * q[0], jnp.exp(-s) * q[1])
      >>> moved = prescribe_commuting(opposite, jnp.zeros(()), (jnp.array(2.0), jnp.array(0.5)), jnp.zeros(()))
      >>> bool(jnp.allclose(moved.params[0], 1.0)), bool(moved.converged)
      (True, True)
    """
    shapes = [jax.tree.map(jnp.shape, tree) for tree in (zero, target)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"target has shapes {shapes[1]}, but those of zero are {shapes[0]}")
    start, unravel = ravel_pytree(zero)
    if start.size == 0:
        raise ValueError("zero has no coordinates: the channels have no scaling of the kind asked for")
    wanted = ravel_pytree(target)[0].astype(start.dtype)

    def potential(s: jax.Array) -> jax.Array:
        moved = ravel_pytree(flow(unravel(s), params))[0]
        return jnp.sum(moved * moved) / 4 - jnp.sum(wanted * s)

    s = _minimum(potential, start, steps)
    moved = flow(unravel(s), params)
    missing = jnp.abs(ravel_pytree(quadratic(flow, zero, moved))[0] - wanted)
    # Each by its own terms: beside a whole network's norm the miss of one small unit would look like round-off.
    size = jnp.maximum(jnp.abs(wanted), _cancelling(lambda t: flow(unravel(t), moved), start, moved))
    residual = jnp.max(missing / jnp.where(size == 0, 1, size))
    return PrescribedFlow(moved, unravel(s), residual, residual <= _tolerance(start.dtype))


def _cancelling(act: Callable[[jax.Array], Params], zero: jax.Array, params: Params) -> jax.Array:
    """``sum over a of |theta_a (M_i theta)_a|/2`` for each generator, one forward pass at a time."""
    flat = ravel_pytree(params)[0]
    generator = jax.linearize(lambda t: ravel_pytree(act(t))[0], zero)[1]
    return jax.lax.map(lambda e: jnp.sum(jnp.abs(flat * generator(e))) / 2, jnp.eye(zero.size, dtype=zero.dtype))


def _tolerance(dtype: Any) -> float:
    return float(1e3 * jnp.finfo(dtype).eps)


def _concrete(*arrays: jax.Array) -> bool:
    return not any(isinstance(array, jax.core.Tracer) for array in arrays)


def _reachable_diagonal(u: jax.Array, v: jax.Array, target: jax.Array, degree: float) -> None:
    """A neuron without a reader or without a writer keeps the sign of its Q; with degree < 0 it is always negative."""
    if not _concrete(u, v, target):
        return
    wanted = np.asarray(target)
    reader, writer = (np.asarray(x).any(axis=axis) for x, axis in ((u, 0), (v, 1)))
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
    if not _concrete(u, v, target):
        return
    wanted = np.asarray(target, np.float64)
    m, n, size = u.shape[0], v.shape[1], np.abs(wanted).max()
    tolerance = _tolerance(target.dtype) * size
    if not np.isfinite(size) or np.abs(wanted - wanted.T).max() > tolerance:
        raise ValueError("target is not a finite symmetric matrix, but Q of a linear network is one")
    values = np.linalg.eigvalsh(wanted)
    positive, negative = int((values > tolerance).sum()), int((values < -tolerance).sum())
    if positive > m or negative > n:
        raise ValueError(
            f"target has {positive} positive and {negative} negative eigenvalues, but with {m} outputs and {n} inputs "
            f"it can have at most {m} and {n}"
        )


@partial(jax.jit, static_argnums=3)
def _diagonal(u: jax.Array, v: jax.Array, target: jax.Array, degree: float) -> Prescribed:
    reader, writer = jnp.sum(u * u, axis=0), jnp.sum(v * v, axis=1)
    target = target.astype(u.dtype)
    s = jax.vmap(partial(_root, degree))(reader, writer, target)
    moved_u, moved_v = u * jnp.exp(-degree * s)[None], v * jnp.exp(s)[:, None]
    out, into = degree * jnp.sum(moved_u * moved_u, axis=0), jnp.sum(moved_v * moved_v, axis=1)
    missing = jnp.abs((out - into) / 2 - target)
    size = (jnp.abs(out) + into) / 2 + jnp.abs(target)
    residual = jnp.max(missing / jnp.where(size == 0, 1, size))
    zero = jnp.zeros((), u.dtype)
    return Prescribed(moved_u, moved_v, s, residual, zero, residual <= _tolerance(u.dtype))


def _root(degree: float, reader: jax.Array, writer: jax.Array, target: jax.Array) -> jax.Array:
    """Solve ``alpha reader e^(-2 alpha s) - writer e^(2 s) = 2 target`` for s; 0 where that has no solution."""
    x = jax.lax.stop_gradient(_logarithmic_root(degree, reader, writer, target))
    x = jnp.where(jnp.isfinite(x), x, 0)
    # One Newton step on the equation itself: it carries the derivatives in reader, writer and target.
    first, second = degree * reader * jnp.exp(-degree * x), writer * jnp.exp(x)
    slope = jax.lax.stop_gradient(-degree * first - second)
    possible = (slope < 0) & jnp.isfinite(slope)
    change = jnp.where(possible, (first - second - 2 * target) / jnp.where(possible, slope, 1), 0)
    return (x - jnp.clip(change, -1, 1)) / 2


def _logarithmic_root(degree: float, reader: jax.Array, writer: jax.Array, target: jax.Array) -> jax.Array:
    """Newton on logarithms: with positive terms on both sides, left minus right is monotone in x = 2 s, convex or
    concave, and its slope stays between two bounds of one sign, so it converges from anywhere and nothing overflows."""
    out, into = jnp.log(abs(degree) * reader), jnp.log(writer)
    wanted = jnp.log(2 * jnp.abs(target))

    def step(_: int, x: jax.Array) -> jax.Array:
        first, second = out - degree * x, into + x
        if degree < 0:  # |alpha| reader e^(|alpha| x) + writer e^x = -2 target
            share = jax.nn.sigmoid(first - second)
            return x - (jnp.logaddexp(first, second) - wanted) / (share * -degree + (1 - share))
        above = (jnp.logaddexp(second, wanted) - first) / (degree + jax.nn.sigmoid(second - wanted))
        below = (second - jnp.logaddexp(first, wanted)) / (1 + degree * jax.nn.sigmoid(first - wanted))
        return x - jnp.where(target >= 0, above, below)

    if degree == 1:  # the closed form, which the steps only polish
        start = (out - into) / 2 - jnp.arcsinh(target / (jnp.sqrt(reader) * jnp.sqrt(writer)))
        start = jnp.where(jnp.isfinite(start), start, 0)
        return jax.lax.fori_loop(0, 4, step, start)
    return jax.lax.fori_loop(0, 40, step, jnp.zeros_like(reader))


@jax.jit
def _closed(u: jax.Array, v: jax.Array, target: jax.Array) -> Prescribed:
    return _judged(u, v, target, None, *factors.closed_factors(u, v, target))


@jax.jit
def _newton(u: jax.Array, v: jax.Array, target: jax.Array) -> Prescribed:
    moved_u, moved_v, g = factors.newton_element(u, v, target)
    return _judged(u, v, target, g, moved_u, moved_v)


@jax.jit
def _auto(u: jax.Array, v: jax.Array, target: jax.Array) -> Prescribed:
    near = _newton(u, v, target)
    far = _closed(u, v, target)._replace(element=jnp.full_like(near.element, jnp.nan))
    return jax.tree.map(lambda a, b: jnp.where(near.converged, a, b), near, far)


def _judged(
    u: jax.Array, v: jax.Array, target: jax.Array, g: jax.Array | None, moved_u: jax.Array, moved_v: jax.Array
) -> Prescribed:
    a, b = jnp.abs(moved_u), jnp.abs(moved_v)
    terms = (jnp.matmul(a.T, a, precision="highest") + jnp.matmul(b, b.T, precision="highest")) / 2
    # Rotations of the hidden space mix the entries' round-off, so an entry of small terms has a floor.
    size = jnp.maximum(jnp.maximum(jnp.abs(target), terms), jnp.max(terms) / 32)
    residual = jnp.max(jnp.abs(_matrix(moved_u, moved_v) - target) / jnp.where(size == 0, 1, size))
    before, after = (jnp.matmul(*pair, precision="highest") for pair in ((u, v), (moved_u, moved_v)))
    norm = jnp.linalg.norm(before)
    function_error = jnp.linalg.norm(after - before) / jnp.where(norm > 0, norm, 1)
    # The function's error grows with the condition of g. Not-a-number compares false, so it is not converged.
    converged = (residual <= _tolerance(u.dtype)) & (function_error <= 10 * _tolerance(u.dtype))
    return Prescribed(moved_u, moved_v, g, residual, function_error, converged)


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
        longest = jnp.minimum(1, 2 / jnp.maximum(jnp.max(jnp.abs(direction)), 1e-30))

        def worse(t: jax.Array) -> jax.Array:
            return (size(s + t * direction) >= error) & (t > 1e-6)

        t = jax.lax.while_loop(worse, lambda t: t / 2, longest)
        moved = s + t * direction
        improved = size(moved) < error
        return step + 1, jnp.where(improved, moved, s), jnp.where(improved, size(moved), error), improved

    def unfinished(state: tuple[jax.Array, ...]) -> jax.Array:
        return (state[0] < steps) & (state[2] > 0) & state[3]

    return jax.lax.while_loop(unfinished, advance, (0, start, size(start), jnp.array(True)))[1]

"""Continuous symmetries as flows, and everything that follows from a flow by differentiation.

A flow is a pure function ``flow(s, params) -> params`` with ``flow(zero, params) == params``; ``s`` is an array or a
pytree of Lie-algebra coordinates. A :class:`Symmetry` is a flow with its zero, the coordinates of the identity, which
fix the shape of every answer: one number for each coordinate, all from one pass. :func:`compose` joins several.

With M the generator of a coordinate, ``M theta = d flow(s, theta) / ds`` at zero, the words are these. Every sign
is the flow's own: for a rescaling, whose writers have degree +1 and readers -1, writers minus readers.

| word | formula | rescaling of a unit | function |
|---|---|---|---|
| square | ``<theta, M theta>`` | ``|w|^2 - |u|^2`` | ``pairing(symmetry, theta, theta)`` |
| conserved quantity Q | ``<theta, M theta> / 2`` | ``(|w|^2 - |u|^2)/2`` | ``symjax.conserved.quadratic`` |
| Noether charge | ``<m theta', M theta>`` | ``m (<w', w> - <u', u>)`` | :func:`noether_charge` |
| breaking ``dT/ds`` | ``m <theta', M theta'>`` | ``m (|w'|^2 - |u'|^2)`` | :func:`kinetic_symmetry_breaking` |
| residual | ``<grad L, M theta>`` | ``<grad_w L, w> - <grad_u L, u>`` | :func:`symmetry_residual` |

With unit mass the Noether charge is the time derivative of Q where M is symmetric, and half that of the square.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from symjax.arguments import floating_array, floating_tree
from symjax.contract import (
    at_zero,
    near_one,
    require_like,
    require_range,
    require_symmetry,
    sum_dtype,
    sum_of_squares,
    widen,
    widen_both,
)

Params = Any
Coordinates = Any
Flow = Callable[[Coordinates, Params], Params]

__all__ = [
    "Coordinates",
    "Flow",
    "Params",
    "Symmetry",
    "compose",
    "generator",
    "kinetic_energy",
    "kinetic_symmetry_breaking",
    "noether_charge",
    "pairing",
    "symmetry_residual",
]


class Symmetry(NamedTuple):
    """A continuous symmetry: a flow and the coordinates of its identity.

    Attributes:
      flow: pure function ``flow(s, params) -> params``, with ``flow(zero, params) == params`` and, along one direction,
        ``flow((a + b) s, .) = flow(a s, flow(b s, .))``.
      zero: array or pytree of coordinates, the identity.
      valid: ``valid(s, params)``, a boolean: whether the flow is defined there; None means everywhere.
    """

    flow: Flow
    zero: Coordinates
    valid: Callable[[Coordinates, Params], Any] | None = None


def compose(**symmetries: Symmetry) -> Symmetry:
    """Join symmetries into one with named coordinates; the first named acts first.

    ``flow(s, params) = flow_n(s[n], ... flow_1(s[1], params))``. Its generators are those of all of them. Along one
    direction it is a flow only where they commute; at zero, which is all that charges and residuals read, always.

    Source: the product of group actions.

    Args:
      **symmetries: name -> :class:`Symmetry`, one at least.

    Returns:
      A :class:`Symmetry` whose coordinates are name -> the symmetry's own.

    Raises:
      ValueError: nothing to join, or what is no Symmetry.

    Example:
      >>> import jax.numpy as jnp
      >>> scale = Symmetry(lambda s, q: jnp.exp(s) * q, jnp.zeros(()))
      >>> shift = Symmetry(lambda s, q: q + s, jnp.zeros(()))
      >>> both = compose(scale=scale, shift=shift)
      >>> print(both.flow({"scale": jnp.log(2.0), "shift": 1.0}, jnp.array([3.0])))
      [7.]
    """
    if not symmetries:
        raise ValueError("compose has nothing to join, but needs one Symmetry at least, by name")
    for name, symmetry in symmetries.items():
        require_symmetry(name, symmetry)

    def flow(s: Coordinates, params: Params) -> Params:
        for name, symmetry in symmetries.items():
            params = symmetry.flow(s[name], params)
        return params

    def valid(s: Coordinates, params: Params) -> Any:
        allowed = jnp.asarray(True)
        for name, symmetry in symmetries.items():
            if symmetry.valid is not None:
                allowed = allowed & symmetry.valid(s[name], params)
            params = symmetry.flow(s[name], params)
        return allowed

    whole = all(symmetry.valid is None for symmetry in symmetries.values())
    return Symmetry(flow, {name: symmetry.zero for name, symmetry in symmetries.items()}, None if whole else valid)


def generator(symmetry: Symmetry, params: Params, direction: Coordinates) -> Params:
    """Tangent vector of a flow at the identity, along one direction of the Lie algebra.

    ``d/dt flow(t * direction, params)`` at ``t = 0``, by one forward-mode pass.

    Source: Tanaka & Kunin 2021, section 3 (dQ/ds); Zhao et al. 2023, section 3 (the infinitesimal action M . theta).

    Args:
      symmetry: the flow and its zero.
      params: pytree of arrays, the point.
      direction: pytree like ``symmetry.zero``.

    Returns:
      A tangent pytree like ``params``.

    Example:
      >>> import jax.numpy as jnp
      >>> scale = Symmetry(lambda s, q: jnp.exp(s) * q, jnp.zeros(()))
      >>> print(generator(scale, jnp.array([3.0, 4.0]), jnp.ones(())))
      [3. 4.]
    """
    zero, params = at_zero(symmetry, params)
    direction = require_like("direction", direction, "symmetry.zero", zero)
    return jax.jvp(lambda s: symmetry.flow(s, params), (zero,), (direction,))[1]


def pairing(symmetry: Symmetry, params: Params, covector: Params) -> Coordinates:
    """Pair a covector with every generator of a flow at once.

    Component ``i`` is ``<covector, d flow / d s_i>`` at ``s = 0``: one reverse-mode pass of ``s -> flow(s, params)``,
    whatever the number of coordinates.

    Source: Tanaka & Kunin 2021, section 3; Zhao et al. 2023, section 3 (<grad L, M . theta>).

    Args:
      symmetry: the flow and its zero.
      params: pytree of arrays, the point.
      covector: pytree like ``params`` (a gradient, a momentum, or the parameters themselves).

    Returns:
      A pytree like ``symmetry.zero``, summed in at least float32.

    Raises:
      ValueError: a flow whose zero is not the identity, a covector of another structure or shape, what is no array of
        real numbers, or a result that its dtype cannot hold; of traced values only structure and shapes are seen.

    Example:
      >>> import jax.numpy as jnp
      >>> scale = Symmetry(lambda s, q: jnp.exp(s) * q, jnp.zeros(()))
      >>> print(pairing(scale, jnp.array([3.0, 4.0]), jnp.array([1.0, 1.0])))
      7.0
    """
    zero, params = at_zero(symmetry, params)
    covector = require_like("covector", covector, "params", params, keep=True)
    wide = jax.tree.map(widen_both, params, covector)
    moved, pull = jax.vjp(lambda s: symmetry.flow(s, wide), jax.tree.map(widen, zero))
    paired = pull(jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), covector, moved))[0]
    require_range(
        "pairing",
        paired,
        (params, covector),
        lambda: pull(jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), near_one(covector), moved))[0],
    )
    return paired


def symmetry_residual(symmetry: Symmetry, loss: Callable[..., jax.Array], params: Params, *args: Any) -> Coordinates:
    """Derivative of the loss along every generator, zero at all parameters when the loss has the symmetry.

    ``d/ds loss(flow(s, params), *args)`` at ``s = 0``. A BatchNorm with epsilon > 0 breaks the scale symmetry of the
    filter before it and leaves exactly ``gamma dL/dgamma epsilon / (variance + epsilon)``.

    Source: Tanaka & Kunin 2021, section 3 (<grad f, dQ/ds> = 0); Kunin et al. 2021, section 3.

    Args:
      symmetry: the flow and its zero.
      loss: ``loss(params, *args) -> scalar``.
      params: pytree of arrays.
      *args: whatever else the loss takes, a batch for instance.

    Returns:
      A pytree like ``symmetry.zero``, summed in at least float32.

    Raises:
      ValueError: a flow whose zero is not the identity, so that another point would be looked at; a loss that is no
        scalar; what is no array of real numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> scale = Symmetry(lambda s, q: jnp.exp(s) * q, jnp.zeros(()))
      >>> direction_only = lambda q: q[0] / jnp.linalg.norm(q)
      >>> print(abs(symmetry_residual(scale, direction_only, jnp.array([3.0, 4.0]))) < 1e-6)
      True
    """
    zero, params = at_zero(symmetry, params)
    wide = jax.tree.map(widen, params)

    def along(s: Coordinates) -> jax.Array:
        moved = symmetry.flow(s, wide)
        value = loss(jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), moved, params), *args)
        if jnp.shape(value) != () or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
            raise ValueError(
                f"loss gives shape {jnp.shape(value)} of {jnp.result_type(value)}, but must give a real scalar"
            )
        return value

    return jax.grad(along)(jax.tree.map(widen, zero))


def noether_charge(symmetry: Symmetry, params: Params, velocity: Params, mass: jax.Array | float = 1.0) -> Coordinates:
    """Noether charge of every generator for the Euclidean kinetic energy.

    ``C_i = <m q', d flow / d s_i>``: for a translation ``m <q', n>``, for a rotation the angular momentum, for a scale
    ``m <q', q>``, for a rescale ``m (<q1', q1> - <q2', q2>)``.

    Source: Tanaka & Kunin 2021, Eq. 8 and the charges listed after it.

    Args:
      symmetry: the flow and its zero.
      params: pytree of arrays, the position ``q``.
      velocity: pytree like ``params``, ``q'`` in units of params per unit time ``t = learning rate * step``.
      mass: ``m``; for stochastic gradient descent ``learning rate (1 + momentum) / 2``.

    Returns:
      A pytree like ``symmetry.zero``.

    Example:
      >>> import jax.numpy as jnp
      >>> scale = Symmetry(lambda s, q: jnp.exp(s) * q, jnp.zeros(()))
      >>> print(noether_charge(scale, jnp.array([3.0, 4.0]), jnp.array([1.0, 2.0]), mass=0.5))
      5.5
    """
    velocity, mass = floating_tree("velocity", velocity), floating_array("mass", mass, ())
    paired = pairing(symmetry, params, velocity)
    charge = jax.tree.map(lambda leaf: mass.astype(leaf.dtype) * leaf, paired)
    require_range("Noether charge", charge, (params, velocity, mass), lambda: paired)
    return charge


def kinetic_energy(velocity: Params, mass: jax.Array | float = 1.0) -> jax.Array:
    """Euclidean kinetic energy ``T = m/2 |q'|^2``, summed over all leaves.

    Source: Tanaka & Kunin 2021, Eq. 7 with the Euclidean mirror map.

    Args:
      velocity: pytree of floating arrays, ``q'`` in units of params per unit time.
      mass: ``m``.

    Returns:
      A scalar, of at least float32.
    """
    velocity, mass = floating_tree("velocity", velocity), floating_array("mass", mass, ())
    energy = mass.astype(sum_dtype(velocity)) / 2 * sum_of_squares(velocity)
    require_range(
        "kinetic energy", energy, (velocity, mass), lambda: jnp.sign(mass) * sum_of_squares(near_one(velocity))
    )
    return energy


def kinetic_symmetry_breaking(
    symmetry: Symmetry, params: Params, velocity: Params, mass: jax.Array | float = 1.0
) -> Coordinates:
    """Derivative of the kinetic energy along every generator: what the learning rule breaks.

    ``dT/ds`` at ``s = 0`` with ``T(s) = m/2 |d flow(s, .)(params) velocity|^2``, the kinetic energy of the velocity
    carried along by the flow (reverse over forward mode: one pass for all coordinates). Zero for translations and
    rotations, ``m |q'|^2`` for a scale, ``m (|q1'|^2 - |q2'|^2)`` for a rescale.

    Source: Tanaka & Kunin 2021, section 3 and Table 2 (kinetic symmetry breaking).
    Deviation: the submission prints ``e^{-2 alpha} |q'|^2`` in the scale row; by its own Eq. 5 and 7 it is
    ``e^{-alpha} |q'|^2 = m |q'|^2``, which is what this returns.

    Args:
      symmetry: the flow and its zero.
      params: pytree of arrays, ``q``.
      velocity: pytree like ``params``, ``q'``.
      mass: ``m``.

    Returns:
      A pytree like ``symmetry.zero``.

    Example:
      >>> import jax.numpy as jnp
      >>> scale = Symmetry(lambda s, q: jnp.exp(s) * q, jnp.zeros(()))
      >>> q, velocity = jnp.array([3.0, 4.0]), jnp.array([1.0, 2.0])
      >>> print(kinetic_symmetry_breaking(scale, q, velocity, mass=0.5))
      2.5
    """

    zero, params = at_zero(symmetry, params)
    velocity, mass = require_like("velocity", velocity, "params", params, keep=True), floating_array("mass", mass, ())
    wide = jax.tree.map(widen_both, params, velocity)
    velocity = jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), velocity, wide)

    def carried(s: Coordinates, velocity: Params) -> jax.Array:
        moved = jax.jvp(lambda q: symmetry.flow(s, q), (wide,), (velocity,))[1]
        return mass.astype(sum_dtype(moved)) / 2 * sum_of_squares(moved)

    slope, zero = jax.grad(carried), jax.tree.map(widen, zero)
    breaking = slope(zero, velocity)
    require_range(
        "kinetic symmetry breaking", breaking, (params, velocity, mass), lambda: slope(zero, near_one(velocity))
    )
    return breaking

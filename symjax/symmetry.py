"""Continuous symmetries as flows, and everything that follows from a flow by differentiation.

A flow is a pure function ``flow(s, params) -> params`` with ``flow(0, params) == params``; ``s`` is an array or a
pytree of Lie-algebra coordinates. Each function below takes ``zero``, the coordinates of the identity (zeros in the
shape of ``s``), which fixes the shape of the answer: one number for each coordinate, all from one pass.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Params = Any
Coordinates = Any
Flow = Callable[[Coordinates, Params], Params]

__all__ = [
    "Coordinates",
    "Flow",
    "Params",
    "generator",
    "kinetic_energy",
    "kinetic_symmetry_breaking",
    "noether_charge",
    "pairing",
    "symmetry_residual",
]


def generator(flow: Flow, zero: Coordinates, params: Params, direction: Coordinates) -> Params:
    """Tangent vector of a flow at the identity, along one direction of the Lie algebra.

    ``d/dt flow(t * direction, params)`` at ``t = 0``, by one forward-mode pass.

    Source: Tanaka & Kunin 2021, section 3 (dQ/ds); Zhao et al. 2023, section 3 (the infinitesimal action M . theta).

    Args:
      flow: the symmetry, ``flow(s, params) -> params``.
      zero: coordinates of the identity.
      params: pytree of arrays, the point.
      direction: pytree like ``zero``.

    Returns:
      A tangent pytree like ``params``.

    Example:
      >>> import jax.numpy as jnp
      >>> scale = lambda s, q: jnp.exp(s) * q
      >>> print(generator(scale, jnp.zeros(()), jnp.array([3.0, 4.0]), jnp.ones(())))
      [3. 4.]
    """
    return jax.jvp(lambda s: flow(s, params), (zero,), (direction,))[1]


def pairing(flow: Flow, zero: Coordinates, params: Params, covector: Params) -> Coordinates:
    """Pair a covector with every generator of a flow at once.

    Component ``i`` is ``<covector, d flow / d s_i>`` at ``s = 0``: one reverse-mode pass of ``s -> flow(s, params)``,
    whatever the number of coordinates.

    Source: Tanaka & Kunin 2021, section 3; Zhao et al. 2023, section 3 (<grad L, M . theta>).

    Args:
      flow: the symmetry.
      zero: coordinates of the identity.
      params: pytree of arrays, the point.
      covector: pytree like ``params`` (a gradient, a momentum, or the parameters themselves).

    Returns:
      A pytree like ``zero``.

    Example:
      >>> import jax.numpy as jnp
      >>> scale = lambda s, q: jnp.exp(s) * q
      >>> print(pairing(scale, jnp.zeros(()), jnp.array([3.0, 4.0]), jnp.array([1.0, 1.0])))
      7.0
    """
    _, pull = jax.vjp(lambda s: flow(s, params), zero)
    return pull(covector)[0]


def symmetry_residual(
    flow: Flow, zero: Coordinates, loss: Callable[..., jax.Array], params: Params, *args: Any
) -> Coordinates:
    """Derivative of the loss along every generator, zero at all parameters when the loss has the symmetry.

    ``d/ds loss(flow(s, params), *args)`` at ``s = 0``. A BatchNorm with epsilon > 0 breaks the scale symmetry of the
    filter before it and leaves exactly ``gamma dL/dgamma epsilon / (variance + epsilon)``.

    Source: Tanaka & Kunin 2021, section 3 (<grad f, dQ/ds> = 0); Kunin et al. 2021, section 3.

    Args:
      flow: the symmetry.
      zero: coordinates of the identity.
      loss: ``loss(params, *args) -> scalar``.
      params: pytree of arrays.
      *args: whatever else the loss takes, a batch for instance.

    Returns:
      A pytree like ``zero``.

    Example:
      >>> import jax.numpy as jnp
      >>> scale = lambda s, q: jnp.exp(s) * q
      >>> direction_only = lambda q: q[0] / jnp.linalg.norm(q)
      >>> print(abs(symmetry_residual(scale, jnp.zeros(()), direction_only, jnp.array([3.0, 4.0]))) < 1e-6)
      True
    """
    return pairing(flow, zero, params, jax.grad(loss)(params, *args))


def noether_charge(
    flow: Flow, zero: Coordinates, params: Params, velocity: Params, mass: jax.Array | float = 1.0
) -> Coordinates:
    """Noether charge of every generator for the Euclidean kinetic energy.

    ``C_i = <m q', d flow / d s_i>``: for a translation ``m <q', n>``, for a rotation the angular momentum, for a scale
    ``m <q', q>``, for a rescale ``m (<q1', q1> - <q2', q2>)``.

    Source: Tanaka & Kunin 2021, Eq. 8 and the charges listed after it.

    Args:
      flow: the symmetry.
      zero: coordinates of the identity.
      params: pytree of arrays, the position ``q``.
      velocity: pytree like ``params``, ``q'`` in units of params per unit time ``t = learning rate * step``.
      mass: ``m``; for stochastic gradient descent ``learning rate (1 + momentum) / 2``.

    Returns:
      A pytree like ``zero``.

    Example:
      >>> import jax.numpy as jnp
      >>> scale = lambda s, q: jnp.exp(s) * q
      >>> print(noether_charge(scale, jnp.zeros(()), jnp.array([3.0, 4.0]), jnp.array([1.0, 2.0]), mass=0.5))
      5.5
    """
    momentum = jax.tree.map(lambda leaf: jnp.asarray(mass, leaf.dtype) * leaf, velocity)
    return pairing(flow, zero, params, momentum)


def kinetic_energy(velocity: Params, mass: jax.Array | float = 1.0) -> jax.Array:
    """Euclidean kinetic energy ``T = m/2 |q'|^2``, summed over all leaves.

    Source: Tanaka & Kunin 2021, Eq. 7 with the Euclidean mirror map.

    Args:
      velocity: pytree of floating arrays, ``q'`` in units of params per unit time.
      mass: ``m``.

    Returns:
      A scalar in the dtype of the first leaf.
    """
    leaves = jax.tree.leaves(velocity)
    dtype = leaves[0].dtype
    total = sum(jnp.sum(jnp.square(leaf)).astype(dtype) for leaf in leaves)
    return jnp.asarray(mass, dtype) / 2 * total


def kinetic_symmetry_breaking(
    flow: Flow, zero: Coordinates, params: Params, velocity: Params, mass: jax.Array | float = 1.0
) -> Coordinates:
    """Derivative of the kinetic energy along every generator: what the learning rule breaks.

    ``dT/ds`` at ``s = 0`` with ``T(s) = m/2 |d flow(s, .)(params) velocity|^2``, the kinetic energy of the velocity
    carried along by the flow (reverse over forward mode: one pass for all coordinates). Zero for translations and
    rotations, ``m |q'|^2`` for a scale, ``m (|q1'|^2 - |q2'|^2)`` for a rescale.

    Source: Tanaka & Kunin 2021, section 3 and Table 2 (kinetic symmetry breaking).
    Deviation: the submission prints ``e^{-2 alpha} |q'|^2`` in the scale row; by its own Eq. 5 and 7 it is
    ``e^{-alpha} |q'|^2 = m |q'|^2``, which is what this returns.

    Args:
      flow: the symmetry.
      zero: coordinates of the identity.
      params: pytree of arrays, ``q``.
      velocity: pytree like ``params``, ``q'``.
      mass: ``m``.

    Returns:
      A pytree like ``zero``.

    Example:
      >>> import jax.numpy as jnp
      >>> scale = lambda s, q: jnp.exp(s) * q
      >>> q, velocity = jnp.array([3.0, 4.0]), jnp.array([1.0, 2.0])
      >>> print(kinetic_symmetry_breaking(scale, jnp.zeros(()), q, velocity, mass=0.5))
      2.5
    """

    def carried(s: Coordinates) -> jax.Array:
        return kinetic_energy(jax.jvp(lambda q: flow(s, q), (params,), (velocity,))[1], mass)

    return jax.grad(carried)(zero)

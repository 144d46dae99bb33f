"""Learning rules as Lagrangians, and their equations of motion.

The Bregman Lagrangian of a loss f with a mirror map h and scales (alpha, beta, gamma) of time,

    L = e^{alpha + gamma} ( D_h(q + e^{-alpha} q', q) - e^{beta} f(q) ),

has Nesterov's method, damped motion, natural gradient flow and gradient descent with momentum as special cases. A
symmetry of f that its kinetic energy lacks does not conserve a charge, it drives it: `noether_theorem`. (The scale beta
is no momentum.)

Source: Tanaka & Kunin 2021, Noether's Learning Dynamics, Sec. 2-3, after Wibisono, Wilson & Jordan 2016, A variational
perspective on accelerated methods in optimization.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from symjax.arguments import (
    accurate_array,
    accurate_tree,
    inner_product,
    real_numbers,
    require_same_shapes,
)
from symjax.symmetry import Params

Potential = Callable[[Params], jax.Array]
Mirror = Callable[[Params], jax.Array]
Lagrangian = Callable[[jax.Array, Params, Params], jax.Array]  # (time, position, velocity) -> scalar
Factor = Literal["full", "relative"]


class Scales(NamedTuple):
    """The three scales of a Bregman Lagrangian, functions of the time (a floating scalar array)."""

    alpha: Callable[[jax.Array], jax.Array]
    beta: Callable[[jax.Array], jax.Array]
    gamma: Callable[[jax.Array], jax.Array]


def moved(q: Params, scale: jax.Array, v: Params) -> Params:
    """Return `q + scale v`, leaf by leaf.

    Source: this library's bookkeeping.
    """
    return jax.tree.map(lambda a, b: a + scale * b, q, v)


def euclidean(q: Params) -> jax.Array:
    """Return `|q|^2/2`, the mirror map of Euclidean mechanics.

    Source: Tanaka & Kunin 2021, Table 1.
    """
    q = accurate_tree("q", q)
    return inner_product(q, q) / 2


def with_decay(loss: Potential, weight_decay: ArrayLike) -> Potential:
    """Return the potential `f + k/2 |q|^2` of a loss under weight decay k.

    Source: Tanaka & Kunin 2021, Eq. 4.
    """
    accurate_array("weight_decay", weight_decay, ())

    def potential(q: Params) -> jax.Array:
        energy = euclidean(q)
        return loss(q).astype(energy.dtype) + jnp.asarray(weight_decay, energy.dtype) * energy

    return potential


def nesterov_scales() -> Scales:
    """Return the scales of `q'' + (3/t) q' + grad f = 0`: `(log 2/t, log t^2/4, log t^2)`, t > 0.

    Source: Wibisono, Wilson & Jordan 2016; Tanaka & Kunin 2021, Table 1.

    Returns:
        Three functions of a floating scalar time > 0, each a scalar of its dtype.
    """
    return Scales(
        lambda t: jnp.log(2 / t), lambda t: 2 * jnp.log(t) - jnp.log(jnp.full_like(t, 4)), lambda t: 2 * jnp.log(t)
    )


def damped_scales(*, mass: ArrayLike, friction: ArrayLike) -> Scales:
    """Return the scales of `m q'' + mu q' + grad f = 0`: `(-log m, log m, mu t/m)`.

    With any mirror map and m -> 0 the motion is natural gradient flow, `mu q' + F^{-1} grad f = 0`, F = Hess h.

    Source: Tanaka & Kunin 2021, Table 1.

    Args:
        mass: m > 0, a scalar, in time where mu has no unit.
        friction: mu, a scalar.

    Returns:
        Three functions of a floating scalar time, each a scalar of its dtype.
    """
    for name, value in (("mass", mass), ("friction", friction)):
        accurate_array(name, value, ())  # checked, and kept as it is: its dtype is that of the time

    def log_mass(t: jax.Array) -> jax.Array:
        return jnp.log(jnp.asarray(mass, t.dtype))

    def gamma(t: jax.Array) -> jax.Array:
        return jnp.asarray(friction, t.dtype) / jnp.asarray(mass, t.dtype) * t

    return Scales(lambda t: -log_mass(t), log_mass, gamma)


def sgd_scales(*, learning_rate: ArrayLike, momentum: ArrayLike) -> Scales:
    """Return the scales of gradient descent with momentum: damped motion, `m = eta (1 + beta)/2`, `mu = 1 - beta`.

    Source: Tanaka & Kunin 2021, Table 1 and Eq. 3.

    Args:
        learning_rate: eta, a scalar: the time of one step.
        momentum: beta < 1, a scalar.

    Returns:
        As for `damped_scales`.
    """
    for name, value in (("learning_rate", learning_rate), ("momentum", momentum)):
        accurate_array(name, value, ())
    return damped_scales(mass=learning_rate * (1 + momentum) / 2, friction=1 - momentum)


def bregman_divergence(mirror: Mirror, y: Params, x: Params) -> jax.Array:
    """Return `D_h(y, x) = h(y) - h(x) - <grad h(x), y - x>`.

    Source: Tanaka & Kunin 2021, Eq. 2; Wibisono, Wilson & Jordan 2016.

    >>> print(float(bregman_divergence(euclidean, jnp.array([3.0]), jnp.array([1.0]))))
    2.0
    """
    y, x = accurate_tree("y", y), accurate_tree("x", x)
    require_same_shapes("y", y, "x", x)
    value, slope = jax.value_and_grad(mirror)(x)
    return mirror(y) - value - inner_product(slope, jax.tree.map(jnp.subtract, y, x))


def bregman_kinetic_energy(mirror: Mirror, alpha: ArrayLike, position: Params, velocity: Params) -> jax.Array:
    """Return `T_h = e^alpha D_h(q + e^{-alpha} q', q)`, to leading order `(e^{-alpha}/2) <q', Hess h q'>`.

    The Euclidean one, `(m/2)|q'|^2` with `m = e^{-alpha}`, is not invariant under scale: `dT/ds = m |q'|^2`.

    Source: Tanaka & Kunin 2021, Eq. 5 and 7.
    Deviation: Eq. 9's symbol carries a factor `e^gamma`, this does not; and the submission's table prints
    `e^{-2 alpha}|q'|^2` in the scale row, an erratum: by its own definition it is `e^{-alpha}|q'|^2 = m |q'|^2`.
    """
    position, velocity = accurate_tree("position", position), accurate_tree("velocity", velocity)
    require_same_shapes("velocity", velocity, "position", position)
    (alpha,) = real_numbers(mirror(position).dtype, alpha=alpha)
    return jnp.exp(alpha) * bregman_divergence(mirror, moved(position, jnp.exp(-alpha), velocity), position)


def bregman_lagrangian(potential: Potential, mirror: Mirror, scales: Scales, *, factor: Factor = "full") -> Lagrangian:
    """Return `L(t, q, q') = e^{alpha + gamma} ( D_h(q + e^{-alpha} q', q) - e^{beta} f(q) )`.

    Source: Tanaka & Kunin 2021, Eq. 2; Wibisono, Wilson & Jordan 2016.

    Args:
        potential: f, or f with decay, of the parameters alone.
        mirror: h, convex; `euclidean` for the usual kinetic energy.
        scales: alpha, beta, gamma.
        factor: "relative" divides by the value of e^gamma at the time of evaluation. The first derivatives in time and
            so the equations of motion stay the same, but nothing overflows: for SGD gamma grows by
            `2 (1 - beta)/(1 + beta)` a step.

    Raises:
        ValueError: if `factor` is unknown.
    """
    if factor not in ("full", "relative"):
        raise ValueError(f"factor must be 'full' or 'relative', got {factor!r}; choose one of them")

    def lagrangian(time: jax.Array, position: Params, velocity: Params) -> jax.Array:
        alpha, gamma = scales.alpha(time), scales.gamma(time)
        if factor == "relative":
            gamma = gamma - jax.lax.stop_gradient(gamma)
        kinetic = bregman_kinetic_energy(mirror, alpha, position, velocity)
        return jnp.exp(gamma) * (kinetic - jnp.exp(alpha + scales.beta(time)) * potential(position))

    return lagrangian


def sgd_lagrangian(
    loss: Potential, *, learning_rate: ArrayLike, momentum: ArrayLike, weight_decay: ArrayLike = 0.0
) -> Lagrangian:
    """Return the Lagrangian of SGD with momentum and weight decay, with its full factor.

    `L = exp(2 (1 - beta) t/(eta (1 + beta))) [ eta (1 + beta)/4 |q'|^2 - (f(q) + k/2 |q|^2) ]`.

    Source: Tanaka & Kunin 2021, Eq. 4.

    Args:
        loss: f, from a pytree of floating arrays to a scalar.
        learning_rate: eta, a scalar.
        momentum: beta < 1, a scalar.
        weight_decay: k, a scalar.

    Returns:
        `L(t, q, q') -> scalar` in the loss's unit and dtype; the factor overflows for large t (`bregman_lagrangian`).
    """
    return bregman_lagrangian(
        with_decay(loss, weight_decay), euclidean, sgd_scales(learning_rate=learning_rate, momentum=momentum)
    )


def euler_lagrange_residual(
    lagrangian: Lagrangian, time: jax.Array, position: Params, velocity: Params, acceleration: Params
) -> Params:
    """Return `d/dt (dL/dq') - dL/dq` at a state with a given acceleration, for any Lagrangian.

    Source: the Euler-Lagrange equation (Tanaka & Kunin 2021, Sec. 2); the time derivative is one forward pass along
    (1, q', q'').

    Args:
        lagrangian: `L(t, q, q') -> scalar`.
        time: t, a floating scalar array.
        position: q, a pytree.
        velocity: q', like q.
        acceleration: q'', like q.

    Returns:
        A pytree like q, zero along a solution.
    """
    time, position, velocity = _state(time, position, velocity)
    acceleration = accurate_tree("acceleration", acceleration)
    require_same_shapes("acceleration", acceleration, "position", position)
    state, tangent = (time, position, velocity), (jnp.ones_like(time), velocity, acceleration)
    rate = jax.jvp(jax.grad(lagrangian, argnums=2), state, tangent)[1]
    return jax.tree.map(jnp.subtract, rate, jax.grad(lagrangian, argnums=1)(*state))


def euler_lagrange_acceleration(lagrangian: Lagrangian, time: jax.Array, position: Params, velocity: Params) -> Params:
    """Solve the Euler-Lagrange equation for q''.

    `(d^2 L/dq'^2) q'' = dL/dq - (d/dt at fixed q') dL/dq'`: a dense system over all parameters, meant for toys.

    Source: the Euler-Lagrange equation (Tanaka & Kunin 2021, Sec. 2), linear in q''.

    Args:
        lagrangian: `L(t, q, q') -> scalar`, strictly convex in q'.
        time: t, a floating scalar array.
        position: q, a pytree.
        velocity: q', like q.

    Returns:
        q'', a pytree like q.
    """
    time, position, velocity = _state(time, position, velocity)
    flat, unravel = ravel_pytree(velocity)
    zero = jax.tree.map(jnp.zeros_like, velocity)
    force, _ = ravel_pytree(euler_lagrange_residual(lagrangian, time, position, velocity, zero))
    inertia = jax.hessian(lambda v: lagrangian(time, position, unravel(v)))(flat)
    return unravel(jnp.linalg.solve(inertia, -force))


def _state(time: jax.Array, position: Params, velocity: Params) -> tuple[jax.Array, Params, Params]:
    time = accurate_array("time", time, ())
    position, velocity = accurate_tree("position", position), accurate_tree("velocity", velocity)
    require_same_shapes("velocity", velocity, "position", position)
    return time, position, velocity

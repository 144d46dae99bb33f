"""Noether's theorem with the terms that a learning rule adds to it: what drives the charge of a symmetry of the loss.

Source: Tanaka & Kunin 2021, Noether's Learning Dynamics, Sec. 3 and Eq. 8-12.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from symjax.arguments import accurate_array, accurate_tree, require_same_shapes
from symjax.mechanics.lagrangian import Mirror, Potential, Scales, moved
from symjax.symmetry import Coordinates, Params, Symmetry, pairing


class NoetherTerms(NamedTuple):
    """Terms of the generalised Noether theorem, each like the flow's coordinates.

    `charge_motion + dissipation = dynamic_asymmetry + non_euclidean_metric + potential` along every solution.
    """

    charge: Coordinates  #: <Delta, dQ>
    charge_motion: Coordinates  #: d/dt <Delta, dQ>
    dissipation: Coordinates  #: gamma' <Delta, dQ>
    dynamic_asymmetry: Coordinates  #: <Delta, dQ'>
    non_euclidean_metric: Coordinates  #: e^alpha <Delta - e^{-alpha} Hess h q', dQ>
    potential: Coordinates  #: -e^{alpha + beta} <grad V, dQ>, zero if V has the symmetry


def noether_terms(
    symmetry: Symmetry,
    *,
    mirror: Mirror,
    scales: Scales,
    potential: Potential,
    time: jax.Array,
    position: Params,
    velocity: Params,
    acceleration: Params,
) -> NoetherTerms:
    """Return every term of the generalised Noether theorem at one state, for all coordinates of a flow at once.

    With `Delta = grad h(q + e^{-alpha} q') - grad h(q)` (so that `dL/dq' = e^gamma Delta`), dQ the generator and dQ'
    its time derivative along the motion,

        d/dt <Delta, dQ> + gamma' <Delta, dQ> = <Delta, dQ'> + e^alpha <Delta - e^{-alpha} Hess h q', dQ>
                                                - e^{alpha + beta} <grad V, dQ>.

    No symmetry is assumed; if V has it the last term is zero. Euclidean: `Delta = m q'`, the metric term vanishes, and
    without kinetic symmetry breaking the charge decays as `e^{-mu t/m}`.

    Source: Tanaka & Kunin 2021, Eq. 8 and 10-12 (re-derived).

    Args:
        symmetry: the flow, `flow(s, q) -> q`, and its zero.
        mirror: h.
        scales: alpha, beta, gamma.
        potential: V, the loss, with its decay if any.
        time: t, a floating scalar array.
        position: q, a pytree.
        velocity: q', like q.
        acceleration: q'', like q, of the motion (`euler_lagrange_acceleration`).
    """
    time = accurate_array("time", time, ())
    position, velocity, acceleration = (
        accurate_tree(name, tree)
        for name, tree in (("position", position), ("velocity", velocity), ("acceleration", acceleration))
    )
    require_same_shapes("velocity", velocity, "position", position)
    require_same_shapes("acceleration", acceleration, "position", position)
    gradient = jax.grad(mirror)

    def momentum(t: jax.Array, q: Params, v: Params) -> Params:
        return jax.tree.map(jnp.subtract, gradient(moved(q, jnp.exp(-scales.alpha(t)), v)), gradient(q))

    def charge(t: jax.Array, q: Params, v: Params) -> Coordinates:
        return pairing(symmetry, q, momentum(t, q, v))

    def times(factor: jax.Array, coordinates: Coordinates) -> Coordinates:
        return jax.tree.map(lambda leaf: factor.astype(leaf.dtype) * leaf, coordinates)

    state, tangent = (time, position, velocity), (jnp.ones_like(time), velocity, acceleration)
    value, motion = jax.jvp(charge, state, tangent)
    delta = momentum(*state)
    turning = jax.jvp(lambda q: pairing(symmetry, q, delta), (position,), (velocity,))[1]
    alpha = scales.alpha(time)
    leading = jax.jvp(gradient, (position,), (velocity,))[1]
    metric = pairing(symmetry, position, moved(delta, -jnp.exp(-alpha), leading))
    pull = pairing(symmetry, position, jax.grad(potential)(position))
    return NoetherTerms(
        charge=value,
        charge_motion=motion,
        dissipation=times(jax.grad(scales.gamma)(time), value),
        dynamic_asymmetry=turning,
        non_euclidean_metric=times(jnp.exp(alpha), metric),
        potential=times(-jnp.exp(alpha + scales.beta(time)), pull),
    )


def noether_theorem_error(terms: NoetherTerms) -> Coordinates:
    """Return how far the two sides are apart, relative to the largest term; zero along exact solutions.

    Source: the balance of `NoetherTerms`, Tanaka & Kunin 2021, Eq. 8; the scale is this library's choice.
    """

    def compare(_: jax.Array, *parts: jax.Array) -> jax.Array:
        motion, dissipation, asymmetry, metric, potential = parts
        scale = jnp.max(jnp.abs(jnp.stack(parts)), axis=0)
        gap = jnp.abs(motion + dissipation - asymmetry - metric - potential)
        return jnp.where(scale > 0, gap / jnp.where(scale > 0, scale, 1), 0)

    return jax.tree.map(compare, *terms)

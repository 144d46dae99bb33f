"""Noether's learning dynamics: the second-order laws that a symmetric loss imposes on SGD's modified equation.

    translation  s = <q, n>             m s'' + mu s' +   k s = 0
    scale        R = |q|^2              m R'' + mu R' + 2 k R = 2 m |q'|^2
    rescale      D = |q_1|^2 - |q_2|^2  m D'' + mu D' + 2 k D = 2 m (|q_1'|^2 - |q_2'|^2)

The imbalance D is in minus out: q_1 the incoming, q_2 the outgoing weights of a unit.
They hold for every loss with the symmetry; `closed_forms` solves them, `discrete` replaces them by exact ones.

Source: Tanaka & Kunin 2021, Noether's Learning Dynamics, Eq. 8-13; Kunin et al. 2021, Neural Mechanics.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from symjax.arguments import accurate_arrays, accurate_tree, real_numbers, require_same_shapes
from symjax.symmetry import Params

Symmetry = Literal["translation", "scale", "rescale"]


class Motion(NamedTuple):
    """A quantity along a trajectory with its first two time derivatives, of one shape."""

    value: jax.Array
    rate: jax.Array
    acceleration: jax.Array


def motion_of(
    quantity: Callable[[Params], jax.Array], position: Params, velocity: Params, acceleration: Params
) -> Motion:
    """Differentiate a quantity along a motion, twice: `x' = Dx[q']`, `x'' = D^2 x[q', q'] + Dx[q'']`.

    Source: the chain rule; the motions of Tanaka & Kunin 2021, Eq. 8.

    Args:
        quantity: function of the parameters, of any shape.
        position: q, a pytree.
        velocity: q', like q.
        acceleration: q'', like q.

    >>> import jax.numpy as jnp
    >>> q = jnp.array([1.0, 2.0])
    >>> print(motion_of(lambda q: q @ q, q, q, 0 * q).acceleration)
    10.0
    """

    position, velocity, acceleration = (
        accurate_tree(name, tree)
        for name, tree in (("position", position), ("velocity", velocity), ("acceleration", acceleration))
    )

    require_same_shapes("velocity", velocity, "position", position)
    require_same_shapes("acceleration", acceleration, "position", position)

    def rate(q: Params, v: Params) -> jax.Array:
        return jax.jvp(quantity, (q,), (v,))[1]

    first, second = jax.jvp(rate, (position, velocity), (velocity, acceleration))
    return Motion(quantity(position), first, second)


def law_residual(
    symmetry: Symmetry,
    motion: Motion,
    *,
    kinetic: ArrayLike = 0.0,
    mass: ArrayLike,
    friction: ArrayLike,
    weight_decay: ArrayLike,
) -> jax.Array:
    """Return the left minus the right side of the symmetry's law, zero along every solution of the modified equation.

    Source: Tanaka & Kunin 2021, Eq. 8 with the generators of Sec. 3; the decay's terms as in Kunin et al. 2021.

    Args:
        symmetry: which law.
        motion: s, R or D with its derivatives, any shape.
        kinetic: `|q'|^2` for scale, `|q_1'|^2 - |q_2'|^2` for rescale, shape of the value; not used by translation,
            whose kinetic energy has the symmetry.
        mass: m = eta (1 + beta)/2.
        friction: mu = 1 - beta.
        weight_decay: k.

    Raises:
        ValueError: if the symmetry is unknown.
    """
    if symmetry not in ("translation", "scale", "rescale"):
        raise ValueError(f"symmetry must be 'translation', 'scale' or 'rescale', got {symmetry!r}; choose one of them")
    if not isinstance(motion, Motion):
        raise ValueError(f"motion is a {type(motion).__name__}, but must be a Motion(value, rate, acceleration)")
    motion = Motion(*accurate_arrays(value=motion.value, rate=motion.rate, acceleration=motion.acceleration))
    kinetic, mass, friction, decay = real_numbers(
        motion.value.dtype, kinetic=kinetic, mass=mass, friction=friction, weight_decay=weight_decay
    )
    free = mass * motion.acceleration + friction * motion.rate
    if symmetry == "translation":
        return free + decay * motion.value
    return free + 2 * decay * motion.value - 2 * mass * kinetic


def undriven_charge(start: jax.Array, time: jax.Array, *, mass: ArrayLike, friction: ArrayLike) -> jax.Array:
    """Return a charge whose symmetry the kinetic energy shares: `C(t) = C(0) e^{-(mu/m) t}`.

    Angular momentum under a rotation-symmetric loss, `m <q', n>` under a translation-symmetric one. It is conserved as
    m/mu grows without bound, and vanishes as m -> 0: `<q', dQ> = 0`, the conservation laws of gradient flow.

    Source: Tanaka & Kunin 2021, Eq. 12-13.

    Args:
        start: C(0), any shape.
        time: t, of a shape that broadcasts with it.
        mass: m.
        friction: mu.
    """
    start, time = accurate_arrays(start=start, time=time)
    mass, friction = real_numbers(start.dtype, mass=mass, friction=friction)
    return start * jnp.exp(-friction / mass * time)

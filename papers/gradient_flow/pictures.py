"""Figures 1, 2 and 8 as computed pictures: the minimum with its orbits and Q, flow across them, rates against Q.

1: the minimum of ``|Y - U V X|^2`` goes on along the orbits of the scaling group, and Q labels its points. 2: in the
plane of two weights gradient flow keeps to the curves of constant Q, at right angles to the orbits. 8: where the flow
can be solved, Q decides the rate of convergence and the sharpness of the minimum.

Source: Zhao et al. 2023, Figures 1, 2 and 8.
Deviation: the paper's are schematic and came without code; what is shown here is computed, and chosen by this project.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.gradient_flow.networks import solvable
from symjax import integrate
from symjax.conserved import matrix

SHAPE = (2, 3, 2, 3)  # m, h, n, k of Figure 1
STARTS = 12  # trajectories of Figure 2
EFOLDS = np.linspace(0.0, 14.0, 57)  # of the residual, at which rates are measured
LATE = EFOLDS >= 8.0


class Orbits(NamedTuple):
    """Figure 1, for S seeds and G group elements ``e^s``: networks (U e^s, e^-s V) and gradient flow from each."""

    s: jax.Array  #: (G,)
    loss: jax.Array  #: (S, G), before the flow
    end_loss: jax.Array  #: (S, G), at its end
    charge: jax.Array  #: (S, G), ``|U|^2 - |V|^2``
    slope_error: jax.Array  #: (S, G), relative difference of dQ/ds and twice ``|M theta|^2``
    drift: jax.Array  #: (S, G), largest change of the matrix Q along the flow over ``|theta|^2``


class Plane(NamedTuple):
    """Figure 2, for S seeds, A starts and T times."""

    target: jax.Array  #: (S,), y
    u: jax.Array  #: (S, A, T)
    v: jax.Array  #: (S, A, T)
    drift: jax.Array  #: (S, A), largest change of Q over ``|theta|^2`` at the start
    angle: jax.Array  #: (S, A), largest |cosine| between the flow and the orbit
    end_error: jax.Array  #: (S, A), distance of the end from the point of the minimum with the start's Q, relative


class Rates(NamedTuple):
    """Figure 8, one model, for S seeds and G values of Q: what was measured and the closed form."""

    target: jax.Array  #: (S,), y or s
    charge: jax.Array  #: (G,)
    rate: jax.Array  #: (S, G)
    sharpness: jax.Array  #: (S, G)
    expected: solvable.Limit  #: of (S, G)
    losses: jax.Array  #: (S, G, T)
    times: jax.Array  #: (S, G, T)


def orbits(seeds: tuple[int, ...], s: jax.Array, time: float) -> Orbits:
    """Move random networks along the scaling orbit, and follow gradient flow on ``|Y - U V X|^2`` from every place.

    Source: Zhao et al. 2023, Figure 1.

    Args:
      seeds: S of them; each draws Y, X, U, V.
      s: (G,), logarithms of the group elements.
      time: of the flow.
    """
    problems = [_problem(seed) for seed in seeds]
    return _orbits(tuple(jnp.stack(leaves) for leaves in zip(*problems, strict=True)), s, time)


@jax.jit
def _orbits(problems: tuple[jax.Array, ...], s: jax.Array, time: float) -> Orbits:
    def one(problem: tuple[jax.Array, ...], s: jax.Array) -> Orbits:
        u, v, x, y = problem

        def move(t: jax.Array) -> solvable.Pair:
            return u * jnp.exp(t), v * jnp.exp(-t)

        def loss(params: solvable.Pair) -> jax.Array:
            return jnp.sum((y - params[0] @ params[1] @ x) ** 2)

        def charge(t: jax.Array) -> jax.Array:
            return 2 * jnp.trace(matrix(*move(t)))

        start = move(s)
        path = integrate.adaptive(
            jax.grad(loss), start, times=jnp.linspace(0.0, time, 11), record=lambda params: matrix(*params)
        )
        square = jnp.sum(start[0] ** 2) + jnp.sum(start[1] ** 2)
        drift = jnp.max(jnp.abs(path.recorded - path.recorded[:1])) / square
        slope_error = jnp.abs(jax.grad(charge)(s) / (2 * square) - 1)
        return Orbits(s, loss(start), loss(path.params), charge(s), slope_error, drift)

    found = jax.vmap(jax.vmap(one, (None, 0)), (0, None))(problems, s)
    return found._replace(s=s)


def _problem(seed: int) -> tuple[np.ndarray, ...]:
    """U, V, X and an attainable Y; X is well conditioned, so that the flow ends in finite time."""
    m, h, n, k = SHAPE
    generator = np.random.default_rng((1, seed))
    u, v, product = (generator.normal(size=shape) for shape in ((m, h), (h, n), (m, n)))
    left, _ = np.linalg.qr(generator.normal(size=(n, n)))
    right, _ = np.linalg.qr(generator.normal(size=(k, k)))
    x = left @ np.diag(generator.uniform(0.8, 1.25, n)) @ right[:n]
    return u, v, x, product @ x


def plane(seeds: tuple[int, ...], times: jax.Array) -> Plane:
    """Follow gradient flow on ``(y - u v)^2`` from starts around the origin.

    Source: Zhao et al. 2023, Figure 2 and section 4 (Q as coordinates of the minimum).

    Args:
      seeds: S of them; each draws y from (0.5, 1.5) and 12 starts.
      times: (T,), increasing from 0.
    """
    targets, starts = zip(*(_starts(seed) for seed in seeds), strict=True)
    return _plane(jnp.asarray(targets), jnp.asarray(np.stack(starts)), times)


@jax.jit
def _plane(targets: jax.Array, starts: jax.Array, times: jax.Array) -> Plane:
    def one(target: jax.Array, start: jax.Array) -> Plane:
        start = (start[0], start[1])
        slope = jax.grad(partial(solvable.product_loss, target=target))
        path = integrate.adaptive(slope, start, times=times)
        u, v = path.recorded
        q = solvable.product_charge((u, v))
        drift = jnp.max(jnp.abs(q - q[0])) / (start[0] ** 2 + start[1] ** 2)
        g, orbit = jax.vmap(slope)((u, v)), (u, -v)
        # at the end of the flow the gradient is rounding, and has no direction
        length = jnp.hypot(*g)
        cosine = jnp.abs(g[0] * orbit[0] + g[1] * orbit[1]) / (length * jnp.hypot(*orbit))
        angle = jnp.max(jnp.where(length > 1e-3, cosine, 0))
        end_u, end_v = solvable.product_minimum(q[0], target)
        side = jnp.where(u[-1] < 0, -1, 1)
        end_error = jnp.hypot(u[-1] - side * end_u, v[-1] - side * end_v) / jnp.hypot(end_u, end_v)
        return Plane(target, u, v, drift, angle, end_error)

    found = jax.vmap(jax.vmap(one, (None, 0)))(targets, starts)
    return found._replace(target=targets)


def _starts(seed: int) -> tuple[float, np.ndarray]:
    """y, and starts away from the lines u = -v, from which the flow ends in the saddle at the origin."""
    generator = np.random.default_rng((2, seed))
    target = generator.uniform(0.5, 1.5)
    gaps = generator.uniform(-np.pi / 2 + 0.25, np.pi / 2 - 0.25, STARTS)
    angles = np.pi / 4 + gaps + np.pi * (np.arange(STARTS) % 2)
    lengths = generator.uniform(0.8, 2.4, STARTS)
    return target, np.stack([lengths * np.cos(angles), lengths * np.sin(angles)], axis=-1)


def rates(model: str, targets: jax.Array, charge: jax.Array) -> Rates:
    """Measure rate and sharpness at prescribed Q: by gradient flow to the minimum, and by the Hessian there.

    The flow starts at the prescribed Q on the minimum of a problem nearby. The rate is minus the slope of log L while
    the residual falls from e^-8 to e^-14 of its start.

    Source: Zhao et al. 2023, section 5 and Figure 8.

    Args:
      model: ``product`` or ``quotient``, as in :mod:`papers.gradient_flow.networks.solvable`.
      targets: (S,).
      charge: (G,), Q; positive for the quotient.
    """
    return _rates(model, targets, charge)


@partial(jax.jit, static_argnums=0)
def _rates(model: str, targets: jax.Array, charge: jax.Array) -> Rates:
    loss = getattr(solvable, f"{model}_loss")
    minimum, limit = getattr(solvable, f"{model}_minimum"), getattr(solvable, f"{model}_limit")

    def one(target: jax.Array, q: jax.Array) -> Rates:
        at_target = partial(loss, target=target)
        expected = limit(q, target)
        times = 2 * jnp.asarray(EFOLDS) / expected.rate
        path = integrate.adaptive(jax.grad(at_target), minimum(q, 0.7 * target), times=times, record=at_target)
        logarithms = jnp.where(LATE, jnp.log(path.recorded), 0)
        late = times - jnp.sum(jnp.where(LATE, times, 0)) / LATE.sum()
        rate = -jnp.sum(jnp.where(LATE, late * logarithms, 0)) / jnp.sum(jnp.where(LATE, late**2, 0))
        hessian = jnp.asarray(jax.hessian(at_target)(minimum(q, target)))
        sharpness = jnp.linalg.eigvalsh(hessian)[-1]
        return Rates(target, q, rate, sharpness, expected, path.recorded, times)

    found = jax.vmap(jax.vmap(one, (None, 0)), (0, None))(targets, charge)
    return found._replace(target=targets, charge=charge)

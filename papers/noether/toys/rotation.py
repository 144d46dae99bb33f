"""A particle in a rotation-symmetric potential: symmetry of trajectories, and the decay of its angular momentum.

    m q'' + mu q' = -grad f(q),   f(R q) = f(q)
    =>   Q(t; R q_0, R v_0) = R Q(t; q_0, v_0),   C(t) = C(0) e^{-mu t / m}

Source: Tanaka & Kunin 2021, Fig. 1a, Fig. 2 and Eq. 12-13.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common.claims import Claim
from papers.common.plots import new_figure, style
from papers.common.runs import RunDirectory
from papers.noether.claims import CHARGE_DECAY, ROTATED_STARTS
from papers.noether.toys.measure import SEEDS, random_starts, toy_claim
from symjax.mechanics.modified_ode import solve
from symjax.symmetry import Symmetry, kinetic_energy, noether_charge

Potential = Callable[[jax.Array], jax.Array]

MASSES = (1000.0, 10.0, 2.0, 0.5, 0.1, 0.01)
"""m / mu of the decay figure, mu = 1; the first is the conserved limit, the last the gradient flow's."""


class RotatedStarts(NamedTuple):
    """One trajectory, and those from rotated starts; S angles, T times."""

    time: jax.Array  #: (T,)
    angle: jax.Array  #: (S,), radians
    reference: jax.Array  #: (T, 2), from the start that is not rotated
    position: jax.Array  #: (S, T, 2), from the rotated starts
    deviation: jax.Array  #: (S, T), distance from the rotated reference, over the reference's largest radius
    energy: jax.Array  #: (S, T)
    energy_error: jax.Array  #: (S,), largest distance from the reference's energy at the start, relative


class ChargeDecay(NamedTuple):
    """Angular momentum against time; S starts, M masses, T times."""

    time: jax.Array  #: (T,)
    mass: jax.Array  #: (M,), in units of the friction: m / mu
    charge: jax.Array  #: (S, M, T), C(t) / C(0)
    predicted: jax.Array  #: (M, T), e^{-mu t / m}
    error: jax.Array  #: (S,), largest |charge - predicted|


def sombrero(q: jax.Array) -> jax.Array:
    """Give `f(q) = (|q|^2 - 1)^2 / 4`, which every rotation leaves alone."""
    return (q @ q - 1) ** 2 / 4


def tilted(q: jax.Array) -> jax.Array:
    """Give the sombrero with a slope, `f(q) + 0.2 q_1`: no symmetry, the control."""
    return sombrero(q) + 0.2 * q[0]


def turn(s: jax.Array, q: jax.Array) -> jax.Array:
    """Rotate a point of the plane by the angle s: `symjax.actions.rotate` in closed form.

    A thousand charges along trajectories would spend seconds compiling the matrix exponential of the general rotation.
    """
    return jnp.stack([jnp.cos(s) * q[0] - jnp.sin(s) * q[1], jnp.sin(s) * q[0] + jnp.cos(s) * q[1]])


def particle(
    potential: Potential, start: jax.Array, velocity: jax.Array, times: jax.Array, mass: jax.Array, friction: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Integrate `m q'' + mu q' = -grad f(q)` and return positions and velocities, each (T, n)."""
    slope = jax.grad(potential)

    def field(state: tuple[jax.Array, jax.Array], time: jax.Array) -> tuple[jax.Array, jax.Array]:
        q, v = state
        return v, -(slope(q) + friction * v) / mass

    return solve(field, (start, velocity), times)


def rotated_starts(
    potential: Potential, start: jax.Array, velocity: jax.Array, angles: jax.Array, times: jax.Array
) -> RotatedStarts:
    """Follow a frictionless particle of mass 1 from a start and from rotated ones.

    `Q(t; R q_0, R v_0) = R Q(t; q_0, v_0)` and one energy, where the potential has the symmetry.

    Source: Tanaka & Kunin 2021, Fig. 1a.

    Args:
        potential: f, (2,) -> scalar.
        start: q_0, (2,), float64.
        velocity: v_0, (2,).
        angles: (S,), radians.
        times: (T,), increasing from 0.
    """

    def follow(angle: jax.Array) -> tuple[jax.Array, ...]:
        one, zero = jnp.ones_like(angle), jnp.zeros_like(angle)
        q, v = particle(potential, turn(angle, start), turn(angle, velocity), times, one, zero)
        return q, jax.vmap(lambda q, v: kinetic_energy(v) + potential(q))(q, v)

    @jax.jit
    def compute() -> RotatedStarts:
        position, energy = jax.vmap(follow)(jnp.concatenate([jnp.zeros(1), angles]))
        reference, position = position[0], position[1:]
        expected = jax.vmap(lambda angle: jax.vmap(lambda q: turn(angle, q))(reference))(angles)
        deviation = jnp.linalg.norm(position - expected, axis=-1) / jnp.linalg.norm(reference, axis=-1).max()
        error = jnp.abs(energy[1:] / energy[0, 0] - 1).max(axis=-1)
        return RotatedStarts(times, angles, reference, position, deviation, energy[1:], error)

    return compute()


def charge_decay(
    potential: Potential, starts: jax.Array, velocities: jax.Array, masses: jax.Array, times: jax.Array
) -> ChargeDecay:
    """Follow the angular momentum `m <q', R' q>` of a damped particle, mu = 1.

    `C(t) = C(0) e^{-mu t / m}`: kept for m >> mu, gone for m -> 0.

    Source: Tanaka & Kunin 2021, Eq. 12-13 and Fig. 2.

    Args:
        potential: f, (2,) -> scalar, invariant under rotations.
        starts: (S, 2), float64.
        velocities: (S, 2), not parallel to the starts.
        masses: (M,).
        times: (T,), increasing from 0.
    """
    rotation = Symmetry(turn, jnp.zeros(()))

    def follow(start: jax.Array, velocity: jax.Array, mass: jax.Array) -> jax.Array:
        q, v = particle(potential, start, velocity, times, mass, jnp.ones(()))
        charge = jax.vmap(lambda q, v: noether_charge(rotation, q, v, mass))(q, v)
        return charge / charge[0]

    for_masses = jax.vmap(follow, in_axes=(None, None, 0))
    charge = jax.jit(jax.vmap(for_masses, in_axes=(0, 0, None)))(starts, velocities, masses)
    predicted = jnp.exp(-times[None, :] / masses[:, None])
    return ChargeDecay(times, masses, charge, predicted, jnp.abs(charge - predicted[None]).max(axis=(1, 2)))


def draw_rotated_starts(directory: RunDirectory, command: str) -> list[Claim]:
    """Draw trajectories from rotated starts, with and without the symmetry, and how far they are from rotated ones."""
    turns = 2 * np.pi * (np.arange(SEEDS) + 1) / (SEEDS + 1)
    angles = jnp.asarray(turns + np.random.default_rng(1).uniform(-0.3, 0.3, SEEDS))
    start, velocity, times = jnp.array([1.6, 0.0]), jnp.array([0.0, 0.45]), jnp.linspace(0.0, 12.0, 600)
    found = {f.__name__: rotated_starts(f, start, velocity, angles, times) for f in (sombrero, tilted)}
    canvas = new_figure(1, 3, width=3.1, height=2.9)
    grid, levels = np.linspace(-2.1, 2.1, 121), [*np.linspace(-0.6, 3.0, 13), 5.0, 8.0, 12.0, 17.0]
    points = jnp.asarray(np.stack(np.meshgrid(grid, grid), axis=-1))
    for panel, potential, title in zip(
        canvas.axes[0], (sombrero, tilted), ("with the symmetry", "without: potential tilted"), strict=False
    ):
        height = jax.vmap(jax.vmap(potential))(points)
        panel.contourf(grid, grid, height, levels=levels, cmap="Greys", vmin=-0.6, vmax=30)
        for index, path in enumerate(found[potential.__name__].position[:4]):
            panel.plot(*path[:300].T, color=f"C{index}", linewidth=1.2)
            panel.plot(*path[0], "o", color=f"C{index}", markersize=4)
        panel.set_title(title, fontsize=9)
        panel.set(xlabel="$q_1$", ylabel="$q_2$", aspect="equal", xlim=(-2.1, 2.1), ylim=(-2.1, 2.1))
    for (name, run), colour in zip(found.items(), ("black", "tab:orange"), strict=True):
        curves = np.maximum(run.deviation, 1e-16)
        canvas.axes[0, 2].plot(times, curves.T, color=colour, linewidth=0.8)
        canvas.axes[0, 2].plot([], [], color=colour, label=name)
    canvas.axes[0, 2].set_title(r"$|Q(R q_0) - R\,Q(q_0)|$, relative", fontsize=9)
    canvas.axes[0, 2].set(xlabel="time", ylabel="distance over the largest radius", yscale="log")
    canvas.axes[0, 2].legend(fontsize=8, frameon=False)
    with_symmetry, control = found["sombrero"], found["tilted"]
    directory.save_figure(
        canvas.figure,
        "toy_rotated_starts",
        **{f"{name}_{key}": value for name, run in found.items() for key, value in run._asdict().items()},
    )
    largest = with_symmetry.deviation.max(axis=1)
    parted = control.deviation.max(axis=1)
    measured = (
        (ROTATED_STARTS["rotation"], largest, with_symmetry.deviation.size),
        (ROTATED_STARTS["energy"], with_symmetry.energy_error, with_symmetry.energy.size),
        (ROTATED_STARTS["control"], parted, None),
    )
    return [
        toy_claim(directory, command, statement, values, model="particle in (|q|^2 - 1)^2 / 4", count=count)
        for statement, values, count in measured
    ]


def draw_charge_decay(directory: RunDirectory, command: str) -> list[Claim]:
    """Draw the angular momentum against time, from conserved to gone."""
    starts = jnp.asarray(random_starts("charge_decay", 2, 0.8, 1.6))
    across = jnp.stack([-starts[:, 1], starts[:, 0]], axis=-1)
    velocities = across + jnp.asarray(random_starts("charge_decay velocity", 2, 0.1, 0.4))
    run = charge_decay(sombrero, starts, velocities, jnp.array(MASSES), jnp.linspace(0.0, 5.0, 201))
    canvas = new_figure(1, 1, width=4.6, height=3.0)
    panel = canvas.axes[0, 0]
    from matplotlib import colormaps

    for index, mass in enumerate(MASSES):
        colour = colormaps["plasma"](0.9 * index / (len(MASSES) - 1))
        panel.plot(run.time, run.charge[0, index], color=colour, linewidth=2.4, alpha=0.7, label=f"m/μ = {mass:g}")
        panel.plot(run.time, run.predicted[index], **style("prediction"))
    panel.plot([], [], label=r"$e^{-\mu t/m}$", **style("prediction"))
    panel.set_title("angular momentum of a damped particle", fontsize=9)
    panel.set(xlabel="time", ylabel="C(t) / C(0)", ylim=(-0.04, 1.06))
    panel.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    directory.save_figure(canvas.figure, "toy_charge_decay", **run._asdict())
    kept, gone = run.charge[:, 0, -1], jnp.abs(run.charge[:, -1, -1])
    measured = (
        (CHARGE_DECAY["decay"], run.error, run.charge.size, MASSES[0]),
        (CHARGE_DECAY["kept"], kept, kept.size, MASSES[0]),
        (CHARGE_DECAY["gone"], gone, gone.size, MASSES[-1]),
    )
    model = "damped particle in (|q|^2 - 1)^2 / 4"
    return [
        toy_claim(directory, command, statement, values, model=model, count=count, ratio=ratio)
        for statement, values, count, ratio in measured
    ]

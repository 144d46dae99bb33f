"""SGD on a scale-symmetric loss beside RMSProp on the unit sphere: the norm is the denominator.

    qh <- (qh - sqrt(2 eta k / (1 + beta)) gh / sqrt(G)) / |.|
    G <- rho G + (1 - rho) |gh|^2,   rho = 1 - 4 eta k / (1 - beta)

Here gh is the gradient at the unit vector and `G = r^4 2 k (1 - beta)^2 / (eta (1 + beta))` plays the part of `|q|^4`.
The loss turns slowly, so that its gradient never dies and the denominator has work to do.

Source: Tanaka & Kunin 2021, Sec. 4, Eq. 17-18; the equivalent learning rate is derived (see
symjax.mechanics.adaptive).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common.claims import Claim
from papers.common.plots import COLOURS, new_figure, style
from papers.common.runs import RunDirectory
from papers.noether.claims import RMSPROP
from papers.noether.toys.measure import random_starts, toy_claim
from symjax.mechanics.adaptive import RMSPropState, rmsprop_correspondence, rmsprop_step

RATE, DECAY, STEPS = 0.002, 0.02, 20_000
MOMENTA = tuple(RMSPROP)

TURNS = 10.0
"""How often the target goes round in the first two coordinates during the run."""

FORM = np.array([[1.0, 0.3, 0.0, 0.2], [0.3, -0.5, 0.1, 0.0], [0.0, 0.1, 0.7, -0.4], [0.2, 0.0, -0.4, 0.1]])


class Overlay(NamedTuple):
    """SGD's direction, RMSProp's, and that of a constant denominator; S starts, B momenta, N steps, T stored."""

    step: jax.Array  #: (T,), of what is stored
    direction: jax.Array  #: (S, B, T, 4), q / |q| of SGD
    adaptive: jax.Array  #: (S, B, T, 4), of RMSProp on the sphere
    constant: jax.Array  #: (S, B, T, 4), of descent on the sphere with the learning rate of the start
    squared_norm: jax.Array  #: (S, B, T), |q|^2 of SGD
    denominator: jax.Array  #: (S, B, T), sqrt(G) of RMSProp in units of |q|^2
    distance: jax.Array  #: (S, B, T), |direction - adaptive|
    error: jax.Array  #: (S, B), largest |direction - adaptive| over every step
    control_error: jax.Array  #: (S, B), largest |direction - constant| over every step


def turning_loss(q: jax.Array, phase: jax.Array) -> jax.Array:
    """Give `<qh, F qh> - <qh, a>` with a target a at an angle of its own in the first two coordinates."""
    unit = q / jnp.sqrt(q @ q)
    target = jnp.stack([jnp.cos(phase), jnp.sin(phase), jnp.full_like(phase, 0.5), jnp.full_like(phase, -0.3)])
    return unit @ (jnp.asarray(FORM, q.dtype) @ unit) / 4 - unit @ target


def overlay(
    starts: jax.Array, momenta: jax.Array, learning_rate: float, decay: float, steps: int, every: int = 50
) -> Overlay:
    """Run SGD with momentum and weight decay on the turning loss, and the RMSProp it should be, side by side.

    Source: Tanaka & Kunin 2021, Eq. 18 and the table after it.

    Args:
        starts: (S, 4), float64.
        momenta: beta, (B,).
        learning_rate: eta.
        decay: k > 0.
        steps: N, a multiple of `every`.
        every: steps between stored ones.
    """
    slope = jax.grad(turning_loss)

    def one(start: jax.Array, momentum: jax.Array) -> tuple[jax.Array, ...]:
        square = start @ start
        hyper = {"learning_rate": learning_rate, "momentum": momentum, "weight_decay": decay}
        twin = rmsprop_correspondence(square, **hyper)
        constant_rate = learning_rate / ((1 - momentum) * square)

        def step(carry, n: jax.Array):
            q, v, state, constant = carry
            phase = n * (2 * jnp.pi * TURNS / steps)
            v = momentum * v + slope(q, phase) + decay * q
            gradient = slope(state.direction, phase)
            state = rmsprop_step(state, gradient, learning_rate=twin.learning_rate, rho=twin.rho)
            constant = _unit(constant - constant_rate * slope(constant, phase))
            q = q - learning_rate * v
            root = square * jnp.sqrt(state.average / twin.average)
            return (q, v, state, constant), (_unit(q), state.direction, constant, q @ q, root)

        first = (start, jnp.zeros_like(start), RMSPropState(_unit(start), twin.average), _unit(start))
        direction, adaptive, constant, norm, root = jax.lax.scan(step, first, jnp.arange(steps, dtype=start.dtype))[1]
        distance = jnp.linalg.norm(direction - adaptive, axis=-1)
        control = jnp.linalg.norm(direction - constant, axis=-1).max()
        stored = tuple(x[every - 1 :: every] for x in (direction, adaptive, constant, norm, root, distance))
        return *stored, distance.max(), control

    found = jax.jit(jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(0, None)))(starts, momenta)
    return Overlay(jnp.arange(every, steps + 1, every), *found)


def _unit(q: jax.Array) -> jax.Array:
    return q / jnp.sqrt(q @ q)


def draw_rmsprop(directory: RunDirectory, command: str) -> list[Claim]:
    """Draw the directions, the norm with RMSProp's denominator, and the distance between the directions."""
    starts = jnp.asarray(random_starts("rmsprop", 4, 1.0, 1.6))
    run = overlay(starts, jnp.array(MOMENTA), RATE, DECAY, STEPS)
    canvas = new_figure(len(MOMENTA), 3, width=3.2, height=2.3)
    for row, momentum in enumerate(MOMENTA):
        direction, norms, distance = canvas.axes[row]
        for component in range(2):
            colour = f"C{component}"
            label = f"SGD, $\\hat q_{component + 1}$"
            direction.plot(
                run.step, run.direction[0, row, :, component], color=colour, linewidth=3, alpha=0.45, label=label
            )
            direction.plot(run.step, run.adaptive[0, row, :, component], **style("prediction"))
        constant = {"color": COLOURS["fixed"], "linewidth": 0.8, "linestyle": ":"}
        direction.plot(run.step, run.constant[0, row, :, 0], label="constant rate", **constant)
        direction.plot([], [], label="RMSProp", **style("prediction"))
        direction.set_title(f"direction, β = {momentum:g}", fontsize=9)
        direction.set(xlabel="step", ylabel=r"component of $\hat q$", ylim=(-1.1, 2.2), xlim=(0, STEPS / 2))
        norms.plot(run.step, run.squared_norm[:, row].T, color=COLOURS["free"], linewidth=2.4, alpha=0.45)
        norms.plot(run.step, run.denominator[:, row].T, **style("prediction"))
        norms.plot([], [], color=COLOURS["free"], linewidth=2.4, alpha=0.45, label="$|q|^2$ of SGD")
        norms.plot([], [], label=r"$\sqrt{G}$ of RMSProp, scaled", **style("prediction"))
        decayed = (
            run.squared_norm[:, row, :1] * np.exp(-2 * DECAY * RATE / (1 - momentum) * (run.step - run.step[0]))[None]
        )
        norms.plot(run.step, decayed.T, color="0.4", linewidth=0.8, linestyle=":")
        norms.plot([], [], color="0.4", linewidth=0.8, linestyle=":", label="decay alone")
        norms.set_title(f"norm as denominator, β = {momentum:g}", fontsize=9)
        norms.set(xlabel="step", ylabel="squared norm", ylim=(0, None))
        distance.plot(run.step, run.distance[:, row].T, color="black", linewidth=0.8)
        distance.set_title("distance of the directions", fontsize=9)
        distance.set(xlabel="step", ylabel="distance", yscale="log")
    canvas.axes[0, 0].legend(fontsize=8, frameon=False, ncols=2, loc="upper center")
    canvas.axes[0, 1].legend(fontsize=8, frameon=False)
    directory.save_figure(canvas.figure, "toy_rmsprop", **run._asdict())
    return _claims(directory, command, run)


def _claims(directory: RunDirectory, command: str, run: Overlay) -> list[Claim]:
    model = f"scale-symmetric loss in four dimensions, eta {RATE}, k {DECAY}, {STEPS} steps"
    claims = []
    for index, statements in enumerate(RMSPROP.values()):
        for statement, errors in ((statements["follows"], run.error), (statements["control"], run.control_error)):
            claims.append(toy_claim(directory, command, statement, errors[:, index], model=model))
    return claims

"""A valley that depends on the direction alone: a free norm grows until the step fits, a fixed norm never learns to.

    f(q) = 1 - q_1 / |q|,   |q_{n+1}|^2 = |q_n|^2 + eta^2 |g_n|^2,   effective learning rate eta / |q|^2

At unit norm and eta > 2 the bottom is unstable: descent with a fixed norm jumps across it for ever, between the two
angles with `cos = (1 + sqrt(1 + 2 eta^2)) / (2 eta)`. Gradient flow keeps the norm and descends.

Source: Tanaka & Kunin 2021, Sec. 4; the toy is this project's own.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common.claims import Claim
from papers.common.plots import COLOURS, new_figure, style
from papers.common.runs import RunDirectory
from papers.noether.claims import VALLEY
from papers.noether.toys.measure import SEEDS, toy_claim
from symjax.mechanics.discrete import quadratic_start, quadratic_step, quadratic_value
from symjax.mechanics.modified_ode import solve

RATE, STEPS, FLOW_TIME = 4.0, 100, 12.0
LAST = 50
"""Steps at the end over which the loss is averaged."""


class Valley(NamedTuple):
    """Descent with free and with fixed norm, and gradient flow, from S starts; N steps, T times."""

    free: jax.Array  #: (S, N + 1, 2)
    fixed: jax.Array  #: (S, N + 1, 2)
    flow: jax.Array  #: (S, T, 2)
    free_loss: jax.Array  #: (S, N + 1)
    fixed_loss: jax.Array  #: (S, N + 1)
    squared_norm: jax.Array  #: (S, N + 1), of the free one
    predicted: jax.Array  #: (S, N + 1), by the exact law from the gradients alone
    law_error: jax.Array  #: (S,), largest relative
    flow_drift: jax.Array  #: (S,), largest relative change of the squared norm along the flow


def valley_loss(q: jax.Array) -> jax.Array:
    """Give `1 - q_1 / |q|`, one minus the cosine of the angle to the valley's floor."""
    return 1 - q[0] / jnp.sqrt(q @ q)


def valley(starts: jax.Array, learning_rate: float, steps: int, times: jax.Array) -> Valley:
    """Descend a scale-symmetric valley with free norm, with fixed norm, and in continuous time.

    Source: Tanaka & Kunin 2021, Sec. 4 (norm as learning-rate schedule; constrained against unconstrained).

    Args:
        starts: (S, 2), float64.
        learning_rate: eta.
        steps: N.
        times: of the gradient flow, (T,), increasing from 0.
    """
    slope = jax.grad(valley_loss)
    hyper = {"learning_rate": learning_rate, "momentum": 0.0, "weight_decay": 0.0}

    def one(start: jax.Array) -> Valley:
        def step(carry, _):
            free, law, fixed = carry
            g = slope(free)
            following = quadratic_step(law, square=g @ g, residual=jnp.zeros(()), **hyper)
            moved = fixed - learning_rate * slope(fixed)
            projected = moved * jnp.sqrt((start @ start) / (moved @ moved))
            return (free - learning_rate * g, following, projected), (free, quadratic_value(law), fixed)

        first = (start, quadratic_start(start @ start), start)
        _, (free, predicted, fixed) = jax.lax.scan(step, first, length=steps + 1)
        flow = solve(lambda q, time: -slope(q), start, times)
        square, flow_square = (free**2).sum(-1), (flow**2).sum(-1)
        losses = jax.vmap(valley_loss)
        law_error, drift = jnp.abs(predicted / square - 1).max(), jnp.abs(flow_square / flow_square[0] - 1).max()
        return Valley(free, fixed, flow, losses(free), losses(fixed), square, predicted, law_error, drift)

    return jax.jit(jax.vmap(one))(starts)


def draw_valley(directory: RunDirectory, command: str) -> list[Claim]:
    """Draw the valley with the three motions, their losses, and the free norm with its prediction."""
    angles = np.random.default_rng(5).uniform(0.6, 2.4, SEEDS) * np.where(np.arange(SEEDS) % 2, -1, 1)
    starts = jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=-1))
    run = valley(starts, RATE, STEPS, jnp.linspace(0.0, FLOW_TIME, 241))
    canvas = new_figure(1, 3, width=3.2, height=2.9)
    _draw_plane(canvas.axes[0, 0], run)
    panel = canvas.axes[0, 1]
    steps = np.arange(STEPS + 1)
    for role, losses in (("free", run.free_loss), ("fixed", run.fixed_loss)):
        panel.plot(steps, np.maximum(losses, 1e-17).T, color=COLOURS[role], linewidth=0.9)
        panel.plot([], [], label=f"{role} norm", **style(role))
    panel.set_title(f"loss, η = {RATE:g}, {SEEDS} starts", fontsize=9)
    panel.set(xlabel="step", ylabel="loss", yscale="log", ylim=(1e-17, 4))
    panel.legend(fontsize=8, frameon=False, loc="center right")
    panel = canvas.axes[0, 2]
    panel.plot(steps, run.squared_norm.T, color=COLOURS["free"], linewidth=2.4, alpha=0.5)
    panel.plot(steps, run.predicted.T, **style("prediction"))
    panel.plot([], [], color=COLOURS["free"], linewidth=2.4, alpha=0.5, label="free norm")
    panel.plot([], [], label="exact law", **style("prediction"))
    panel.axhline(RATE / 2, color="0.4", linewidth=0.9, linestyle=":", label=r"stable above $\eta/2$")
    panel.set_title("the norm grows until the step fits", fontsize=9)
    panel.set(xlabel="step", ylabel="$|q|^2$", xlim=(-0.3, 15))
    panel.set_ylim(0, None)
    panel.legend(fontsize=8, frameon=False)
    directory.save_figure(canvas.figure, "toy_valley", **run._asdict())
    return _claims(directory, command, run)


def _claims(directory: RunDirectory, command: str, run: Valley) -> list[Claim]:
    growth = run.squared_norm[:, -1] / run.squared_norm[:, 0]
    measured = (
        ("free", run.free_loss[:, -LAST:].mean(axis=1), None),
        ("fixed", run.fixed_loss[:, -LAST:].mean(axis=1), None),
        ("growth", growth, None),
        ("law", run.law_error, run.squared_norm.size),
        ("flow", run.flow_drift, run.flow.shape[0] * run.flow.shape[1]),
    )
    model = f"1 - cos(angle) in the plane, eta {RATE:g}"
    return [
        toy_claim(directory, command, VALLEY[name], values, model=model, count=count)
        for name, values, count in measured
    ]


def _draw_plane(panel, run: Valley) -> None:
    reach = 4.6
    x, y = np.linspace(-1.7, reach, 200), np.linspace(-2.2, reach, 200)
    losses = 1 - x[None] / np.hypot(x[None], y[:, None])
    panel.contourf(x, y, losses, levels=12, cmap="Greys", vmin=0, vmax=5)
    panel.plot(*run.fixed[0].T, ".-", linewidth=0.7, markersize=4, color=COLOURS["fixed"], label="fixed norm")
    panel.plot(*run.flow[0].T, color="black", linewidth=2, label="gradient flow")
    panel.plot(*run.free[0].T, ".-", linewidth=1.0, markersize=4, color=COLOURS["free"], label="free norm")
    panel.plot(*run.free[0, 0], "o", color="black", markersize=4)
    panel.set_title(r"$f = 1 - \cos(\mathrm{angle})$", fontsize=9)
    panel.set(xlabel="$q_1$", ylabel="$q_2$", aspect="equal")
    panel.legend(fontsize=8, frameon=True, framealpha=0.9, loc="upper left")

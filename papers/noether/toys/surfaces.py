"""Three symmetries of small networks with two parameters, and the surfaces that gradient flow cannot leave.

| network | symmetry | conserved by gradient flow | surface |
|---|---|---|---|
| softmax over two classes | translation, `q + s (1, 1)` | `q_1 + q_2` | hyperplane |
| a filter before BatchNorm | scale, `e^s q` | `q_1^2 + q_2^2` | sphere |
| linear path `x -> q_2 q_1 x` | rescale, `(e^s q_1, e^-s q_2)` | `q_1^2 - q_2^2` | hyperbola |

Descent with a finite step stays on the first and leaves the other two, by exactly `eta^2 sum <g, M g>`.

Source: Kunin et al. 2021, Neural Mechanics, Sec. 3 and Fig. 2; Tanaka & Kunin 2021, Sec. 3.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common.claims import Claim
from papers.common.plots import SERIES, new_figure
from papers.common.runs import RunDirectory
from papers.noether.claims import CONSERVED_SURFACES
from papers.noether.toys.measure import random_starts, toy_claim
from symjax.actions import translate
from symjax.mechanics.discrete import (
    linear_start,
    linear_step,
    linear_value,
    quadratic_start,
    quadratic_step,
    quadratic_value,
)
from symjax.mechanics.modified_ode import solve
from symjax.symmetry import Flow, Symmetry, symmetry_residual

FLOW_TIME, RATE, STEPS = 16.0, 0.4, 40

INPUTS = np.array([[1.2, 0.3], [-0.4, 1.5], [0.6, -1.1], [-1.7, 0.2], [0.3, 0.8], [-0.2, -1.4]])
"""A batch of six inputs of the network with BatchNorm; the linear path reads the first column."""

TARGETS = np.array([1.0, -1.0, 1.0, -1.0, 1.0, 1.0])
COUNTS = np.array([3.0, 1.0])
"""Samples of each class of the softmax."""


class Symmetric(NamedTuple):
    """A network with two parameters and one symmetry; `metric` is M of its quantity `<q, M q>`, None for `<q, 1>`."""

    loss: Callable[[jax.Array], jax.Array]
    flow: Flow
    metric: tuple[float, float] | None
    title: str


class SurfaceRun(NamedTuple):
    """Gradient flow and descent from S starts; T times, N steps."""

    time: jax.Array  #: (T,)
    path: jax.Array  #: (S, T, 2), of gradient flow
    conserved: jax.Array  #: (S, T), the quantity along it
    drift: jax.Array  #: (S,), its largest change, over |q_0| or |q_0|^2
    residual: jax.Array  #: (S,), largest |<g, generator>| along the path, over the largest |g||generator|
    steps: jax.Array  #: (S, N + 1, 2), of descent
    descended: jax.Array  #: (S, N + 1), the quantity along the steps
    law_error: jax.Array  #: (S,), largest error of the exact discrete law, normalised as the drift


def softmax_loss(q: jax.Array) -> jax.Array:
    """Give the mean cross-entropy of logits q against `COUNTS`."""
    return -jnp.asarray(COUNTS / COUNTS.sum(), q.dtype) @ jax.nn.log_softmax(q)


def normalised_loss(q: jax.Array) -> jax.Array:
    """Give the mean logistic loss of one filter followed by BatchNorm without epsilon."""
    outputs = jnp.asarray(INPUTS, q.dtype) @ q
    normalised = (outputs - outputs.mean()) / outputs.std()
    return jax.nn.softplus(-2 * jnp.asarray(TARGETS, q.dtype) * normalised).mean()


def path_loss(q: jax.Array) -> jax.Array:
    """Give half the mean squared error of `q_2 q_1 x` against x."""
    inputs = jnp.asarray(INPUTS[:, 0], q.dtype)
    return ((q[1] * q[0] * inputs - inputs) ** 2).mean() / 2


def _scale(s: jax.Array, q: jax.Array) -> jax.Array:
    return jnp.exp(s) * q


def _rescale(s: jax.Array, q: jax.Array) -> jax.Array:
    return jnp.stack([jnp.exp(s) * q[0], jnp.exp(-s) * q[1]])


NETWORKS: dict[str, Symmetric] = {
    "translation": Symmetric(softmax_loss, translate, None, "softmax: hyperplane"),
    "scale": Symmetric(normalised_loss, _scale, (1.0, 1.0), "BatchNorm: sphere"),
    "rescale": Symmetric(path_loss, _rescale, (1.0, -1.0), "linear path: hyperbola"),
}


def quantity(network: Symmetric, q: jax.Array) -> jax.Array:
    """Return `<q, 1>` or `<q, M q>` of one point."""
    return q.sum() if network.metric is None else jnp.asarray(network.metric, q.dtype) @ q**2


def surface_run(network: Symmetric, starts: jax.Array, times: jax.Array, rate: float, steps: int) -> SurfaceRun:
    """Run gradient flow and descent on a symmetric network, and measure what each conserves.

    Gradient flow keeps the quantity; descent obeys `c_{n+1} = c_n + eta^2 <g_n, M g_n>`, for the translation
    `c_{n+1} = c_n`.

    Source: Kunin et al. 2021, Sec. 3; the discrete law is derived (`symjax.mechanics.discrete`).

    Args:
        network: one of `NETWORKS`.
        starts: (S, 2), float64.
        times: (T,), increasing from 0.
        rate: eta of descent.
        steps: N.
    """
    slope, symmetry = jax.grad(network.loss), Symmetry(network.flow, jnp.zeros(()))

    def one(start: jax.Array) -> tuple[jax.Array, ...]:
        path = solve(lambda q, time: -slope(q), start, times)
        conserved = jax.vmap(lambda q: quantity(network, q))(path)
        residual = jax.vmap(lambda q: symmetry_residual(symmetry, network.loss, q))(path)
        lengths = jnp.linalg.norm(jax.vmap(slope)(path), axis=-1) * jnp.linalg.norm(path, axis=-1)
        descent, predicted = _descend(network, slope, start, rate, steps)
        descended = jax.vmap(lambda q: quantity(network, q))(descent)
        size = jnp.linalg.norm(start) if network.metric is None else start @ start
        drift = jnp.abs(conserved - conserved[0]).max() / size
        law_error = jnp.abs(descended - predicted).max() / size
        return path, conserved, drift, jnp.abs(residual).max() / lengths.max(), descent, descended, law_error

    return SurfaceRun(times, *jax.jit(jax.vmap(one))(starts))


def _descend(
    network: Symmetric, slope: Callable[[jax.Array], jax.Array], start: jax.Array, rate: float, steps: int
) -> tuple[jax.Array, jax.Array]:
    """Return the points of descent, (steps + 1, 2), and the exact law's prediction of the quantity, (steps + 1,)."""
    hyper = {"learning_rate": rate, "momentum": 0.0, "weight_decay": 0.0}
    begin, value = (linear_start, linear_value) if network.metric is None else (quadratic_start, quadratic_value)

    def step(carry, _):
        q, law = carry
        g = slope(q)
        if network.metric is None:
            following = linear_step(law, residual=jnp.zeros(()), **hyper)
        else:
            following = quadratic_step(law, square=quantity(network, g), residual=jnp.zeros(()), **hyper)
        return (q - rate * g, following), (q, value(law))

    (last, law), (path, predicted) = jax.lax.scan(step, (start, begin(quantity(network, start))), length=steps)
    return jnp.concatenate([path, last[None]]), jnp.concatenate([predicted, value(law)[None]])


def draw_surfaces(directory: RunDirectory, command: str) -> list[Claim]:
    """Draw the gradient fields, the conserved surfaces, and gradient flow and descent from random starts."""
    canvas = new_figure(1, 3, width=3.2, height=3.3)
    arrays, claims = {}, []
    for panel, (name, network) in zip(canvas.axes[0], NETWORKS.items(), strict=True):
        starts = jnp.asarray(random_starts(name, 2, 1.0, 2.0))
        run = surface_run(network, starts, jnp.linspace(0.0, FLOW_TIME, 201), RATE, STEPS)
        _draw_network(panel, network, run)
        arrays |= {f"{name}_{key}": value for key, value in run._asdict().items()}
        claims += _claims(directory, command, name, network, run)
    canvas.axes[0, 0].legend(fontsize=8, frameon=True, framealpha=0.9, loc="lower left")
    directory.save_figure(canvas.figure, "toy_conserved_surfaces", **arrays)
    return claims


def _claims(directory: RunDirectory, command: str, name: str, network: Symmetric, run: SurfaceRun) -> list[Claim]:
    flowed, descended = run.conserved.size, run.descended.size
    measured = (
        ("orthogonal", run.residual, flowed),
        ("flow", run.drift, flowed),
        ("descent", run.law_error, descended),
    )
    model = f"two parameters, {network.title.partition(':')[0]}"
    return [
        toy_claim(directory, command, CONSERVED_SURFACES[key], values, model=model, count=count, network=name)
        for key, values, count in measured
    ]


def _draw_network(panel, network: Symmetric, run: SurfaceRun) -> None:
    grid = np.linspace(-2.6, 2.6, 200)
    points = jnp.asarray(np.stack(np.meshgrid(grid, grid), axis=-1))
    losses = jax.vmap(jax.vmap(network.loss))(points)
    levels = np.quantile(losses, np.linspace(0.0, 1.0, 14))
    panel.contourf(grid, grid, losses, levels=levels, cmap="Greys", vmin=losses.min(), vmax=3 * losses.max())
    coarse = np.linspace(-2.4, 2.4, 15)
    arrows = jnp.asarray(np.stack(np.meshgrid(coarse, coarse), axis=-1))
    field = -jax.vmap(jax.vmap(jax.grad(network.loss)))(arrows)
    unit = field / jnp.linalg.norm(field, axis=-1, keepdims=True)
    panel.quiver(coarse, coarse, unit[..., 0], unit[..., 1], color="0.45", width=0.004, scale=28)
    values = jax.vmap(jax.vmap(lambda q: quantity(network, q)))(points)
    for index, path in enumerate(run.path):
        first = index == 0
        panel.contour(
            grid,
            grid,
            values,
            levels=[float(run.conserved[index, 0])],
            colors="tab:blue",
            linewidths=0.8,
            linestyles="solid",
        )
        panel.plot(*path.T, color="black", linewidth=2, label="gradient flow" if first else None)
        panel.plot(
            *run.steps[index].T,
            ".-",
            color=SERIES[0],
            markersize=3.5,
            linewidth=0.7,
            label=f"descent, η = {RATE}" if first else None,
        )
        panel.plot(*path[0], "o", color="black", markersize=4)
    panel.plot([], [], color="tab:blue", linewidth=0.8, label="conserved")
    panel.set_title(network.title, fontsize=9)
    panel.set(xlabel="$q_1$", ylabel="$q_2$", aspect="equal", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))

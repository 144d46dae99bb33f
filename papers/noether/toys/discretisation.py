"""What a finite step does to a path, and which continuous model follows it.

Gradient flow is the limit of small steps; the modified loss `L + (eta/4)|grad L|^2` and the modified equation
`m q'' + mu q' = -grad f` keep the next order. The last needs the matched start velocity `-grad f(q_0)/(1 + beta)`:
from rest it lags by half a step.

Source: Tanaka & Kunin 2021, Eq. 3; figures after Kunin et al. 2021, Neural Mechanics, Sec. 4-5.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common.claims import Claim
from papers.common.plots import new_figure
from papers.common.runs import RunDirectory
from papers.noether.claims import DISCRETISATION
from papers.noether.toys.measure import random_starts, toy_claim
from symjax.mechanics.modified_ode import solve_sgd

CIRCLE_RATE, CIRCLE_STEPS = 0.1, 100
DESCENT_RATE, DESCENT_STEPS = 0.1, 20
MOMENTUM_RATE, MOMENTUM, MOMENTUM_STEPS = 0.01, 0.9, 50
ORDER_RATES, ORDER_TIME = (0.02, 0.01, 0.005, 0.0025, 0.00125), 1.0
ORDER_MOMENTA = (0.0, 0.5)
POINTS = 200
"""Intervals at whose ends the continuous models are stored: the same for all runs, so that they share one program."""

MODELS: dict[str, dict[str, str]] = {
    "flow": {"model": "gradient_flow"},
    "modified_loss": {"model": "modified_flow"},
    "rest": {"start_velocity": "rest"},
    "matched": {"start_velocity": "matched"},
}
"""The continuous models, as keywords of `solve_sgd`: the last two are the second-order equation."""

LABELS = {
    "flow": ("gradient flow", "tab:orange"),
    "modified_loss": ("modified loss", "tab:green"),
    "rest": ("modified eq., from rest", "tab:purple"),
    "matched": ("modified eq., matched start", "tab:blue"),
}

HESSIAN = np.array([[2.5, -1.5], [-1.5, 2.5]])
"""Eigenvalue 4 along (-1, 1), 1 along (1, 1)."""


class Paths(NamedTuple):
    """A discrete path beside its continuous models; S starts, N steps, P intervals of time."""

    time: jax.Array  #: (P + 1,), from 0 to eta N
    discrete: jax.Array  #: (S, N + 1, 2)
    models: dict[str, jax.Array]  #: name -> (S, P + 1, 2), at `time`
    errors: dict[str, jax.Array]  #: name -> (S,), largest distance from the discrete path, over |q_0|


class Orders(NamedTuple):
    """Distances at one fixed time for halved learning rates; S starts, B momenta, E rates."""

    learning_rate: jax.Array  #: (E,)
    errors: dict[str, jax.Array]  #: name -> (S, B, E)
    order: dict[str, jax.Array]  #: name -> (S, B), log2 of the last two errors' quotient


def circling(q: jax.Array) -> jax.Array:
    """Give the gradient-like field whose descent circles: `-J q`, J a quarter turn."""
    return jnp.stack([q[1], -q[0]])


def quadratic_gradient(q: jax.Array) -> jax.Array:
    """Give the gradient `H q` of the quadratic."""
    return jnp.asarray(HESSIAN, q.dtype) @ q


def descend(
    gradient: Callable[[jax.Array], jax.Array], start: jax.Array, rate: jax.Array, momentum: jax.Array, steps: int
) -> jax.Array:
    """Take steps of heavy-ball descent, `v <- beta v + g`, `q <- q - eta v`; returns (steps + 1, n)."""

    def step(carry: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        q, v = carry
        v = momentum * v + gradient(q)
        return (q - rate * v, v), q

    (last, _), path = jax.lax.scan(step, (start, jnp.zeros_like(start)), length=steps)
    return jnp.concatenate([path, last[None]])


def paths(
    gradient: Callable[[jax.Array], jax.Array],
    starts: jax.Array,
    learning_rate: float,
    momentum: float,
    steps: int,
    models: tuple[str, ...] = tuple(MODELS),
) -> Paths:
    """Compare descent with its continuous models, step n at time `eta n`.

    Args:
        gradient: (2,) -> (2,).
        starts: (S, 2), float64.
        learning_rate: eta.
        momentum: beta.
        steps: N, a divisor of `POINTS`.
        models: which of `MODELS`.

    Raises:
        ValueError: where the steps do not divide `POINTS`.
    """
    if POINTS % steps:
        raise ValueError(f"the number of steps is {steps}, but must divide {POINTS}")
    every = POINTS // steps
    time = learning_rate / every * jnp.arange(POINTS + 1.0)
    rate, beta = jnp.asarray(learning_rate), jnp.asarray(momentum)
    discrete = jax.jit(jax.vmap(lambda q: descend(gradient, q, rate, beta, steps)))(starts)
    found = {name: _solve(gradient, name, starts, time, rate, beta) for name in models}
    size = np.linalg.norm(starts, axis=-1)
    errors = {
        name: jnp.asarray(np.linalg.norm(path[:, ::every] - discrete, axis=-1).max(axis=1) / size)
        for name, path in found.items()
    }
    return Paths(time, discrete, found, errors)


@partial(jax.jit, static_argnames=("gradient", "name"))
def _solve(
    gradient: Callable[[jax.Array], jax.Array],
    name: str,
    starts: jax.Array,
    time: jax.Array,
    rate: jax.Array,
    beta: jax.Array,
) -> jax.Array:
    """Integrate one model from every start; compiled once for each gradient and model, whatever the rate."""
    hyper = {"learning_rate": rate, "momentum": beta}
    return jax.vmap(lambda q: solve_sgd(gradient, q, time, **hyper, **MODELS[name]).position)(starts)


def orders(starts: jax.Array, momenta: jax.Array, rates: jax.Array, time: float) -> Orders:
    """Measure the order in eta of each model's distance from descent on the quadratic, at one fixed time.

    Gradient flow 1, the equation from rest 1, with matched start 2; the modified loss 2 without momentum and 1 with it.

    Args:
        starts: (S, 2), float64.
        momenta: beta, (B,).
        rates: eta, (E,), each half of the one before.
        time: where the distance is measured, a multiple of every rate.
    """
    counts = jnp.round(time / rates).astype(int)
    most = int(counts.max())
    times = jnp.array([0.0, time])

    def over_all(distance: Callable[..., jax.Array]) -> jax.Array:
        inner = jax.vmap(distance, in_axes=(None, None, 0, 0))
        return jax.jit(jax.vmap(jax.vmap(inner, in_axes=(None, 0, None, None)), in_axes=(0, None, None, None)))(
            starts, momenta, rates, counts
        )

    end = over_all(lambda q, beta, rate, count: descend(quadratic_gradient, q, rate, beta, most)[count])

    def model(name: str) -> jax.Array:
        def reached(q: jax.Array, beta: jax.Array, rate: jax.Array, _: jax.Array) -> jax.Array:
            hyper = {"learning_rate": rate, "momentum": beta}
            return solve_sgd(quadratic_gradient, q, times, rtol=1e-12, atol=1e-14, **hyper, **MODELS[name]).position[-1]

        return jnp.linalg.norm(over_all(reached) - end, axis=-1)

    errors = {name: model(name) for name in MODELS}
    return Orders(rates, errors, {name: jnp.log2(e[..., -2] / e[..., -1]) for name, e in errors.items()})


def draw_discretisation(directory: RunDirectory, command: str) -> list[Claim]:
    """Draw the circle, descent and momentum on a quadratic, and the orders of the models."""
    starts = jnp.asarray(np.concatenate([[[1.0, 0.0]], random_starts("discretisation", 2, 0.5, 1.5, 4)]))
    circle = paths(circling, starts, CIRCLE_RATE, 0.0, CIRCLE_STEPS, ("flow", "modified_loss"))
    plain = paths(quadratic_gradient, starts, DESCENT_RATE, 0.0, DESCENT_STEPS)
    heavy = paths(quadratic_gradient, starts, MOMENTUM_RATE, MOMENTUM, MOMENTUM_STEPS)
    order = orders(starts, jnp.array(ORDER_MOMENTA), jnp.array(ORDER_RATES), ORDER_TIME)
    canvas = new_figure(2, 2, width=3.9, height=3.1)
    _draw_circle(canvas.axes[0, 0], circle)
    _draw_paths(canvas.axes[0, 1], plain, f"descent on a quadratic, η = {DESCENT_RATE}, {DESCENT_STEPS} steps")
    title = f"momentum {MOMENTUM}, η = {MOMENTUM_RATE}, {MOMENTUM_STEPS} steps"
    _draw_paths(canvas.axes[1, 0], heavy, title)
    _draw_orders(canvas.axes[1, 1], order)
    radius_error = radius_errors(circle)
    arrays = {"circle_radius_error": radius_error, "order_learning_rate": order.learning_rate}
    for name, run in (("circle", circle), ("descent", plain), ("momentum", heavy)):
        arrays |= {f"{name}_time": run.time, f"{name}_discrete": run.discrete}
        arrays |= {f"{name}_{key}": path for key, path in run.models.items()}
        arrays |= {f"{name}_{key}_error": error for key, error in run.errors.items()}
    for key in MODELS:
        arrays |= {f"order_{key}_error": order.errors[key], f"order_{key}": order.order[key]}
    directory.save_figure(canvas.figure, "toy_discretisation", **arrays)
    return _claims(directory, command, radius_error, plain, heavy, order)


def radius_errors(circle: Paths) -> jax.Array:
    """Return the largest relative error of `|q_0| e^{eta t / 2}` as the radius of the discrete path, (S,)."""
    radius = jnp.linalg.norm(circle.discrete, axis=-1)
    predicted = radius[:, :1] * jnp.exp(CIRCLE_RATE * circle.time[:: POINTS // CIRCLE_STEPS][None] / 2)
    return jnp.abs(radius / predicted - 1).max(axis=1)


def _claims(
    directory: RunDirectory, command: str, radius_error: jax.Array, plain: Paths, heavy: Paths, order: Orders
) -> list[Claim]:
    model = "quadratic with eigenvalues 4 and 1"

    def claim(name: str, values: jax.Array, model: str = model, **filled: object) -> Claim:
        return toy_claim(directory, command, DISCRETISATION[name], values, model=model, **filled)

    claims = [claim("radius", radius_error, "circle field, eta 0.1, 100 steps")]
    for words, run in (("without momentum", plain), (f"with momentum {MOMENTUM}", heavy)):
        claims.append(claim("nearer", run.errors["matched"] / run.errors["flow"], words=words))
    for name, expected in (("flow", 1), ("rest", 1), ("matched", 2)):
        worst = jnp.abs(order.order[name] - expected).max(axis=1)
        claims.append(claim("order", worst, words=LABELS[name][0], expected=expected))
    return claims


def _draw_circle(panel, circle: Paths) -> None:
    panel.plot(*circle.discrete[0].T, ".", color="black", markersize=3, label="descent")
    for name in ("flow", "modified_loss"):
        label, colour = LABELS[name]
        label = label if name == "flow" else r"modified flow, radius $e^{\eta t/2}$"
        panel.plot(*circle.models[name][0].T, color=colour, linewidth=1.3, label=label)
    panel.set_title(f"circle field, η = {CIRCLE_RATE}", fontsize=9)
    panel.set(xlabel="$q_1$", ylabel="$q_2$", xlim=(-2.75, 2.75), ylim=(-1.8, 2.6))
    panel.set_aspect("equal")
    panel.legend(fontsize=8, frameon=False, loc="upper left")


def _draw_paths(panel, run: Paths, title: str) -> None:
    low, high = run.discrete[0].min(axis=0) - 0.15, run.discrete[0].max(axis=0) + 0.15
    x, y = np.linspace(low[0], high[0], 60), np.linspace(low[1], high[1], 60)
    points = np.stack(np.meshgrid(x, y), axis=-1)
    panel.contour(x, y, np.einsum("...i,ij,...j", points, HESSIAN, points) / 2, 12, colors="0.8", linewidths=0.6)
    for name, path in run.models.items():
        label, colour = LABELS[name]
        panel.plot(*path[0].T, color=colour, linewidth=1.3, label=f"{label}: {float(run.errors[name][0]):.2g}")
    panel.plot(*run.discrete[0].T, "o-", color="black", markersize=2.5, linewidth=0.5, label="descent")
    panel.set_title(title, fontsize=9)
    panel.set(xlabel="$q_1$", ylabel="$q_2$")
    legend = panel.legend(fontsize=8, frameon=False, title="largest distance")
    legend.get_title().set_fontsize(8)


def _draw_orders(panel, order: Orders) -> None:
    for name in MODELS:
        label, colour = LABELS[name]
        for index, line in enumerate(("-", "--")):
            panel.plot(
                order.learning_rate,
                order.errors[name][0, index],
                "o" + line,
                color=colour,
                markersize=3,
                linewidth=1.2,
                label=f"{label}" if index == 0 else None,
            )
    panel.set(xscale="log", yscale="log", xlabel="learning rate η", ylabel="distance")
    panel.set_title(
        f"at t = {ORDER_TIME:g}; solid: momentum {ORDER_MOMENTA[0]:g}, dashed: {ORDER_MOMENTA[1]:g}", fontsize=9
    )
    panel.set_ylim(bottom=2e-11)
    panel.xaxis.set_minor_formatter("")
    panel.set_xticks(order.learning_rate, [f"{rate:g}" for rate in order.learning_rate.tolist()], rotation=30)
    panel.legend(fontsize=8, frameon=False, loc="lower right")

"""Figures 1, 2 and 8 drawn and judged, from what :mod:`papers.gradient_flow.pictures` computes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from papers.common.claims import Claim, claim_over_seeds
from papers.common.plots import COLOURS, new_figure, style
from papers.common.runs import RunDirectory
from papers.gradient_flow.networks import solvable
from papers.gradient_flow.networks.setting import FiguresConfig
from papers.gradient_flow.pictures import SHAPE, STARTS, Rates, orbits, plane, rates
from symjax import integrate

# Thresholds, written before the first run. Rates: half a per cent, specification 3.17.
LARGEST_DRIFT = 1e-8
LARGEST_LOSS_CHANGE = 1e-12
LARGEST_SLOPE_ERROR = 1e-12
LARGEST_ANGLE = 1e-12
LARGEST_END_ERROR = 1e-6
LARGEST_RATE_ERROR = 5e-3
LARGEST_SHARPNESS_ERROR = 1e-10
LARGEST_EXCESS = 1e-6

SHOWN = 3  # targets drawn in Figure 8


def draw_1(directory: RunDirectory, config: FiguresConfig, command: str) -> list[Claim]:
    """Draw Figure 1: the valley with its points labelled by Q, and Q along the orbits of random networks."""
    run = orbits(config.all_seeds, jnp.linspace(-0.8, 0.8, 5 if config.quick else 17), 60.0)
    canvas = new_figure(1, 2, width=4.2, height=3.6)
    canvas.axes[0, 0].remove()
    _draw_valley(canvas.figure)
    panel = canvas.axes[0, 1]
    panel.plot(run.s, run.charge.T, "o-", markersize=3, linewidth=1, color=COLOURS["fixed"])
    panel.axhline(0, color="0.5", linewidth=0.7)
    panel.set_title("moved along the orbit, loss unchanged", fontsize=9)
    panel.set(xlabel=r"$s$, of $(U e^s,\ e^{-s} V)$", ylabel="Q")
    directory.save_figure(canvas.figure, "figure_1", **run._asdict())
    m, h, n, k = SHAPE
    claim = _claimer(directory, config, command, "1", f"|Y - U V X|^2, m, h, n, k = {m}, {h}, {n}, {k}")
    change = np.ptp(run.loss, axis=1) / np.max(run.loss, axis=1)
    return [
        claim(change, LARGEST_LOSS_CHANGE, "below", claim="moving along the orbit changes the loss: largest, relative"),
        claim(
            np.max(run.slope_error, axis=1),
            LARGEST_SLOPE_ERROR,
            "below",
            claim="Q rises along its own generator by 2 |M theta|^2: largest relative error",
        ),
        claim(
            np.max(run.drift, axis=1),
            LARGEST_DRIFT,
            "below",
            claim="gradient flow keeps the matrix Q: largest change over |theta|^2",
        ),
        claim(
            np.max(run.end_loss / run.loss, axis=1),
            LARGEST_DRIFT,
            "below",
            claim="each start reaches the minimum: largest final loss over the first",
        ),
    ]


def _draw_valley(figure) -> None:
    """The loss (1 - u v)^2 over the plane, its minimum coloured by Q, an orbit off the minimum, and gradient flow."""
    from mpl_toolkits.mplot3d import Axes3D  # registers the projection

    panel = figure.add_subplot(1, 2, 1, projection=Axes3D.name)
    u, v = np.meshgrid(np.linspace(0.05, 2.3, 60), np.linspace(0.05, 2.3, 60))
    height = (1 - u * v) ** 2
    panel.plot_surface(u, v, np.where(height < 1.5, height, np.nan), color="0.8", alpha=0.45, linewidth=0)
    q = np.linspace(-4.5, 4.5, 40)
    x, y = (np.asarray(side) for side in solvable.product_minimum(jnp.asarray(q), 1.0))
    points = panel.scatter(x, y, 0 * x, c=q, cmap="coolwarm", s=10, depthshade=False)
    x, y = (np.asarray(side) for side in solvable.product_minimum(jnp.asarray(q), 0.25))
    panel.plot(x, y, (1 - x * y) ** 2, color="black", linewidth=0.8, linestyle="--", label="orbit")
    slope = jax.grad(partial(solvable.product_loss, target=1.0))

    @jax.jit
    @jax.vmap
    def descend(u: jax.Array, v: jax.Array) -> solvable.Pair:
        return integrate.adaptive(slope, (u, v), times=jnp.linspace(0.0, 4.0, 80)).recorded

    for us, vs in zip(*map(np.asarray, descend(jnp.asarray(x[4::8]), jnp.asarray(y[4::8]))), strict=True):
        panel.plot(us, vs, (1 - us * vs) ** 2, color=COLOURS["free"], linewidth=1.2)
    panel.plot([], [], [], color=COLOURS["free"], label="gradient flow")
    panel.set_title(r"$L = (1 - uv)^2$", fontsize=9)
    panel.set(xlabel="u", ylabel="v", zlabel="L", zlim=(0, 1.5))
    panel.view_init(elev=42, azim=38)
    panel.tick_params(labelsize=6)
    panel.legend(fontsize=6, frameon=False, loc="upper left")
    figure.colorbar(points, ax=panel, shrink=0.5, pad=0.02, label="Q")


def draw_2(directory: RunDirectory, config: FiguresConfig, command: str) -> list[Claim]:
    """Draw Figure 2: gradient flow in the plane on curves of constant Q, across the orbits of the scaling group."""
    run = plane(config.all_seeds, jnp.linspace(0.0, 40.0, 201 if config.quick else 1601))
    canvas = new_figure(1, 1, width=4.4, height=4.2)
    panel = canvas.axes[0, 0]
    target, reach = float(run.target[0]), 2.5
    grid = np.linspace(-reach, reach, 300)
    panel.contour(
        grid, grid, grid[None] ** 2 - grid[:, None] ** 2, levels=np.arange(-6, 7), colors="0.75", linewidths=0.6
    )
    panel.plot([], [], color="0.75", linewidth=0.6, label="Q constant")
    for sign in (1, -1):
        u = sign * np.linspace(target / reach, reach, 200)
        panel.plot(u, target / u, color="black", linewidth=1.6, label="minimum uv = y, an orbit" if sign > 0 else None)
        at = sign * np.geomspace(target / 2.1, 2.1, 6)
        panel.quiver(at, target / at, at, -target / at, color=COLOURS["fixed"], width=0.005, scale=22, zorder=3)
    panel.plot([], [], color=COLOURS["fixed"], label="generator (u, -v)")
    for us, vs in zip(np.asarray(run.u[0]), np.asarray(run.v[0]), strict=True):
        panel.plot(us, vs, linewidth=1.2, color=COLOURS["free"])
        panel.plot(us[0], vs[0], "o", markersize=3, color=COLOURS["free"])
    panel.plot([], [], color=COLOURS["free"], label="gradient flow")
    panel.set(xlabel="u", ylabel="v", xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    panel.legend(fontsize=6, loc="upper left")
    directory.save_figure(canvas.figure, "figure_2", **run._asdict())
    claim = _claimer(directory, config, command, "2", f"(y - u v)^2 in the plane, {STARTS} starts")
    return [
        claim(
            np.max(run.drift, axis=1),
            LARGEST_DRIFT,
            "below",
            claim="gradient flow keeps Q = u^2 - v^2: largest change over |theta|^2",
        ),
        claim(
            np.max(run.angle, axis=1),
            LARGEST_ANGLE,
            "below",
            claim="gradient flow crosses the orbits at right angles: largest cosine",
        ),
        claim(
            np.max(run.end_error, axis=1),
            LARGEST_END_ERROR,
            "below",
            claim="the flow ends at the point of the minimum with the start's Q: largest relative distance",
        ),
    ]


def draw_8(directory: RunDirectory, config: FiguresConfig, command: str) -> list[Claim]:
    """Draw Figure 8: rate and sharpness against Q where both are known in closed form."""
    count = 5 if config.quick else 17
    generators = [np.random.default_rng((8, seed)) for seed in config.all_seeds]
    targets = jnp.asarray([generator.uniform(0.3, 1.5) for generator in generators])
    product = rates("product", targets, jnp.linspace(-6.0, 6.0, count))
    quotient = rates("quotient", targets, jnp.geomspace(0.1, 100.0, count))
    canvas = new_figure(1, 3, width=3.3, height=2.9)
    for panel, run, what in zip(canvas.axes[0, :2], (product, quotient), ("(y - uv)^2", "(s - u/v)^2"), strict=True):
        for quantity, role in (("rate", "free"), ("sharpness", "fixed")):
            panel.plot(run.charge, getattr(run, quantity)[:SHOWN].T, "o", markersize=3, color=COLOURS[role])
            panel.plot([], [], "o", markersize=3, color=COLOURS[role], label=f"{quantity}, measured")
            panel.plot(run.charge, getattr(run.expected, quantity)[:SHOWN].T, **style("prediction"))
        panel.plot([], [], label="closed form", **style("prediction"))
        panel.set_title(f"$L = {what}$, {min(SHOWN, len(targets))} targets", fontsize=9)
        panel.set(xlabel="Q")
        panel.legend(fontsize=6, frameon=False)
    canvas.axes[0, 1].set(xscale="log", yscale="log")
    _draw_decay(canvas.axes[0, 2], quotient)
    arrays = {
        f"{name}_{field}": value
        for name, run in (("product", product), ("quotient", quotient))
        for field, value in (run._asdict() | run.expected._asdict()).items()
        if field != "expected"
    }
    directory.save_figure(canvas.figure, "figure_8", **arrays)
    return _claims_8(directory, config, command, product, quotient)


def _draw_decay(panel, run: Rates) -> None:
    for q, times, losses in list(zip(run.charge, run.times[0], run.losses[0], strict=True))[::4]:
        panel.plot(times / q, losses / losses[0], linewidth=1.2, label=f"Q = {float(q):.3g}")
    longest = float(jnp.max(run.times[0] / run.charge[:, None]))
    grid = np.linspace(0.0, longest, 50)
    panel.plot(grid, np.exp(-4 * grid), label=r"bound $e^{-4t/Q}$", **style("prediction"))
    panel.set_title("one curve in t/Q, under the bound", fontsize=9)
    panel.set(xlabel="t / Q", ylabel="L / L(0)", yscale="log")
    panel.legend(fontsize=6, frameon=False)


def _claims_8(
    directory: RunDirectory, config: FiguresConfig, command: str, product: Rates, quotient: Rates
) -> list[Claim]:
    claims = []
    for name, run in (("(y - u v)^2", product), ("(s - u/v)^2", quotient)):
        claim = _claimer(directory, config, command, "8", name)
        for quantity, threshold in (("rate", LARGEST_RATE_ERROR), ("sharpness", LARGEST_SHARPNESS_ERROR)):
            error = np.abs(getattr(run, quantity) / getattr(run.expected, quantity) - 1).max(axis=1)
            claims.append(
                claim(error, threshold, "below", claim=f"{name}: {quantity} by the closed form in Q, largest error")
            )
    bound = solvable.quotient_bound(quotient.losses[:, :, :1], quotient.charge[None, :, None], quotient.times)
    excess = np.max((quotient.losses / bound - 1)[:, :, 1:], axis=(1, 2))  # at time 0 they are equal
    claim = _claimer(directory, config, command, "8", "(s - u/v)^2")
    claims.append(
        claim(excess, LARGEST_EXCESS, "below", claim="(s - u/v)^2: L(t) <= L(0) e^(-4t/Q), largest relative excess")
    )
    return claims


def _claimer(directory: RunDirectory, config: FiguresConfig, command: str, figure: str, model: str):
    return partial(
        claim_over_seeds,
        reduced=config.quick,
        environment=directory.environment,
        figure=f"Fig. {figure}",
        paper={
            "1": "the minimum goes on along the orbits of the symmetry, and Q labels its points",
            "2": "gradient flow keeps Q, which parametrises the minimum",
            "8": "Q decides the rate of convergence and the sharpness of the minimum",
        }[figure],
        source="Zhao et al. 2023; the picture and the thresholds are this project's",
        data="none: random problems and starts",
        model=model,
        command=command,
    )

"""Figure 2: in the plane of two weights gradient flow keeps to the curves of constant Q, across the orbits.

Source: Zhao et al. 2023, Figure 2.
Deviation: the paper's picture is schematic and came without code; what is shown here is computed, and chosen by this
project.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.common.experiment import Experiment, Picture
from papers.common.plots import COLOURS, new_figure
from papers.common.runs import RunDirectory
from papers.gradient_flow.claims import FIGURE_2
from papers.gradient_flow.networks import solvable
from papers.gradient_flow.networks.config import ExperimentConfig
from symjax import integrate

STARTS = 12  # trajectories


class Plane(NamedTuple):
    """What Figure 2 shows, for S seeds, A starts and T times."""

    target: jax.Array  #: (S,), y
    u: jax.Array  #: (S, A, T)
    v: jax.Array  #: (S, A, T)
    drift: jax.Array  #: (S, A), largest change of Q over ``|theta|^2`` at the start
    angle: jax.Array  #: (S, A), largest |cosine| between the flow and the orbit
    end_error: jax.Array  #: (S, A), distance of the end from the point of the minimum with the start's Q, relative


def measure(config: ExperimentConfig, directory: RunDirectory) -> Plane:
    """Follow the flow from every seed's starts."""
    del directory
    return plane(config.all_seeds, jnp.linspace(0.0, 40.0, 201 if config.quick else 1601))


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


def draw(run: Plane, config: ExperimentConfig) -> Picture:
    """Draw the first seed's trajectories on the curves of constant Q, with the minimum and the generator along it."""
    del config
    canvas = new_figure(1, 1, width=4.4, height=5.4)
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
    panel.set_title("Gradient flow keeps Q and crosses the orbits", fontsize=9)
    canvas.figure.legend(
        *panel.get_legend_handles_labels(), loc="outside lower center", fontsize=8, frameon=False, ncols=2
    )
    return Picture(canvas.figure, run._asdict())


def judge(run: Plane, config: ExperimentConfig, setting: Setting) -> list[Claim]:
    """Judge the claims of Figure 2, all seeds and starts."""
    del config
    here = setting._replace(data="none: random problems and starts", model=f"(y - u v)^2, {STARTS} starts in the plane")
    errors = {"kept": run.drift, "angle": run.angle, "coordinate": run.end_error}
    return [claims.judge(FIGURE_2[key], np.max(each, axis=1), here, count=each.size) for key, each in errors.items()]


EXPERIMENT = Experiment(measure, draw, judge)

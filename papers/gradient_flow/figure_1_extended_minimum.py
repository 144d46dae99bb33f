"""Figure 1: the minimum goes on along the orbits of the scaling group, and Q labels its points.

Random networks ``|Y - U V X|^2`` are moved along their orbit by ``(U e^s, e^-s V)``, and gradient flow is followed from
every place.

Source: Zhao et al. 2023, Figure 1.
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
from papers.gradient_flow.claims import FIGURE_1
from papers.gradient_flow.networks import solvable
from papers.gradient_flow.networks.config import ExperimentConfig
from symjax import integrate
from symjax.conserved import matrix

SHAPE = (2, 3, 2, 3)  # m, h, n, k
TIME = 60.0  # of the flow


class Orbits(NamedTuple):
    """What Figure 1 shows, for S seeds and G elements ``e^s``: networks (U e^s, e^-s V) and gradient flow from each."""

    s: jax.Array  #: (G,)
    loss: jax.Array  #: (S, G), before the flow
    end_loss: jax.Array  #: (S, G), at its end
    charge: jax.Array  #: (S, G), ``|U|^2 - |V|^2``
    slope_error: jax.Array  #: (S, G), relative difference of dQ/ds and twice ``|M theta|^2``
    drift: jax.Array  #: (S, G), largest change of the matrix Q along the flow over ``|theta|^2``


def measure(config: ExperimentConfig, directory: RunDirectory) -> Orbits:
    """Move every seed's network along its orbit."""
    del directory
    return orbits(config.all_seeds, jnp.linspace(-0.8, 0.8, 5 if config.quick else 17), TIME)


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


def draw(run: Orbits, config: ExperimentConfig) -> Picture:
    """Draw the valley with its points labelled by Q, and Q along the orbits of the networks."""
    del config
    canvas = new_figure(1, 2, width=4.6, height=3.9)
    canvas.axes[0, 0].remove()
    _draw_valley(canvas.figure)
    panel = canvas.axes[0, 1]
    panel.plot(run.s, run.charge.T, "o-", markersize=3, linewidth=1, color=COLOURS["fixed"])
    panel.axhline(0, color="0.5", linewidth=0.7)
    panel.set_title("Q changes along the orbit, the loss does not", fontsize=9)
    panel.set(xlabel=r"$s$, of $(U e^s,\ e^{-s} V)$", ylabel="Q")
    return Picture(canvas.figure, run._asdict())


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
    panel.tick_params(labelsize=8)
    panel.legend(fontsize=8, frameon=False, loc="upper left")
    figure.colorbar(points, ax=panel, shrink=0.5, pad=0.02, label="Q")


def judge(run: Orbits, config: ExperimentConfig, setting: Setting) -> list[Claim]:
    """Judge the claims of Figure 1, all seeds and places."""
    del config
    m, h, n, k = SHAPE
    here = setting._replace(data="none: random problems", model=f"|Y - U V X|^2, m, h, n, k = {m}, {h}, {n}, {k}")
    change = np.ptp(run.loss, axis=1) / np.max(run.loss, axis=1)
    count = run.loss.size
    return [
        claims.judge(FIGURE_1["loss"], change, here, count=count),
        claims.judge(FIGURE_1["rise"], np.max(run.slope_error, axis=1), here, count=count),
        claims.judge(FIGURE_1["kept"], np.max(run.drift, axis=1), here, count=count),
        claims.judge(FIGURE_1["arrives"], np.max(run.end_loss / run.loss, axis=1), here),
    ]


EXPERIMENT = Experiment(measure, draw, judge)

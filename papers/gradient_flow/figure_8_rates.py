"""Figure 8: rate of convergence and sharpness against Q, where gradient flow is solved in closed form.

Source: Zhao et al. 2023, Figure 8 and section 5.
Deviation: the paper's picture came without code; what is shown here is computed, and chosen by this project.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.common.experiment import Experiment, Picture
from papers.common.plots import COLOURS, new_figure, style
from papers.common.runs import RunDirectory
from papers.gradient_flow.claims import FIGURE_8
from papers.gradient_flow.networks import solvable
from papers.gradient_flow.networks.config import ExperimentConfig
from symjax import integrate

EFOLDS = np.linspace(0.0, 14.0, 57)  # of the residual, at which rates are measured
LATE = EFOLDS >= 8.0
SHOWN = 3  # targets drawn


class Rates(NamedTuple):
    """What Figure 8 shows of one model, for S seeds and G values of Q: what was measured and the closed form."""

    target: jax.Array  #: (S,), y or s
    charge: jax.Array  #: (G,)
    rate: jax.Array  #: (S, G)
    sharpness: jax.Array  #: (S, G)
    expected: solvable.Limit  #: of (S, G)
    losses: jax.Array  #: (S, G, T)
    times: jax.Array  #: (S, G, T)


class Models(NamedTuple):
    """Both solved models: ``(y - u v)^2`` and ``(s - u/v)^2``."""

    product: Rates
    quotient: Rates


def measure(config: ExperimentConfig, directory: RunDirectory) -> Models:
    """Measure rates and sharpness of both models, one random target a seed."""
    del directory
    count = 5 if config.quick else 17
    generators = [np.random.default_rng((8, seed)) for seed in config.all_seeds]
    targets = jnp.asarray([generator.uniform(0.3, 1.5) for generator in generators])
    return Models(
        rates(solvable.PRODUCT, targets, jnp.linspace(-6.0, 6.0, count)),
        rates(solvable.QUOTIENT, targets, jnp.geomspace(0.1, 100.0, count)),
    )


def rates(model: solvable.Model, targets: jax.Array, charge: jax.Array) -> Rates:
    """Measure rate and sharpness at prescribed Q: by gradient flow to the minimum, and by the Hessian there.

    The flow starts at the prescribed Q on the minimum of a problem nearby. The rate is minus the slope of log L while
    the residual falls from e^-8 to e^-14 of its start.

    Source: Zhao et al. 2023, section 5 and Figure 8.

    Args:
      model: of :mod:`papers.gradient_flow.networks.solvable`.
      targets: (S,).
      charge: (G,), Q; positive for the quotient.
    """
    return _rates(model, targets, charge)


@partial(jax.jit, static_argnums=0)
def _rates(model: solvable.Model, targets: jax.Array, charge: jax.Array) -> Rates:
    loss, minimum, limit = model

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


def draw(run: Models, config: ExperimentConfig) -> Picture:
    """Draw rate and sharpness against Q beside their closed forms, and the decay in ``t/Q`` under its bound."""
    shown = min(SHOWN, config.seeds)
    canvas = new_figure(1, 3, width=3.8, height=3.2)
    for panel, model, what in zip(canvas.axes[0, :2], run, ("(y - uv)^2", "(s - u/v)^2"), strict=True):
        for quantity, role in (("rate", "free"), ("sharpness", "fixed")):
            panel.plot(model.charge, getattr(model, quantity)[:shown].T, "o", markersize=3, color=COLOURS[role])
            panel.plot([], [], "o", markersize=3, color=COLOURS[role], label=f"{quantity}, measured")
            panel.plot(model.charge, getattr(model.expected, quantity)[:shown].T, **style("prediction"))
        panel.plot([], [], label="closed form", **style("prediction"))
        panel.set_title(f"Q decides rate and sharpness: $L = {what}$", fontsize=9)
        panel.set(xlabel="Q", ylabel=f"rate, largest eigenvalue ({shown} targets)")
        panel.legend(frameon=False, fontsize=8)
    canvas.axes[0, 1].set(xscale="log", yscale="log")
    _draw_decay(canvas.axes[0, 2], run.quotient)
    arrays = {
        f"{name}_{field}": value
        for name, model in run._asdict().items()
        for field, value in (model._asdict() | model.expected._asdict()).items()
        if field != "expected"
    }
    return Picture(canvas.figure, arrays)


def _draw_decay(panel, run: Rates) -> None:
    for q, times, losses in list(zip(run.charge, run.times[0], run.losses[0], strict=True))[::4]:
        panel.plot(times / q, losses / losses[0], linewidth=1.2, label=f"Q = {float(q):.3g}")
    longest = float(jnp.max(run.times[0] / run.charge[:, None]))
    grid = np.linspace(0.0, longest, 50)
    panel.plot(grid, np.exp(-4 * grid), label=r"bound $e^{-4t/Q}$", **style("prediction"))
    panel.set_title("one curve in t/Q, under the bound", fontsize=9)
    panel.set(xlabel="t / Q", ylabel="L / L(0)", yscale="log")
    panel.legend(fontsize=8, frameon=False)


def judge(run: Models, config: ExperimentConfig, setting: Setting) -> list[Claim]:
    """Judge the claims of Figure 8, all targets and Q."""
    del config
    found = []
    for name, model in (("(y - u v)^2", run.product), ("(s - u/v)^2", run.quotient)):
        here = setting._replace(data="none: random targets", model=name)
        for quantity in ("rate", "sharpness"):
            error = np.abs(getattr(model, quantity) / getattr(model.expected, quantity) - 1)
            found.append(claims.judge(FIGURE_8[quantity], error.max(axis=1), here, count=error.size, model=name))
    quotient = run.quotient
    bound = solvable.quotient_bound(quotient.losses[:, :, :1], quotient.charge[None, :, None], quotient.times)
    excess = (quotient.losses / bound - 1)[:, :, 1:]  # at time 0 they are equal
    found.append(claims.judge(FIGURE_8["bound"], np.max(excess, axis=(1, 2)), here, count=excess.size))
    return found


EXPERIMENT = Experiment(measure, draw, judge)

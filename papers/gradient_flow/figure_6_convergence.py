"""Figure 6: how fast gradient descent converges from initial weights of several scales, elementwise activations.

Q grows with the scale of the initial weights, and so does the rate.

Expected (Zhao et al. 2023, Figure 6; float64 numbers of the authors' initial draws): first step with |F - Y| < 0.1 for
linear networks 84,159, 39,457 and 2,270 at scale 0.01, 0.1 and 1. 20 s a seed on one core. Command:
``python -m papers.gradient_flow.figures --figure 6``.
"""

from typing import NamedTuple

import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.common.experiment import Experiment, Picture
from papers.common.plots import SERIES, new_figure
from papers.common.runs import RunDirectory
from papers.gradient_flow.claims import FIGURE_6
from papers.gradient_flow.networks.config import ExperimentConfig
from papers.gradient_flow.networks.two_layer.convergence import CLOSE, first_below, write_numbers
from papers.gradient_flow.networks.two_layer.descent import PER_DECADE, QUICK, STEPS, Job, distance, train_all
from papers.gradient_flow.networks.two_layer.model import paper_charge
from papers.gradient_flow.networks.two_layer.starts import draw_elementwise, stack
from symjax.integrate import log_spaced

SCALES = (0.01, 0.1, 1.0)
LEARNING_RATE = 1e-3
SHOWN = 3  # seeds in the picture


class Convergence(NamedTuple):
    """Runs of one activation, arrays (seeds, scales, records) unless said.

    Attributes:
      steps: (records,).
      distance: ``|F - Y|``.
      charge: Q in the scale of the authors' code.
    """

    steps: np.ndarray
    distance: np.ndarray
    charge: np.ndarray


def measure(config: ExperimentConfig, directory: RunDirectory) -> dict[str, Convergence]:
    """Train every activation from every seed and scale."""
    jobs, found = [job(activation, config) for activation in STEPS], {}
    for one, curves in zip(jobs, train_all(jobs), strict=True):
        name, shape = one.activation, (config.seeds, len(SCALES))
        errors = distance(curves).reshape(*shape, -1)
        charges = paper_charge(curves.charge, name).reshape(*shape, -1)
        for place, (seed, scale) in enumerate((seed, scale) for seed in config.all_seeds for scale in SCALES):
            row, column = divmod(place, len(SCALES))
            what = {"network": name, "seed": seed, "scale": scale, "initial_charge": charges[row, column, 0]}
            write_numbers(directory, curves, place, errors[row, column], what, close=True)
        found[name] = Convergence(curves.steps, errors, charges)
    return found


def job(activation: str, config: ExperimentConfig) -> Job:
    """Set up the runs of one activation of Figure 6, seed after seed, each with all scales."""
    last = STEPS[activation] // (QUICK if config.quick else 1)
    starts = [draw_elementwise(seed, scale, config.initialisation) for seed in config.all_seeds for scale in SCALES]
    return Job(activation, stack(starts), np.full(len(starts), LEARNING_RATE), log_spaced(last, PER_DECADE))


def draw(found: dict[str, Convergence], config: ExperimentConfig) -> Picture:
    """Draw the loss against the steps, an activation a panel."""
    canvas = new_figure(1, len(found), height=2.9)
    for panel, (name, run) in zip(canvas.axes[0], found.items(), strict=True):
        for row in range(min(SHOWN, config.seeds)):
            for column in range(len(SCALES)):
                label = f"Q = {run.charge[row, column, 0]:.3g}" if row == 0 else None
                values = run.distance[row, column, 1:]
                panel.plot(run.steps[1:], values, color=SERIES[column], lw=1, label=label)
        panel.axhline(CLOSE, color="0.6", linewidth=0.7)
        panel.set(xscale="log", yscale="log", ylim=(1e-6, 100), xlabel="steps")
        panel.set_title(f"{name}: larger weights, faster", fontsize=9)
        panel.legend(fontsize=8, loc="lower left", frameon=False)
    canvas.axes[0, 0].set_ylabel("|F - Y|")
    arrays = {f"{name}_{field}": values for name, run in found.items() for field, values in run._asdict().items()}
    return Picture(canvas.figure, arrays)


def judge(found: dict[str, Convergence], config: ExperimentConfig, setting: Setting) -> list[Claim]:
    """Judge the claims of Figure 6: of every seed the least ratio of steps between neighbouring scales."""
    del config
    here = setting._replace(data="none: random targets 5 x 10", model="two layers, 10-50-5")
    judged = []
    for name, run in found.items():
        reached = first_below(run.steps, run.distance, CLOSE)
        faster = np.log10(reached[:, :-1] / reached[:, 1:]).min(axis=1)
        judged.append(claims.judge(FIGURE_6[name], faster, here))
    return judged


EXPERIMENT = Experiment(measure, draw, judge)

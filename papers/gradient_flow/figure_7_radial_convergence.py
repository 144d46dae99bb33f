"""Figure 7: how fast gradient descent converges where the hidden layer is blind to the scale of the weights.

The loss depends on U and V through ratios alone and Q sets the pace: ``t -> t/Q`` makes all curves one. The authors
divide each neuron's row by its squared norm; a truly radial layer divides each column (each sample's hidden vector),
and of that both are drawn.

Expected (Zhao et al. 2023, Figure 7; float64 numbers of the authors' initial draws): MSE/|Y| after 10^4 steps 2.5e-30,
6.4e-3, 0.1171 and 0.1344 at Q = 0.00206, 0.206, 20.6 and 2056. 20 s a seed on one core. Command:
``python -m papers.gradient_flow.figures --figure 7``.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.common.experiment import Experiment, Picture
from papers.common.plots import SERIES, new_figure
from papers.common.runs import RunDirectory
from papers.gradient_flow.claims import FIGURE_7
from papers.gradient_flow.networks.config import ExperimentConfig
from papers.gradient_flow.networks.two_layer.convergence import first_below, write_numbers
from papers.gradient_flow.networks.two_layer.descent import PER_DECADE, QUICK, Job, train_all
from papers.gradient_flow.networks.two_layer.model import paper_charge
from papers.gradient_flow.networks.two_layer.starts import draw_radial, stack
from symjax.integrate import log_spaced

VERSIONS = {"row_radial": "rows (the authors')", "radial": "columns"}
RADIAL_SCALES = (0.01, 0.1, 1.0, 10.0)
RADIAL_RATE = 1e-5
RADIAL_STEPS = 1_000_000
BEGUN = 0.9  # of the initial loss: the share at which runs are compared
SHARES = (0.9, 0.5, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)  # of the initial loss, at which their pace is
SHORTEST = 50  # steps to a share below which it is not compared: they are whole numbers
SHOWN = 3  # seeds in the picture


class Radial(NamedTuple):
    """Runs of one version, arrays (seeds, scales, records) unless said.

    Attributes:
      steps: (records,).
      loss: mean squared error over ``|Y|``.
      charge: total Q in the scale of the authors' code.
      moved: largest relative change of a single neuron's Q at the second scale, (seeds,).
    """

    steps: np.ndarray
    loss: np.ndarray
    charge: np.ndarray
    moved: np.ndarray


def measure(config: ExperimentConfig, directory: RunDirectory) -> dict[str, Radial]:
    """Train both versions from every seed and scale."""
    jobs, found = [job(version, config) for version in VERSIONS], {}
    for one, curves in zip(jobs, train_all(jobs), strict=True):
        name, shape = one.activation, (config.seeds, len(RADIAL_SCALES))
        norms = np.linalg.norm(one.start.target, axis=(1, 2))
        losses = (curves.loss / norms[:, None]).reshape(*shape, -1)
        charges = paper_charge(curves.charge, name).reshape(*shape, -1)
        for place, (seed, scale) in enumerate((seed, scale) for seed in config.all_seeds for scale in RADIAL_SCALES):
            row, column = divmod(place, len(RADIAL_SCALES))
            what = {"network": name, "seed": seed, "scale": scale, "initial_charge": charges[row, column, 0]}
            write_numbers(directory, curves, place, losses[row, column], what)
        neurons = curves.charge.reshape(*shape, len(curves.steps), -1)[:, 1]
        moved = np.abs(neurons[:, -1] / neurons[:, 0] - 1).max(axis=1)
        found[name] = Radial(curves.steps, losses, charges, moved)
    return found


def job(version: str, config: ExperimentConfig) -> Job:
    """Set up the runs of one version of Figure 7, seed after seed, each with all scales."""
    last = RADIAL_STEPS // (QUICK if config.quick else 1)
    starts = [draw_radial(seed, scale, config.initialisation) for seed in config.all_seeds for scale in RADIAL_SCALES]
    return Job(version, stack(starts), np.full(len(starts), RADIAL_RATE), log_spaced(last, PER_DECADE))


def collapse_error(steps: np.ndarray, small: np.ndarray, large: np.ndarray, factor: float = 100.0) -> float:
    """Measure how far two loss curves are from one curve in t/Q, the second with ``factor`` times the Q.

    ``max |log10 (small(t)/large(factor t))|`` over the recorded t whose partner lies in the run, while the loss is
    above 1e-6 of its start; the second curve is interpolated between records.

    Args:
      steps: (records,), from 0.
      small: losses at the smaller Q, (records,).
      large: losses at the larger Q, (records,).
      factor: ratio of the two Q.

    Returns:
      The error; NaN where a loss is not finite.
    """
    wanted = (steps > 0) & (factor * steps <= steps[-1]) & ~(small <= 1e-6 * small[0])
    partner = np.interp(np.log(factor * steps[wanted]), np.log(steps[1:]), np.log10(large[1:]))
    return float(np.max(np.abs(np.log10(small[wanted]) - partner)))


def pace_error(steps: np.ndarray, small: np.ndarray, large: np.ndarray, factor: float = 100.0) -> float:
    """Measure how far the times to a given share of the initial loss are from being proportional to Q.

    ``max |log10 (T_large/(factor T_small))|`` over the shares that both runs pass below. Other than
    :func:`collapse_error`, which compares losses at one time, it is not blown up where a curve falls steeply.

    Args:
      steps: (records,), from 0.
      small: losses at the smaller Q, (records,).
      large: losses at the larger Q, (records,).
      factor: ratio of the two Q.

    Returns:
      The error; NaN where no share is passed by both.
    """
    errors = [np.nan]
    for share in SHARES:
        begun = [first_below(steps, losses / losses[0], share) for losses in (small, large)]
        passed = all((losses < share * losses[0]).any() for losses in (small, large))
        if passed and begun[0] >= SHORTEST:
            errors.append(abs(np.log10(begun[1] / (factor * begun[0]))))
    return float(np.nanmax(errors)) if len(errors) > 1 else np.nan


def draw(found: dict[str, Radial], config: ExperimentConfig) -> Picture:
    """Draw the loss against steps and against ``t/Q``, a version a column."""
    canvas = new_figure(2, len(VERSIONS), width=4.0, height=2.8)
    for place, (name, run) in enumerate(found.items()):
        for row in range(min(SHOWN, config.seeds)):
            for column in range(len(RADIAL_SCALES)):
                at = run.charge[row, column, 0]
                label = f"Q = {at:.3g}" if row == 0 else None
                for panel, x in (
                    (canvas.axes[0, place], run.steps),
                    (canvas.axes[1, place], RADIAL_RATE * run.steps / at),
                ):
                    panel.plot(x[1:], run.loss[row, column, 1:], color=SERIES[column], lw=1, label=label)
        sentences = ("smaller Q, faster", "one curve in t/Q")
        for panel, x, sentence in zip(canvas.axes[:, place], ("steps", "t / Q"), sentences, strict=True):
            panel.set(xscale="log", yscale="log", ylim=(1e-10, 1), xlabel=x, ylabel="MSE / |Y|")
            panel.set_title(f"{VERSIONS[name]}: {sentence}", fontsize=9)
            panel.legend(fontsize=8, loc="lower left", frameon=False)
    arrays = {
        f"{name}_{field}": getattr(run, field) for name, run in found.items() for field in ("steps", "loss", "charge")
    }
    return Picture(canvas.figure, arrays)


def judge(found: dict[str, Radial], config: ExperimentConfig, setting: Setting) -> list[Claim]:
    """Judge the claims of Figure 7; those about the columns, which the paper has not, are controls."""
    del config
    here = setting._replace(data="none: random targets 5 x 10", model="two layers, 10-5-5, hidden layer of degree -1")
    judged = []
    for name, run in found.items():
        table = FIGURE_7
        if name == "radial":
            table = {
                key: statement._replace(
                    subject="control", paper=statement.paper if key == "kept" else "not in the paper"
                )
                for key, statement in FIGURE_7.items()
            }
        judged += [
            claims.judge(table[key], values, here, version=VERSIONS[name]) for key, values in _values(name, run).items()
        ]
    return judged


def _values(name: str, run: Radial) -> dict[str, np.ndarray]:
    """What each claim asks of every seed."""
    begun = np.log10(first_below(run.steps, run.loss / run.loss[..., :1], BEGUN))
    errors = np.array([[collapse_error(run.steps, *pair) for pair in pairwise(seed)] for seed in run.loss])
    paces = np.array([[pace_error(run.steps, *pair) for pair in pairwise(seed)] for seed in run.loss])
    # a seed whose runs pass no share in common has no pace
    paced = [np.nanmax(seed) for seed in paces[:, 1:] if np.isfinite(seed).any()] or [np.nan]
    values = {
        "faster": np.diff(begun, axis=1).min(axis=1),
        "collapsed": errors[:, 1:].max(axis=1),
        "collapsed_smallest": errors[:, 0],
        "paced": np.array(paced),
        "kept": np.abs(run.charge[:, 1:, -1] / run.charge[:, 1:, 0] - 1).max(axis=1),
    }
    return values | ({"moved": np.log10(run.moved)} if name == "radial" else {})


EXPERIMENT = Experiment(measure, draw, judge)

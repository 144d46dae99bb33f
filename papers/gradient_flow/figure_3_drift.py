"""Figure 3: how far a conserved quantity drifts under gradient descent, and what float32 adds to that.

Gradient flow keeps Q; descent with learning rate eta moves it by O(eta) in all, and no further once the loss is small.
In float32 round-off hides this at the smaller rates: the drift grows again as eta falls.

Expected (Zhao et al. 2023, Figure 3; float64 numbers of the authors' initial draw): ``(|Q_t| - |Q_1|)/D`` ends at
6.9e-4 (linear), 3.6e-4 (ReLU), 1.5e-5 (tanh) for eta = 0.1, in proportion to eta. 12 runs of 400,000 steps, 800,000 for
the sigmoid: 20 s a seed on one core. Command: ``python -m papers.gradient_flow.figures --figure 3``.
"""

from typing import Any, NamedTuple

import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.common.experiment import Experiment, Picture
from papers.common.plots import SERIES, new_figure
from papers.common.runs import RunDirectory
from papers.gradient_flow.claims import FIGURE_3, FIGURE_3_ORDER, FIGURE_3_TINY
from papers.gradient_flow.networks.config import ExperimentConfig
from papers.gradient_flow.networks.two_layer.descent import PER_DECADE, QUICK, STEPS, Curves, Job, distance, train_all
from papers.gradient_flow.networks.two_layer.model import PAPER_SCALE, paper_charge
from papers.gradient_flow.networks.two_layer.starts import Start, draw_elementwise, stack
from symjax.integrate import log_spaced

RATES = (0.1, 0.01, 0.001)
SCALE = 0.1
ROUNDED = "linear, float32"
SHOWN = 3  # seeds in the pictures


class Drift(NamedTuple):
    """Drifts of the runs of one activation, arrays (seeds, rates, records) unless said.

    Attributes:
      steps: (records,), without step 0.
      total: ``Q_t - Q_0`` in the scale of the authors' code.
      relative: ``(|Q_t| - |Q_1|)/D``, as the paper plots it: Q_1 after the first step, D their Q at the start with plus
        signs.
      distance: ``|F - Y|``.
      start: Q at step 0, (seeds,).
    """

    steps: np.ndarray
    total: np.ndarray
    relative: np.ndarray
    distance: np.ndarray
    start: np.ndarray


def measure(config: ExperimentConfig, directory: RunDirectory) -> dict[str, Drift]:
    """Train every activation in float64, the linear network in float32 as well, and give the drifts of each."""
    jobs = [job(activation, config) for activation in STEPS] + [job("linear", config, np.float32)]
    found = {
        name: drifts(one, curves) for name, one, curves in zip([*STEPS, ROUNDED], jobs, train_all(jobs), strict=True)
    }
    for name, drift in found.items():
        _write_numbers(directory, config, name, drift)
    return found


def job(activation: str, config: ExperimentConfig, dtype: Any = np.float64) -> Job:
    """Set up the runs of one activation, seed after seed, each with all rates."""
    last = STEPS[activation] // (QUICK if config.quick else 1)
    starts = [draw_elementwise(seed, SCALE, config.initialisation) for seed in config.all_seeds for _ in RATES]
    start = Start(*(leaf.astype(dtype) for leaf in stack(starts)))
    return Job(activation, start, np.tile(RATES, config.seeds), log_spaced(last, PER_DECADE))


def drifts(job: Job, curves: Curves) -> Drift:
    """Turn recorded charges into drifts.

    Source: Zhao et al. 2023, Figure 3: ``(|Q_t| - |Q_1|)/D``.
    Deviation: step 0 is recorded too, and the drift's order is that of ``Q_t - Q_0``: the authors' arrays begin after
    the first step, which holds most of the drift of the sigmoid.
    """

    def by_seed(values: np.ndarray) -> np.ndarray:
        return values.reshape(-1, len(RATES), *values.shape[1:])

    charges = paper_charge(curves.charge, job.activation)
    squares = np.sum(np.asarray(job.start.output, np.float64) ** 2, axis=(1, 2))
    plus = np.abs(PAPER_SCALE[job.activation] * squares - charges[:, 0])
    charges = np.where(curves.finite, charges, np.nan)
    relative = (np.abs(charges[:, 1:]) - np.abs(charges[:, 1:2])) / plus[:, None]
    return Drift(
        curves.steps[1:],
        by_seed(charges[:, 1:] - charges[:, :1]),
        by_seed(relative),
        by_seed(distance(curves)[:, 1:]),
        by_seed(charges[:, 0])[:, 0],
    )


def order(drift: Drift) -> np.ndarray:
    """Give the exponent of the final drift in eta between the two smaller rates, (seeds,)."""
    last = np.abs(drift.total[:, :, -1])
    return np.log(last[:, 1] / last[:, 2]) / np.log(RATES[1] / RATES[2])


def settled(drift: Drift) -> np.ndarray:
    """Give the share of the final drift that the second half of the steps adds at the largest rate, (seeds,)."""
    half = np.searchsorted(drift.steps, drift.steps[-1] // 2)
    total = drift.total[:, 0]
    return np.abs(total[:, -1] - total[:, half]) / np.abs(total[:, -1])


def _write_numbers(directory: RunDirectory, config: ExperimentConfig, name: str, drift: Drift) -> None:
    for place, seed in enumerate(config.all_seeds):
        for column, rate in enumerate(RATES):
            directory.append(
                {
                    "network": name,
                    "seed": seed,
                    "learning_rate": rate,
                    "steps": int(drift.steps[-1]),
                    "initial_charge": drift.start[place],
                    "final_drift": drift.total[place, column, -1],
                    "final_relative_drift": drift.relative[place, column, -1],
                    "largest_relative_drift": np.max(np.abs(drift.relative[place, column])),
                    "final_distance": drift.distance[place, column, -1],
                    "diverged": bool(np.isnan(drift.total[place, column, -1])),
                }
            )


def draw(found: dict[str, Drift], config: ExperimentConfig) -> Picture:
    """Draw drift and loss against the steps, an activation a column."""
    del config
    canvas = new_figure(2, len(STEPS))
    for column, name in enumerate(STEPS):
        drift = found[name]
        for row, values in enumerate((np.abs(drift.relative), drift.distance)):
            panel = canvas.axes[row, column]
            for place in range(min(SHOWN, len(values))):
                for index, rate in enumerate(RATES):
                    label = f"$\\eta$ = {rate:g}" if place == 0 else None
                    panel.plot(drift.steps[1:], values[place, index, 1:], color=SERIES[index], lw=1, label=label)
            panel.set(xscale="log", yscale="log", xlabel="steps")
        canvas.axes[0, column].set_title(f"{name}: Q drifts in proportion to $\\eta$", fontsize=9)
        canvas.axes[1, column].set_title(f"{name}: distance to the target", fontsize=9)
    rounded, panel = found[ROUNDED], canvas.axes[0, list(STEPS).index("linear")]
    for index in range(len(RATES)):
        label = "float32" if index == 0 else None
        values = np.abs(rounded.relative[0, index, 1:])
        panel.plot(rounded.steps[1:], values, color=SERIES[index], lw=1.4, ls=":", label=label)
    canvas.axes[0, 0].set_ylabel("|drift of Q| / D")
    canvas.axes[1, 0].set_ylabel("|F - Y|")
    canvas.figure.legend(
        *panel.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=8
    )
    arrays = {}
    for name, drift in found.items():
        plain = name.replace(", ", "_")
        arrays |= {f"{plain}_{field}": getattr(drift, field) for field in ("steps", "relative", "distance")}
    return Picture(canvas.figure, arrays)


def judge(found: dict[str, Drift], config: ExperimentConfig, setting: Setting) -> list[Claim]:
    """Judge the claims of Figure 3, the interval over the seeds."""
    del config
    here = setting._replace(data="none: random targets 5 x 10", model="two layers, 10-50-5")
    judged = []
    for name in STEPS:
        drift = found[name]
        largest = np.max(np.abs(drift.relative[:, 0]), axis=-1)
        judged += [
            claims.judge(FIGURE_3_ORDER[name], order(drift) - 1, here),
            claims.judge(FIGURE_3_TINY[name], largest, here),
            claims.judge(FIGURE_3["settled"], settled(drift), here, name=name),
        ]
    exact, rounded = np.abs(found["linear"].total[..., -1]), np.abs(found[ROUNDED].total[..., -1])
    return [
        *judged,
        claims.judge(FIGURE_3["round_off"], np.log10(rounded[:, 2] / exact[:, 2]), here),
        claims.judge(FIGURE_3["reversed"], np.log10(rounded[:, 2] / rounded[:, 1]), here),
    ]


EXPERIMENT = Experiment(measure, draw, judge)

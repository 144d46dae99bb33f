"""Figure 3: how far a conserved quantity drifts under gradient descent, and what float32 adds to that.

Gradient flow keeps Q; descent with learning rate eta moves it by O(eta) in all, and no further once the loss is small.
In float32 round-off hides this at the smaller rates: the drift grows again as eta falls.

Expected (Zhao et al. 2023, Figure 3; float64 numbers of the authors' initial draw): ``(|Q_t| - |Q_1|)/D`` ends at
6.9e-4 (linear), 3.6e-4 (ReLU), 1.5e-5 (tanh) for eta = 0.1, in proportion to eta. 12 runs of 400,000 steps, 800,000 for
the sigmoid: 20 s a seed on one core. Command: ``python -m papers.gradient_flow.figures --figure 3``.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from papers.common.claims import Claim, claim_over_seeds
from papers.common.plots import new_figure
from papers.common.runs import RunDirectory
from papers.gradient_flow.networks.setting import FiguresConfig
from papers.gradient_flow.networks.two_layer.descent import (
    PAPER_SCALE,
    PER_DECADE,
    QUICK,
    STEPS,
    Curves,
    Job,
    Start,
    distance,
    draw_elementwise,
    paper_charge,
    stack,
    train_all,
)
from symjax.integrate import log_spaced

RATES = (0.1, 0.01, 0.001)
SCALE = 0.1
SHOWN = 3  # seeds in the pictures
COLOURS = ("#d6338a", "#2b6cb8", "#2a9d6f", "#e08a1e")

# Thresholds, written before the first full run.
ORDER_WITHIN = 0.1  # of 1: exponent of the drift in eta between the two smaller rates
TINY = 2e-3  # largest |drift| over D at eta = 0.1; the paper's axis ends at 6e-4
SETTLED = 0.05  # share of the whole drift that the second half of the steps adds, at eta = 0.1
ROUND_OFF = 1.0  # log10 of the float32 drift over the float64 drift, linear, eta = 0.001
REVERSED = 0.0  # log10 of the float32 drift at eta = 0.001 over that at 0.01, linear

SOURCE = "Zhao et al. 2023, Figure 3; numbers of the authors' code, run in float64"
PAPER = {
    "linear": "6.909e-4, 6.959e-5, 6.964e-6 for eta = 0.1, 0.01, 0.001",
    "relu": "3.561e-4, 3.421e-5, 3.407e-6",
    "tanh": "1.459e-5, 1.467e-6, 1.468e-7",
    "sigmoid": "drift of Q itself 1.068e-2, 7.78e-4, 7.6e-5",
}


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


def job(activation: str, config: FiguresConfig, dtype: Any = np.float64) -> Job:
    """Set up the runs of one activation, seed after seed, each with all rates."""
    last = STEPS[activation] // (QUICK if config.quick else 1)
    starts = [draw_elementwise(seed, SCALE, config.initialisation) for seed in config.all_seeds for _ in RATES]
    start = Start(*(leaf.astype(dtype) for leaf in stack(starts)))
    return Job(activation, start, np.tile(RATES, config.seeds), log_spaced(last, PER_DECADE))


def measure(job: Job, curves: Curves) -> Drift:
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


def draw(directory: RunDirectory, config: FiguresConfig, command: str) -> list[Claim]:
    """Train, draw Figure 3 and judge its claims."""
    jobs = [job(activation, config) for activation in STEPS] + [job("linear", config, np.float32)]
    curves = train_all(jobs)
    drifts = [measure(one, found) for one, found in zip(jobs, curves, strict=True)]
    names = [*STEPS, "linear, float32"]
    for name, drift in zip(names, drifts, strict=True):
        _write_numbers(directory, config, name, drift)
    _picture(directory, dict(zip(names, drifts, strict=True)))
    return _claims(directory, config, command, dict(zip(names, drifts, strict=True)))


def _write_numbers(directory: RunDirectory, config: FiguresConfig, name: str, drift: Drift) -> None:
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


def _claims(directory: RunDirectory, config: FiguresConfig, command: str, drifts: dict[str, Drift]) -> list[Claim]:
    make = partial(
        claim_over_seeds,
        reduced=config.quick,
        environment=directory.environment,
        figure="Fig. 3",
        source=SOURCE,
        data="none: random targets 5 x 10",
        model="two layers, 10-50-5",
        command=command,
    )
    claims = []
    for name in STEPS:
        drift = drifts[name]
        largest = np.max(np.abs(drift.relative[:, 0]), axis=-1)
        claims += [
            make(
                order(drift) - 1,
                ORDER_WITHIN,
                "within",
                claim=f"{name}: drift proportional to eta (exponent - 1)",
                paper=PAPER[name],
            ),
            make(
                largest,
                TINY,
                "below",
                claim=f"{name}: drift tiny at eta = 0.1: largest (|Q_t| - |Q_1|)/D",
                paper=PAPER[name],
            ),
            make(
                settled(drift),
                SETTLED,
                "below",
                claim=f"{name}: drift saturates at eta = 0.1: share of it in the last half of the steps",
                paper="flat late in the figure",
            ),
        ]
    exact, rounded = np.abs(drifts["linear"].total[..., -1]), np.abs(drifts["linear, float32"].total[..., -1])
    claims += [
        make(
            np.log10(rounded[:, 2] / exact[:, 2]),
            ROUND_OFF,
            "above",
            claim="linear: the float32 drift at eta = 0.001 is round-off (log10 of float32 over float64)",
            paper="float32, as published, 4.4e-4; float64 7.0e-6",
        ),
        make(
            np.log10(rounded[:, 2] / rounded[:, 1]),
            REVERSED,
            "above",
            claim="linear: in float32 the smallest eta drifts most (log10 of the ratio, eta = 0.001 over 0.01)",
            paper="float32: drift of Q -3.168e-3 at eta = 0.001, -6.34e-4 at 0.01",
        ),
    ]
    return claims


def _picture(directory: RunDirectory, drifts: dict[str, Drift]) -> None:
    figure, axes = new_figure(2, len(STEPS))
    for column, name in enumerate(STEPS):
        drift = drifts[name]
        for row, values in enumerate((np.abs(drift.relative), drift.distance)):
            panel = axes[row, column]
            for place in range(min(SHOWN, len(values))):
                for index, rate in enumerate(RATES):
                    label = f"eta = {rate:g}" if place == 0 else None
                    panel.plot(drift.steps[1:], values[place, index, 1:], color=COLOURS[index], lw=1, label=label)
            panel.set(xscale="log", yscale="log", xlabel="steps")
        axes[0, column].set_title(name, fontsize=9)
    rounded, panel = drifts["linear, float32"], axes[0, list(STEPS).index("linear")]
    for index in range(len(RATES)):
        label = "the same in float32" if index == 0 else None
        values = np.abs(rounded.relative[0, index, 1:])
        panel.plot(rounded.steps[1:], values, color=COLOURS[index], lw=1.4, ls=":", label=label)
    panel.legend(fontsize=6)
    axes[0, 0].set_ylabel("|drift of Q| / D")
    axes[1, 0].set_ylabel("|F - Y|")
    arrays = {}
    for name, drift in drifts.items():
        plain = name.replace(", ", "_")
        arrays |= {f"{plain}_{field}": getattr(drift, field) for field in ("steps", "relative", "distance")}
    directory.save_figure(figure, "drift", **arrays)

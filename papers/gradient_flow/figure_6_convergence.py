"""Figures 6 and 7: how fast gradient descent converges from initial parameters of different Q.

Figure 6 (elementwise activations): Q grows with the scale of the initial weights, and so does the rate. Figure 7 (a
hidden layer of degree -1, blind to the scale of the weights): the loss depends on U and V through ratios alone and Q
sets the pace, ``t -> t/Q`` makes all curves one. The authors divide each neuron's row by its squared norm; a truly
radial layer divides each column (each sample's hidden vector), and of that both are drawn.

Expected (Zhao et al. 2023, Figures 6 and 7; float64 numbers of the authors' initial draws): first step with |F - Y| <
0.1 for linear networks 84,159, 39,457 and 2,270 at scale 0.01, 0.1 and 1; MSE/|Y| after 10^4 steps 2.5e-30, 6.4e-3,
0.1171 and 0.1344 at Q = 0.00206, 0.206, 20.6 and 2056. 20 s a seed on one core for either figure. Commands:
``python -m papers.gradient_flow.figures --figure 6`` and ``--figure 7``.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from papers.common.claims import Claim, claim_over_seeds
from papers.common.plots import new_figure
from papers.common.runs import RunDirectory
from papers.common.verdicts import Direction
from papers.gradient_flow.figure_3_drift import COLOURS, SHOWN
from papers.gradient_flow.networks.setting import FiguresConfig
from papers.gradient_flow.networks.two_layer.descent import (
    PER_DECADE,
    QUICK,
    STEPS,
    Curves,
    Job,
    distance,
    draw_elementwise,
    draw_radial,
    paper_charge,
    stack,
    train_all,
)
from symjax.integrate import log_spaced

SCALES = (0.01, 0.1, 1.0)
LEARNING_RATE = 1e-3
CLOSE = 0.1  # |F - Y| that counts as converged in Figure 6

VERSIONS = {"row_radial": "rows (the authors')", "radial": "columns"}
RADIAL_SCALES = (0.01, 0.1, 1.0, 10.0)
RADIAL_RATE = 1e-5
RADIAL_STEPS = 1_000_000
BEGUN = 0.9  # of the initial loss: the share at which runs of Figure 7 are compared
SHARES = (0.9, 0.5, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)  # of the initial loss, at which their pace is
SHORTEST = 50  # steps to a share below which it is not compared: they are whole numbers

# Thresholds, written before the first full run.
FASTER = 0.0  # log10 of the ratio of steps to |F - Y| < 0.1 (Fig. 6) or 0.9 of the loss (Fig. 7), least of neighbours
COLLAPSED = 0.05  # |log10| of the ratio of two losses at the same t/Q, largest over the first six decades of loss
KEPT = 0.01  # relative drift of the total Q, largest over the scales from 0.1 on
PACED = 0.05  # |log10 (T of 100 Q/T of Q) - 2|, T the steps to a share of the loss; written after a first full run
MOVED = -2.0  # log10 of the relative change of some single neuron's Q in the column version

SOURCE = "Zhao et al. 2023, Figure {}; numbers of the authors' code, run in float64"
PAPER_6 = {
    "linear": "84,159, 39,457, 2,270 steps at scale 0.01, 0.1, 1",
    "relu": "126,545, 74,902, 5,768 steps",
    "tanh": "84,159, 41,824, 4,843 steps",
    "sigmoid": "405,848, 226,623, 35,116 steps",
}
PAPER_7 = "MSE/|Y| after 10^4 steps 2.5e-30, 6.4e-3, 0.1171, 0.1344 at Q = 0.00206, 0.206, 20.6, 2056"


def elementwise_job(activation: str, config: FiguresConfig) -> Job:
    """Set up the runs of one activation of Figure 6, seed after seed, each with all scales."""
    last = STEPS[activation] // (QUICK if config.quick else 1)
    starts = [draw_elementwise(seed, scale, config.initialisation) for seed in config.all_seeds for scale in SCALES]
    return Job(activation, stack(starts), np.full(len(starts), LEARNING_RATE), log_spaced(last, PER_DECADE))


def radial_job(version: str, config: FiguresConfig) -> Job:
    """Set up the runs of one version of Figure 7, seed after seed, each with all scales."""
    last = RADIAL_STEPS // (QUICK if config.quick else 1)
    starts = [draw_radial(seed, scale, config.initialisation) for seed in config.all_seeds for scale in RADIAL_SCALES]
    return Job(version, stack(starts), np.full(len(starts), RADIAL_RATE), log_spaced(last, PER_DECADE))


def first_below(steps: np.ndarray, values: np.ndarray, limit: float) -> np.ndarray:
    """Find the first recorded step with a value below a limit, the last step where there is none.

    Args:
      steps: (records,).
      values: (..., records).
      limit: the limit.

    Returns:
      Array (...), floating; NaN where the values are not finite at the end.

    >>> first_below(np.array([0, 1, 10]), np.array([[3.0, 2.0, 0.5], [3.0, 3.0, 3.0]]), 1.0)
    array([10., 10.])
    """
    below = values < limit
    found = np.where(below.any(axis=-1), steps[below.argmax(axis=-1)], steps[-1]).astype(np.float64)
    return np.where(np.isfinite(values[..., -1]), found, np.nan)


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


def draw_6(directory: RunDirectory, config: FiguresConfig, command: str) -> list[Claim]:
    """Train, draw Figure 6 and judge its claims."""
    jobs = [elementwise_job(activation, config) for activation in STEPS]
    figure, axes = new_figure(1, len(STEPS))
    claims, arrays, claim = [], {}, _claimer(directory, config, command, "6")
    for place, (job, curves) in enumerate(zip(jobs, train_all(jobs), strict=True)):
        name, shape = job.activation, (config.seeds, len(SCALES))
        errors = distance(curves).reshape(*shape, -1)
        charges = paper_charge(curves.charge, name).reshape(*shape, -1)
        reached = first_below(curves.steps, errors, CLOSE)
        for row, seed in enumerate(config.all_seeds):
            for column, scale in enumerate(SCALES):
                at = charges[row, column, 0]
                _numbers(directory, curves, name, seed, scale, at, row * len(SCALES) + column, errors[row, column])
                if row >= SHOWN:
                    continue
                label = f"Q = {at:.3g}" if row == 0 else None
                axes[0, place].plot(curves.steps[1:], errors[row, column, 1:], color=COLOURS[column], lw=1, label=label)
        axes[0, place].set(xscale="log", yscale="log", ylim=(1e-6, 100), xlabel="steps")
        axes[0, place].set_title(name, fontsize=9)
        axes[0, place].legend(fontsize=6)
        arrays |= {f"{name}_steps": curves.steps, f"{name}_distance": errors, f"{name}_charge": charges}
        faster = np.log10(reached[:, :-1] / reached[:, 1:]).min(axis=1)
        words = f"{name}: larger initial scale converges faster (log10 of steps)"
        claims.append(claim(faster, FASTER, "above", claim=words, paper=PAPER_6[name]))
    axes[0, 0].set_ylabel("|F - Y|")
    directory.save_figure(figure, "convergence_elementwise", **arrays)
    return claims


def draw_7(directory: RunDirectory, config: FiguresConfig, command: str) -> list[Claim]:
    """Train, draw Figure 7 in both versions and judge its claims."""
    jobs = [radial_job(version, config) for version in VERSIONS]
    figure, axes = new_figure(2, len(VERSIONS))
    claims, arrays = [], {}
    for place, (job, curves) in enumerate(zip(jobs, train_all(jobs), strict=True)):
        name, shape = job.activation, (config.seeds, len(RADIAL_SCALES))
        norms = np.linalg.norm(job.start.target, axis=(1, 2))
        losses = (curves.loss / norms[:, None]).reshape(*shape, -1)
        charges = paper_charge(curves.charge, name).reshape(*shape, -1)
        for row, seed in enumerate(config.all_seeds):
            for column, scale in enumerate(RADIAL_SCALES):
                at = charges[row, column, 0]
                run = row * len(RADIAL_SCALES) + column
                _numbers(directory, curves, name, seed, scale, at, run, losses[row, column])
                if row >= SHOWN:
                    continue
                label = f"Q = {at:.3g}" if row == 0 else None
                for panel, x in ((axes[0, place], curves.steps), (axes[1, place], RADIAL_RATE * curves.steps / at)):
                    panel.plot(x[1:], losses[row, column, 1:], color=COLOURS[column], lw=1, label=label)
        for panel, x in ((axes[0, place], "steps"), (axes[1, place], "t / Q")):
            panel.set(xscale="log", yscale="log", ylim=(1e-10, 1), xlabel=x)
            panel.set_title(VERSIONS[name], fontsize=9)
        axes[0, place].legend(fontsize=6)
        arrays |= {f"{name}_steps": curves.steps, f"{name}_loss": losses, f"{name}_charge": charges}
        claims += _radial_claims(directory, config, command, name, curves, losses, charges)
    axes[0, 0].set_ylabel("MSE / |Y|")
    axes[1, 0].set_ylabel("MSE / |Y|")
    directory.save_figure(figure, "convergence_radial", **arrays)
    return claims


def _radial_claims(
    directory: RunDirectory,
    config: FiguresConfig,
    command: str,
    name: str,
    curves: Curves,
    losses: np.ndarray,
    charges: np.ndarray,
) -> list[Claim]:
    def make(values: Sequence[float], threshold: float, direction: Direction, words: str, paper: str) -> Claim:
        return claim(values, threshold, direction, claim=f"{title}: {words}", paper=paper)

    title, claim = VERSIONS[name], _claimer(directory, config, command, "7")
    paper = PAPER_7 if name == "row_radial" else "not in the paper"
    begun = np.log10(first_below(curves.steps, losses / losses[..., :1], BEGUN))
    errors = np.array(
        [[collapse_error(curves.steps, small, large) for small, large in pairwise(seed)] for seed in losses]
    )
    paces = np.array([[pace_error(curves.steps, *pair) for pair in pairwise(seed)] for seed in losses])
    # a seed whose runs pass no share in common has no pace
    paced = [np.nanmax(seed) for seed in paces[:, 1:] if np.isfinite(seed).any()] or [np.nan]
    kept = np.abs(charges[:, 1:, -1] / charges[:, 1:, 0] - 1).max(axis=1)
    found = [
        make(np.diff(begun, axis=1).min(axis=1), FASTER, "above", "smaller Q converges faster (log10 of steps)", paper),
        make(errors[:, 1:].max(axis=1), COLLAPSED, "below", "one curve in t/Q, scales 0.1 to 10", paper),
        make(errors[:, 0], COLLAPSED, "below", "one curve in t/Q, scales 0.01 and 0.1 (largest steps)", paper),
        make(paced, PACED, "below", "steps to a share of the loss proportional to Q, scales 0.1 to 10", paper),
        make(kept, KEPT, "below", "total Q is kept, scales 0.1 to 10", "conserved"),
    ]
    if name == "radial":
        neurons = curves.charge.reshape(config.seeds, len(RADIAL_SCALES), len(curves.steps), -1)[:, 1]
        moved = np.abs(neurons[:, -1] / neurons[:, 0] - 1).max(axis=1)
        found.append(
            make(
                np.log10(moved),
                MOVED,
                "above",
                "a single neuron's Q is not kept, scale 0.1 (log10 of its change)",
                "not in the paper",
            )
        )
    return found


def _numbers(
    directory: RunDirectory,
    curves: Curves,
    name: str,
    seed: int,
    scale: float,
    charge: float,
    run: int,
    values: np.ndarray,
) -> None:
    """Write the key numbers of one run: what is plotted at the powers of ten, and where it passes below ``CLOSE``."""
    powers = 10 ** np.arange(int(np.log10(curves.steps[-1])) + 1)
    record: dict[str, Any] = {
        "network": name,
        "seed": seed,
        "scale": scale,
        "initial_charge": charge,
        "start": values[0],
        "at_step": {str(step): values[np.searchsorted(curves.steps, step)] for step in powers},
        "steps": int(curves.steps[-1]),
        "end": values[-1],
        "diverged": not bool(curves.finite[run].all()),
    }
    if name in STEPS:
        below = values < CLOSE
        record["first_step_below_0.1"] = int(curves.steps[below.argmax()]) if below.any() else None
    directory.append(record)


def _claimer(directory: RunDirectory, config: FiguresConfig, command: str, figure: str) -> Callable[..., Claim]:
    return partial(
        claim_over_seeds,
        reduced=config.quick,
        environment=directory.environment,
        figure=f"Fig. {figure}",
        source=SOURCE.format(figure),
        data="none: random targets 5 x 10",
        model="two layers, 10-50-5" if figure == "6" else "two layers, 10-5-5, hidden layer of degree -1",
        command=command,
    )

"""Figure 9: Hessian spectra of two-layer networks at the end of training, from initial weights of four scales.

All eigenvalues of the Hessian of the squared Frobenius loss, by ``eigvalsh`` in float64, where the loss is zero:
:mod:`papers.gradient_flow.networks.two_layer.minima` trains the networks.

Source: Zhao et al. 2023, Figure 9.
Deviation: a symmetric solver in float64 (the authors' is a general one in float32, whose rounding fills the first bin).
The paper mixes Q with the weights' scale; :mod:`papers.gradient_flow.fixed_function` takes them apart.
"""

from typing import NamedTuple

import jax
import numpy as np
from scipy.stats import spearmanr

from papers.common import claims
from papers.common.claims import Claim, Setting, Statement
from papers.common.experiment import Experiment, Picture
from papers.common.plots import COLOURS, new_figure
from papers.common.runs import RunDirectory
from papers.gradient_flow.claims import FIGURE_9, FIGURE_9_AUTHORS, SPECTRA
from papers.gradient_flow.networks.config import ExperimentConfig
from papers.gradient_flow.networks.two_layer.minima import hessian_eigenvalues, linear_spectrum, squared_loss, trained
from papers.gradient_flow.networks.two_layer.starts import Start

ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid")
SCALES = (0.001, 0.3, 0.6, 0.9)
ENTRIES = 50  # m n
TOP = 10  # sigmoid's upper group: one for each output, from the constant feature sigma(0) = 1/2
BINS = np.arange(0.001, 397.0, 4.0)
POSITIVE = 1e-3  # the histogram's first edge
ZERO_LOSS = 1e-7  # squared Frobenius; what is left moves eigenvalues by about half its root


class Spectra(NamedTuple):
    """Networks of one activation at the end of training; S seeds, A scales."""

    charge: np.ndarray  #: (S, A), Q at the start in the paper's scale
    loss: np.ndarray  #: (S, A), squared Frobenius norm of F - Y at the end
    eigenvalues: np.ndarray  #: (S, A, P), of the Hessian of that loss, in descending order
    output: np.ndarray  #: (S, A, m, h), U
    input: np.ndarray  #: (S, A, n, h), V


def measure(config: ExperimentConfig, directory: RunDirectory) -> dict[str, Spectra]:
    """Train all activations, seeds and scales and compute their spectra."""
    found = {activation: spectra(activation, config) for activation in ACTIVATIONS}
    for activation, run in found.items():
        _record(directory, config, activation, run)
    return found


def spectra(activation: str, config: ExperimentConfig, scales: tuple[float, ...] = SCALES) -> Spectra:
    """Train all seeds and scales of one activation and compute their spectra."""
    end, charge = trained(activation, scales, config)
    loss = jax.vmap(jax.vmap(squared_loss(activation)))((end.output, end.input), end.target)
    # a seed at a time: a Hessian has 4.5 MB in float64, and three such arrays exist in passing
    seeds = [Start(*(leaf[i] for leaf in end)) for i in range(len(charge))]
    eigenvalues = np.stack([hessian_eigenvalues(networks, activation) for networks in seeds])
    return Spectra(charge, np.asarray(loss), eigenvalues, end.output, end.input)


def _record(directory: RunDirectory, config: ExperimentConfig, activation: str, spectra: Spectra) -> None:
    for i, seed in enumerate(config.all_seeds):
        for j, scale in enumerate(SCALES):
            values = spectra.eigenvalues[i, j]
            row = {
                "activation": activation,
                "seed": seed,
                "scale": scale,
                "charge": spectra.charge[i, j],
                "largest": values[0],
                "trace": values.sum(),
                "median_positive": np.median(values[:ENTRIES]),
                "positive": int((values > POSITIVE).sum()),
                "loss": spectra.loss[i, j],
            }
            if _authors(config, seed):
                row["reference"] = dict(zip(("charge", "largest", "trace"), SPECTRA[activation][j], strict=True))
            directory.append(row)


def _authors(config: ExperimentConfig, seed: int) -> bool:
    return seed == 0 and config.initialisation == "authors"


def deviation(spectra: Spectra, activation: str) -> float:
    """Give the largest relative deviation of the first seed's Q, largest eigenvalue and trace from ``SPECTRA``."""
    values = spectra.eigenvalues[0]
    measured = np.stack([spectra.charge[0], values[:, 0], values.sum(axis=-1)], axis=-1)
    return float(np.abs(measured / np.asarray(SPECTRA[activation]) - 1).max())


def miscount(spectra: Spectra) -> np.ndarray:
    """Give, for each seed, by how much the number of positive eigenvalues misses m n; NaN unless all loss is zero."""
    wrong = np.abs((spectra.eigenvalues > POSITIVE).sum(axis=-1) - ENTRIES).max(axis=-1)
    return np.where((spectra.loss < ZERO_LOSS).all(axis=-1), wrong, np.nan)


def growth(spectra: Spectra) -> np.ndarray:
    """Give, for each seed, the smallest ratio of the largest eigenvalue at a scale to that at the scale before it."""
    largest = spectra.eigenvalues[..., 0]
    return (largest[:, 1:] / largest[:, :-1]).min(axis=-1)


def draw(found: dict[str, Spectra], config: ExperimentConfig) -> Picture:
    """Draw histograms of the first seed's eigenvalues, activations by scales."""
    del config
    canvas = new_figure(len(ACTIVATIONS), len(SCALES), width=2.6, height=1.9)
    for row, (activation, run) in zip(canvas.axes, found.items(), strict=True):
        for panel, scale, q, values in zip(row, SCALES, run.charge[0], run.eigenvalues[0], strict=True):
            panel.stairs(np.histogram(values, BINS)[0], BINS, fill=True, color=COLOURS["fixed"])
            panel.set_title(f"{activation}, std {scale:g}, Q = {q:.3g}", fontsize=9)
            panel.set(xlim=(0, 250), ylim=(0, 30))
    for panel in canvas.axes[-1]:
        panel.set_xlabel("eigenvalue")
    for panel in canvas.axes[:, 0]:
        panel.set_ylabel("count")
    canvas.figure.suptitle("The Hessian's spectrum spreads to the right with the initial weights' scale", fontsize=11)
    arrays = {
        f"{activation}_{field}": getattr(run, field)
        for activation, run in found.items()
        for field in ("charge", "loss", "eigenvalues")
    }
    return Picture(canvas.figure, {"scales": np.asarray(SCALES), **arrays})


def judge(found: dict[str, Spectra], config: ExperimentConfig, setting: Setting) -> list[Claim]:
    """Judge the claims of Figure 9."""
    authors = _authors(config, config.seed)
    data = "none: random targets" + ("; seed 0 is the authors' draw" if authors else "")
    settings = {
        name: setting._replace(
            data=data, model=f"two layers (m, h, n) = (10, 50, 5), {name}, initial std 0.001, 0.3, 0.6, 0.9"
        )
        for name in found
    }
    judged = []
    for name, run in found.items():
        here, missed = settings[name], miscount(run)
        if authors and not config.quick:  # the authors' numbers are of the whole training
            numbers = 3 * len(SCALES)
            judged.append(claims.judge(FIGURE_9_AUTHORS[name], [deviation(run, name)], here, count=numbers))
        words = "" if np.isfinite(missed).all() else " (nan: the loss is not yet zero)"
        judged.append(_at_zero_loss(FIGURE_9["count"], run, missed, run.loss.size, here, name=name, unfinished=words))
        if name != "sigmoid":
            judged.append(claims.judge(FIGURE_9["spreads"], growth(run), here, name=name))
    return judged + _by_activation(found, settings)


def _at_zero_loss(law: Statement, run: Spectra, values: np.ndarray, count: int, here: Setting, **filled: str) -> Claim:
    """Judge a law that binds networks at zero loss alone; before that nothing decides it."""
    if np.isfinite(miscount(run)).all():
        return claims.judge(law, values, here, count=count, **filled)
    return claims.judge(law._replace(kind="finding"), values, here, **filled)


def _by_activation(found: dict[str, Spectra], settings: dict[str, Setting]) -> list[Claim]:
    linear, tanh, sigmoid = (found[name] for name in ("linear", "tanh", "sigmoid"))
    expected = jax.vmap(jax.vmap(linear_spectrum))(linear.output, linear.input)
    error = np.abs(linear.eigenvalues[..., :ENTRIES] - expected) / linear.eigenvalues[..., :1]
    ranks = [
        spearmanr(np.abs(q), values[:, 0]).statistic for q, values in zip(tanh.charge, tanh.eigenvalues, strict=True)
    ]
    top = sigmoid.eigenvalues[..., :TOP].mean(axis=-1)
    low = np.median(sigmoid.eigenvalues[..., :ENTRIES], axis=-1)
    return [
        _at_zero_loss(FIGURE_9["closed_form"], linear, error.max(axis=(1, 2)), error.size, settings["linear"]),
        claims.judge(FIGURE_9["not_monotone"], ranks, settings["tanh"]),
        claims.judge(FIGURE_9["top"], top[:, -1] / top[:, 0], settings["sigmoid"]),
        claims.judge(FIGURE_9["low"], low[:, -1] / low[:, 0], settings["sigmoid"]),
    ]


EXPERIMENT = Experiment(measure, draw, judge)

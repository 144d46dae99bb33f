"""The picture of Figure 11: accuracy against the strength of an attack."""

from typing import Any

import numpy as np

from papers.common.experiment import Picture
from papers.common.plots import new_figure
from papers.common.verdicts import interval
from papers.gradient_flow.claims import FGSM, PGD
from papers.gradient_flow.figure_11_adversarial.measure import Measured, Sweep
from papers.gradient_flow.networks.cifar.config import KINDS
from papers.gradient_flow.networks.config import ExperimentConfig

CHANCE = 0.1


def draw(measured: Measured, config: ExperimentConfig) -> Picture:
    """Draw transferred and adaptive attacks on held-out images, mean over seeds and 95 % intervals."""
    arrays = {"largest_residual": measured.largest_residual, "median_condition": measured.median_condition}
    for split in ("held_out", "official"):
        arrays |= {f"{split}_{name}": values for name, values in _arrays(getattr(measured, split)).items()}
    return Picture(_picture(measured.held_out, config.seeds), arrays)


def _arrays(found: Sweep) -> dict[str, np.ndarray]:
    scores = {"transfer": found.transfer, "adaptive": found.adaptive}
    nested = {f"{how}_{name}": values for how, each in scores.items() for name, values in each._asdict().items()}
    return {"own": found.own, "clipped": found.clipped, "strongest": found.strongest, **nested}


def _picture(found: Sweep, seeds: int) -> Any:
    canvas = new_figure(1, 2, width=4.4, height=4.4)
    curves = {"original": (found.own, "black", "-")}
    for k, kind in enumerate(KINDS):
        curves[kind] = (found.transfer.mean_softmax[..., k], f"C{k}", "-")
    for k, kind in enumerate(("group", "interpolated_permutation")):
        curves[f"{kind}, adaptive"] = (found.adaptive.mean_softmax[..., k], f"C{k}", ":")
    curves["group, stronger of both"] = (found.strongest[..., 0], "C0", "--")
    parts = ((slice(0, len(FGSM)), FGSM, "FGSM, ε"), (slice(len(FGSM), None), PGD, "PGD, steps"))
    for axes, (part, x, label) in zip(canvas.axes[0], parts, strict=True):
        for place, (name, (values, colour, line)) in enumerate(curves.items()):
            bounds = [interval(column) for column in values[:, part].T]
            mean = np.array([one.mean for one in bounds])
            axes.plot(x, mean, color=colour, linestyle=line, linewidth=1.3, label=name.replace("_", " "))
            if seeds > 1:
                # the bars beside one another, so that they can be told apart
                moved = np.array(x) + (place - len(curves) / 2) * 0.01 * (x[-1] - x[0])
                error = [one.high - one.mean for one in bounds]
                axes.errorbar(moved, mean, error, color=colour, linestyle="none", elinewidth=0.6, capsize=1.5)
        axes.axhline(CHANCE, color="0.5", linewidth=0.8, linestyle="--", label="chance")
        axes.set(xlabel=label, ylabel="accuracy (mean softmax)", ylim=(0, 0.85), xticks=x)
    for axes, method in zip(canvas.axes[0], ("FGSM", "PGD"), strict=True):
        axes.set_title(f"{method}: the ensembles, attacked and spared", fontsize=9)
    handles = canvas.axes[0, 0].get_legend_handles_labels()
    canvas.figure.legend(*handles, loc="outside lower center", fontsize=8, frameon=False, ncols=3)
    return canvas.figure

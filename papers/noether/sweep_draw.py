"""The figure of a sweep, losses on the way and the final accuracy along every swept axis, and its claims."""

from typing import Any

import numpy as np

from papers.common.claims import Claim
from papers.common.plots import COLOURS, new_figure, style
from papers.common.runs import RunDirectory
from papers.noether.draw import FAMILIES, claims_of_laws, describe_data, exact_law_claims
from papers.noether.sweep_config import AXES, SweepConfig

NUMBERS = tuple(name for name in AXES if name not in ("filter_norm", "seed"))


def sweep_figure(directory: RunDirectory, arrays: dict[str, np.ndarray]) -> None:
    """Write ``sweep.png`` and all arrays of the sweep beside it as ``sweep.npz``."""
    swept = [name for name in NUMBERS if len(np.unique(arrays[name])) > 1]
    canvas = new_figure(1, 1 + max(1, len(swept)))
    losses, *panels = canvas.axes.flat
    _losses(losses, arrays)
    for panel, name in zip(panels, swept or ["seed"], strict=True):
        _accuracies(panel, arrays, name)
    directory.save_figure(canvas.figure, "sweep", **arrays)


def sweep_claims(
    arrays: dict[str, np.ndarray], config: SweepConfig, environment: dict[str, Any], command: str
) -> list[Claim]:
    """The exact laws' claims over all members that did not diverge; a seed's number is its largest error.

    A sweep is reduced whatever its size: it judges the laws, not the paper's panels.
    """
    alive = ~arrays["diverged"]
    seeds = [seed for seed in config.seeds if (alive & (arrays["seed"] == seed)).any()]
    errors = {
        family: [float(arrays[name][alive & (arrays["seed"] == seed)].max()) for seed in seeds]
        for family in FAMILIES
        if seeds and (name := f"largest_{family}_error") in arrays
    }
    network = "MLP" if config.model == "mlp" else f"VGG11{'-BN' if config.batch_norm else ''} width {config.width:g}"
    return exact_law_claims(errors, claims_of_laws(True, environment, describe_data(config), network, command))


def _losses(panel: Any, arrays: dict[str, np.ndarray]) -> None:
    seen = set()
    for place, rule in enumerate(arrays["filter_norm"].tolist()):
        label = None if rule in seen else f"{rule} norms"
        seen.add(rule)
        curve = arrays["train_loss"][:, place]
        panel.plot(arrays["step"], curve, color=COLOURS[rule], alpha=0.6, linewidth=0.9, label=label)
    diverged = int(arrays["diverged"].sum())
    title = f"{len(arrays['seed'])} members" + (f", {diverged} diverged" if diverged else "")
    panel.set_title(title, fontsize=9)
    panel.set(xlabel="step", ylabel="training loss (nats)", yscale="log")
    panel.legend(fontsize=7, frameon=False)


def _accuracies(panel: Any, arrays: dict[str, np.ndarray], name: str) -> None:
    """Every member as a point; a line through the means over all members that share the value and the norm rule."""
    values, accuracy = arrays[name], arrays["test_top1"]
    for rule in sorted(set(arrays["filter_norm"].tolist())):
        own = (arrays["filter_norm"] == rule) & np.isfinite(accuracy)
        panel.plot(values[own], accuracy[own], ".", color=COLOURS[rule], alpha=0.5, markersize=5)
        points = np.unique(values[own])
        means = np.array([accuracy[own & (values == point)].mean() for point in points])
        panel.plot(points, means, label=f"{rule} norms", **style(rule))
    words = name.replace("_", " ")
    panel.set_title(f"after step {arrays['step'][-1]}", fontsize=9)
    panel.set(xlabel=words, ylabel="test accuracy")
    if values.min() > 0 and values.max() / values.min() > 3:
        panel.set(xscale="log")
    panel.legend(fontsize=7, frameon=False)

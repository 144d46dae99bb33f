"""The figure of a sweep: losses on the way, and the final accuracy along every swept axis."""

from typing import Any

import numpy as np

from papers.common.plots import COLOURS, new_figure, style
from papers.common.runs import RunDirectory
from papers.noether.sweeps.config import AXES

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


def table(arrays: dict[str, np.ndarray]) -> list[str]:
    """One line for each combination: test accuracy over its seeds as mean and range, and how many diverged."""
    names = [name for name in AXES if name != "seed"]
    groups: dict[tuple, list[int]] = {}
    for place, point in enumerate(zip(*(arrays[name].tolist() for name in names), strict=True)):
        groups.setdefault(point, []).append(place)
    rows = [(*(name.replace("_", " ") for name in names), "test accuracy", "diverged")]
    for point, places in groups.items():
        alive = [float(arrays["test_top1"][place]) for place in places if not arrays["diverged"][place]]
        shown = f"{sum(alive) / len(alive):.3f} ({min(alive):.3f} to {max(alive):.3f})" if alive else "none"
        rows.append((*map(str, point), shown, f"{len(places) - len(alive)} of {len(places)}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


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
    panel.legend(fontsize=8, frameon=False)


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
    panel.legend(fontsize=8, frameon=False)

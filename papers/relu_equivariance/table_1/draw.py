"""Accuracy and invariance error against the barrier, one point a network, one colour a kind."""

from typing import Any

import numpy as np

from papers.common.experiment import Picture
from papers.common.plots import new_figure
from papers.relu_equivariance.networks.kinds import KINDS
from papers.relu_equivariance.table_1.measure import Row


def draw(rows: dict[str, Row], config: Any) -> Picture:
    """Draw the two scatters, and the barriers of two networks beside those of flipped selves."""
    del config
    canvas = new_figure(1, 3, width=3.6, height=3.2)
    accuracy, error, other = canvas.axes[0]
    kept: dict[str, Any] = {"kinds": np.array(list(rows))}
    for kind, row in rows.items():
        colour = f"C{list(KINDS).index(kind)}"
        points = {"color": colour, "label": KINDS[kind].words}
        accuracy.plot(row.barrier, row.accuracy, "o", markersize=4, **points)
        error.plot(row.barrier, np.maximum(row.error, 1e-8), "o", markersize=4, **points)
        other.plot(row.other, row.barrier, "o", markersize=4, **points)
        kept |= {f"{kind}_{name}": value for name, value in row._asdict().items()}
    accuracy.set(xlabel="barrier, flipped self", ylabel="test accuracy")
    error.set(xlabel="barrier, flipped self", ylabel="invariance error", yscale="log")
    other.set(xlabel="barrier, two networks", ylabel="barrier, flipped self")
    finite = np.concatenate([row.barrier for row in rows.values()])
    ends = [min(0.0, float(finite.min())), float(finite.max())]
    other.plot(ends, ends, color="black", linestyle="--", linewidth=1, label="equal")
    titles = ("Accuracy", "Less invariant, larger barrier", "Flipped self against another network")
    for panel, title in zip(canvas.axes[0], titles, strict=True):
        panel.set_title(title, fontsize=9)
    canvas.figure.legend(*other.get_legend_handles_labels(), loc="outside right center", fontsize=7, frameon=False)
    return Picture(canvas.figure, kept)

"""Invariance error against layerwise error, one point a network and time."""

from typing import Any

import numpy as np

from papers.common.experiment import Picture
from papers.common.plots import SERIES, new_figure
from papers.relu_equivariance.invariant_mlps.measure import ARCHITECTURES, Measured

LEAST = 1e-8
"""Errors below are drawn here."""


def draw(measured: Measured, config: Any) -> Picture:
    """Draw a panel for each architecture of the students; full markers are networks as they ended."""
    del config
    canvas = new_figure(1, len(ARCHITECTURES), width=3.6, height=3.0)
    for row, (name, panel) in enumerate(zip(ARCHITECTURES, canvas.axes[0], strict=True)):
        for number, (label, chosen) in enumerate(
            (("identifiable", measured.missing[row] == 0), ("not identifiable", measured.missing[row] > 0))
        ):
            for ended, face in ((False, "none"), (True, SERIES[number])):
                now = np.zeros_like(chosen)
                now[..., -1] = ended
                now[..., :-1] = not ended
                x, y = (
                    np.maximum(values[row][chosen & now], LEAST) for values in (measured.invariance, measured.layerwise)
                )
                words = f"{label}, {'trained' if ended else 'in training'}"
                panel.plot(x, y, "o", markersize=4, color=SERIES[number], markerfacecolor=face, alpha=0.7, label=words)
        if row == len(ARCHITECTURES) - 1:
            x, y = (np.maximum(values, LEAST) for values in (measured.unchanged, measured.counterexample))
            panel.plot(x, y, "x", color="black", markersize=5, label="the identity through twice as many units")
        panel.set(xscale="log", yscale="log", xlabel="invariance error", ylabel="layerwise error")
        panel.set_title(f"Students: {name}", fontsize=9)
    canvas.axes[0, -1].legend(fontsize=6, frameon=False, loc="lower left")
    return Picture(canvas.figure, measured._asdict())

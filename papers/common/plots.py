"""The look of every figure: one size, one grid, and one colour for one meaning.

Figures are made without pyplot: no global state, no window, nothing to close. matplotlib is imported when a figure is
made.
"""

from __future__ import annotations

import io
from typing import Any, Literal, NamedTuple

import numpy as np

Role = Literal["free", "fixed", "prediction"]

DPI = 160
PALETTE = 256

SERIES = ("#d6338a", "#2b6cb8", "#2a9d6f", "#e08a1e")
"""Colours of what is told apart by a number or a name, in their order."""

COLOURS: dict[str, str] = {"free": SERIES[0], "fixed": SERIES[1], "prediction": "black"}
"""Unconstrained runs are pink, runs with a constrained norm blue, predictions black (and dashed)."""


class Canvas(NamedTuple):
    """A figure and its axes, shape (rows, columns)."""

    figure: Any
    axes: np.ndarray


def new_figure(rows: int = 1, columns: int = 1, *, width: float = 3.4, height: float = 2.6) -> Canvas:
    """Make an empty figure in the project's look.

    Args:
        rows: rows of panels.
        columns: columns of panels.
        width: of one panel, in inches.
        height: of one panel, in inches.

    Returns:
        The figure and its axes; draw on the axes, save with ``RunDirectory.save_figure``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for panel in axes.flat:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25, linewidth=0.5)
        panel.tick_params(which="both", labelsize=8)
        panel.title.set_size(9)
        panel.xaxis.label.set_size(8)
        panel.yaxis.label.set_size(8)
    return Canvas(figure, axes)


def style(role: Role) -> dict[str, Any]:
    """Give the keywords of ``Axes.plot`` for what a curve means."""
    dashed = role == "prediction"
    return {"color": COLOURS[role], "linestyle": "--" if dashed else "-", "linewidth": 1.0 if dashed else 1.4}


def band(axes: Any, x: np.ndarray, values: np.ndarray, role: Role, label: str) -> None:
    """Draw the mean over seeds, and from the smallest to the largest of them as a band.

    Args:
        axes: a panel of :func:`new_figure`.
        x: shape (points,).
        values: shape (seeds, points).
        role: what the curve means.
        label: its name in the legend.
    """
    axes.plot(x, values.mean(axis=0), label=label, **style(role))
    if len(values) > 1:
        axes.fill_between(x, values.min(axis=0), values.max(axis=0), color=COLOURS[role], alpha=0.2, linewidth=0)


def png(figure: Any) -> bytes:
    """Encode a figure at one resolution, in 256 colours chosen for it: a third of the bytes, the same lines and text.

    Args:
        figure: of matplotlib.

    Returns:
        The bytes of a PNG file.
    """
    from PIL import Image

    drawn, coded = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    with Image.open(drawn) as picture:
        few = picture.convert("RGB").quantize(PALETTE, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.save(coded, "PNG", optimize=True)
    return coded.getvalue()

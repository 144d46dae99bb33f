"""The picture of Q at a fixed function."""

from typing import Any

import numpy as np

from papers.common.experiment import Picture
from papers.common.plots import COLOURS, new_figure, style
from papers.gradient_flow.fixed_function.measure import SCALES, Equalised, Measured, Places
from papers.gradient_flow.networks.config import ExperimentConfig


def draw(measured: Measured, config: ExperimentConfig) -> Picture:
    """Draw sharpness and rate against Q at fixed functions, and what is left of the scale once Q is equal."""
    del config
    canvas = new_figure(3, 3, width=3.6, height=2.7)
    for column, (name, places) in zip(canvas.axes.T, measured.places.items(), strict=True):
        _draw_places(column[0], places.charge, places.sharpness, name, "largest eigenvalue")
        column[0].set_title(f"{name}: Q changes the sharpness of one function", fontsize=9)
        _draw_places(column[1], places.charge, places.time, name, "time to 1 % of the loss")
        column[1].set_title(f"{name}: Q changes the time to a shifted target", fontsize=9)
    for panel, (name, sharpness) in zip(canvas.axes[2], measured.equal.items(), strict=False):
        _draw_equal(panel, sharpness)
        panel.set_title(f"{name}: one function from several scales", fontsize=9)
    _draw_prediction(canvas.axes[2, 2], measured.places)
    arrays = {
        f"{name}_{field}": value for name, run in measured.places.items() for field, value in run._asdict().items()
    }
    for name, run in measured.equal.items():
        arrays |= {f"{name}_equal_{field}": value for field, value in run._asdict().items() if value is not None}
    return Picture(canvas.figure, {"scales": np.asarray(SCALES), **arrays})


def _draw_places(panel: Any, charge: np.ndarray, values: np.ndarray, name: str, label_y: str) -> None:
    homogeneous_name = name != "tanh"
    for i, (q, value) in enumerate(zip(charge, values, strict=True)):
        along = slice(None, -1) if homogeneous_name else slice(None)
        label = "even" if homogeneous_name else "finite flow"
        panel.plot(
            q[along], value[along], "o-", markersize=3, linewidth=1, color=COLOURS["fixed"], label=None if i else label
        )
        if homogeneous_name:
            panel.plot(
                q[-1], value[-1], "x", color=COLOURS["free"], label=None if i else "split, same size S as the ends"
            )
    panel.set(xlabel="Q", ylabel=label_y)
    panel.set_ylim(0, 1.4 * values.max())  # room for the legend
    panel.legend(fontsize=8, frameon=False, loc="upper right")


def _draw_equal(panel: Any, run: Equalised) -> None:
    lines = [("as trained", run.trained, "o-", COLOURS["fixed"]), ("all $Q_i = 0$", run.neurons, "s-", COLOURS["free"])]
    if run.whole is not None:
        lines.append(("matrix Q = 0", run.whole, "^--", "black"))
    for label, values, mark, colour in lines:
        panel.plot(SCALES, values.T, mark, markersize=3, linewidth=1, color=colour)
        panel.plot([], [], mark, markersize=3, linewidth=1, color=colour, label=label)
    panel.set(xlabel="initial standard deviation", ylabel="largest eigenvalue", yscale="log")
    panel.tick_params(which="minor", labelsize=8)
    panel.legend(fontsize=8, frameon=False)


def _draw_prediction(panel: Any, found: dict[str, Places]) -> None:
    for name, places in found.items():
        panel.plot(places.predicted_time.ravel(), places.time.ravel(), "o", markersize=3, label=name)
    ends = [min(p.time.min() for p in found.values()), max(p.time.max() for p in found.values())]
    panel.plot(ends, ends, label="equal", **style("prediction"))
    panel.set_title("time, from the spectrum and measured", fontsize=9)
    panel.set(xlabel="predicted", ylabel="measured")
    panel.legend(fontsize=8, frameon=False)

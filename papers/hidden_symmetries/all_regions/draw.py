"""Exact dimensions behind sampled ones, the hidden directions by mechanism, and for two inputs the bent hyperplanes."""

import numpy as np

from papers.common.experiment import Picture
from papers.common.plots import COLOURS, new_figure
from papers.hidden_symmetries.all_regions.measure import BOX, MECHANISMS, AllRegions
from papers.hidden_symmetries.exact import ExactConfig
from symjax.dimension import bound


def draw(found: AllRegions, config: ExactConfig) -> Picture:
    """Draw the two histograms, the mechanisms and, where there is one, the picture of the first network."""
    networks, largest = found.networks, bound(config.sizes)
    canvas = new_figure(1, 3 if len(found.bends.units) else 2, width=4.0, height=3.0)
    least = int(min(networks.exact.min(), networks.sampled.min()))
    bins = np.arange(least - 0.5, largest + 1.5)
    panel = canvas.axes[0, 0]
    panel.hist(networks.exact, bins, color=COLOURS["fixed"], alpha=0.7, label="all regions")
    panel.hist(networks.sampled, bins, color=COLOURS["free"], histtype="step", label="at points")
    panel.axvline(largest, color="black", linestyle="--", linewidth=1, label="bound")
    panel.set(xlabel="functional dimension", ylabel="networks")
    panel.set_title(f"widths {config.sizes}", fontsize=9)
    panel.legend(frameon=False, fontsize=7, loc="upper left")
    panel = canvas.axes[0, 1]
    panel.barh(MECHANISMS[::-1], networks.missing.mean(axis=0)[::-1], color=COLOURS["fixed"])
    panel.set(xlabel="hidden directions a network")
    panel.set_title("by mechanism", fontsize=9)
    if len(found.bends.units):
        _bends(canvas.axes[0, 2], found, config)
    arrays = {**networks._asdict(), **found.bends._asdict()}
    return Picture(canvas.figure, arrays)


def _bends(panel, found: AllRegions, config: ExactConfig) -> None:
    from matplotlib.collections import LineCollection

    layers = found.bends.units // config.width
    shades = [COLOURS["prediction"], COLOURS["fixed"], COLOURS["free"]]
    for layer in np.unique(layers):
        lines = LineCollection(found.bends.segments[layers == layer], colors=shades[layer % 3], linewidths=1)
        lines.set_label(f"layer {layer + 1}")
        panel.add_collection(lines)
    panel.set(xlim=(-BOX, BOX), ylim=(-BOX, BOX), aspect="equal")
    panel.set_title(f"bent hyperplanes, seed {config.seed}", fontsize=9)
    panel.legend(frameon=False, fontsize=7, loc="upper left")

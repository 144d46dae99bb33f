"""The picture of the stages: accuracies of the network, its mirror image and what was merged, and the permutations."""

from typing import Any

import numpy as np

from papers.common.experiment import Picture
from papers.common.plots import SERIES, new_figure
from papers.relu_equivariance.resnet_50.measure import Measured
from papers.relu_equivariance.resnet_50.table import markdown, rows


def draw(measured: Measured, config: Any) -> Picture:
    """Draw accuracies stage by stage, and how many channels of each class are swapped in pairs."""
    del config
    canvas = new_figure(1, 2, width=5.2, height=3.4)
    bars, swapped = canvas.axes[0]
    kept: dict[str, Any] = {"folder": measured.folder, "table": np.array(markdown(measured))}
    labels: list[str] = []
    for colour, at in zip(SERIES, measured.sizes, strict=False):
        size, found = int(at.size), rows(measured, at)
        names = [f"{row.network}, {row.correction}".removesuffix(", ") for row in found]
        labels += [name for name in names if name not in labels]
        places = [labels.index(name) for name in names]
        bars.plot([row.accuracy for row in found], places, "o", color=colour, markersize=4, label=f"{size} pixels")
        swapped.plot(np.arange(1, len(at.classes) + 1), at.involutive, ".", color=colour, label=f"{size} pixels")
        kept |= {f"{name}_{size}": value for name, value in at._asdict().items() if name != "size"}
    bars.set_yticks(range(len(labels)), labels)
    bars.invert_yaxis()
    bars.set(xlabel=f"accuracy on {len(measured.folder)} photographs", xlim=(-0.02, 1.02))
    bars.set_title("Merged with the mirror image", fontsize=9)
    swapped.legend(fontsize=7, frameon=False, loc="lower left")
    swapped.set(xlabel="permutation class", ylabel="share of channels in cycles of at most two", ylim=(0, 1.02))
    swapped.set_title("The mirror image's channels", fontsize=9)
    return Picture(canvas.figure, kept)

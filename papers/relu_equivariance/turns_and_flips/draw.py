"""The picture: barriers by element, barriers by group, orbits of the channels."""

from typing import Any

import numpy as np

from papers.common.experiment import Picture
from papers.common.plots import SERIES, new_figure
from papers.relu_equivariance.networks.kinds import KINDS
from papers.relu_equivariance.turns_and_flips.elements import ELEMENTS, SUBGROUPS
from papers.relu_equivariance.turns_and_flips.measure import Row
from papers.relu_equivariance.turns_and_flips.merges import ORBITS, element_barriers, whole_barriers


def draw(rows: dict[str, Row], config: Any) -> Picture:
    """Draw one point a network; the orbits are of the first kind, means over its networks."""
    del config
    canvas = new_figure(1, 3, width=4.2, height=3.6)
    elements, groups, orbits = canvas.axes[0]
    kept: dict[str, Any] = {"kinds": np.array(list(rows)), "elements": np.array(list(ELEMENTS))}
    kept |= {"groups": np.array(list(SUBGROUPS)), "orbit_sizes": np.array(ORBITS)}
    for number, (kind, row) in enumerate(rows.items()):
        colour, shift = SERIES[number % len(SERIES)], 0.24 * (number - (len(rows) - 1) / 2)
        single = np.stack([element_barriers(one) for one in row.merges])
        whole = np.stack([whole_barriers(one) for one in row.merges])
        for way, marker in enumerate("xo"):
            label = f"{KINDS[kind].words}, {('unmatched', 'matched')[way]}"
            _points(elements, single[:, :, way], shift, marker, colour, label)
        _points(groups, whole, shift, "o", colour, None)
        kept |= {f"{kind}_element_barrier": single, f"{kind}_group_barrier": whole}
        for name in ("ends", "error", "moved", "whole_error", "defect", "lost", "orbits"):
            kept[f"{kind}_{name}"] = np.stack([getattr(one, name) for one in row.merges])
        kept[f"{kind}_accuracy"] = kept.pop(f"{kind}_ends").mean(-1)
    shares = kept[f"{next(iter(rows))}_orbits"].mean(0)
    shares = shares / shares.sum(1, keepdims=True)
    below = np.zeros(len(shares))
    for column, size in enumerate(ORBITS):
        orbits.bar(np.arange(1, len(shares) + 1), shares[:, column], bottom=below, label=f"orbits of {size}")
        below += shares[:, column]
    for panel, names in ((elements, ELEMENTS), (groups, SUBGROUPS)):
        panel.set_xticks(range(len(names)), list(names), rotation=30, ha="right")
        panel.set(ylabel="relative barrier after REPAIR")
    orbits.set(xlabel="layer", ylabel="share of channels", ylim=(0, 1.02))
    titles = ("The network and one image", "The network and all its images", "Orbits of the channels under D4")
    for panel, title in zip((elements, groups, orbits), titles, strict=True):
        panel.set_title(title, fontsize=9)
    for panel in (elements, orbits):
        panel.legend(fontsize=6, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.32), ncols=2)
    return Picture(canvas.figure, kept)


def _points(axes: Any, values: np.ndarray, shift: float, marker: str, colour: str, label: str | None) -> None:
    for row in values:
        axes.plot(np.arange(values.shape[1]) + shift, row, marker, color=colour, markersize=4, alpha=0.7)
    axes.plot([], [], marker, color=colour, markersize=4, label=label)

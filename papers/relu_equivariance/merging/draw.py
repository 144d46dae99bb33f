"""The picture of merging: the line between the networks, the barriers, the cycles, the first filters."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from papers.common.experiment import Picture
from papers.common.plots import new_figure
from papers.relu_equivariance.merging.compare import COLOURS, compare
from papers.relu_equivariance.merging.judge import all_barriers
from papers.relu_equivariance.merging.measure import Merged
from papers.relu_equivariance.pairs.corrections import CORRECTIONS, WORDS
from papers.relu_equivariance.pairs.measure import CURVE, LONGEST, WAYS

LINES = {("matched", "repair"): "-", ("matched", "none"): "--", ("unmatched", "repair"): ":"}
SHOWN = 16
"""Filters of the first layer that are drawn."""


def draw(trainings: Sequence[Merged], config: Any) -> Picture:
    """Draw the four panels of the first training, and of several below them what sets them apart."""
    del config
    merged, several = trainings[0], len(trainings) > 1
    canvas = new_figure(1 + several, 4, width=3.9, height=3.9)
    line, bars, cycles, filters = canvas.axes[0]
    kept: dict[str, Any] = {"corrections": np.array(list(CORRECTIONS)), "ways": np.array(WAYS)}
    for name, pairs in (("flipped self", merged.selves), ("two networks", merged.others)):
        if not pairs:
            continue
        stem, curves = name.replace(" ", "_"), np.stack([pair.curve for pair in pairs])
        kept |= {f"{stem}_curve": curves, "alphas": pairs[0].alphas, f"{stem}_barrier": all_barriers(pairs)}
        kept[f"{stem}_ends"] = np.stack([pair.ends for pair in pairs])
        for (way, correction), dash in LINES.items():
            mean = curves[:, WAYS.index(way), CURVE.index(correction)].mean(0)
            label = f"{name}, {way}, {WORDS[correction]}"
            line.plot(pairs[0].alphas, mean, dash, color=COLOURS[name], linewidth=1.2, label=label)
        _bars(bars, name, kept[f"{stem}_barrier"])
    line.set(xlabel="place on the line", ylabel="test accuracy")
    _legend(line, 2)
    bars.set(ylabel="relative barrier of the middle")
    bars.set_xticks(range(len(CORRECTIONS)), [WORDS[name] for name in CORRECTIONS], rotation=30, ha="right")
    _legend(bars, 2)
    kept |= _cycles(cycles, merged) | _filters(filters, merged)
    kept |= compare(canvas.axes[1], trainings) if several else {}
    of = f": {merged.words}" if several else ""
    titles = ("Accuracy between the networks", "The barrier, by correction", "Cycles of the matching, flipped self")
    for panel, title in zip((line, bars, cycles), titles, strict=True):
        panel.set_title(title + of, fontsize=9)
    filters.set_title("First filters above their matched mirror images", fontsize=9)
    return Picture(canvas.figure, kept)


def _legend(axes: Any, columns: int, **options: Any) -> None:
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.28), "ncols": columns}
    axes.legend(fontsize=6, frameon=False, **below, **options)


def _bars(axes: Any, name: str, found: np.ndarray) -> None:
    shift = {"flipped self": -0.2, "two networks": 0.2}[name]
    at = np.arange(found.shape[-1]) + shift
    for way, marker in (("matched", "o"), ("unmatched", "x")):
        values = found[:, WAYS.index(way)]
        for row in values:
            axes.plot(at, row, marker, color=COLOURS[name], markersize=4, alpha=0.6)
        axes.plot([], [], marker, color=COLOURS[name], label=f"{name}, {way}", markersize=4)


def _cycles(axes: Any, merged: Merged) -> dict[str, Any]:
    layers = [pair.layers for pair in merged.selves]
    shares = np.mean([one.cycles / one.size[:, None] for one in layers], axis=0)
    below = np.zeros(len(shares))
    for length in range(LONGEST):
        label = f"{length + 1}" + (" or more" if length + 1 == LONGEST else "")
        axes.bar(np.arange(1, len(shares) + 1), shares[:, length], bottom=below, label=label)
        below += shares[:, length]
    axes.set(xlabel="layer", ylabel="share of channels", ylim=(0, 1.02))
    _legend(axes, 4, title="cycle length", title_fontsize=6)
    return {
        "cycle_shares": shares,
        "layer": layers[0].name,
        "involutive": np.stack([one.involutive for one in layers]),
        "confident": np.stack([one.confident for one in layers]),
        "matched": np.stack([one.matched for one in layers]),
        "lost": np.stack([one.lost for one in layers]),
    }


def _filters(axes: Any, merged: Merged) -> dict[str, Any]:
    both = merged.selves[0].filters[..., :SHOWN]
    size = both.shape[1]
    picture = np.ones((2 * size + 1, (size + 1) * both.shape[-1] - 1, 3))
    for row in range(2):
        for column in range(both.shape[-1]):
            top, left = row * (size + 1), column * (size + 1)
            picture[top : top + size, left : left + size] = np.clip(both[row, ..., column] + 0.5, 0, 1)
    axes.imshow(picture, interpolation="nearest")
    axes.set_axis_off()
    return {"first_filters": merged.selves[0].filters}

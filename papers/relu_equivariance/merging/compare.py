"""Several trainings side by side: the barrier by width, and what it goes along with, one point a pair."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from papers.common.plots import SERIES
from papers.relu_equivariance.merging.judge import MATCHED, REPAIR, UNMATCHED, all_barriers
from papers.relu_equivariance.merging.measure import Merged

COLOURS = {"flipped self": SERIES[0], "two networks": SERIES[1]}


def compare(axes: Any, trainings: Sequence[Merged]) -> dict[str, Any]:
    """Draw four panels and give their numbers: name -> array, of each training by its number."""
    kept: dict[str, Any] = {"trainings": np.array([merged.words for merged in trainings])}
    kept["widths"] = np.array([merged.trained.config.width for merged in trainings])
    by_width, accuracy, error, cycles = axes
    for number, merged in enumerate(trainings):
        width, heights = merged.trained.config.width, all_barriers(merged.selves)
        alike = merged.trained.config.kind == trainings[0].trained.config.kind  # of one kind, by width
        for name, pairs in (("flipped self", merged.selves), ("two networks", merged.others)):
            for way, marker in ((MATCHED, "o"), (UNMATCHED, "x")) if pairs else ():
                values = all_barriers(pairs)[:, way, REPAIR]
                label = f"{name}, {('unmatched', 'matched')[way]}" if number == 0 else None
                if alike:
                    by_width.plot([width] * len(values), values, marker, color=COLOURS[name], markersize=4, label=label)
                kept[f"barrier_{name.replace(' ', '_')}_{('unmatched', 'matched')[way]}_{number}"] = values
        barrier = heights[:, MATCHED, REPAIR]
        columns = {
            "accuracy": (accuracy, [pair.ends[0] for pair in merged.selves]),
            "error": (error, [pair.error[0] for pair in merged.selves]),
            "involutive": (cycles, [np.average(p.layers.involutive, weights=p.layers.size) for p in merged.selves]),
        }
        for name, (panel, values) in columns.items():
            panel.plot(barrier, values, "o", markersize=4, color=f"C{number}", label=merged.words)
            kept[f"{name}_{number}"] = np.array(values)
    by_width.set_xscale("log", base=2)
    by_width.set_xticks(kept["widths"], [f"{width:g}" for width in kept["widths"]])
    labels = ("test accuracy", "invariance error", "share of channels in cycles of at most two")
    titles = ("Accuracy", "Invariance error", "Swaps in the matching")
    for panel, label, title in zip(axes[1:], labels, titles, strict=True):
        panel.set(xlabel="barrier, flipped self", ylabel=label)
        panel.set_title(title, fontsize=9)
    by_width.set(xlabel="width", ylabel="relative barrier after REPAIR")
    by_width.set_title("Wider networks", fontsize=9)
    for panel, columns in ((by_width, 2), (accuracy, 1)):
        panel.legend(fontsize=6, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns)
    return kept

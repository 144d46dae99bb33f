"""The paper's ImageNet table: accuracies and relative barriers, stage by stage."""

from typing import Any, NamedTuple

import numpy as np

from papers.relu_equivariance.resnet_50.measure import CORRECTIONS, WAYS, AtSize, Measured
from symjax.matching import barrier

RESAMPLED = 2000

PUBLISHED = {
    ("network", ""): (0.8086, None),
    ("mirror image", ""): (0.8052, None),
    ("unmatched", "none"): (0.0094, 0.9884),
    ("matched, last blocks", "none"): (0.4177, 0.4823),
    ("matched, last blocks", "BN reset"): (0.7407, 0.0820),
    ("matched, last blocks", "REPAIR"): (0.7639, 0.0533),
}
"""Accuracy and barrier of the authors' notebook: torchvision's second weights at 224, 50,000 validation images."""


PAPER = (
    ("paper: torchvision, new recipe", 0.284, 0.803, 0.803, 0.731, 0.759, 0.055),
    ("paper: torchvision, old recipe", 0.228, 0.761, 0.746, 0.718, 0.725, 0.038),
    ("paper: old recipe and invariance loss", 0.07, 0.754, 0.745, 0.745, 0.745, 0.006),
)
"""Rows of the paper's ImageNet table as they are remembered: ResNet-50 at 224, the whole validation set."""

COLUMNS = (
    "network",
    "invariance error",
    "accuracy",
    "flip-accuracy",
    "halfway, BN reset",
    "halfway, REPAIR",
    "barrier",
)
"""Of that table; flip-accuracy is the mirror image's."""


class Row(NamedTuple):
    """A network: its accuracy, on each folder too, and its relative barrier with a 95 % bootstrap interval."""

    network: str
    correction: str
    accuracy: float
    by_folder: tuple[float, ...]
    barrier: float
    low: float
    high: float
    published: tuple[float, float | None] | None


def rows(measured: Measured, at: AtSize) -> list[Row]:
    """The rows of one size."""
    folder, result = measured.folder, []

    def row(network: str, correction: str, right: np.ndarray, height: tuple[float, ...]) -> Row:
        parts = tuple(float(right[folder == number].mean()) for number in range(len(measured.folders)))
        known = PUBLISHED.get((network, correction)) if int(at.size) == 224 else None
        return Row(network, correction, float(right.mean()), parts, *height, known)

    nothing = (np.nan, np.nan, np.nan)
    for name, right in zip(("network", "mirror image"), at.right_ends, strict=True):
        result.append(row(name, "", right, nothing))
    for way, rights, known in zip(WAYS, at.right, at.measured, strict=True):
        for correction, right, done in zip(CORRECTIONS, rights, known, strict=True):
            if done:
                result.append(row(way, correction, right, tuple(barrier(*at.right_ends, right, resamples=RESAMPLED))))
    return result


def markdown(measured: Measured) -> str:
    """The table as a page, the images named first."""
    many = len(measured.folder)
    names = " and ".join(measured.folders)
    lines = [
        f"{measured.model}, merged with its mirror image.",
        "",
        f"Evaluated on {many} photographs of {names}, channels matched and statistics collected on {measured.seen} "
        f"other photographs of {' and '.join(measured.seen_folders)}. **These are not ImageNet's validation set**: "
        "accuracies are not comparable with published ones, differences between rows of one table are.",
        "A barrier is relative, with the 95 % interval of a bootstrap over the photographs. Published: the authors' "
        "notebook, torchvision's second weights, 5,000 and 50,000 images.",
    ]
    found = {int(at.size): rows(measured, at) for at in measured.sizes}
    for at in measured.sizes:
        head = [
            "network",
            "correction",
            "accuracy",
            *measured.folders,
            "barrier",
            "95 %",
            "published accuracy",
            "barrier",
        ]
        lines += ["", f"At {int(at.size)} pixels:", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for row in found[int(at.size)]:
            height = ["", ""] if np.isnan(row.barrier) else [f"{row.barrier:.3f}", f"{row.low:.3f} to {row.high:.3f}"]
            known = ["", ""] if row.published is None else [_cell(number) for number in row.published]
            parts = [f"{row.accuracy:.4f}", *(f"{part:.4f}" for part in row.by_folder)]
            lines.append("| " + " | ".join([row.network, row.correction, *parts, *height, *known]) + " |")
        lines += [
            "",
            f"Invariance error {at.invariance.mean():.3f}; the mirror image's logits on mirrored photographs differ "
            f"from the network's by at most {float(at.mirrored):.1e} of the largest; {_swapped(at)}.",
        ]
    sentence = "In the columns of the paper's ImageNet table, whose rows are remembered and support directions only:"
    lines += ["", sentence, "", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    own = [_summary(at, found[int(at.size)]) for at in measured.sizes]
    for name, *values in (*own, *PAPER):
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    return "\n".join(lines) + "\n"


def _summary(at: AtSize, own: list[Row]) -> tuple[Any, ...]:
    """The row of the paper's table, of the first way of matching that was measured."""
    found = {(row.network, row.correction): row for row in own}
    way = next(way for way in WAYS[1:] if (way, "REPAIR") in found)
    ends, half = [found[name, ""] for name in ("network", "mirror image")], found[way, "REPAIR"]
    accuracies = [row.accuracy for row in (*ends, found[way, "BN reset"], half)]
    return (f"this run at {int(at.size)}", float(at.invariance.mean()), *accuracies, half.barrier)


def _cell(number: float | None) -> str:
    return "" if number is None else f"{number:.4f}"


def _swapped(at: AtSize) -> str:
    share = np.average(at.involutive, weights=at.channels)
    correlation = np.average(at.correlation, weights=at.channels)
    return (
        f"{len(at.classes)} permutations of {int(at.channels.sum())} channels, mean correlation {correlation:.3f}, "
        f"{share:.1%} of the channels in cycles of at most two, {int(at.dead.sum())} dead"
    )

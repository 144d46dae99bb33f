"""The paper's ImageNet table: accuracies and relative barriers, stage by stage."""

from typing import NamedTuple

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
        for row in rows(measured, at):
            height = ["", ""] if np.isnan(row.barrier) else [f"{row.barrier:.3f}", f"{row.low:.3f} to {row.high:.3f}"]
            known = ["", ""] if row.published is None else [_cell(number) for number in row.published]
            parts = [f"{row.accuracy:.4f}", *(f"{part:.4f}" for part in row.by_folder)]
            lines.append("| " + " | ".join([row.network, row.correction, *parts, *height, *known]) + " |")
        lines += [
            "",
            f"Invariance error {at.invariance.mean():.3f}; the mirror image's logits on mirrored photographs differ "
            f"from the network's by at most {float(at.mirrored):.1e} of the largest; {_swapped(at)}.",
        ]
    return "\n".join(lines) + "\n"


def _cell(number: float | None) -> str:
    return "" if number is None else f"{number:.4f}"


def _swapped(at: AtSize) -> str:
    share = np.average(at.involutive, weights=at.channels)
    correlation = np.average(at.correlation, weights=at.channels)
    return (
        f"{len(at.classes)} permutations of {int(at.channels.sum())} channels, mean correlation {correlation:.3f}, "
        f"{share:.1%} of the channels in cycles of at most two, {int(at.dead.sum())} dead"
    )

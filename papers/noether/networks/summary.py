"""The few numbers of a run: what its last records say, family by family and layer by layer."""

from typing import Any

import numpy as np

from papers.noether.claims import LAWS

LAYER_SUMS = {"law": "filter_predicted", "eq17": "filter_eq17", "eq17_own_square": "filter_eq17_own_square"}


def summarise(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Final test accuracy and losses, largest prediction errors of each family, and :func:`layers` where norms are."""
    worst = {
        f"largest_{family}_prediction_error": float(arrays[f"{family}_worst"][-1].max())
        for family in LAWS
        if f"{family}_worst" in arrays
    }
    last = {f"test_{name}": float(arrays[f"test_{name}"][-1]) for name in ("loss", "top1", "top5")}
    tail = arrays["train_loss"][-max(1, len(arrays["train_loss"]) // 20) :]
    found = {**last, "train_loss": float(tail.mean()), "steps": len(arrays["train_loss"]), **worst}
    return found | ({"layers": layers(arrays)} if "filter_measured" in arrays else {})


def layers(arrays: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """What became of the squared norms in each layer of filters.

    Args:
      arrays: a run's history.

    Returns:
      Layer -> ``growth`` (median over its filters of the last squared norm over the first recorded); where the run has
      laws ``largest_error`` (of the exact law, over its filters and all steps), and for every prediction the layer's
      last sum over the measured one: ``law``, ``eq17`` and ``eq17_own_square``. Eq. 17 knows no fixed norms.
    """
    found = {}
    measured = arrays["filter_measured"]
    for layer in np.unique(arrays["filter_layer"]):
        own = arrays["filter_layer"] == layer
        total = measured[-1, own].sum()
        row = {"growth": float(np.median(measured[-1, own] / measured[0, own]))}
        if "filter_worst" in arrays:
            row["largest_error"] = float(arrays["filter_worst"][-1, own].max())
        predictions = {name: array for name, array in LAYER_SUMS.items() if array in arrays}
        row |= {name: float(arrays[array][-1, own].sum() / total) for name, array in predictions.items()}
        found[str(layer)] = row
    return found

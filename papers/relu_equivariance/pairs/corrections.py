"""What is done to a merged network before it is evaluated."""

from typing import Any, NamedTuple

from papers.relu_equivariance.pairs.stage import Stage
from symjax.matching import merge
from symjax.repair import calibrate_biases, repair


class Way(NamedTuple):
    """A correction of :func:`symjax.repair.repair`, and how its statistics are taken; "biases" needs none."""

    correction: str
    mode: str = "exact"


CORRECTIONS: dict[str, Way] = {
    "none": Way("none"),
    "deviation": Way("std"),
    "mean": Way("mean"),
    "bias_calibration": Way("biases"),
    "repair": Way("repair"),
    "repair_one_pass": Way("repair", "torch"),
}
"""Name -> correction: nothing; standard deviations alone; means alone; biases shrunk with their depth (Qu & Horváth
2025); deviations and means; both as the published code does, from one pass."""

WORDS = {
    **{"none": "as merged", "deviation": "deviation alone", "mean": "mean alone"},
    **{"bias_calibration": "biases calibrated"},
    **{"repair": "REPAIR", "repair_one_pass": "REPAIR, one pass"},
}
"""Their names in a picture."""


def corrected(stage: Stage, name: str, first: Any, other: Any, alpha: float) -> Any:
    """Merge two networks and correct the result.

    Args:
        stage: holds the images that the statistics are taken on.
        name: one of CORRECTIONS.
        first: variables.
        other: variables, in the first one's order or not.
        alpha: place on the line from the first to the other.

    Returns:
        Variables.
    """
    merged, way = merge(first, other, alpha), CORRECTIONS[name]
    if way.correction == "none":
        return merged
    if way.correction == "biases":
        return calibrate_biases(stage.traced, merged, first, other, alpha)
    options = {"correction": way.correction, "mode": way.mode, "alpha": alpha}
    return repair(stage.traced, merged, first, other, stage.batches, **options).variables

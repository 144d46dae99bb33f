"""What is done to a merged network before it is evaluated, by the statistics of the two it was merged from."""

from typing import Any, NamedTuple

from papers.relu_equivariance.pairs.stage import Stage
from symjax.matching import merge
from symjax.repair import repair


class Way(NamedTuple):
    """A correction of :func:`symjax.repair.repair`, and how its statistics are taken."""

    correction: str
    mode: str = "exact"


CORRECTIONS: dict[str, Way] = {
    "none": Way("none"),
    "deviation": Way("std"),
    "bias": Way("bias"),
    "repair": Way("repair"),
    "repair_one_pass": Way("repair", "torch"),
}
"""Name -> correction: nothing; standard deviations alone; means alone, which is bias calibration; both; both as the
published code does, from one pass."""

WORDS = {
    **{"none": "as merged", "deviation": "deviation alone", "bias": "mean alone"},
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
    options = {"correction": way.correction, "mode": way.mode, "alpha": alpha}
    return repair(stage.traced, merged, first, other, stage.batches, **options).variables

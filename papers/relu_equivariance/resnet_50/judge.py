"""The claims of the pretrained network, over ten groups of the photographs."""

from collections.abc import Callable
from typing import Any

import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting, Statement
from papers.relu_equivariance.claims import RESNET_50
from papers.relu_equivariance.resnet_50.measure import CORRECTIONS, WAYS, AtSize, Measured
from symjax.matching import barrier

GROUPS = 10
"""Of photographs, over which the findings are judged; of fewer photographs each is a group."""

UNMATCHED, ALL, LAST = range(len(WAYS))
NONE, RESET, REPAIR = range(len(CORRECTIONS))


def judge(measured: Measured, config: Any, setting: Setting) -> list[Claim]:
    """Judge the sizes that were measured; a sentence about what was left out is left out."""
    names = ", ".join(measured.folders)
    data = f"{len(measured.folder)} photographs of {names} (not ImageNet's validation set), {measured.seen} others seen"
    here = setting._replace(data=data, model=measured.model, reduced=config.reduced)
    groups = np.arange(len(measured.folder)) % min(GROUPS, len(measured.folder))
    figure = "ImageNet, trained here" if measured.trained else "ImageNet"
    statements = {name: one._replace(figure=figure) for name, one in RESNET_50.items()}
    if measured.trained:
        del statements["pretrained"]  # whoever trained the network knows its accuracy from there
    judged = []
    for at in measured.sizes:
        judged += _at_size(at, statements, groups, here)
    ordered = [float(at.ordered) for at in measured.sizes]
    judged.append(claims.judge(statements["ordered"], ordered, here, count=len(ordered)))
    return judged


def _at_size(at: AtSize, statements: dict[str, Statement], groups: np.ndarray, here: Setting) -> list[Claim]:
    size = int(at.size)

    def over_groups(value: Callable[[np.ndarray], float]) -> list[float]:
        return [float(value(groups == group)) for group in np.unique(groups)]

    def accuracy(right: np.ndarray) -> Callable[[np.ndarray], float]:
        return lambda chosen: right[chosen].mean()

    def less(left: np.ndarray, right: np.ndarray) -> Callable[[np.ndarray], float]:
        return lambda chosen: left[chosen].mean() - right[chosen].mean()

    def height(middle: np.ndarray) -> Callable[[np.ndarray], float]:
        return lambda chosen: barrier(*at.right_ends[:, chosen], middle[chosen], resamples=0).value

    way = ALL if at.measured[ALL, REPAIR] else LAST
    none, reset, repaired = at.right[way]
    network, mirror = at.right_ends
    wanted: dict[str, Callable[[np.ndarray], float]] = {
        "pretrained": accuracy(network),
        "flip_accuracy": less(network, mirror),
        "barrier": height(repaired),
        "reset": less(reset, none),
        "repair": less(repaired, reset),
    }
    if at.measured[UNMATCHED, RESET]:
        wanted["unmatched"] = less(reset, at.right[UNMATCHED, RESET])
    if at.measured[[ALL, LAST], REPAIR].all():
        wanted["streams"] = less(at.right[ALL, REPAIR], at.right[LAST, REPAIR])
    judged = [
        claims.judge(statements[name], over_groups(value), here, size=size)
        for name, value in wanted.items()
        if name in statements
    ]
    exact = "exact" if size % 32 == 1 else "broken"
    judged.append(claims.judge(statements[exact], [float(at.mirrored)], here, count=1, size=size))
    shares = [float(np.average(at.involutive, weights=at.channels))]
    judged.append(claims.judge(statements["involutions"], shares, here, size=size))
    return judged

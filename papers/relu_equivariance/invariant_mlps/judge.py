"""The claims about identifiable networks: laws over all, findings over the teachers."""

from typing import Any

import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.relu_equivariance.claims import IDENTIFIABLE
from papers.relu_equivariance.invariant_mlps.measure import ARCHITECTURES, Measured

INVARIANT = 0.01
"""An invariance error below counts as invariant, as the claims say."""


def judge(measured: Measured, config: Any, setting: Setting) -> list[Claim]:
    """Judge what the networks at hand decide: some findings need networks of two sorts."""
    students = f"{config.students} students of each of {config.teachers} teachers, each architecture"
    here = setting._replace(
        data=f"signals of four samples, {config.steps} steps of {config.batch_size}",
        model=f"ReLU networks, one or two hidden layers of {config.width} units, or half as many again; {students}",
    )
    count = len(measured.planted)
    judged = [
        claims.judge(IDENTIFIABLE["planted"], measured.planted, here, count=count),
        claims.judge(IDENTIFIABLE["short"], measured.short, here, count=count),
        claims.judge(IDENTIFIABLE["counterexample"], measured.counterexample, here, count=count),
    ]
    for name, values in findings(measured).items():
        if values.size:
            judged.append(claims.judge(IDENTIFIABLE[name], values, here))
    return judged


def findings(measured: Measured) -> dict[str, np.ndarray]:
    """Of each finding one number a teacher, for those teachers whose students decide it."""
    whole, error = measured.missing == 0, measured.layerwise
    ended = np.zeros_like(whole)
    ended[..., -1] = measured.invariance[..., -1] < INVARIANT
    narrow, wide = (_row(whole, name) for name in ("one hidden layer", "half as many units again"))
    identifiable = _means(error, ended & whole & narrow)
    return {
        "layerwise": _finite(identifiable),
        "falls": _finite(_rank_correlations(measured, whole & narrow)),
        "hidden": _finite(_means(error, ended & ~whole) - _means(error, ended & whole)),
        "wide": _finite(_means(error, ended & whole & wide) - identifiable),
    }


def _row(like: np.ndarray, name: str) -> np.ndarray:
    """Which networks are of an architecture."""
    chosen = np.zeros_like(like)
    chosen[list(ARCHITECTURES).index(name)] = True
    return chosen


def _means(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mean over the networks chosen of each teacher (teachers,); NaN where there is none."""
    counts = chosen.sum((0, 2, 3))
    return np.where(counts > 0, (values * chosen).sum((0, 2, 3)) / np.maximum(counts, 1), np.nan)


def _rank_correlations(measured: Measured, chosen: np.ndarray) -> np.ndarray:
    from scipy.stats import spearmanr

    found = []
    for teacher in range(chosen.shape[1]):
        of = chosen[:, teacher]
        pair = [values[:, teacher][of] for values in (measured.invariance, measured.layerwise)]
        found.append(float(spearmanr(*pair).statistic) if of.sum() > 2 else np.nan)
    return np.array(found)


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]

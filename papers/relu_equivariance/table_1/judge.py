"""The claims of Table 1, over the seeds that every kind compared has."""

from typing import Any

import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.relu_equivariance.claims import TABLE_1
from papers.relu_equivariance.table_1.measure import Row


def judge(rows: dict[str, Row], config: Any, setting: Setting) -> list[Claim]:
    """Judge the claims that the rows at hand decide: some compare two kinds."""
    data = config.load(config.batch_size)
    here = setting._replace(
        data=f"{data.name}, {len(data.test.labels)} test images, {config.images} images seen",
        model=f"VGG11 without BatchNorm, width {config.width:g}, {config.epochs} epochs of batch {config.batch_size}",
    )
    judged = []
    if "gcnn" in rows:
        images = len(data.test.labels) * len(rows["gcnn"].seeds)
        judged.append(claims.judge(TABLE_1["gcnn_invariant"], rows["gcnn"].error, here, count=images))
        judged.append(claims.judge(TABLE_1["gcnn_barrier"], rows["gcnn"].barrier, here))
    if len(rows) > 2 and (falls := rank_correlations(rows)).size:
        judged.append(claims.judge(TABLE_1["falls"], falls, here))
    for name, first, second, field in COMPARED:
        values = differences(rows, first, second, field)
        if values.size:
            judged.append(claims.judge(TABLE_1[name], values, here))
    if "cnn_aug" in rows:
        harder = rows["cnn_aug"].other - rows["cnn_aug"].barrier
        if np.isfinite(harder).any():
            judged.append(claims.judge(TABLE_1["two_networks"], harder[np.isfinite(harder)], here))
    return judged


COMPARED = (
    ("invariance_loss", "cnn_inv", "gcnn", "barrier"),
    ("early", "pgcnn", "cnn", "accuracy"),
    ("late", "gcnn", "pgcnn", "accuracy"),
    ("augmentation", "cnn", "cnn_aug", "barrier"),
)
"""Claims about a difference: name, kind, less kind, of what."""


def differences(rows: dict[str, Row], first: str, second: str, field: str) -> np.ndarray:
    """A number of one kind less that of another, for every seed that learnt in both, (seeds,)."""
    if first not in rows or second not in rows:
        return np.zeros(0)
    one, two = (
        dict(zip(rows[kind].seeds.tolist(), getattr(rows[kind], field), strict=True)) for kind in (first, second)
    )
    return np.array([one[seed] - two[seed] for seed in one if seed in two])


def rank_correlations(rows: dict[str, Row]) -> np.ndarray:
    """Rank correlation of barrier and invariance error over the kinds, for every seed that learnt in all, (seeds,)."""
    from scipy.stats import spearmanr

    shared = set.intersection(*(set(row.seeds.tolist()) for row in rows.values()))
    found = []
    for seed in sorted(shared):
        places = [int(np.flatnonzero(row.seeds == seed)[0]) for row in rows.values()]
        both = [[getattr(r, f)[p] for r, p in zip(rows.values(), places, strict=True)] for f in ("error", "barrier")]
        found.append(float(spearmanr(*both).statistic))
    return np.array(found)

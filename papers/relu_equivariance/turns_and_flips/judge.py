"""The claims about turns and flips, over the networks of each kind."""

from typing import Any

import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.relu_equivariance.claims import GROUPS
from papers.relu_equivariance.networks.kinds import KINDS
from papers.relu_equivariance.turns_and_flips.elements import ELEMENTS, FLIPS, SQUARE, SUBGROUPS
from papers.relu_equivariance.turns_and_flips.measure import Row
from papers.relu_equivariance.turns_and_flips.merges import element_barriers, whole_barriers

AUGMENTED = "cnn_d4"
UNMATCHED, MATCHED = 0, 1


def judge(rows: dict[str, Row], config: Any, setting: Setting) -> list[Claim]:
    """Judge the laws over all networks, findings kind by kind, and the kinds against each other."""
    data = config.load(config.batch_size)
    here = setting._replace(
        data=f"{data.name} at {config.size} pixels, {len(data.test.labels)} test images, {config.images} images seen",
        model=f"VGG11 without BatchNorm, width {config.width:g}, {config.epochs} epochs of batch {config.batch_size}",
    )
    every = [one for row in rows.values() for one in row.merges]
    count = len(data.test.labels) * (SQUARE.order - 1) * len(every)
    whole = list(SUBGROUPS).index("D4")
    judged = [
        claims.judge(GROUPS["moved"], [float(one.moved) for one in every], here, count=count),
        claims.judge(GROUPS["invariant"], [float(one.whole_error[whole]) for one in every], here, count=count),
    ]
    for kind, row in rows.items():
        judged += _of_a_kind(KINDS[kind].words, row, here)
    gains = augmentation_gains(rows)
    return [*judged, claims.judge(GROUPS["augmentation"], gains, here)] if gains.size else judged


def _of_a_kind(words: str, row: Row, here: Setting) -> list[Claim]:
    single = np.stack([element_barriers(one) for one in row.merges])
    whole = np.stack([whole_barriers(one) for one in row.merges])
    names = list(ELEMENTS)
    flips = single[:, [names.index(name) for name in FLIPS], MATCHED].mean(1)
    values = {
        "element": single[:, :, MATCHED].max(1),
        "turns": single[:, names.index("quarter turn"), MATCHED] - flips,
        "unmatched": (single[:, :, UNMATCHED] - single[:, :, MATCHED]).mean(1),
        "defect": np.array([float(one.defect) for one in row.merges]),
        "lost": np.array([one.lost[list(SUBGROUPS).index("D4")] for one in row.merges]),
    }
    judged = [claims.judge(GROUPS[name], value, here, kind=words) for name, value in values.items()]
    for group in ("C4", "D4"):
        heights = whole[:, list(SUBGROUPS).index(group)]
        judged.append(claims.judge(GROUPS["whole"], heights, here, kind=words, group=group))
    return judged


def augmentation_gains(rows: dict[str, Row]) -> np.ndarray:
    """Mean barrier over the elements without augmentation less that with it, for every seed that learnt in both."""
    if "cnn" not in rows or AUGMENTED not in rows:
        return np.zeros(0)
    means = [
        {seed: element_barriers(one)[:, MATCHED].mean() for seed, one in zip(row.seeds, row.merges, strict=True)}
        for row in (rows["cnn"], rows[AUGMENTED])
    ]
    return np.array([means[0][seed] - means[1][seed] for seed in means[0] if seed in means[1]])

"""The claims of merging, over the networks of a training."""

from typing import Any

import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.relu_equivariance.claims import MERGE
from papers.relu_equivariance.merging.measure import Merged
from papers.relu_equivariance.networks.kinds import KINDS
from papers.relu_equivariance.pairs.corrections import CORRECTIONS
from papers.relu_equivariance.pairs.measure import Pair, barriers

UNMATCHED, MATCHED = 0, 1
NONE, REPAIR = (list(CORRECTIONS).index(name) for name in ("none", "repair"))


def all_barriers(pairs: tuple[Pair, ...]) -> np.ndarray:
    """Relative barriers of the middle, (pairs, ways, corrections)."""
    return np.stack([barriers(pair) for pair in pairs])


def judge(merged: Merged, config: Any, setting: Setting) -> list[Claim]:
    """Judge what one training's networks say."""
    trained = merged.trained
    here = setting._replace(
        data=f"{trained.dataset.name}, {len(trained.dataset.test.labels)} test images, {config.images} images seen",
        model=f"{KINDS[trained.config.kind].words}, VGG11 without BatchNorm, width {trained.config.width:g}",
        reduced=trained.config.reduced,
    )
    own = all_barriers(merged.selves)
    layers = [pair.layers for pair in merged.selves]
    images = len(trained.dataset.test.labels) * len(layers)
    shares = [float(np.average(one.involutive, weights=one.size)) for one in layers]
    judged = [
        claims.judge(MERGE["mirrored"], [float(pair.mirrored) for pair in merged.selves], here, count=images),
        claims.judge(MERGE["invariant"], [float(pair.error[2]) for pair in merged.selves], here, count=images),
        claims.judge(MERGE["barrier"], own[:, MATCHED, REPAIR], here),
        claims.judge(MERGE["repair"], own[:, MATCHED, NONE] - own[:, MATCHED, REPAIR], here),
        claims.judge(MERGE["unmatched"], own[:, UNMATCHED, REPAIR] - own[:, MATCHED, REPAIR], here),
        claims.judge(MERGE["involutions"], shares, here),
        claims.judge(MERGE["rest"], [float(one.lost.mean()) for one in layers], here),
    ]
    if merged.others:
        two = all_barriers(merged.others)[:, MATCHED, REPAIR]
        paired = own[: len(two), MATCHED, REPAIR]
        judged.insert(3, claims.judge(MERGE["two_networks"], two - paired, here))
    return judged

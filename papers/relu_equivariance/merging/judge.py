"""The claims of merging, over the networks of each training, and over the widths of several."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting, Statement
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


def judge(trainings: Sequence[Merged], config: Any, setting: Setting) -> list[Claim]:
    """Judge what each training's networks say, and what their widths do; narrower ones are this project's control."""
    narrower, judged = _by_width(trainings)[:-1], []
    for merged in trainings:
        which = f"{merged.words}: " if len(trainings) > 1 else ""
        said = {name: one._replace(claim=which + one.claim) for name, one in MERGE.items()}
        if any(merged is one for one in narrower):
            said = {name: one._replace(subject="control") for name, one in said.items()}
        judged += _of_one(merged, config, setting, said)
    wider = gains_by_width(trainings)
    if wider.size:
        first = trainings[0].trained
        widths = ", ".join(f"{merged.trained.config.width:g}" for merged in _by_width(trainings))
        here = setting._replace(
            data=_data(trainings[0], config),
            model=f"{KINDS[first.config.kind].words}, VGG11 without BatchNorm, widths {widths}",
            reduced=first.config.reduced,
        )
        judged.append(claims.judge(MERGE["wider"], wider, here))
    return judged


def _by_width(trainings: Sequence[Merged]) -> list[Merged]:
    """Those of the first one's kind, the narrowest first."""
    kind = trainings[0].trained.config.kind
    return sorted((m for m in trainings if m.trained.config.kind == kind), key=lambda m: m.trained.config.width)


def gains_by_width(trainings: Sequence[Merged]) -> np.ndarray:
    """Barrier of the narrowest flipped selves less that of the widest, for each seed that both have (seeds,)."""
    narrow, wide = (
        dict(zip(merged.trained.seeds, all_barriers(merged.selves)[:, MATCHED, REPAIR], strict=True))
        for merged in (_by_width(trainings)[0], _by_width(trainings)[-1])
    )
    return np.array([narrow[seed] - wide[seed] for seed in narrow if seed in wide and len(_by_width(trainings)) > 1])


def _data(merged: Merged, config: Any) -> str:
    dataset = merged.trained.dataset
    return f"{dataset.name}, {len(dataset.test.labels)} test images, {config.images} images seen"


def _of_one(merged: Merged, config: Any, setting: Setting, said: dict[str, Statement]) -> list[Claim]:
    trained = merged.trained
    here = setting._replace(
        data=_data(merged, config),
        model=f"{KINDS[trained.config.kind].words}, VGG11 without BatchNorm, width {trained.config.width:g}",
        reduced=trained.config.reduced,
    )
    own = all_barriers(merged.selves)
    layers = [pair.layers for pair in merged.selves]
    images = len(trained.dataset.test.labels) * len(layers)
    shares = [float(np.average(one.involutive, weights=one.size)) for one in layers]
    judged = [
        claims.judge(said["mirrored"], [float(pair.mirrored) for pair in merged.selves], here, count=images),
        claims.judge(said["invariant"], [float(pair.error[2]) for pair in merged.selves], here, count=images),
        claims.judge(said["barrier"], own[:, MATCHED, REPAIR], here),
        claims.judge(said["repair"], own[:, MATCHED, NONE] - own[:, MATCHED, REPAIR], here),
        claims.judge(said["unmatched"], own[:, UNMATCHED, REPAIR] - own[:, MATCHED, REPAIR], here),
        claims.judge(said["involutions"], shares, here),
        claims.judge(said["rest"], [float(one.lost.mean()) for one in layers], here),
    ]
    if merged.others:
        two = all_barriers(merged.others)[:, MATCHED, REPAIR]
        paired = own[: len(two), MATCHED, REPAIR]
        judged.insert(3, claims.judge(said["two_networks"], two - paired, here))
    return judged

"""The claims of one training; one seed leaves the findings undecided and decides the laws."""

from typing import Any

import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.gradient_flow.claims import TRAINING
from papers.gradient_flow.training.config import TrainConfig


def judge(arrays: dict[str, Any], config: TrainConfig, setting: Setting) -> list[Claim]:
    """Judge the claims of one run."""
    here = _here(config, setting)
    drift = arrays["measured"][-1].astype(np.float64) - arrays["start"]
    if config.network == "two_layer":
        fallen = config.learning_rate * (arrays["train_loss"][0] - arrays["train_loss"][-1])
        judged = [claims.judge(TRAINING["tiny"], [abs(drift.sum()) / arrays["size"].sum()], here)]
        if config.activation in ("linear", "relu"):
            judged.append(claims.judge(TRAINING["bound"], [np.abs(drift).sum() / fallen], here, count=drift.size))
        return judged
    worst, numbers = [float(arrays["worst"][-1].max())], len(arrays["train_loss"]) * drift.size
    if config.network == "vgg11":
        error = arrays["second_order"][-1] - drift
        explained = np.sqrt(np.mean(error**2) / np.mean(drift**2))
        return [
            claims.judge(TRAINING[f"law_{config.precision}"], worst, here, count=numbers),
            claims.judge(TRAINING["explained"], [explained], here),
        ]
    share = np.median(np.abs(arrays["first_order"][-1]) / np.maximum(np.abs(drift), np.finfo(np.float32).tiny))
    return [
        claims.judge(TRAINING["first_order"], [share], here),
        claims.judge(TRAINING["both_orders"], worst, here, count=numbers),
    ]


def _here(config: TrainConfig, setting: Setting) -> Setting:
    limit = "" if config.limit is None else f", at most {config.limit} images of each split"
    models = {
        "two_layer": f"two layers, 10-50-5, {config.activation}",
        "cifar": f"network of Figures 10 and 11, {config.activation}",
        "vgg11": f"VGG11 without BatchNorm, width {config.width:g}",
    }
    data = "none: random targets 5 x 10" if config.network == "two_layer" else f"{config.data}{limit}"
    return setting._replace(data=data, model=models[config.network])

"""Judging the exact laws over all members of a sweep."""

from typing import Any

import numpy as np

from papers.common.claims import Claim, Setting, judge
from papers.noether.claims import LAWS
from papers.noether.networks.laws import describe_data, describe_vgg
from papers.noether.sweeps.config import SweepConfig


def sweep_claims(
    arrays: dict[str, np.ndarray], config: SweepConfig, environment: dict[str, Any], command: str
) -> list[Claim]:
    """Judge the laws over the members that did not diverge; a seed's number is its largest error.

    A sweep is reduced whatever its size: it judges the laws, not the paper's panels.
    """
    alive = ~arrays["diverged"]
    seeds = [seed for seed in config.seeds if (alive & (arrays["seed"] == seed)).any()]
    network = "MLP" if config.model == "mlp" else describe_vgg(config)
    setting = Setting(describe_data(config), network, command, environment, reduced=True)
    claims = []
    for family, law in LAWS.items():
        name = f"largest_{family}_error"
        if seeds and name in arrays:
            errors = [float(arrays[name][alive & (arrays["seed"] == seed)].max()) for seed in seeds]
            count = int(arrays[f"{family}_entries"]) * int(arrays["step"][-1]) * int(alive.sum())
            claims.append(judge(law, errors, setting, count=count))
    return claims

"""The claims about exact dimensions."""

import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.hidden_symmetries.all_regions.measure import AllRegions
from papers.hidden_symmetries.claims import ALL_REGIONS, GROUPS
from papers.hidden_symmetries.exact import ExactConfig
from symjax.dimension import bound


def judge(found: AllRegions, config: ExactConfig, setting: Setting) -> list[Claim]:
    """Judge the identities over every network, and the share that sampling misses over ten groups."""
    networks, largest = found.networks, bound(config.sizes)
    count = len(networks.exact)
    setting = setting._replace(data="none: all of the input space", model=f"random ReLU networks {config.sizes}")
    groups = np.array_split(np.arange(count), min(GROUPS, count))
    missed = [np.mean(networks.exact[group] - networks.sampled[group]) for group in groups]
    return [
        claims.judge(ALL_REGIONS["sampled"], [np.min(networks.exact - networks.sampled)], setting, count=count),
        claims.judge(ALL_REGIONS["bound"], [np.max(networks.exact) - largest], setting, count=count),
        claims.judge(ALL_REGIONS["proven"], [np.max(networks.exact - networks.proven)], setting, count=count),
        claims.judge(
            ALL_REGIONS["explained"],
            [np.max(np.abs(largest - networks.exact - networks.missing[:, :-1].sum(axis=1)))],
            setting, count=count,
        ),
        claims.judge(ALL_REGIONS["missed"], missed, setting),
    ]  # fmt: skip

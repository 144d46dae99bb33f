"""The claims of Figure 6, decided over ten groups of networks."""

import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.hidden_symmetries.claims import EARLIER, FIGURE_6, GROUPS, earlier
from papers.hidden_symmetries.figure_6.measure import Figure6, architecture
from papers.hidden_symmetries.figures import FiguresConfig
from symjax.dimension import bound


def shares(rank: np.ndarray, largest: int) -> np.ndarray:
    """The share of networks at the bound, in each of at most ten groups."""
    return np.array([np.mean(group == largest) for group in np.array_split(rank, min(GROUPS, len(rank)))])


def judge(found: Figure6, config: FiguresConfig, setting: Setting) -> list[Claim]:
    """Judge what the depths and widths measured can say."""
    setting = setting._replace(data="none: standard normal points")
    ranks = found.ranks
    largest = {key: bound(architecture(*key)) for key in ranks}
    at_bound = {key: shares(one.rank, largest[key]) for key, one in ranks.items()}

    def smallest_step(keys: list[tuple[int, int]], sign: int) -> np.ndarray:
        count = min(len(at_bound[key]) for key in keys)
        return np.min(sign * np.diff([at_bound[key][:count] for key in keys], axis=0), axis=0)

    made = []
    if len(config.depths) > 1:
        for width in config.widths:
            here = setting._replace(model=f"random ReLU networks of width {width}", reduced=config.fewer(width))
            steps = smallest_step([(depth, width) for depth in sorted(config.depths)], -1)
            made.append(claims.judge(FIGURE_6["depth"], steps, here, width=width))
    if len(config.widths) > 1:
        for depth in config.depths:
            here = setting._replace(model=f"random ReLU networks of depth {depth}")
            steps = smallest_step([(depth, width) for width in sorted(config.widths)], 1)
            made.append(claims.judge(FIGURE_6["width"], steps, here, depth=depth))
    for key in sorted(set(ranks) & set(EARLIER), key=lambda key: (key[1], key[0])):
        model = f"random ReLU networks of depth {key[0]} and width {key[1]}"
        here = setting._replace(model=model, reduced=config.fewer(key[1]))
        made.append(claims.judge(earlier(*key), at_bound[key] - np.mean(EARLIER[key]), here))
    here = setting._replace(model=f"random ReLU networks of widths {', '.join(map(str, config.widths))}")
    count = sum(len(one.rank) for one in ranks.values())
    lost = [np.min(one.regions - one.rank) for one in ranks.values()]
    made.append(claims.judge(FIGURE_6["regions"], lost, here, count=count))
    over = [max(one.rank.max(), one.regions.max()) - largest[key] for key, one in ranks.items()]
    made.append(claims.judge(FIGURE_6["bound"], over, here, count=2 * count))
    gaps = [np.log10(one.gap.min()) for one in ranks.values()]
    made.append(claims.judge(FIGURE_6["clear"], gaps, here, count=2 * count))
    open_ranks = [np.max(largest[key] - one.rank) for key, one in found.proofs.items() if one.rank.size]
    if open_ranks:
        proofs = sum(one.rank.size for one in found.proofs.values())
        made.append(claims.judge(FIGURE_6["proven"], open_ranks, here, count=proofs))
    return made

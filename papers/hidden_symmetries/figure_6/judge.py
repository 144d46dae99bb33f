"""The claims of Figure 6, decided by the intervals of the shares and of their differences.

That every step rises holds where every step's interval does, and fails where one step's lies below.
"""

from itertools import pairwise

import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.common.verdicts import Interval, difference, share
from papers.hidden_symmetries.claims import EARLIER, FIGURE_6, earlier
from papers.hidden_symmetries.figure_6.measure import Figure6, architecture
from papers.hidden_symmetries.figures import FiguresConfig
from symjax.dimension import bound


def judge(found: Figure6, config: FiguresConfig, setting: Setting) -> list[Claim]:
    """Judge what the depths and widths measured can say."""
    setting = setting._replace(data="none: standard normal points")
    ranks = found.ranks
    largest = {key: bound(architecture(*key)) for key in ranks}
    at_bound = {key: share(int(np.sum(one.rank == largest[key])), len(one.rank)) for key, one in ranks.items()}

    def smallest_step(keys: list[tuple[int, int]], sign: int) -> Interval:
        steps = [difference(at_bound[b], at_bound[a]) for a, b in pairwise(keys[::sign])]
        return Interval(*np.min(steps, axis=0).tolist())

    def networks(keys: list[tuple[int, int]]) -> int:
        return sum(len(ranks[key].rank) for key in keys)

    made = []
    if len(config.depths) > 1:
        for width in config.widths:
            here = setting._replace(model=f"random ReLU networks of width {width}", reduced=config.fewer(width))
            keys = [(depth, width) for depth in sorted(config.depths)]
            made.append(
                claims.judge(FIGURE_6["depth"], smallest_step(keys, -1), here, count=networks(keys), width=width)
            )
    if len(config.widths) > 1:
        for depth in config.depths:
            here = setting._replace(model=f"random ReLU networks of depth {depth}")
            keys = [(depth, width) for width in sorted(config.widths)]
            made.append(
                claims.judge(FIGURE_6["width"], smallest_step(keys, 1), here, count=networks(keys), depth=depth)
            )
    for key in sorted(set(ranks) & set(EARLIER), key=lambda key: (key[1], key[0])):
        model = f"random ReLU networks of depth {key[0]} and width {key[1]}"
        here = setting._replace(model=model, reduced=config.fewer(key[1]))
        distance = Interval(*(number - float(np.mean(EARLIER[key])) for number in at_bound[key]))
        made.append(claims.judge(earlier(*key), distance, here, count=len(ranks[key].rank)))
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

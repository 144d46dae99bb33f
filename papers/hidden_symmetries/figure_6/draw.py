"""Histograms of the functional dimension, a row a depth and a column a width, as in the paper."""

import numpy as np

from papers.common.experiment import Picture
from papers.common.plots import COLOURS, new_figure
from papers.common.verdicts import share
from papers.hidden_symmetries.figure_6.measure import Figure6, Ranks, architecture
from papers.hidden_symmetries.figures import FiguresConfig
from symjax.dimension import bound


def draw(found: Figure6, config: FiguresConfig) -> Picture:
    """Draw the ranks at the points, those on their regions behind them, and the bound."""
    canvas = new_figure(len(config.depths), len(config.widths), width=3.6, height=2.4)
    for row, depth in enumerate(config.depths):
        for column, width in enumerate(config.widths):
            _panel(canvas.axes[row, column], found.ranks[depth, width], depth, width)
    canvas.axes[0, 0].legend(frameon=False, fontsize=7, loc="upper left")
    arrays = {
        f"d{depth}_n{width}_{name}": values
        for (depth, width), ranks in found.ranks.items()
        for name, values in ranks._asdict().items()
    }
    return Picture(canvas.figure, arrays)


def _panel(panel, ranks: Ranks, depth: int, width: int) -> None:
    largest, count = bound(architecture(depth, width)), len(ranks.rank)
    least = int(min(ranks.rank.min(), largest - 5))
    bars = 60 if count >= 500 else 20
    bins = np.arange(least - 0.5, largest + 1.5, max(1, (largest - least) // bars))
    bins = np.append(bins[bins < largest - 0.5], [largest - 0.5, largest + 0.5])
    panel.hist(
        ranks.rank, bins, weights=np.full(count, 1 / count), color=COLOURS["fixed"], alpha=0.7, label="at points"
    )
    panel.hist(ranks.regions, bins, weights=np.full(count, 1 / count), color=COLOURS["free"], histtype="step",
               label="on their regions")  # fmt: skip
    panel.axvline(largest, color="black", linestyle="--", linewidth=1, label="bound")
    found = share(int(np.sum(ranks.rank == largest)), count)
    completed = np.mean(ranks.regions == largest)
    panel.set_title(
        f"depth {depth}, width {width} ({count:,} networks): at the bound\n"
        f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]; on regions {completed:.3f}",
        fontsize=8,
    )
    panel.set(xlabel="functional dimension", ylabel="share of networks")

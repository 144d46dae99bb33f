"""The picture of Figure 10: what each ensemble changes of the accuracy."""

from typing import Any

import numpy as np

from papers.common.experiment import Picture
from papers.common.plots import new_figure
from papers.gradient_flow.figure_10_ensembles.measure import Grid, change, epsilons, official_change, sizes
from papers.gradient_flow.networks.cifar.config import KINDS
from papers.gradient_flow.networks.config import ExperimentConfig


def draw(grid: Grid, config: ExperimentConfig) -> Picture:
    """Draw heatmaps: by vote on held-out training images, by mean softmax on the test split."""
    splits = {split: getattr(grid, split)._asdict() for split in ("held_out", "official")}
    arrays = {f"{split}_{name}": values for split, scores in splits.items() for name, values in scores.items()}
    plain = {name: getattr(grid, name) for name in ("own_held_out", "own_official", "condition", "residual", "rank")}
    axes = {"sizes": np.array(sizes(config)), "epsilons": np.array(epsilons(config)), "kinds": np.array(KINDS)}
    return Picture(_picture(grid, config), arrays | plain | axes)


def _picture(grid: Grid, config: ExperimentConfig) -> Any:
    canvas = new_figure(2, len(KINDS), width=3.0, height=2.6)
    rows = (("vote, held out", change(grid, "vote")), ("mean softmax, test split", official_change(grid)))
    lowest = min(values.mean(axis=0).min() for _, values in rows)
    for (name, values), panels in zip(rows, canvas.axes, strict=True):
        for kind, (index, axes) in zip(KINDS, enumerate(panels), strict=True):
            shown = values[..., index].mean(axis=0).T
            image = axes.imshow(shown, cmap="Reds_r", vmin=lowest, vmax=0.0, aspect="auto")
            axes.set_title(f"{kind.replace('_', ' ')}\n{name}", fontsize=9)
            axes.set_xticks(range(len(sizes(config))), sizes(config), fontsize=8)
            said = [f"{epsilon:g}" if index == 0 else "" for epsilon in epsilons(config)]
            axes.set_yticks(range(len(said)), said, fontsize=8)
            axes.set(xlabel="members", ylabel="ε" if index == 0 else "")
            axes.grid(False)
            for place, value in np.ndenumerate(shown):
                words = f"{100 * value:+.0f}" if abs(value) >= 0.005 else "0"
                colour = "white" if value < 0.6 * lowest else "black"
                axes.text(place[1], place[0], words, ha="center", va="center", fontsize=8, color=colour)
    bar = canvas.figure.colorbar(image, ax=canvas.axes, shrink=0.6)
    bar.set_label("accuracy less the network's own; in the fields: points of 0.01", fontsize=9)
    return canvas.figure

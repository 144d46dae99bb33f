"""The dimension through training, and at its end with noise."""

import numpy as np

from papers.common.experiment import Picture
from papers.common.plots import COLOURS, new_figure
from papers.hidden_symmetries.train import TrainConfig
from papers.hidden_symmetries.training.measure import ARMS, SETS, THROUGH, Courses

INPUTS = {"train": "training inputs", "test": "test inputs", "random": "regions of random inputs"}


def draw(courses: Courses, config: TrainConfig) -> Picture:
    """Draw the three dimensions against the epochs, and what the arms end with on their training inputs."""
    canvas = new_figure(1, 4, width=3.0, height=2.8)
    for panel, place, name in zip(canvas.axes[0], range(len(SETS)), SETS, strict=False):
        for arm, colour in zip(THROUGH, (COLOURS["fixed"], COLOURS["free"]), strict=True):
            for number, course in enumerate(courses[arm]):
                label = arm if number == 0 else None
                panel.plot(course.epoch, course.ranks.rank[:, place], "o-", color=colour, markersize=3, label=label)
        panel.set_xscale("symlog", linthresh=1)
        panel.set(xlabel="epoch", ylabel="functional dimension")
        panel.set_title(f"on {INPUTS[name]}", fontsize=9)
    most = max(course.ranks.most[:, -1].max() for course in courses["plain"])
    canvas.axes[0, 2].axhline(most, color="black", linestyle="--", linewidth=1, label="bound")
    canvas.axes[0, 2].set_ylim(0, 1.05 * most)
    for panel in (canvas.axes[0, 0], canvas.axes[0, 2]):
        panel.legend(frameon=False, fontsize=7, loc="lower left")
    panel = canvas.axes[0, 3]
    for number, arm in enumerate(ARMS):
        ends = [course.ranks.rank[-1, 0] for course in courses[arm]]
        panel.plot(np.full(len(ends), number), ends, "o", color=COLOURS["fixed"], markersize=4, alpha=0.7)
    panel.set_xticks(range(len(ARMS)), [arm.replace(" ", "\n") for arm in ARMS], fontsize=7)
    panel.set_xlim(-0.5, len(ARMS) - 0.5)
    panel.set_title("on training inputs, at the end", fontsize=9)
    arrays = {
        f"{arm.replace(' ', '_')}_{name}": np.stack([getattr(course, name) for course in found])
        for arm, found in courses.items()
        for name in ("epoch", "loss", "score")
    }
    for arm, found in courses.items():
        for name in found[0].ranks._fields:
            arrays[f"{arm.replace(' ', '_')}_{name}"] = np.stack([getattr(course.ranks, name) for course in found])
    return Picture(canvas.figure, arrays)

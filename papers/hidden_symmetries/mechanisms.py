"""The mechanisms that make hidden symmetries: a small network for each, its dimension exact, sampled and explained.

Source: Grigsby, Lindsey, Rolnick 2023 (arXiv 2306.06179), section on mechanisms; formulas of the drops and the examples
are this project's (:mod:`symjax.dimension.examples`).
"""

from typing import NamedTuple

import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.common.experiment import Experiment, Picture
from papers.common.plots import COLOURS, new_figure
from papers.common.runs import RunDirectory
from papers.hidden_symmetries.claims import MECHANISMS
from papers.hidden_symmetries.figures import FiguresConfig
from symjax.dimension import bound, exact_dimension, explain, mechanism_examples, sampled_dimension, widths


class Table(NamedTuple):
    """One entry an example.

    Attributes:
      row: name of the mechanism.
      mechanism: in words.
      architecture: widths, joined by dashes.
      bound: of the architecture.
      predicted: dimension by the formula of the mechanism.
      exact: dimension on all regions.
      sampled: dimension on the regions of standard normal points, 100 times the bound of them.
      unexplained: what no mechanism explains of the exact drop.
      regions: number of activation regions.
    """

    row: np.ndarray
    mechanism: np.ndarray
    architecture: np.ndarray
    bound: np.ndarray
    predicted: np.ndarray
    exact: np.ndarray
    sampled: np.ndarray
    unexplained: np.ndarray
    regions: np.ndarray


def measure(config: FiguresConfig, directory: RunDirectory) -> Table:
    """Measure every example, by all regions and by sampling."""
    rows = []
    for number, example in enumerate(mechanism_examples()):
        sizes = widths(example.params)
        exact = exact_dimension(example.params)
        random = np.random.default_rng((1, config.seed, number))
        sampled = sampled_dimension(example.params, random.normal(size=(100 * bound(sizes), sizes[0])), random)
        rest = explain(example.params, exact.regions).unexplained
        rows.append(
            (
                *(example.row, example.mechanism, "-".join(map(str, sizes)), bound(sizes), example.dimension),
                *(exact.rank, sampled.rank, rest, len(exact.regions.witnesses)),
            )
        )
        directory.append(dict(zip(Table._fields, rows[-1], strict=True)))
        print("{:>8}  {:<50} {:<10} bound {}, predicted {}, exact {}, sampled {}".format(*rows[-1]), flush=True)
    return Table(*map(np.asarray, zip(*rows, strict=True)))


def draw(table: Table, config: FiguresConfig) -> Picture:
    """Draw the bound, the dimension and what sampling sees of it."""
    del config
    canvas = new_figure(width=6.5, height=0.24 * len(table.row) + 0.8)
    panel, places = canvas.axes[0, 0], np.arange(len(table.row))[::-1]
    panel.barh(places, table.bound, color="0.9", label="bound")
    panel.barh(places, table.exact, color=COLOURS["fixed"], alpha=0.8, height=0.5, label="exact dimension")
    panel.plot(table.sampled, places, "o", color=COLOURS["free"], markersize=3, label="sampled")
    panel.plot(table.predicted, places, "|", color="black", markersize=9, label="predicted")
    names = [f"{row}: {what} ({sizes})" for row, what, sizes in zip(*table[:3], strict=True)]
    panel.set_yticks(places, names, fontsize=6)
    panel.set(xlabel="functional dimension")
    panel.legend(frameon=False, fontsize=7, loc="center right")
    return Picture(canvas.figure, table._asdict())


def judge(table: Table, config: FiguresConfig, setting: Setting) -> list[Claim]:
    """Judge the dimensions of all examples; nothing here is smaller than the paper's."""
    del config
    here = setting._replace(data="none: all activation regions", model="hand-built ReLU networks", reduced=False)
    errors = {
        "dimension": np.abs(table.exact - table.predicted),
        "explained": np.abs(table.unexplained),
        "sampled": table.sampled - table.exact,
    }
    return [claims.judge(MECHANISMS[name], [np.max(error)], here, count=error.size) for name, error in errors.items()]


EXPERIMENT = Experiment(measure, draw, judge)

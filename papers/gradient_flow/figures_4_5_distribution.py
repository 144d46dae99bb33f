"""Figures 4 and 5: where standard initialisation puts Q, by activation and by shape.

On the minimum Q takes every real value; ``U ~ N(0, 1/h)``, ``V ~ N(0, 1/n)`` concentrate it in a window whose width is
small beside the number of hidden units, so that gradient flow reaches a thin slice of the minimum only. Each seed is an
experiment of its own: that many draws, their histogram, mean and variance against theory.

Source: Zhao et al. 2023, Figures 4 and 5; theory in :func:`symjax.conserved.xavier_moments`.
Deviation: U and V are independent (the authors draw both from one seed), float64.
"""

import math
import zlib
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common import claims
from papers.common.claims import Claim, Setting
from papers.common.experiment import Experiment, Picture
from papers.common.plots import COLOURS, new_figure
from papers.common.runs import RunDirectory
from papers.gradient_flow.claims import FIGURES_4_5
from papers.gradient_flow.networks.config import ExperimentConfig
from symjax.conserved import pointwise, xavier_moments

DRAWS, QUICK_DRAWS, BINS = 1000, 200, 10
CHUNK = 50  # draws at a time: 10 MB of weights


class Case(NamedTuple):
    """An activation and a shape, with what the authors' draws gave: mean and variance."""

    activation: str
    m: int
    h: int
    n: int
    mean: float
    variance: float

    @property
    def words(self) -> str:
        """The case in words."""
        return f"{self.activation} ({self.m}, {self.h}, {self.n})"


FIGURE_4 = (
    Case("linear", 100, 100, 100, 0.064, 3.76),
    Case("relu", 100, 100, 100, 50.04, 3.15),
    Case("tanh", 100, 100, 100, -10000.94, 3.84),
    Case("sigmoid", 100, 100, 100, -10000.22, 433.6),
)
FIGURE_5 = (Case("linear", 100, 200, 100, -100.10, 5.00), Case("linear", 200, 100, 100, 99.92, 5.32))


def measure(cases: tuple[Case, ...], config: ExperimentConfig, directory: RunDirectory) -> np.ndarray:
    """Evaluate Q in all draws of all seeds: array (cases, seeds, draws)."""
    del directory
    draws = QUICK_DRAWS if config.quick else DRAWS
    shapes = list(dict.fromkeys((case.m, case.h, case.n) for case in cases))
    found = []
    for shape in shapes:
        names = tuple(case.activation for case in cases if (case.m, case.h, case.n) == shape)
        found.append(np.stack([charges(seed, draws, shape, names) for seed in config.all_seeds], axis=1))
    return np.concatenate(found)


def charges(seed: int, draws: int, shape: tuple[int, int, int], names: tuple[str, ...]) -> np.ndarray:
    """Draw networks with Xavier's scale and evaluate the total Q of each, in the scale of the authors' code.

    ``U (m, h) ~ N(0, 1/h)``, ``V (n, h) ~ N(0, 1/n)``; all activations see the same draws.

    Source: Zhao et al. 2023, Figures 4 and 5.

    Args:
      seed: of the experiment.
      draws: how many networks.
      shape: (m, h, n).
      names: activations that the authors' code knows.

    Returns:
      Array (activations, draws), float64.
    """
    tag = zlib.crc32(f"distribution {shape}".encode())
    key = jax.random.fold_in(jax.random.key(seed), tag)
    return np.asarray(_charges(key, draws, shape, names)).T


@partial(jax.jit, static_argnums=(1, 2, 3))
def _charges(key: jax.Array, draws: int, shape: tuple[int, int, int], names: tuple[str, ...]) -> jax.Array:
    m, h, n = shape

    def one(draw: jax.Array) -> jax.Array:
        numbers = jax.random.normal(jax.random.fold_in(key, draw), (m + n, h), jnp.float64)
        u, v = numbers[:m] / math.sqrt(h), numbers[m:].T / math.sqrt(n)
        return jnp.stack([jnp.sum(pointwise(u, v, name, scale="paper")) for name in names])

    return jax.lax.map(one, jnp.arange(draws), batch_size=min(CHUNK, draws))


def draw(cases: tuple[Case, ...], values: np.ndarray, config: ExperimentConfig) -> Picture:
    """Draw the first seed's histograms with the normal density of theory's mean and variance."""
    del config
    canvas = new_figure(1, len(cases), width=3.2)
    for panel, case, q in zip(canvas.axes[0], cases, values, strict=True):
        _histogram(panel, case, q[0])
    canvas.figure.legend(
        *canvas.axes[0, 0].get_legend_handles_labels(), loc="outside lower center", frameon=False, ncols=2
    )
    return Picture(canvas.figure, {"charge": values, "cases": [" ".join(map(str, case[:4])) for case in cases]})


def _histogram(panel: Any, case: Case, q: np.ndarray) -> None:
    mean, variance = xavier_moments(*case[:4])
    counts, edges, _ = panel.hist(
        q, bins=BINS, color=COLOURS["fixed"], alpha=0.7, edgecolor="white", linewidth=0.5, label="draws"
    )
    x = np.linspace(edges[0], edges[-1], 200)
    density = np.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
    panel.plot(
        x,
        counts.sum() * (edges[1] - edges[0]) * density,
        "--",
        color="black",
        linewidth=1,
        label="normal of theory's mean and variance",
    )
    panel.set_title(
        f"{case.words}: as theory has it\nmean {q.mean():.2f}, theory {mean:.2f}\n"
        f"variance {q.var(ddof=1):.2f}, theory {variance:.2f}",
        fontsize=9,
    )
    panel.ticklabel_format(axis="x", useOffset=False)
    panel.locator_params(axis="x", nbins=4)
    panel.set(xlabel="Q", ylabel="draws")


def judge(
    figure: str, cases: tuple[Case, ...], values: np.ndarray, config: ExperimentConfig, setting: Setting
) -> list[Claim]:
    """Judge mean, variance and width of every case, the interval over the seeds."""
    del config
    judged = []
    for case, q in zip(cases, values, strict=True):
        mean, variance = xavier_moments(*case[:4])
        here = setting._replace(
            data=f"none: {q.shape[1]} random initialisations for each seed",
            model=f"two layers, {case.activation}, (m, h, n) = ({case.m}, {case.h}, {case.n})",
        )
        table = {key: statement._replace(figure=figure) for key, statement in FIGURES_4_5.items()}
        reported = f"mean {case.mean}, variance {case.variance} in the authors' 1000 draws"
        errors = {
            "mean": ((q.mean(axis=1) - mean) / math.sqrt(variance / q.shape[1]), mean),
            "variance": (q.var(axis=1, ddof=1) / variance - 1, variance),
        }
        for key, (error, theory) in errors.items():
            statement = table[key]._replace(paper=reported)
            judged.append(claims.judge(statement, error, here, case=case.words, theory=theory))
        judged.append(claims.judge(table["width"], q.std(axis=1, ddof=1) / case.h, here, case=case.words))
    return judged


def _experiment(figure: str, cases: tuple[Case, ...]) -> Experiment:
    return Experiment(partial(measure, cases), partial(draw, cases), partial(judge, figure, cases))


BY_ACTIVATION = _experiment("Fig. 4", FIGURE_4)
BY_SHAPE = _experiment("Fig. 5", FIGURE_5)

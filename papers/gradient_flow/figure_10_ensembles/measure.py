"""The five ensembles of one trained network over the number of members and the strength of the group elements."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common.cli import check
from papers.common.data import Dataset
from papers.common.runs import RunDirectory
from papers.common.verdicts import interval
from papers.gradient_flow.claims import EPSILONS, PAPER_CHANGE, SIZES
from papers.gradient_flow.networks.cifar.config import KINDS, CifarConfig, NetworkConfig
from papers.gradient_flow.networks.cifar.ensembles import Scores, features, head, memory, own_accuracy, score_all
from papers.gradient_flow.networks.cifar.perturbations import draw as perturb
from papers.gradient_flow.networks.cifar.trained import load, networks, stacked, write_summary
from papers.gradient_flow.networks.config import ExperimentConfig

HELD_OUT, OFFICIAL = 1000, 10_000


class Grid(NamedTuple):
    """What one network's ensembles give; G sizes, E strengths, K kinds.

    Attributes:
      held_out: Scores of arrays (G, E, K) on the images before the fitting batches.
      official: Scores of arrays (G, E, K) on the official test split.
      own_held_out: (G,), the network's own accuracy on the same images.
      own_official: (), the same on the official test split.
      condition: (G, E, K), median over members.
      residual: (G, E, K), largest over members.
      rank: (G, E, K), smallest over members.
    """

    held_out: Scores
    official: Scores
    own_held_out: np.ndarray
    own_official: np.ndarray
    condition: np.ndarray
    residual: np.ndarray
    rank: np.ndarray


def evaluate(
    network: NetworkConfig,
    params: Any,
    dataset: Dataset,
    sizes: tuple[int, ...],
    epsilons: tuple[float, ...],
    held_out: int = HELD_OUT,
    official: int = OFFICIAL,
) -> Grid:
    """Evaluate the five ensembles of one trained network over the grid.

    With G members of width h the last h G images of the training file fit the upper maps, h for each member; the
    `held_out` images before them, and the first `official` images of the test split, are classified.

    Source: Zhao et al. 2023, Figure 10 (notebook).
    Deviation: one trained network for the whole grid; the authors train a new one at each point, and never use the test
    split.

    Args:
      network: of the training; its seed also draws the group elements.
      params: trained parameters.
      dataset: CIFAR-10.
      sizes: numbers of members G.
      epsilons: strengths.
      held_out: images before the fitting batches.
      official: images of the test split.

    Returns:
      The scores.
    """
    h, activation, last = network.hidden, network.activation, head(params)
    total, needed = len(dataset.train.labels), h * max(sizes) + held_out
    check(needed + network.images <= total, "images", network.images, f"at most {total - needed}: {needed} held out")
    tail = features(network, params, dataset.train.images[total - needed :], dataset)
    tail_labels = jnp.asarray(dataset.train.labels[total - needed :])
    test = features(network, params, dataset.test.images[:official], dataset)
    test_labels = jnp.asarray(dataset.test.labels[:official])
    key, points, own = jax.random.key(network.seed), [], []
    for size in sizes:
        cut = len(tail) - h * size
        batches, seen = tail[cut:].reshape(size, h, h), slice(cut - held_out, cut)
        own.append(own_accuracy(last, tail[seen], tail_labels[seen], activation))
        for epsilon in epsilons:
            maps = perturb(key, epsilon, batches, activation)
            scores = (
                score_all(last, hidden, labels, maps, activation)
                for hidden, labels in ((tail[seen], tail_labels[seen]), (test, test_labels))
            )
            quality = (np.median(maps.condition, axis=1), np.max(maps.residual, axis=1), np.min(maps.rank, axis=1))
            points.append((*scores, *quality))
    shape = (len(sizes), len(epsilons), len(KINDS))

    def gather(place: int) -> np.ndarray:
        return np.stack([point[place] for point in points]).reshape(shape)

    held, test_scores = (
        Scores(*(np.stack([point[place][field] for point in points]).reshape(shape) for field in range(4)))
        for place in (0, 1)
    )
    own_test = own_accuracy(last, test, test_labels, activation)
    return Grid(held, test_scores, np.array(own), np.array(own_test), *(gather(place) for place in (2, 3, 4)))


def measure(config: ExperimentConfig, directory: RunDirectory) -> Grid:
    """Train or read each seed's network and evaluate its grid; arrays gain a leading axis of seeds."""
    config = CifarConfig.of(config)
    dataset, grids, tested = load(config), [], []
    for network, trained in networks(config, "leaky_square", dataset, directory):
        tested.append(trained.test_accuracy)
        count, official = 200 if config.quick else HELD_OUT, config.shown_official(OFFICIAL)
        grid = partial(evaluate, network, trained.params, dataset, sizes(config), epsilons(config), count, official)
        grids.append(directory.part(f"grid-{network.seed}", Grid, grid))
    grid = stacked(grids)
    program = {"members": 120, "images": 1000, "kinds": len(KINDS), "scratch_bytes": memory(120, 1000)}
    write_summary(directory, _summary(grid, config) | {"network_test_accuracy": tested, "largest_program": program})
    return grid


def sizes(config: ExperimentConfig) -> tuple[int, ...]:
    """Give the numbers of members."""
    return (2, 4) if config.quick else SIZES


def epsilons(config: ExperimentConfig) -> tuple[float, ...]:
    """Give the strengths of the group elements, those of the paper's that are run."""
    return (10.0, 1.0, 0.1) if config.quick else EPSILONS


def change(grid: "Grid", how: str = "mean_softmax") -> np.ndarray:
    """Give the ensembles' accuracy less the network's own on the same images: (seeds, sizes, epsilons, kinds)."""
    return getattr(grid.held_out, how) - grid.own_held_out[..., None, None]


def official_change(grid: "Grid") -> np.ndarray:
    """Give the same by mean softmax on the official test split."""
    return grid.official.mean_softmax - grid.own_official[:, None, None, None]


def _summary(grid: "Grid", config: ExperimentConfig) -> dict:
    """The table of the specification: change of accuracy, mean over sizes, with its interval over seeds."""

    def table(values: np.ndarray) -> dict:
        each = values.mean(axis=1)
        return {
            kind: {f"{epsilon:g}": interval(each[:, e, k]) for e, epsilon in enumerate(epsilons(config))}
            for k, kind in enumerate(KINDS)
        }

    worst = {
        kind: {
            f"{epsilon:g}": {
                "median_condition": float(np.median(grid.condition[:, :, e, k])),
                "largest_residual": float(grid.residual[:, :, e, k].max()),
                "smallest_rank": int(grid.rank[:, :, e, k].min()),
                "finite_members": float(grid.held_out.finite[:, :, e, k].min()),
            }
            for e, epsilon in enumerate(epsilons(config))
        }
        for k, kind in enumerate(KINDS)
    }
    by_size = grid.held_out.mean_softmax[:, :, :, KINDS.index("group")].mean(axis=0)
    return {
        "own_accuracy_held_out": grid.own_held_out,
        "own_accuracy_official": grid.own_official,
        "change_mean_softmax": table(change(grid)),
        "change_vote": table(change(grid, "vote")),
        "change_mean_softmax_official": table(official_change(grid)),
        "paper_change": {
            kind: dict(zip(map("{:g}".format, EPSILONS), PAPER_CHANGE[kind], strict=True)) for kind in KINDS
        },
        "group_accuracy": {
            f"{epsilon:g}": dict(zip(map(str, sizes(config)), by_size[:, e].tolist(), strict=True))
            for e, epsilon in enumerate(epsilons(config))
        },
        "maps": worst,
        "seeds": config.all_seeds,
    }

"""The five ensembles of one trained network over the number of members and the strength of the group elements."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from papers.common.cli import check
from papers.common.data import Dataset
from papers.gradient_flow.networks.cifar.ensembles import Scores, features, head, own_accuracy, score_all
from papers.gradient_flow.networks.cifar.perturbations import draw as perturb
from papers.gradient_flow.networks.cifar.setting import KINDS, NetworkConfig

HELD_OUT = 1000


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


def measure(
    network: NetworkConfig,
    params: Any,
    dataset: Dataset,
    sizes: tuple[int, ...],
    epsilons: tuple[float, ...],
    held_out: int = HELD_OUT,
    official: int = 10_000,
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

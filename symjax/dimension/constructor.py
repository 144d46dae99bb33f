"""Parameters without hidden symmetries, for any architecture whose input and hidden layers have two units or more.

A full dimension is an open condition: one network that has it proves it for a neighbourhood.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from symjax.arguments import whole_number
from symjax.dimension.certificate import Certificate, certify
from symjax.dimension.networks import as_widths
from symjax.dimension.rank import Dimension, sampled_dimension

__all__ = ["Constructed", "construct"]

POINTS = 6000
DRAWS = 20  # of each layer, before the network is begun again
RADII = (-1.5, 1.5)  # of the logarithm, around 1.5


class Constructed(NamedTuple):
    """A network and its dimension.

    Attributes:
      params: ``[(W, b), ...]``.
      dimension: with its evidence.
      certificate: of that dimension, by exact rows; ``certificate.full`` proves that there is no hidden symmetry of
        positive dimension.
      attempts: how many networks were begun.
    """

    params: list[tuple[np.ndarray, np.ndarray]]
    dimension: Dimension
    certificate: Certificate
    attempts: int


def construct(sizes: Sequence[int], random: np.random.Generator, attempts: int = 20) -> Constructed:
    """Find parameters without hidden symmetries of positive dimension, layer by layer.

    Weights are N(0, 2 / fan in); the bias of a unit is minus a random quantile, between 0.3 and 0.7, of its different
    weighted inputs over a cloud of points at all scales, so that it bends where the layers below have their image; the
    unit is then scaled to a standard deviation of 1. A layer is kept when the network that ends with it and a random
    output has a full dimension, and drawn again otherwise; after 20 draws the network is begun again.

    Source: Grigsby, Lindsey, Rolnick 2023 (arXiv 2306.06179) and arXiv 2605.03601 prove that such parameters exist; the
    construction is this library's own.

    Args:
      sizes: (n_0, ..., n_d), the input and hidden ones at least 2.
      random: the generator.
      attempts: how many networks are begun at most.

    Returns:
      The network with its proof; where no attempt succeeded the last one, and ``certificate.full`` is False.

    Raises:
      ValueError: widths that are not positive integers, or one below the output that is less than 2.

    Example:
      >>> made = construct((2, 4, 3, 1), np.random.default_rng(0))
      >>> made.certificate.rank, made.certificate.full
      (24, True)
    """
    sizes, attempts = as_widths(sizes), whole_number("attempts", attempts, 1)
    if min(sizes[:-1]) < 2:
        raise ValueError(f"widths are {sizes}, but the input and the hidden layers need at least 2 units each")
    number, full = 0, False
    while not full and number < attempts:
        directions = random.normal(size=(POINTS, sizes[0]))
        radii = 1.5 * np.exp(random.uniform(*RADII, size=(POINTS, 1)))
        points = radii * directions / np.linalg.norm(directions, axis=1, keepdims=True)
        params, dimension = _attempt(sizes, points, random)
        certificate = certify(params, dimension)
        number, full = number + 1, certificate.full
    return Constructed(params, dimension, certificate, number)


def _attempt(
    sizes: tuple[int, ...], points: np.ndarray, random: np.random.Generator
) -> tuple[list[tuple[np.ndarray, np.ndarray]], Dimension]:
    """One network: whole, though perhaps not full, and its dimension on the points."""
    layers, heights, output = [], points, _output(sizes[0], sizes[-1], random)
    dimension = sampled_dimension([output], points, random)
    for size in sizes[1:-1]:
        for _ in range(DRAWS if dimension.full else 1):
            layer, above = _layer(heights, size, random)
            output = _output(size, sizes[-1], random)
            dimension = sampled_dimension([*layers, layer, output], points, random)
            if dimension.full:
                break
        layers, heights = [*layers, layer], above
    return [*layers, output], dimension


def _layer(
    heights: np.ndarray, size: int, random: np.random.Generator
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """A layer that bends within the image of the one below, and its own heights."""
    w = random.normal(size=(size, heights.shape[1])) * np.sqrt(2 / heights.shape[1])
    z = heights @ w.T
    # of different heights: where many points share one, a quantile is its value, and the unit would vanish on them all
    seen = np.unique(heights, axis=0) @ w.T
    b = -np.array([np.quantile(seen[:, unit], random.uniform(0.3, 0.7)) for unit in range(size)])
    scale = np.std(np.maximum(z + b, 0), axis=0)
    scale[scale == 0] = 1.0  # never on in the cloud
    return (w / scale[:, None], b / scale), np.maximum(z + b, 0) / scale


def _output(below: int, size: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return random.normal(size=(size, below)), 0.1 * random.normal(size=size)

"""Functional dimension without sampling: the rank of the gradients on every activation region."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from symjax.dimension.gradients import scaling_tangents, translation_tangents
from symjax.dimension.networks import Params
from symjax.dimension.rank import Dimension
from symjax.dimension.regions import MOST_REGIONS, Regions, activation_regions
from symjax.dimension.search import Gradients, Search
from symjax.dimension.units import RELU, Unit, as_network, factors, unit_counts

__all__ = ["ExactDimension", "exact_dimension", "largest_dimension"]


class ExactDimension(NamedTuple):
    """The functional dimension of a network, and the regions it comes from.

    Attributes:
      rank: the dimension.
      dimension: with its evidence; a rank by singular values of all regions, its ``points`` one in each.
        :func:`~symjax.dimension.certificate.certify` proves it from below, for ReLUs.
      regions: every activation region.
    """

    rank: int
    dimension: Dimension
    regions: Regions


def largest_dimension(params: Params, unit: Unit | Sequence[Unit] = RELU) -> int:
    """Largest functional dimension that an architecture allows: D less the dimension of its trivial symmetries.

    ``D - sum_l (h_l + t_l)``: h_l units can be scaled. Where they can be translated too (maxout),
    ``t_l = h_l + (h_l - min(h_l, n_{l+1})) h_{l-1}``, with n_{l+1} rows of the next weights; of ReLUs t_l = 0.

    Source: Grigsby, Lindsey, Rolnick 2023 for ReLUs; the translations are this library's own.

    Args:
      params: the network; only its shapes are read.
      unit: the kind of the hidden units, or one for each hidden layer.

    Raises:
      ValueError: bad layers or units.

    Example:
      >>> from symjax.dimension.units import maxout
      >>> layers = [(np.ones((4, 3)), np.ones(4)), (np.ones((1, 2)), np.ones(1))]  # two maxout units of three inputs
      >>> largest_dimension(layers, maxout(2))  # a sum of two bent planes, and an affine function
      12
    """
    params, units = as_network(params, unit)
    left = sum(w.size + len(b) for w, b in params)
    for (w, _), (above, _), kind, count in zip(params, params[1:], units, unit_counts(params, units), strict=False):
        left -= count
        if kind.translation is not None:
            left -= count + (count - min(above.shape)) * w.shape[1]
    return left


def exact_dimension(
    params: Params, box: float | None = None, unit: Unit | Sequence[Unit] = RELU, most: int = MOST_REGIONS
) -> ExactDimension:
    """Functional dimension of a piecewise-linear network: the rank of the gradients over *all* activation regions.

    ``dim = rank {g_R(0), g_R(e_i) - g_R(0) : R a region, i = 1..n_0}``: on a region the gradient ``g_R`` is an affine
    function of the input, so these rows span its values. Random inputs miss regions, and fall short of it.

    Source: Grigsby, Lindsey, Rolnick 2023 (arXiv 2306.06179) for the dimension; the formula is this library's own.

    Args:
      params: ``[(W, b), ...]``.
      box: half the side of a box around the origin; None: all of the input space.
      unit: the kind of the hidden units, or one for each hidden layer (:mod:`~symjax.dimension.units`).
      most: networks with more predicted regions are refused.

    Returns:
      The dimension. Where the regions' ``ordinary`` is False two pieces of a unit agree on an open set, and one counts
      there: of a ReLU that vanishes, off.

    Raises:
      ValueError: as :func:`~symjax.dimension.regions.activation_regions`.

    Example:
      >>> from symjax.dimension.networks import random_params
      >>> exact_dimension(random_params((2, 3, 1), np.random.default_rng(0))).rank
      10
    """
    params, units = as_network(params, unit)
    regions = activation_regions(params, box, units, most)
    tangents = np.concatenate([scaling_tangents(params), translation_tangents(params, units)])
    lengths = np.linalg.norm(tangents, axis=1, keepdims=True)
    trivial = int(np.linalg.matrix_rank(tangents / np.where(lengths > 0, lengths, 1))) if len(tangents) else 0
    random = np.random.default_rng(0)
    masks = np.concatenate([np.zeros((len(regions.patterns), 0)), *factors(params, regions.patterns, units)], axis=1)
    probes, number = random.normal(size=(len(masks), params[0][0].shape[1])), len(masks)
    search = Search(Gradients(params, probes, masks), tangents.shape[1] - trivial, random)
    search.run(number)
    evidence = search.evidence
    dimension = Dimension(
        rank=evidence.rank,
        bound=search.ceiling,
        largest_possible=largest_dimension(params, units),
        evidence=evidence,
        points=number,
        patterns=number,
        half=evidence.rank,
        on_hyperplanes=0,
        witnesses=regions.witnesses[search.added],
    )
    return ExactDimension(evidence.rank, dimension, regions)

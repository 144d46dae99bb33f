"""Functional dimension without sampling: the rank of the gradients on every activation region."""

from typing import NamedTuple

from symjax.dimension.networks import Params, as_params
from symjax.dimension.rank import Dimension, sampled_dimension
from symjax.dimension.regions import MOST_REGIONS, Regions, activation_regions

__all__ = ["ExactDimension", "exact_dimension"]


class ExactDimension(NamedTuple):
    """The functional dimension of a network, and the regions it comes from.

    Attributes:
      rank: the dimension.
      dimension: with its evidence; a rank by singular values of all regions, its ``points`` one in each.
        :func:`~symjax.dimension.certificate.certify` proves it from below.
      regions: every activation region.
    """

    rank: int
    dimension: Dimension
    regions: Regions


def exact_dimension(params: Params, box: float | None = None, most: int = MOST_REGIONS) -> ExactDimension:
    """Functional dimension of a ReLU network: the rank of the gradients over *all* activation regions.

    ``dim = rank {g_R(0), g_R(e_i) - g_R(0) : R a region, i = 1..n_0}``: on a region the gradient ``g_R`` is an affine
    function of the input, so these rows span its values. Random inputs miss regions, and fall short of it.

    Source: Grigsby, Lindsey, Rolnick 2023 (arXiv 2306.06179) for the dimension; the formula is this library's own.

    Args:
      params: ``[(W, b), ...]``.
      box: half the side of a box around the origin; None: all of the input space.
      most: networks with more predicted regions are refused.

    Returns:
      The dimension. Where the regions' ``ordinary`` is False a unit vanishes on an open set, and counts as off there.

    Raises:
      ValueError: as :func:`~symjax.dimension.regions.activation_regions`.

    Example:
      >>> import numpy as np
      >>> from symjax.dimension.networks import random_params
      >>> exact_dimension(random_params((2, 3, 1), np.random.default_rng(0))).rank
      10
    """
    params = as_params(params)
    regions = activation_regions(params, box, most=most)
    dimension = sampled_dimension(params, regions.witnesses)
    return ExactDimension(dimension.rank, dimension, regions)

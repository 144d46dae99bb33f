"""What the activation regions of a network say about it: counts, and the two conditions of the paper.

* :func:`count`: activation regions, distinct affine maps and maximal affine pieces, each by its name.
* :func:`linear_regions_assumption`: whether every facet shows in the output.
* :func:`transverse_pairs`: whether the bent hyperplanes of adjacent layers cross.

Pictures are in :mod:`~symjax.dimension.pictures`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from symjax.dimension.networks import Params
from symjax.dimension.regions import Facets, Regions, facets
from symjax.dimension.units import RELU, Unit, as_network, as_patterns, by_unit, factors, pooled, unit_counts, units_of

__all__ = [
    "Counts",
    "LinearRegions",
    "TransversePairs",
    "affine_maps",
    "count",
    "linear_regions_assumption",
    "transverse_pairs",
]

# Two affine maps are the same when they differ by less than this share of the sums of absolute terms they are made of.
SAME = 1e-11


class Counts(NamedTuple):
    """Three countings that publications call "number of linear regions".

    Attributes:
      activation_regions: open sets of one pattern.
      affine_maps: different affine maps that the network equals somewhere.
      affine_pieces: maximal connected sets on which the network is affine: regions joined across facets that do not
        show.
    """

    activation_regions: int
    affine_maps: int
    affine_pieces: int


class LinearRegions(NamedTuple):
    """The linear regions assumption: every affine piece is one activation region.

    Attributes:
      holds: whether each facet changes the affine map.
      invisible: number of facets that do not.
      invisible_of: the same for each hidden unit, (H,).
    """

    holds: bool
    invisible: int
    invisible_of: np.ndarray


class TransversePairs(NamedTuple):
    """The transverse pairwise-intersection condition.

    Attributes:
      holds: whether every two units of adjacent layers have bent hyperplanes that cross.
      missing: pairs of units (numbers among all hidden units) that do not, (M, 2).
    """

    holds: bool
    missing: np.ndarray


def affine_maps(
    params: Params, patterns: np.ndarray, unit: Unit | Sequence[Unit] = RELU
) -> tuple[np.ndarray, np.ndarray]:
    """Affine maps of a network on the regions of the given patterns, with the size of the terms they are sums of.

    Source: the definition.

    Args:
      params: the network.
      patterns: (R, S).
      unit: the kind of the hidden units, or one for each hidden layer.

    Returns:
      Two arrays (R, n_d, n_0 + 1), the constant last: the maps, and the same sums over absolute values.

    Raises:
      ValueError: bad layers or units, patterns of another shape.

    Example:
      >>> params = [(np.array([[2.0]]), np.array([1.0])), (np.array([[3.0]]), np.array([0.5]))]
      >>> affine_maps(params, np.array([[True]]))[0].tolist()
      [[[6.0, 3.5]]]
    """
    params, units = as_network(params, unit)
    patterns, size = as_patterns("patterns", patterns, params, units), params[0][0].shape[1]
    maps = np.broadcast_to(np.eye(size + 1)[:, :size], (len(patterns), size + 1, size))  # forms in rows
    terms, constant = maps, np.eye(size + 1)[-1][:, None]
    each = zip(factors(params, patterns, units), unit_counts(params, units), strict=True)
    for (w, b), (factor, count) in zip(params[:-1], each, strict=True):
        maps, terms = maps @ w.T + constant * b, terms @ np.abs(w).T + constant * np.abs(b)
        maps, terms = pooled(maps * factor[:, None], count), pooled(terms * np.abs(factor)[:, None], count)
    w, b = params[-1]
    maps, terms = maps @ w.T + constant * b, terms @ np.abs(w).T + constant * np.abs(b)
    return maps.swapaxes(1, 2), terms.swapaxes(1, 2)


def _touching(params: Params, regions: Regions) -> Facets:
    return regions.facets if regions.facets is not None else facets(params, regions)[0]


def _shows(params: Params, regions: Regions, touching: Facets) -> np.ndarray:
    """Whether the affine map differs on the two sides of each facet, (F,)."""
    maps, terms = affine_maps(params, regions.patterns, regions.units)
    a, b = touching.pairs.T
    return np.any(np.abs(maps[a] - maps[b]) > SAME * np.maximum(terms[a], terms[b]), axis=(1, 2))


def count(params: Params, regions: Regions) -> Counts:
    """Count the activation regions, the affine maps and the maximal affine pieces of a network.

    Source: Grigsby, Lindsey, Rolnick 2023 (arXiv 2306.06179) for the definitions; Hanin, Rolnick 2019 for two of them.

    Args:
      params: the network.
      regions: from :func:`~symjax.dimension.regions.activation_regions`.

    Returns:
      The counts; ``affine_maps <= affine_pieces <= activation_regions``.

    Example:
      >>> from symjax.dimension.regions import activation_regions
      >>> params = [(np.array([[1.0], [1.0]]), np.array([0.0, -1.0])), (np.array([[1.0, 0.0]]), np.zeros(1))]
      >>> count(params, activation_regions(params))
      Counts(activation_regions=3, affine_maps=2, affine_pieces=2)
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    number = len(regions.patterns)
    touching = _touching(params, regions)
    joined = touching.pairs[~_shows(params, regions, touching)]
    graph = coo_array((np.ones(len(joined)), (joined[:, 0], joined[:, 1])), shape=(number, number))
    pieces = int(connected_components(graph, directed=False)[0])
    maps, terms = affine_maps(params, regions.patterns, regions.units)
    weights = np.random.default_rng(0).normal(size=maps.shape[1:])
    values, sizes = np.sum(maps * weights, axis=(1, 2)), np.sum(terms * np.abs(weights), axis=(1, 2))
    order = np.argsort(values)
    jumps = np.diff(values[order]) > SAME * np.maximum(sizes[order][1:], sizes[order][:-1])
    return Counts(number, 1 + int(np.sum(jumps)), pieces)


def linear_regions_assumption(params: Params, regions: Regions) -> LinearRegions:
    """Check that crossing any facet changes the affine map of the network.

    Source: Grigsby, Lindsey, Rolnick 2023, the linear regions assumption.

    Args:
      params: the network.
      regions: its regions.

    Returns:
      Whether it holds, and the facets at which it does not.
    """
    params, units = as_network(params, regions.units)
    touching = _touching(params, regions)
    hidden_of = touching.units[~_shows(params, regions, touching)]
    counts = np.bincount(hidden_of, minlength=sum(unit_counts(params, units)))
    return LinearRegions(not len(hidden_of), len(hidden_of), counts)


def transverse_pairs(params: Params, regions: Regions) -> TransversePairs:
    """Check that for all units i, j of adjacent layers the bent hyperplanes cross somewhere.

    Where they cross, four regions meet that differ in the signs of i and j alone. In general position these are read
    off the corners of the complex; otherwise four such patterns are looked for.

    Source: Grigsby, Lindsey, Rolnick 2023, the transverse pairwise-intersection condition.

    Args:
      params: the network.
      regions: its regions.

    Returns:
      Whether it holds, and the pairs without a crossing. With one input no two points cross.
    """
    params, units = as_network(params, regions.units)
    first = np.cumsum([0, *unit_counts(params, units)])
    crossings = _crossings(params, regions, int(first[-1]))
    missing = []
    for low, middle, high in zip(first[:-2], first[1:-1], first[2:], strict=True):
        missing += (np.argwhere(~crossings[low:middle, middle:high]) + (low, middle)).tolist()
    return TransversePairs(not missing, np.array(missing, int).reshape(-1, 2))


def _crossings(params: Params, regions: Regions, number: int) -> np.ndarray:
    """Which two units have bent hyperplanes that cross, (H, H)."""
    crossings = np.zeros((number, number), bool)
    size, owners = regions.witnesses.shape[1], units_of(params, regions.units)
    if size == 1:
        return crossings
    if regions.skeleton is not None:
        zeros = _bends(params, regions)
        for one in range(size):
            for two in range(size):
                both = (zeros[:, one] >= 0) & (zeros[:, two] >= 0)
                crossings[zeros[both, one], zeros[both, two]] = True
        return crossings
    for i in range(number):
        for j in range(number):
            crossings[i, j] = i != j and _four_meet(regions.patterns, owners == i, owners == j)
    return crossings


def _bends(params: Params, regions: Regions) -> np.ndarray:
    """The units that bend at each corner, (V, n_0): of its zero sets, walls and switches between pieces that are not
    the largest are -1."""
    signs, total = regions.skeleton.signs, regions.patterns.shape[1]
    shown = np.ones((len(signs), total + 1), bool)
    parts = by_unit(params, signs < 0, regions.units)
    # a later piece that leads hides what was decided between the ones before
    hidden = [np.cumsum(part[..., ::-1], axis=-1)[..., ::-1] - part > 0 for part in parts]
    shown[:, :total] = ~np.concatenate([each.reshape(len(signs), -1) for each in hidden], axis=1)
    owners = np.append(units_of(params, regions.units), -1)
    zeros = np.minimum(regions.skeleton.zeros, total)
    return np.where(np.take_along_axis(shown, zeros, axis=1), owners[zeros], -1)


def _four_meet(patterns: np.ndarray, first: np.ndarray, second: np.ndarray) -> bool:
    """Whether some patterns differ in nothing but two units, two states of one with two of the other."""
    _, groups = np.unique(patterns[:, ~(first | second)], axis=0, return_inverse=True)
    groups = groups.ravel()
    for group in np.flatnonzero(np.bincount(groups) >= 4):
        rows = patterns[groups == group]
        states = [np.unique(rows[:, own], axis=0, return_inverse=True)[1].ravel() for own in (first, second)]
        table = np.zeros((max(states[0]) + 1, max(states[1]) + 1), int)
        table[states[0], states[1]] = 1
        shared = table @ table.T
        if np.any(shared - np.diag(np.diag(shared)) >= 2):
            return True
    return False

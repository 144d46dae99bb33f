"""What the activation regions of a network say about it: counts, the two conditions of the paper, pictures.

* :func:`count`: activation regions, distinct affine maps and maximal affine pieces, each by its name.
* :func:`linear_regions_assumption`: whether every facet shows in the output.
* :func:`transverse_pairs`: whether the bent hyperplanes of adjacent layers cross.
* :func:`polygons`, :func:`bent_hyperplanes`: the regions and the bends of a network of two inputs, to be drawn.
"""

from typing import NamedTuple

import numpy as np

from symjax.dimension.networks import Params, as_params, split, widths
from symjax.dimension.regions import Facets, Regions, facets
from symjax.dimension.splitting import inequalities

__all__ = [
    "Bends",
    "Counts",
    "LinearRegions",
    "TransversePairs",
    "affine_maps",
    "bent_hyperplanes",
    "count",
    "linear_regions_assumption",
    "polygons",
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


class Bends(NamedTuple):
    """Bent hyperplanes of a network of two inputs, as segments.

    Attributes:
      segments: their two ends, (S, 2, 2).
      units: the hidden unit that vanishes on each, (S,).
    """

    segments: np.ndarray
    units: np.ndarray


def affine_maps(params: Params, patterns: np.ndarray, slope: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Affine maps of a network on the regions of the given patterns, with the size of the terms they are sums of.

    Source: the definition.

    Args:
      params: the network.
      patterns: (R, H).
      slope: of a leaky ReLU below zero.

    Returns:
      Two arrays (R, n_d, n_0 + 1), the constant last: the maps, and the same sums over absolute values.

    Example:
      >>> params = [(np.array([[2.0]]), np.array([1.0])), (np.array([[3.0]]), np.array([0.5]))]
      >>> affine_maps(params, np.array([[True]]))[0].tolist()
      [[[6.0, 3.5]]]
    """
    size = params[0][0].shape[1]
    maps = np.broadcast_to(np.eye(size, size + 1), (len(patterns), size, size + 1))
    terms = maps
    factors = [np.where(part, 1.0, slope) for part in split(patterns, widths(params))]
    for (w, b), factor in zip(params, [*factors, np.ones((len(patterns), len(params[-1][1])))], strict=True):
        maps, terms = w @ maps, np.abs(w) @ terms
        maps[..., -1] += b
        terms[..., -1] += np.abs(b)
        maps, terms = maps * factor[..., None], terms * np.abs(factor)[..., None]
    return maps, terms


def _touching(params: Params, regions: Regions) -> Facets:
    return regions.facets if regions.facets is not None else facets(params, regions)[0]


def _shows(params: Params, regions: Regions, touching: Facets) -> np.ndarray:
    """Whether the affine map differs on the two sides of each facet, (F,)."""
    maps, terms = affine_maps(params, regions.patterns, regions.slope)
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

    params, number = as_params(params), len(regions.patterns)
    touching = _touching(params, regions)
    joined = touching.pairs[~_shows(params, regions, touching)]
    graph = coo_array((np.ones(len(joined)), (joined[:, 0], joined[:, 1])), shape=(number, number))
    pieces = int(connected_components(graph, directed=False)[0])
    maps, terms = affine_maps(params, regions.patterns, regions.slope)
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
    params = as_params(params)
    touching = _touching(params, regions)
    hidden_of = touching.units[~_shows(params, regions, touching)]
    return LinearRegions(
        not len(hidden_of), len(hidden_of), np.bincount(hidden_of, minlength=regions.patterns.shape[1])
    )


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
    sizes = widths(as_params(params))
    first = np.cumsum([0, *sizes[1:-1]])
    missing = []
    for low, middle, high in zip(first[:-2], first[1:-1], first[2:], strict=True):
        missing += [(i, j) for i in range(low, middle) for j in range(middle, high) if not _cross(regions, i, j)]
    return TransversePairs(not missing, np.array(missing, int).reshape(-1, 2))


def _cross(regions: Regions, i: int, j: int) -> bool:
    if regions.witnesses.shape[1] == 1:
        return False
    if regions.skeleton is not None:
        zeros = regions.skeleton.zeros
        return bool(np.any(np.any(zeros == i, axis=1) & np.any(zeros == j, axis=1)))
    rest = np.delete(regions.patterns, [i, j], axis=1)
    _, groups = np.unique(rest, axis=0, return_inverse=True)
    return bool(np.any(np.bincount(groups.ravel()) == 4))


def polygons(params: Params, regions: Regions, box: float) -> list[np.ndarray]:
    """Corners of every region of a network of two inputs, in order.

    Source: Sutherland, Hodgman 1974, clipping of the box by one inequality after the other.

    Args:
      params: the network, n_0 = 2.
      regions: its regions.
      box: half the side of the box that is drawn.

    Returns:
      One array (k, 2) a region, with k = 0 for a region outside of the box.

    Raises:
      ValueError: another number of inputs.

    Example:
      >>> from symjax.dimension.regions import activation_regions
      >>> params = [(np.eye(2), np.zeros(2)), (np.ones((1, 2)), np.zeros(1))]
      >>> polygons(params, activation_regions(params), box=1.0)[3].tolist()
      [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]
    """
    params = as_params(params)
    return [_polygon(params, pattern, box, regions.slope)[0] for pattern in regions.patterns]


def bent_hyperplanes(params: Params, regions: Regions, box: float) -> Bends:
    """Bent hyperplanes of every hidden unit of a network of two inputs, as segments within the box.

    Source: Grigsby, Lindsey, Rolnick 2023, the bent hyperplane arrangement.

    Args:
      params: the network, n_0 = 2.
      regions: its regions.
      box: half the side of the box that is drawn.

    Returns:
      The segments: the sides of the regions in which the unit is on.

    Raises:
      ValueError: another number of inputs.
    """
    params, segments, units = as_params(params), [], []
    for pattern in regions.patterns:
        corners, sides = _polygon(params, pattern, box, regions.slope)
        for place, unit in enumerate(sides):
            if unit >= 0 and pattern[unit]:
                segments.append(corners[[place, (place + 1) % len(corners)]])
                units.append(unit)
    return Bends(np.array(segments).reshape(-1, 2, 2), np.array(units, int))


def _polygon(params: Params, pattern: np.ndarray, box: float, slope: float) -> tuple[np.ndarray, list[int]]:
    """Corners of one region, and for the side behind each corner its unit, or -1 for a wall."""
    if widths(params)[0] != 2:
        raise ValueError(f"the network has {widths(params)[0]} inputs, but only regions of 2 inputs are polygons")
    corners = [box * np.array(corner, float) for corner in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    sides = [-1] * 4
    for normal, offset, unit in zip(*inequalities(params, pattern, box, slope), strict=True):
        depth = [normal @ corner + offset for corner in corners]
        if unit < 0 or min(depth, default=0.0) >= 0:
            continue
        clipped, kept = [], []
        for place, corner in enumerate(corners):
            after = (place + 1) % len(corners)
            if depth[place] > 0:
                clipped.append(corner)
                kept.append(sides[place])
            if depth[place] * depth[after] < 0:
                share = depth[place] / (depth[place] - depth[after])
                clipped.append(corner + share * (corners[after] - corner))
                # what lies behind the cut is the cut itself where the polygon is left, the old side where it is entered
                kept.append(int(unit) if depth[place] > 0 else sides[place])
            elif depth[place] == 0:
                clipped.append(corner)
                kept.append(int(unit) if depth[after] < 0 else sides[place])
        corners, sides = clipped, kept
    return np.array(corners).reshape(-1, 2), sides

"""Activation regions of a network of piecewise-linear units: every pattern that its hidden units take.

* :func:`activation_regions`: the set of regions in all of the input space or in a box, each with its pattern and a
  point inside.
* :func:`facets`: which regions touch along a facet; :func:`check_complete`: every facet has its neighbour. (That the
  faces of the complex add up is checked at every enumeration.)
* :func:`predicted_regions`: an estimate beforehand; a network with too many is refused.

What is counted here are *activation regions*, the open sets of one pattern (each is convex). Maximal affine pieces and
their connected components are fewer: :mod:`~symjax.dimension.arrangement` counts all three.
"""

from collections.abc import Sequence
from math import comb
from typing import Any, Literal, NamedTuple

import numpy as np

from symjax.arguments import scalar
from symjax.dimension.cells import Cells, cells_of, euler_characteristic
from symjax.dimension.networks import Params, as_widths
from symjax.dimension.splitting import box_cell, facet_neighbours, split
from symjax.dimension.subdivision import NotGeneric, Skeleton, subdivide
from symjax.dimension.units import RELU, Unit, as_network, patterns_of, switches_at, units_of

__all__ = [
    "Complete",
    "Facets",
    "Regions",
    "activation_regions",
    "as_box",
    "check_complete",
    "facets",
    "predicted_regions",
]

MOST_REGIONS = 200_000
MOST_FACES = 10**8  # around all corners, that are counted to check an enumeration
REGIONS_A_SECOND = 20_000  # one core, three to five inputs


class Facets(NamedTuple):
    """Facets between two regions of a network.

    Attributes:
      pairs: numbers of the two regions, (F, 2).
      units: the hidden unit that bends on the facet (the first, where several do), (F,).
    """

    pairs: np.ndarray
    units: np.ndarray


class Regions(NamedTuple):
    """All activation regions of a network, everywhere or within ``[-box, box]^n_0``.

    Attributes:
      patterns: booleans (R, S), each row once; of ReLUs, which hidden units are on. See
        :mod:`~symjax.dimension.units`.
      witnesses: a point inside each region, (R, n_0).
      box: half the side of the box; None: all of the input space.
      units: the kind of the units of each hidden layer.
      method: ``edges`` in general position, where every region is found; ``programs`` otherwise, where a region in
        which no ball of radius 1e-8 fits is left out.
      ordinary: whether no two pieces of a unit agree on an open set (no ReLU vanishes on one); only then does the
        function depend smoothly on the parameters inside of every region.
      skeleton: corners and edges of the complex; None for the method ``programs``.
      facets: pairs of regions that touch; None for the method ``programs``, where :func:`facets` finds them.
      euler: the Euler characteristic of the complex, 1: the check that no face is missing, made at every enumeration;
        None for the method ``programs`` and where there are too many faces, for many inputs.
    """

    patterns: np.ndarray
    witnesses: np.ndarray
    box: float | None
    units: tuple[Unit, ...]
    method: Literal["edges", "programs"]
    ordinary: bool
    skeleton: Skeleton | None
    facets: Facets | None
    euler: int | None


class Complete(NamedTuple):
    """Evidence that no region is missing.

    Attributes:
      without_neighbour: facets behind which no listed region lies: 0 when the regions are complete.
      mean_degree: neighbours of a region on average.
      largest_mean_degree: 2 n_0, which an arrangement cannot exceed.
    """

    without_neighbour: int
    mean_degree: float
    largest_mean_degree: int

    @property
    def complete(self) -> bool:
        """Whether every facet has its neighbour."""
        return self.without_neighbour == 0


def predicted_regions(sizes: Sequence[int]) -> int:
    """Estimate the number of activation regions: that of H hyperplanes in general position, ``sum_j<=n0 C(H, j)``.

    Exact for one hidden layer of ReLUs (Zaslavsky 1975). Deeper random networks had an eighth of it to one and a half
    times as many.

    Source: Zaslavsky 1975; Hanin, Rolnick 2019 (arXiv 1906.00904) for the average of deep networks.

    Args:
      sizes: (n_0, ..., n_d).

    Returns:
      An integer.

    Raises:
      ValueError: widths that are not positive integers.

    Example:
      >>> predicted_regions((2, 10, 1))
      56
    """
    sizes = as_widths(sizes)
    return _of_hyperplanes(sizes[0], sum(sizes[1:-1]))


def _of_hyperplanes(size: int, number: int) -> int:
    return sum(comb(number, j) for j in range(size + 1))


def activation_regions(
    params: Params, box: float | None = None, unit: Unit | Sequence[Unit] = RELU, most: int = MOST_REGIONS
) -> Regions:
    """List every activation region of a network of ReLUs or other piecewise-linear units.

    Networks in general position are cut edge by edge (:mod:`~symjax.dimension.subdivision`), others cell by cell with
    linear programs (:mod:`~symjax.dimension.splitting`).

    Source: Berzins 2023 (arXiv 2306.07212) for the edges; Serra et al. 2018 (arXiv 1711.02114) for the programs.

    Args:
      params: ``[(W, b), ...]``; any number of outputs.
      box: half the side of a box around the origin; None: all of the input space, however far out a unit bends.
      unit: the kind of the hidden units, or one for each hidden layer: ``RELU``, ``leaky(slope)``, ``maxout(k)`` or
        ``max_pool(k)`` of :mod:`~symjax.dimension.units`.
      most: networks with more predicted regions are refused, and with a 40th of them where programs are needed.

    Returns:
      The regions.

    Raises:
      ValueError: bad layers or units, a box that is not positive, too many regions predicted, or more corners than
        memory is meant for.

    Example:
      >>> params = [(np.eye(2), np.zeros(2)), (np.ones((1, 2)), np.zeros(1))]
      >>> activation_regions(params).patterns.astype(int).tolist()
      [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    params, units = as_network(params, unit)
    box = None if box is None else as_box(box)
    _refuse_many(params, units, most, "", REGIONS_A_SECOND)
    try:
        skeleton = subdivide(params, box, units)
        cells = cells_of(skeleton)
        counted = len(skeleton.points) * 3 ** params[0][0].shape[1] <= MOST_FACES
        euler = euler_characteristic(skeleton) if counted else None
        if euler not in (None, 1):
            raise NotGeneric
        witnesses = _witnesses(params, cells, skeleton.box, units)
    except NotGeneric:
        _refuse_many(params, units, most // 40, " that is not in general position", REGIONS_A_SECOND // 1000)
        return _by_programs(params, box, units)
    patterns, first, number = _merged(params, cells.switches, units)
    touching = np.column_stack([np.sort(number[cells.facets], axis=1), units_of(params, units)[cells.zeros]])
    touching = np.unique(touching[touching[:, 0] != touching[:, 1]], axis=0)
    between = Facets(touching[:, :2], touching[:, 2])
    listed = patterns, witnesses[first]
    return Regions(*listed, box, units, "edges", ordinary=True, skeleton=skeleton, facets=between, euler=euler)


def as_box(box: Any) -> float:
    """Read half the side of a box.

    Source: this library's bookkeeping.

    Raises:
      ValueError: what is not a positive number.
    """
    box = scalar("box", box)
    if not (box > 0 and np.isfinite(box)):
        raise ValueError(f"box is {box}, but must be a positive number: half the side of the box")
    return box


def _merged(params: Params, switches: np.ndarray, units: tuple[Unit, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Different patterns (R, S) of cells, in order, the first cell of each (R,) and the number of each cell's."""
    patterns = patterns_of(params, switches, units)
    if not patterns.shape[1]:
        return patterns[:1], np.zeros(1, int), np.zeros(len(patterns), int)
    different, first, number = np.unique(patterns, axis=0, return_index=True, return_inverse=True)
    return different, first, number.ravel()


def _refuse_many(params: Params, units: tuple[Unit, ...], most: int, what: str, speed: int) -> None:
    expected = _of_hyperplanes(params[0][0].shape[1], len(units_of(params, units)))
    if expected > most:
        sizes = (params[0][0].shape[1], *(len(b) for _, b in params))
        raise ValueError(
            f"a network{what} of widths {sizes} has about {expected:,} activation regions, more than {most:,} "
            f"(about {expected / speed:,.0f} s); sample its dimension instead, or raise most"
        )


def _witnesses(params: Params, cells: Cells, box: float, units: tuple[Unit, ...]) -> np.ndarray:
    """A point inside each cell: the mean of its corners, with the smallest M at which the switches are the cell's."""
    distances = (*10.0 ** np.arange(np.log10(box)), box)
    found = np.zeros(len(cells.switches), bool)
    points = np.empty((len(cells.switches), cells.centres.shape[2]))
    for margin in (1e-9, 0.0):  # well inside where there is room
        for distance in distances:
            tried = cells.centres[:, 0] + distance * cells.centres[:, 1]
            z = switches_at(params, tried, units)
            room = np.abs(z) > margin * np.max(np.abs(z), axis=1, keepdims=True, initial=0)
            inside = ~found & np.all(((z > 0) == cells.switches) & room, axis=1)
            points[inside], found = tried[inside], found | inside
    if not np.all(found):
        raise NotGeneric
    return points


def _by_programs(params: Params, box: float | None, units: tuple[Unit, ...]) -> Regions:
    cells = split(params, box_cell(params[0][0].shape[1], box), units)
    switches = np.array([cell.switches for cell in cells], bool).reshape(len(cells), -1)
    patterns, first, _ = _merged(params, switches, units)
    witnesses, ordinary = np.stack([cells[place].witness for place in first]), all(cell.ordinary for cell in cells)
    return Regions(patterns, witnesses, box, units, "programs", ordinary, skeleton=None, facets=None, euler=None)


def facets(params: Params, regions: Regions) -> tuple[Facets, int]:
    """Find which regions touch along a facet, from their inequalities alone: a linear program for each inequality.

    It uses nothing but the patterns, so that it can contradict the way in which they were found.

    Source: this library's own.

    Args:
      params: the network.
      regions: its regions, from :func:`activation_regions`.

    Returns:
      The facets, and the number of those behind which no listed region lies.
    """
    number = {tuple(map(bool, pattern)): place for place, pattern in enumerate(regions.patterns)}
    found: dict[tuple[int, int], int] = {}
    missing = 0
    for place, pattern in enumerate(regions.patterns):
        for unit, behind in facet_neighbours(params, pattern, regions.box, regions.units):
            other = number.get(behind)
            if other is None:
                missing += 1
            else:
                found.setdefault((min(place, other), max(place, other)), unit)
    pairs = np.array(sorted(found), int).reshape(-1, 2)
    return Facets(pairs, np.array([found[tuple(pair)] for pair in pairs.tolist()], int)), missing


def check_complete(params: Params, regions: Regions) -> Complete:
    """Check that every facet of every region has its neighbour among them, by :func:`facets`.

    Source: this library's own; the bound of the mean degree is that of hyperplane arrangements.

    Args:
      params: the network.
      regions: its regions.

    Returns:
      The evidence.

    Example:
      >>> params = [(np.eye(2), np.zeros(2)), (np.ones((1, 2)), np.zeros(1))]
      >>> check_complete(params, activation_regions(params)).complete
      True
    """
    touching, missing = facets(params, regions)
    return Complete(missing, 2 * len(touching.pairs) / len(regions.patterns), 2 * regions.witnesses.shape[1])

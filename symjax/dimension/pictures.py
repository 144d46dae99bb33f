"""The regions and the bends of a network of two inputs, to be drawn.

* :func:`polygons`: the corners of every region.
* :func:`bent_hyperplanes`: where each hidden unit bends, as segments.
"""

from typing import NamedTuple

import numpy as np

from symjax.dimension.networks import Params
from symjax.dimension.regions import Regions, as_box
from symjax.dimension.splitting import inequalities
from symjax.dimension.units import Unit, as_network

__all__ = ["Bends", "bent_hyperplanes", "polygons"]


class Bends(NamedTuple):
    """Bent hyperplanes of a network of two inputs, as segments.

    Attributes:
      segments: their two ends, (S, 2, 2).
      units: the hidden unit that vanishes on each, (S,).
    """

    segments: np.ndarray
    units: np.ndarray


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
      ValueError: another number of inputs, or a box that is not positive.

    Example:
      >>> from symjax.dimension.regions import activation_regions
      >>> params = [(np.eye(2), np.zeros(2)), (np.ones((1, 2)), np.zeros(1))]
      >>> polygons(params, activation_regions(params), box=1.0)[3].tolist()
      [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]
    """
    params, units = as_network(params, regions.units)
    box = as_box(box)
    return [_polygon(params, pattern, box, units)[0] for pattern in regions.patterns]


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
      ValueError: another number of inputs, or a box that is not positive.
    """
    params, kinds = as_network(params, regions.units)
    box = as_box(box)
    segments, units = [], []
    for pattern in regions.patterns:
        corners, sides = _polygon(params, pattern, box, kinds)
        for place, (unit, largest, other) in enumerate(sides):
            if unit >= 0 and largest < other:  # from one of its two sides
                segments.append(corners[[place, (place + 1) % len(corners)]])
                units.append(unit)
    return Bends(np.array(segments).reshape(-1, 2, 2), np.array(units, int))


def _polygon(
    params: Params, pattern: np.ndarray, box: float, kinds: tuple[Unit, ...]
) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """Corners of one region, and for the side behind each its unit and two pieces, or -1 for a wall."""
    if (size := params[0][0].shape[1]) != 2:
        raise ValueError(f"the network has {size} inputs, but only regions of 2 inputs are polygons")
    corners = [box * np.array(corner, float) for corner in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    sides = [(-1, -1, -1)] * 4
    for normal, offset, unit, pieces in zip(*inequalities(params, pattern, box, kinds), strict=True):
        depth = [normal @ corner + offset for corner in corners]
        if unit < 0 or min(depth, default=0.0) >= 0:
            continue
        cut, clipped, kept = (int(unit), *map(int, pieces)), [], []
        for place, corner in enumerate(corners):
            after = (place + 1) % len(corners)
            if depth[place] > 0:
                clipped.append(corner)
                kept.append(sides[place])
            if depth[place] * depth[after] < 0:
                share = depth[place] / (depth[place] - depth[after])
                clipped.append(corner + share * (corners[after] - corner))
                # what lies behind the cut is the cut itself where the polygon is left, the old side where it is entered
                kept.append(cut if depth[place] > 0 else sides[place])
            elif depth[place] == 0:
                clipped.append(corner)
                kept.append(cut if depth[after] < 0 else sides[place])
        corners, sides = clipped, kept
    return np.array(corners).reshape(-1, 2), sides

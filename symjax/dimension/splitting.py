"""Activation regions of any network, by splitting cells with linear programs.

Slower than :mod:`~symjax.dimension.subdivision`, but for networks in any position: units that share a zero set, vanish
at a corner or on a whole cell. A cell is cut by one unit after the other; each keeps a point well inside, so that only
the half on the other side of the unit needs a program. A half is a cell when a ball of radius :data:`THIN` fits in.
"""

from typing import NamedTuple

import numpy as np

from symjax.dimension.networks import Params

__all__ = ["THIN", "Cell", "facet_neighbours", "inequalities", "inner_ball", "split"]

THIN = 1e-8
# Share of its own terms below which the gradient of a unit on a cell, or its constant value, counts as zero.
CONSTANT = 1e-12


class Cell(NamedTuple):
    """A convex cell ``normals @ x + offsets >= 0``, its normals of length one.

    Attributes:
      normals: (m, n_0).
      offsets: (m,).
      witness: a point inside.
      pattern: of the units looked at so far.
      ordinary: whether no unit vanishes on all of it.
    """

    normals: np.ndarray
    offsets: np.ndarray
    witness: np.ndarray
    pattern: tuple[bool, ...] = ()
    ordinary: bool = True


def box_cell(size: int, box: float | None) -> Cell:
    """The box ``[-box, box]^size`` as a cell; None: all of the space, which has no inequality."""
    if box is None:
        return Cell(np.empty((0, size)), np.empty(0), np.zeros(size))
    return Cell(np.concatenate([np.eye(size), -np.eye(size)]), np.full(2 * size, box), np.zeros(size))


def inner_ball(normals: np.ndarray, offsets: np.ndarray, on: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """Find a large ball within a cell: its centre and its radius, negative where the cell is empty.

    Source: the Chebyshev centre; Boyd, Vandenberghe 2004, section 8.5.1.

    Args:
      normals: (m, n_0), of length one.
      offsets: (m,).
      on: normal and offset (n_0 + 1,) of a hyperplane on which the centre has to lie.

    Returns:
      The centre of the largest ball, or of one of radius 1 where larger ones fit in.
    """
    size = normals.shape[1]
    from scipy.optimize import linprog

    result = linprog(
        np.append(np.zeros(size), -1.0),
        A_ub=np.column_stack([-normals, np.ones(len(normals))]),
        b_ub=offsets,
        A_eq=None if on is None else np.append(on[:-1], 0.0)[None],
        b_eq=None if on is None else -on[-1:],
        bounds=[(None, None)] * size + [(None, 1.0)],
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    return (result.x[:-1], float(result.x[-1])) if result.status == 0 else (np.zeros(size), -np.inf)


def split(params: Params, start: Cell, slope: float = 0.0) -> list[Cell]:
    """Split a cell until every hidden unit of a network has one sign on each part.

    Source: Serra, Tjandraatmadja, Ramalingam 2018 (arXiv 1711.02114) for the regions as systems of inequalities.

    Args:
      params: the network, float64.
      start: the cell, of whose pattern nothing is known to this network.
      slope: of a leaky ReLU below zero.

    Returns:
      The cells, each with the pattern of all units behind the one it came with.
    """
    size = params[0][0].shape[1]
    cells = [(start, np.eye(size), np.zeros(size))]  # with the affine map of the layer below
    for w, b in params[:-1]:
        grown = []
        for cell, linear, constant in cells:
            forms = (w @ linear, w @ constant + b)
            sizes = (np.abs(w) @ np.abs(linear), np.abs(w) @ np.abs(constant) + np.abs(b))
            for part in _layer(cell, forms, sizes):
                factor = np.where(part.pattern[len(cell.pattern) :], 1.0, slope)
                grown.append((part, factor[:, None] * forms[0], factor * forms[1]))
        cells = grown
    return [cell for cell, _, _ in cells]


def _layer(cell: Cell, forms: tuple[np.ndarray, np.ndarray], sizes: tuple[np.ndarray, np.ndarray]) -> list[Cell]:
    cells = [cell]
    for normal, offset, terms, constant_terms in zip(*forms, *sizes, strict=True):
        cells = [part for each in cells for part in _halves(each, normal, offset, terms, constant_terms)]
    return cells


def _halves(cell: Cell, normal: np.ndarray, offset: float, terms: np.ndarray, constant_terms: float) -> list[Cell]:
    """One or two cells: what one unit leaves of a cell on its two sides."""
    length = np.linalg.norm(normal)
    if length <= CONSTANT * np.linalg.norm(terms) or length == 0:
        vanishes = abs(offset) <= CONSTANT * constant_terms
        on = bool(offset > 0 and not vanishes)
        return [cell._replace(pattern=(*cell.pattern, on), ordinary=cell.ordinary and not vanishes)]
    normal, offset = normal / length, offset / length
    parts = []
    for side in (True, False):
        sign = 1.0 if side else -1.0
        normals, offsets = np.vstack([cell.normals, sign * normal]), np.append(cell.offsets, sign * offset)
        witness, depth = cell.witness, sign * (normal @ cell.witness + offset)
        if depth <= 10 * THIN:
            witness, depth = inner_ball(normals, offsets)
        if depth > THIN:
            parts.append(Cell(normals, offsets, witness, (*cell.pattern, side), cell.ordinary))
    return parts


def inequalities(
    params: Params, pattern: np.ndarray, box: float | None, slope: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write an activation region as ``normals @ x + offsets >= 0``.

    Source: Serra, Tjandraatmadja, Ramalingam 2018.

    Args:
      params: the network.
      pattern: (H,).
      box: half the side of the box, or None.
      slope: of a leaky ReLU below zero.

    Returns:
      The normals (m, n_0) of length one, the offsets (m,) and whose each is (m,): the unit, or -1 for a wall. A unit
      that is constant on the region has no inequality.
    """
    size, start = params[0][0].shape[1], 0
    linear, constant = np.eye(size), np.zeros(size)
    walls = box_cell(size, box)
    normals, offsets, units = [walls.normals], [walls.offsets], [np.full(len(walls.offsets), -1)]
    for w, b in params[:-1]:
        terms = np.linalg.norm(np.abs(w) @ np.abs(linear), axis=1)
        linear, constant = w @ linear, w @ constant + b
        on = pattern[start : start + len(b)]
        length = np.linalg.norm(linear, axis=1)
        varies = (length > CONSTANT * terms) & (length > 0)
        scale = np.where(on, 1.0, -1.0)[varies] / length[varies]
        normals.append(linear[varies] * scale[:, None])
        offsets.append(constant[varies] * scale)
        units.append(start + np.flatnonzero(varies))
        factor = np.where(on, 1.0, slope)
        linear, constant, start = factor[:, None] * linear, factor * constant, start + len(b)
    return np.concatenate(normals), np.concatenate(offsets), np.concatenate(units)


def facet_neighbours(
    params: Params, pattern: np.ndarray, box: float | None, slope: float = 0.0
) -> list[tuple[int, tuple[bool, ...]]]:
    """Find the facets of one region (those on walls left out), each with the pattern on its other side.

    On each inequality's hyperplane the largest ball within the others is sought; where there is one, the pattern
    behind it follows from the signs at its centre and, for the units that vanish there, from their slopes outwards.

    Source: this library's own.

    Args:
      params: the network.
      pattern: (H,), of a region.
      box: half the side of the box, or None.
      slope: of a leaky ReLU below zero.

    Returns:
      Pairs of the facet's first unit and the neighbour's pattern.
    """
    normals, offsets, units = inequalities(params, pattern, box, slope)
    found: list[tuple[int, tuple[bool, ...]]] = []
    seen = np.zeros(len(units), bool)
    for row in np.flatnonzero(units >= 0):
        same = np.all(np.abs(normals - normals[row]) < 1e-9, axis=1) & (np.abs(offsets - offsets[row]) < THIN)
        if seen[row]:
            continue
        seen |= same
        centre, radius = inner_ball(normals[~same], offsets[~same], np.append(normals[row], offsets[row]))
        if radius > THIN:
            found.append((int(units[row]), _pattern_behind(params, centre, -normals[row], slope)))
    return found


def _pattern_behind(params: Params, point: np.ndarray, outwards: np.ndarray, slope: float) -> tuple[bool, ...]:
    """Pattern just behind a point of a facet: where a unit vanishes its derivative outwards decides."""
    h, change, pattern = point, outwards, []
    for w, b in params[:-1]:
        z, steps = w @ h + b, w @ change
        vanishes = np.abs(z) <= THIN * (np.linalg.norm(steps) + 1e-3 * (np.abs(w) @ np.abs(h) + np.abs(b)))
        on = np.where(vanishes, steps > CONSTANT * (np.abs(w) @ np.abs(change)), z > 0)
        factor = np.where(on, 1.0, slope)
        h, change = factor * np.where(vanishes, 0.0, z), factor * steps
        pattern += [bool(each) for each in on]
    return tuple(pattern)

"""Activation regions of any network, by splitting cells with linear programs.

Slower than :mod:`~symjax.dimension.subdivision`, but for networks in any position: units that share a zero set, vanish
at a corner or on a whole cell. A cell is cut by one switch after the other; each keeps a point well inside, so that
only the half on the other side needs a program. A half is a cell when a ball of radius :data:`THIN` fits in.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from symjax.dimension.networks import Params
from symjax.dimension.units import RELU, Unit, as_units, by_unit

__all__ = ["THIN", "Cell", "Inequalities", "box_cell", "facet_neighbours", "inequalities", "inner_ball", "split"]

THIN = 1e-8
# Share of its own terms below which the gradient of a unit on a cell, or its constant value, counts as zero.
CONSTANT = 1e-12


class Cell(NamedTuple):
    """A convex cell ``normals @ x + offsets >= 0``, its normals of length one.

    Attributes:
      normals: (m, n_0).
      offsets: (m,).
      witness: a point inside.
      switches: their signs, of those looked at so far.
      ordinary: whether none vanishes on all of it.
    """

    normals: np.ndarray
    offsets: np.ndarray
    witness: np.ndarray
    switches: tuple[bool, ...] = ()
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


def split(params: Params, start: Cell, unit: Unit | Sequence[Unit] = RELU) -> list[Cell]:
    """Split a cell until every switch of a network has one sign on each part.

    Source: Serra, Tjandraatmadja, Ramalingam 2018 (arXiv 1711.02114) for the regions as systems of inequalities.

    Args:
      params: the network, float64.
      start: the cell, of whose switches nothing is known to this network.
      unit: the kind of the hidden units, or one for each hidden layer.

    Returns:
      The cells, each with all switches behind those it came with.
    """
    cells = [(start, _inputs(params))]  # with the affine map of the layer below
    for (w, b), kind in zip(params[:-1], as_units(unit, len(params) - 1), strict=True):
        grown = []
        for cell, heights in cells:
            forms = heights.through(w, b)
            for part in _layer(cell, forms, kind):
                switches = np.array(part.switches[len(cell.switches) :], bool).reshape(-1, kind.switches)
                grown.append((part, forms.combined(kind.matrix[kind.leader(switches)])))
        cells = grown
    return [cell for cell, _ in cells]


class _Forms(NamedTuple):
    """Affine forms of the input, (n, n_0) and (n,), and the same sums over absolute values."""

    linear: np.ndarray
    constant: np.ndarray
    terms: np.ndarray
    constant_terms: np.ndarray

    def through(self, w: np.ndarray, b: np.ndarray) -> "_Forms":
        """The pre-activations of a layer that reads these forms."""
        sizes = np.abs(w) @ np.abs(self.linear), np.abs(w) @ np.abs(self.constant) + np.abs(b)
        return _Forms(w @ self.linear, w @ self.constant + b, *sizes)

    def combined(self, weights: np.ndarray) -> "_Forms":
        """Sums (u, ..) of k neighbours each, with weights (u, k)."""
        parts = (each.reshape(*weights.shape, *each.shape[1:]) for each in self)
        signed = (weights, weights, np.abs(weights), np.abs(weights))
        return _Forms(*(np.einsum("uk,uk...->u...", w, part) for w, part in zip(signed, parts, strict=True)))


def _inputs(params: Params) -> _Forms:
    size = params[0][0].shape[1]
    return _Forms(np.eye(size), np.zeros(size), np.eye(size), np.zeros(size))


def _layer(cell: Cell, forms: _Forms, unit: Unit) -> list[Cell]:
    cells = [cell]
    for start in range(0, len(forms.constant), unit.reads):
        own = _Forms(*(each[start : start + unit.reads] for each in forms))
        led = [(each, 0) for each in cells]  # with the piece that leads so far
        for piece in range(1, len(unit.pieces)):
            led = [
                (part, leader if part.switches[-1] else piece)
                for each, leader in led
                for part in _halves(each, own.combined((unit.matrix[leader] - unit.matrix[piece])[None]))
            ]
        cells = [each for each, _ in led]
    return cells


def _halves(cell: Cell, form: _Forms) -> list[Cell]:
    """One or two cells: what the zero set of one form leaves of a cell on its two sides."""
    (normal,), (offset,), (terms,), (constant_terms,) = form
    length = np.linalg.norm(normal)
    if length <= CONSTANT * np.linalg.norm(terms) or length == 0:
        vanishes = abs(offset) <= CONSTANT * constant_terms
        on = bool(offset > 0 and not vanishes)
        return [cell._replace(switches=(*cell.switches, on), ordinary=cell.ordinary and not vanishes)]
    normal, offset = normal / length, offset / length
    parts = []
    for side in (True, False):
        sign = 1.0 if side else -1.0
        normals, offsets = np.vstack([cell.normals, sign * normal]), np.append(cell.offsets, sign * offset)
        witness, depth = cell.witness, sign * (normal @ cell.witness + offset)
        if depth <= 10 * THIN:
            witness, depth = inner_ball(normals, offsets)
        if depth > THIN:
            parts.append(Cell(normals, offsets, witness, (*cell.switches, side), cell.ordinary))
    return parts


class Inequalities(NamedTuple):
    """An activation region as ``normals @ x + offsets >= 0``, normals of length one.

    Attributes:
      normals: (m, n_0).
      offsets: (m,).
      units: the hidden unit that bends at each, (m,); -1 for a wall.
      pieces: its largest piece in the region, and its other one of the inequality, (m, 2).
    """

    normals: np.ndarray
    offsets: np.ndarray
    units: np.ndarray
    pieces: np.ndarray


def inequalities(
    params: Params, pattern: np.ndarray, box: float | None, unit: Unit | Sequence[Unit] = RELU
) -> Inequalities:
    """Write an activation region as a system of inequalities: the largest piece of each unit above all others.

    Source: Serra, Tjandraatmadja, Ramalingam 2018.

    Args:
      params: the network.
      pattern: (S,).
      box: half the side of the box, or None.
      unit: the kind of the hidden units, or one for each hidden layer.

    Returns:
      The inequalities, those of walls first. A difference that is constant on the region has none.
    """
    units, heights, first = as_units(unit, len(params) - 1), _inputs(params), 0
    walls = box_cell(params[0][0].shape[1], box)
    count = len(walls.offsets)
    found = [(walls.normals, walls.offsets, np.full(count, -1), np.full((count, 2), -1))]
    for (w, b), kind, part in zip(params[:-1], units, by_unit(params, pattern, units), strict=True):
        forms = heights.through(w, b)
        largest = kind.largest(part)
        for step in range(1, len(kind.pieces)):
            other = (largest + step) % len(kind.pieces)
            apart = forms.combined(kind.matrix[largest] - kind.matrix[other])
            length = np.linalg.norm(apart.linear, axis=1)
            varies = (length > CONSTANT * np.linalg.norm(apart.terms, axis=1)) & (length > 0)
            found.append(
                (
                    apart.linear[varies] / length[varies, None], apart.constant[varies] / length[varies],
                    first + np.flatnonzero(varies), np.stack([largest, other], axis=1)[varies],
                )
            )  # fmt: skip
        heights, first = forms.combined(kind.matrix[largest]), first + len(largest)
    return Inequalities(*map(np.concatenate, zip(*found, strict=True)))


def facet_neighbours(
    params: Params, pattern: np.ndarray, box: float | None, unit: Unit | Sequence[Unit] = RELU
) -> list[tuple[int, tuple[bool, ...]]]:
    """Find the facets of one region (those on walls left out), each with the pattern on its other side.

    On each inequality's hyperplane the largest ball within the others is sought; where there is one, the pattern
    behind it follows from the largest pieces at its centre and, where several are, from their slopes outwards.

    Source: this library's own.

    Args:
      params: the network.
      pattern: (S,), of a region.
      box: half the side of the box, or None.
      unit: the kind of the hidden units, or one for each hidden layer.

    Returns:
      Pairs of the facet's first unit and the neighbour's pattern.
    """
    kinds = as_units(unit, len(params) - 1)
    normals, offsets, units, _ = inequalities(params, pattern, box, kinds)
    found: list[tuple[int, tuple[bool, ...]]] = []
    seen = np.zeros(len(units), bool)
    for row in np.argsort(units, kind="stable"):
        same = np.all(np.abs(normals - normals[row]) < 1e-9, axis=1) & (np.abs(offsets - offsets[row]) < THIN)
        if seen[row] or units[row] < 0:
            continue
        seen |= same
        centre, radius = inner_ball(normals[~same], offsets[~same], np.append(normals[row], offsets[row]))
        if radius > THIN:
            found.append((int(units[row]), _pattern_behind(params, centre, -normals[row], kinds)))
    return found


def _pattern_behind(
    params: Params, point: np.ndarray, outwards: np.ndarray, units: tuple[Unit, ...]
) -> tuple[bool, ...]:
    """Pattern just behind a point of a facet: of the pieces that are the largest there the steepest outwards wins."""
    h, change, pattern = point, outwards, []
    for (w, b), unit in zip(params[:-1], units, strict=True):
        z, steps, terms = w @ h + b, w @ change, np.abs(w) @ np.abs(h) + np.abs(b)
        z, steps, terms, change_terms = (
            each.reshape(-1, unit.reads) for each in (z, steps, terms, np.abs(w) @ np.abs(change))
        )
        leads = np.zeros(len(z), int)
        for piece in range(1, len(unit.pieces)):
            form = unit.matrix[leads] - unit.matrix[piece]
            value, step = np.sum(form * z, axis=1), np.sum(form * steps, axis=1)
            sizes, step_sizes = np.sum(np.abs(form) * terms, axis=1), np.sum(np.abs(form) * change_terms, axis=1)
            vanishes = np.abs(value) <= THIN * (np.abs(np.sum(np.abs(form) * np.abs(steps), axis=1)) + 1e-3 * sizes)
            leads = np.where(np.where(vanishes, step > CONSTANT * step_sizes, value > 0), leads, piece)
        h, change = np.sum(unit.matrix[leads] * z, axis=1), np.sum(unit.matrix[leads] * steps, axis=1)
        pattern += (leads[:, None] == np.arange(unit.switches)).ravel().tolist()
    return tuple(pattern)

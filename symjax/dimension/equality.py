"""Whether two ReLU networks are one function, and whether the trivial symmetries say so.

A rank sees families of parameters with one function; isolated ones it does not. :func:`same_function` decides equality
on a whole box, region by region; :func:`canonical_form` removes what permutations and positive scalings can change.
Two networks that are one function and have different canonical forms are related by a *discrete hidden symmetry*
(:func:`relation`).
"""

from typing import Literal, NamedTuple

import numpy as np

from symjax.arguments import scalar
from symjax.dimension.arrangement import affine_maps
from symjax.dimension.networks import Params, as_params, forward, widths
from symjax.dimension.regions import MOST_REGIONS, activation_regions
from symjax.dimension.splitting import Cell, inequalities, split
from symjax.dimension.subdivision import cells_of

__all__ = ["Comparison", "canonical_form", "relation", "same_function"]

EQUAL = 1e-9  # differences below this share of the absolute terms of a sum are rounding


class Comparison(NamedTuple):
    """Whether two networks agree on a box.

    Attributes:
      same: True where they agree on every region, up to rounding.
      point: where they differ; None where they agree.
      difference: at that point, the largest over the outputs; otherwise the largest at any corner looked at.
      regions: activation regions of the first network.
      split: those that the second one bends within, where linear programs were needed.
    """

    same: bool
    point: np.ndarray | None
    difference: float
    regions: int
    split: int


def same_function(params: Params, other: Params, box: float, most: int = MOST_REGIONS) -> Comparison:
    """Decide whether two ReLU networks are the same function on ``[-box, box]^n_0``.

    On a region of the first network that no unit of the second one bends within, both are affine, and agree when they
    agree at its corners. Other regions are split until that is so.

    Source: this library's own.

    Args:
      params: ``[(W, b), ...]``.
      other: a network of as many inputs and outputs; its hidden layers are its own.
      box: half the side of the box.
      most: as for :func:`~symjax.dimension.regions.activation_regions`.

    Returns:
      The decision, with a point where they differ.

    Raises:
      ValueError: other numbers of inputs or outputs; as :func:`~symjax.dimension.regions.activation_regions`.

    Example:
      >>> absolute = [(np.array([[1.0], [-1.0]]), np.zeros(2)), (np.ones((1, 2)), np.zeros(1))]
      >>> shifted = [(np.array([[2.0], [1.0]]), np.zeros(2)), (np.array([[1.0, -1.0]]), np.zeros(1))]
      >>> same_function(absolute, shifted, 1.0).point
      array([-1.])
    """
    params, other = as_params(params), as_params(other)
    ends, others = (widths(each)[:: len(each)] for each in (params, other))
    if ends != others:
        raise ValueError(f"other has {others} inputs and outputs, but params have {ends}")
    regions = activation_regions(params, scalar("box", box), most=most)
    if regions.skeleton is None:
        worst, at, patterns, inside = 0.0, None, regions.patterns, regions.witnesses
    else:
        corners = regions.skeleton.points[:, 0]
        differences, tolerances = _difference(params, other, corners)
        wrong = int(np.argmax(differences - tolerances))
        worst, at = float(differences.max()), corners[wrong] if differences[wrong] > tolerances[wrong] else None
        if at is not None:
            return Comparison(False, at, float(differences[wrong]), len(regions.patterns), 0)
        cells = cells_of(regions.skeleton)
        bent = _bends_within(other, corners, cells.corners)
        patterns, inside = cells.patterns[bent], cells.centres[bent, 0]
    for pattern, witness in zip(patterns, inside, strict=True):
        at = _differ(params, other, pattern, witness, regions.box)
        if at is not None:
            difference = float(_difference(params, other, at[None])[0][0])
            return Comparison(False, at, difference, len(regions.patterns), len(patterns))
    return Comparison(True, None, worst, len(regions.patterns), len(patterns))


def _terms(params: Params, points: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pre-activations of all layers, and the same sums over absolute values."""
    values, sizes, h, size = [], [], points, np.abs(points)
    for w, b in params:
        values.append(h @ w.T + b)
        sizes.append(size @ np.abs(w).T + np.abs(b))
        h, size = np.maximum(values[-1], 0), sizes[-1]
    return values, sizes


def _difference(params: Params, other: Params, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest difference of the outputs at each point, and what of it may be rounding."""
    (values, sizes), (others, other_sizes) = _terms(params, points), _terms(other, points)
    allowed = EQUAL * np.max(sizes[-1] + other_sizes[-1], axis=1)
    return np.max(np.abs(values[-1] - others[-1]), axis=1), allowed


def _bends_within(other: Params, corners: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Numbers of the cells at whose corners some hidden unit has both signs; ``members`` are pairs (cell, corner)."""
    starts = np.flatnonzero(np.diff(members[:, 0], prepend=-1))
    bent = np.zeros(len(starts), bool)
    for value, size in zip(*(each[:-1] for each in _terms(other, corners)), strict=True):
        sign = np.where(np.abs(value) > EQUAL * size, np.sign(value), 0.0)[members[:, 1]]
        bent |= np.any(np.maximum.reduceat(sign, starts) - np.minimum.reduceat(sign, starts) == 2, axis=1)
    return np.flatnonzero(bent)


def _differ(
    params: Params, other: Params, pattern: np.ndarray, witness: np.ndarray, box: float | None
) -> np.ndarray | None:
    """A point of one region of the first network at which the other one is another function; None if there is none."""
    normals, offsets, _ = inequalities(params, pattern, box)
    own, own_terms = affine_maps(params, pattern[None])
    for part in split(other, Cell(normals, offsets, witness)):
        mapped, terms = affine_maps(other, np.array(part.pattern, bool)[None])
        wrong = np.abs(mapped - own) > EQUAL * (own_terms + terms)
        if np.any(wrong):
            return _apart(params, other, part)
    return None


def _apart(params: Params, other: Params, part: Cell) -> np.ndarray:
    """The point of a cell, among its witness and small steps from it, at which two affine maps differ most."""
    room = float(np.min(part.normals @ part.witness + part.offsets, initial=1.0))
    steps = 0.5 * room * np.eye(len(part.witness))
    tried = part.witness + np.concatenate([0 * steps[:1], steps, -steps])
    return tried[int(np.argmax(np.max(np.abs(forward(params, tried) - forward(other, tried)), axis=1)))]


def canonical_form(params: Params) -> list[tuple[np.ndarray, np.ndarray]]:
    """Bring a network into the form that all its permutations and positive scalings share.

    From the first layer on, every hidden unit is scaled to ``|(w, b)| = 1`` and the units are sorted by (w, b).

    Source: this library's own.

    Args:
      params: ``[(W, b), ...]``; a unit whose weights and bias are all zero keeps its scale.

    Returns:
      A network with the same function. Units whose rows agree to ten digits keep their order.

    Example:
      >>> canonical_form([(np.array([[3.0], [-2.0]]), np.array([4.0, 0.0])), (np.array([[1.0, 10.0]]), np.zeros(1))])
      [(array([[-1. ],
             [ 0.6]]), array([0. , 0.8])), (array([[20.,  5.]]), array([0.]))]
    """
    layers = [(w.copy(), b.copy()) for w, b in as_params(params)]
    for place in range(len(layers) - 1):
        (w, b), (above, above_b) = layers[place], layers[place + 1]
        rows = np.column_stack([w, b])
        lengths = np.linalg.norm(rows, axis=1)
        lengths[lengths == 0] = 1.0
        rows, above = rows / lengths[:, None], above * lengths
        order = np.lexsort(np.round(rows, 10).T[::-1])
        layers[place] = rows[order, :-1], rows[order, -1]
        layers[place + 1] = above[:, order], above_b
    return layers


def relation(
    params: Params, other: Params, box: float, most: int = MOST_REGIONS
) -> Literal["trivial", "hidden", "different"]:
    """Say how two networks are related: by permutations and scalings, by a hidden symmetry, or not at all.

    Source: Grigsby, Lindsey, Rolnick 2023 (arXiv 2306.06179) for the words.

    Args:
      params: ``[(W, b), ...]``.
      other: likewise.
      box: half the side of the box on which the functions are compared.
      most: as for :func:`~symjax.dimension.regions.activation_regions`.

    Returns:
      ``trivial``: one canonical form; ``hidden``: one function on the box with two canonical forms; ``different``:
      two functions.

    Raises:
      ValueError: as :func:`same_function`.

    Example:
      >>> first = [(np.array([[2.0], [1.0]]), np.array([0.0, 1.0])), (np.ones((1, 2)), np.zeros(1))]
      >>> second = [(np.array([[1.0], [1.0]]), np.array([1.0, 0.0])), (np.array([[1.0, 2.0]]), np.zeros(1))]
      >>> relation(first, second, 10.0)
      'trivial'
    """
    if widths(as_params(params)) == widths(as_params(other)):
        pairs = zip(canonical_form(params), canonical_form(other), strict=True)
        leaves = [leaf for pair in pairs for leaf in zip(*pair, strict=True)]
        if all(np.max(np.abs(a - b)) <= EQUAL * max(1.0, float(np.max(np.abs(a)))) for a, b in leaves):
            return "trivial"
    return "hidden" if same_function(params, other, box, most).same else "different"

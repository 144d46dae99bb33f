"""Whether two ReLU networks are one function, and whether the trivial symmetries say so.

A rank sees families of parameters with one function; isolated ones it does not. :func:`same_function` decides equality
on all of the input space or a box, region by region; :func:`canonical_form` removes what permutations and positive
scalings can change. Two networks that are one function and have different canonical forms are related by a hidden
symmetry, a discrete one where the dimension is full (:func:`relation`).
"""

from typing import Literal, NamedTuple

import numpy as np

from symjax.dimension.arrangement import affine_maps
from symjax.dimension.cells import cells_of
from symjax.dimension.networks import Params, as_params, forward, widths
from symjax.dimension.regions import MOST_REGIONS, activation_regions
from symjax.dimension.splitting import Cell, inequalities, split

__all__ = ["Comparison", "canonical_form", "relation", "same_function"]

EQUAL = 1e-9  # differences below this share of the absolute terms of a sum are rounding


class Comparison(NamedTuple):
    """Whether two networks agree.

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


def same_function(params: Params, other: Params, box: float | None = None, most: int = MOST_REGIONS) -> Comparison:
    """Decide whether two ReLU networks are the same function.

    On a region of the first network that no unit of the second one bends within, both are affine, and agree when they
    agree at its corners (those far out as ``p + M q`` for all large M). Other regions are split until that is so.

    Source: this library's own.

    Args:
      params: ``[(W, b), ...]``.
      other: a network of as many inputs and outputs; its hidden layers are its own.
      box: half the side of the box in which they are compared; None: all of the input space.
      most: as for :func:`~symjax.dimension.regions.activation_regions`.

    Returns:
      The decision, with a point where they differ.

    Raises:
      ValueError: other numbers of inputs or outputs; as :func:`~symjax.dimension.regions.activation_regions`.

    Example:
      >>> absolute = [(np.array([[1.0], [-1.0]]), np.zeros(2)), (np.ones((1, 2)), np.zeros(1))]
      >>> shifted = [(np.array([[2.0], [1.0]]), np.zeros(2)), (np.array([[1.0, -1.0]]), np.zeros(1))]
      >>> same_function(absolute, absolute).same, same_function(absolute, shifted, 1.0).same
      (True, False)
    """
    params, other = as_params(params), as_params(other)
    ends, others = (widths(each)[:: len(each)] for each in (params, other))
    if ends != others:
        raise ValueError(f"other has {others} inputs and outputs, but params have {ends}")
    regions = activation_regions(params, box, most=most)
    worst, patterns, inside = 0.0, regions.patterns, regions.witnesses
    if regions.skeleton is not None:
        corners = regions.skeleton.points
        worst, at = _corner_apart(params, other, corners, regions.skeleton.box)
        if at is not None:
            return Comparison(False, at, _gap(params, other, at), len(patterns), 0)
        cells = cells_of(regions.skeleton)
        bent = _bends_within(other, corners, cells.corners)
        patterns = cells.switches[bent]  # of ReLUs the pattern
        inside = cells.centres[bent, 0] + regions.skeleton.box * cells.centres[bent, 1]
    for pattern, witness in zip(patterns, inside, strict=True):
        at = _differ(params, other, pattern, witness, regions.box)
        if at is not None:
            return Comparison(False, at, _gap(params, other, at), len(regions.patterns), len(patterns))
    return Comparison(True, None, worst, len(regions.patterns), len(patterns))


def _gap(params: Params, other: Params, point: np.ndarray) -> float:
    return float(np.max(np.abs(forward(params, point[None]) - forward(other, point[None]))))


class _Layer(NamedTuple):
    values: np.ndarray  # (V, 2, n_l): pre-activations v + M u
    sizes: np.ndarray  # the same sums over absolute values
    signs: np.ndarray  # (V, n_l), for large M; 0 within rounding


def _layers(params: Params, corners: np.ndarray) -> list[_Layer]:
    """All layers of a network at corners ``p + M q`` (V, 2, n_0)."""
    found, h, size = [], corners, np.abs(corners)
    for w, b in params:
        z, size = h @ w.T, size @ np.abs(w).T
        z[:, 0] += b
        size[:, 0] += np.abs(b)
        signs = np.where(np.abs(z) > EQUAL * size, np.sign(z), 0.0)
        sign = np.where(signs[:, 1] != 0, signs[:, 1], signs[:, 0])
        found.append(_Layer(z, size, sign))
        h = np.where(sign[:, None] > 0, z, np.where(sign[:, None] < 0, 0.0, np.maximum(z, 0)))
    return found


def _corner_apart(params: Params, other: Params, corners: np.ndarray, box: float) -> tuple[float, np.ndarray | None]:
    """The largest difference of the outputs at the corners, and a corner where it is more than rounding."""
    first, second = (_layers(each, corners)[-1] for each in (params, other))
    difference, allowed = np.abs(first.values - second.values), EQUAL * (first.sizes + second.sizes)
    excess = np.max(difference - allowed, axis=(1, 2))
    if np.all(difference <= allowed):
        return float(np.max(difference)), None
    fixed, grows = corners[int(np.argmax(excess))]
    for distance in box * 10.0 ** np.arange(16):  # M is large enough for the first network; perhaps not for the other
        point = fixed + distance * grows
        at = np.stack([point, 0 * point])[None]
        size = sum(_layers(each, at)[-1].sizes[0, 0] for each in (params, other))
        if np.any(np.abs(forward(params, point[None]) - forward(other, point[None])) > EQUAL * size):
            break
    return float(np.max(difference)), point


def _bends_within(other: Params, corners: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Numbers of the cells at whose corners some hidden unit has both signs; ``members`` are pairs (cell, corner)."""
    starts = np.flatnonzero(np.diff(members[:, 0], prepend=-1))
    bent = np.zeros(len(starts), bool)
    for layer in _layers(other, corners)[:-1]:
        signs = layer.signs[members[:, 1]]
        bent |= np.any(np.maximum.reduceat(signs, starts) - np.minimum.reduceat(signs, starts) == 2, axis=1)
    return np.flatnonzero(bent)


def _differ(
    params: Params, other: Params, pattern: np.ndarray, witness: np.ndarray, box: float | None
) -> np.ndarray | None:
    """A point of one region of the first network at which the other one is another function; None if there is none."""
    normals, offsets, *_ = inequalities(params, pattern, box)
    own, own_terms = affine_maps(params, pattern[None])
    for part in split(other, Cell(normals, offsets, witness)):
        mapped, terms = affine_maps(other, np.array(part.switches, bool)[None])
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
    params: Params, other: Params, box: float | None = None, most: int = MOST_REGIONS
) -> Literal["trivial", "hidden", "different"]:
    """Say how two networks are related: by permutations and scalings, by a hidden symmetry, or not at all.

    Source: Grigsby, Lindsey, Rolnick 2023 (arXiv 2306.06179) for the words.

    Args:
      params: ``[(W, b), ...]``.
      other: likewise.
      box: as for :func:`same_function`.
      most: as for :func:`~symjax.dimension.regions.activation_regions`.

    Returns:
      ``trivial``: one canonical form; ``hidden``: one function with two canonical forms; ``different``:
      two functions.

    Raises:
      ValueError: as :func:`same_function`.

    Example:
      >>> first = [(np.array([[2.0], [1.0]]), np.array([0.0, 1.0])), (np.ones((1, 2)), np.zeros(1))]
      >>> second = [(np.array([[1.0], [1.0]]), np.array([1.0, 0.0])), (np.array([[1.0, 2.0]]), np.zeros(1))]
      >>> relation(first, second)
      'trivial'
    """
    if widths(as_params(params)) == widths(as_params(other)):
        pairs = zip(canonical_form(params), canonical_form(other), strict=True)
        leaves = [leaf for pair in pairs for leaf in zip(*pair, strict=True)]
        if all(np.max(np.abs(a - b)) <= EQUAL * max(1.0, float(np.max(np.abs(a)))) for a, b in leaves):
            return "trivial"
    return "hidden" if same_function(params, other, box, most).same else "different"

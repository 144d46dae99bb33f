"""Directions of a network's parameters that change nothing and are no scalings, each checked by moving along it."""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from symjax.dimension import networks as nets
from symjax.dimension.gradients import Slices, at_points, gradients, jacobian, of_patterns, products, scaling_tangents
from symjax.dimension.rank import Dimension, measure

__all__ = ["HiddenDirections", "hidden_directions"]

_PATTERNS = 1000  # whose gradients are bracketed, besides those that span the rest
_STEP = 1e-4  # of central differences, relative to the parameters
_TWISTED = 1e-5  # above this a bracket sees a direction


class HiddenDirections(NamedTuple):
    """The kernel of the gradients without the scalings.

    Attributes:
      directions: orthonormal (k, D), orthogonal to the scalings' tangents; columns as :func:`networks.flatten`.
      slope: (k,) largest derivative of an output along each direction at points not used to find it, relative to the
        longest gradient there; 0 up to rounding for a symmetry, more where sampling has missed a region.
      change: (k,) largest change of an output after a step along each direction, relative to step and longest gradient;
        it shrinks with the step, and is rounding where the direction is a straight symmetry.
      layers: (k, d) share of each layer in the squared length.
      twist: (k,) in ascending order, how far gradient flow is from conserving a quantity along each direction: the
        largest product with the brackets of two gradient fields, relative to the gradients' lengths and the parameters'
        size.
      conserved: (k,) booleans, whether it conserves one, up to brackets of more fields: below 1e-5 in ``twist``.
      dimension: the rank and its evidence.
    """

    directions: np.ndarray
    slope: np.ndarray
    change: np.ndarray
    layers: np.ndarray
    twist: np.ndarray
    conserved: np.ndarray
    dimension: Dimension


def hidden_directions(
    params: nets.Params, points: np.ndarray, held_out: np.ndarray, step: float = 1e-5
) -> HiddenDirections:
    """Find the hidden directions of a network, and move along each.

    ``ker J = span(scalings) + span(hidden directions)``

    Gradient flow, whatever the loss, moves along the fields ``g_x = grad_theta F(x)``. A direction v is the gradient of
    a quantity that it conserves if v is orthogonal to these and to their brackets ``[g_x, g_y] = H_y g_x - H_x g_y``:
    for a field v of hidden directions, if its Jacobian is symmetric along the g_x. The basis is chosen so that as many
    directions as possible are, and these come first.

    Source: Grigsby, Lindsey, Rolnick 2023 (arXiv 2306.06179), the hidden symmetries of positive dimension; Marcotte,
    Gribonval, Peyre 2023 (arXiv 2307.00144) for the brackets; conserved hidden directions: arXiv 2605.18319.

    Args:
      params: [(W, b), ...].
      points: (m, n_0), whose patterns define the kernel.
      held_out: (k, n_0), at which the directions are tried.
      step: length of the step.

    Returns:
      The directions with what they change; none where the dimension is the bound.

    Raises:
      ValueError: parameters or points of wrong shapes or not finite.

    Example:
      >>> params = nets.random_params((2, 3, 1), np.random.default_rng(0))
      >>> params[1][0][:, 0] = 0.0  # the first unit's output is thrown away: its weights and bias do not matter
      >>> points = np.random.default_rng(1).normal(size=(600, 2))
      >>> hidden_directions(params, points[:500], points[500:]).directions.shape
      (2, 13)
    """
    params = nets.as_params(params)
    sizes = nets.widths(params)
    points, held_out = (
        nets.as_points(name, value, sizes[0]) for name, value in (("points", points), ("held_out", held_out))
    )
    dimension, search = measure(params, points, "patterns", np.random.default_rng(0))
    directions = _without(search.kernel(), scaling_tangents(params), dimension.hidden)
    some = np.union1d(search.added, np.arange(min(_PATTERNS, len(search.gradients))))
    directions, twist = _by_twist(params, directions, of_patterns(search.gradients.masks[some], sizes[0]))
    masks = at_points(params, held_out)
    longest = np.sqrt(np.max(np.sum(jacobian(params, held_out) ** 2, axis=-1)))
    slopes, changes, theta = [], [], nets.flatten(params)
    for direction in directions:
        slopes.append(np.max(np.abs(products(params, masks, direction, direction)[0])) / longest)
        moved = nets.forward(nets.unflatten(theta + step * direction, sizes), held_out)
        changes.append(np.max(np.abs(moved - nets.forward(params, held_out))) / (step * longest))
    parts = np.cumsum([0, *(above * (below + 1) for below, above in pairwise(sizes))])
    layers = np.add.reduceat(directions**2, parts[:-1], axis=1)
    return HiddenDirections(directions, np.array(slopes), np.array(changes), layers, twist, twist < _TWISTED, dimension)


def _by_twist(params: nets.Params, directions: np.ndarray, slices: Slices) -> tuple[np.ndarray, np.ndarray]:
    """The directions (k, D) in another basis, and how much brackets of two fields see of each (k,), ascending.

    The fields are random sums of gradients; their derivatives along a direction are central differences.
    """
    sizes, theta, random = nets.widths(params), nets.flatten(params), np.random.default_rng(0)

    def fields(moved: np.ndarray) -> np.ndarray:
        return mixes @ gradients(nets.unflatten(moved, sizes), slices).reshape(mixes.shape[1], -1)

    rows = len(slices.masks) * len(slices.constants) * sizes[-1]
    mixes = random.normal(size=(16 + math.isqrt(2 * len(directions)), rows)) / np.sqrt(rows)
    size, still = np.linalg.norm(theta) / np.sqrt(len(theta)), fields(theta)
    upper, seen = np.triu_indices(len(mixes), 1), []
    for direction in directions:
        step = _STEP * size * direction
        turned = still @ (fields(theta + step) - fields(theta - step)).T / (2 * _STEP)
        seen.append((turned - turned.T)[upper])
    if not len(directions):
        return directions, np.zeros(0)
    left, twist, _ = np.linalg.svd(np.array(seen) / np.max(np.sum(still**2, axis=1)), full_matrices=False)
    return left.T[::-1] @ directions, twist[::-1]


def _without(kernel: np.ndarray, tangents: np.ndarray, count: int) -> np.ndarray:
    """Orthonormal basis (count, D) of what a kernel has besides some tangents, orthogonal to these."""
    if not count:
        return kernel[:0]
    lengths = np.linalg.norm(tangents, axis=1, keepdims=True)
    _, values, right = np.linalg.svd(tangents / np.where(lengths > 0, lengths, 1), full_matrices=False)
    known = right[values > 1e-12 * values.max(initial=0.0)]
    for _ in range(2):  # twice is enough
        kernel = kernel - kernel @ known.T @ known
    return np.linalg.svd(kernel, full_matrices=False)[2][:count]

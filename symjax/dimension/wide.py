"""Functional dimension of networks with many inputs, whose first layer holds nearly all parameters.

No triangle of D x D is formed. At the points of a batch only the coordinates of the inputs in their own span count: m
points of span r leave ``n_1 r`` columns of the first layer's ``n_1 n_0``. On regions the directions that the first
layer does not see are all alike, and one stands for all.
"""

from typing import NamedTuple

import numpy as np

from symjax.dimension import networks as nets
from symjax.dimension.gradients import Slices, gradients

__all__ = ["WideRank", "wide_batch_dimension", "wide_sampled_dimension"]

_EPS = np.finfo(np.float64).eps
_CUT = 1e-10  # pivots below this part of the largest are rounding, which a mixing magnifies by up to 1e4
_CLEAR, _TRIES = 1e3, 3  # a smaller gap is tried again with another mixing
_MORE = 1.1  # random combinations of rows for each column


class WideRank(NamedTuple):
    """A rank, and how clearly it is decided.

    Attributes:
      rank: the functional dimension found.
      most: what no parameters exceed on these inputs: the bound with the span of the inputs in place of n_0.
      rows: number of rows; a rank of this size is decided by their number alone.
      gap: smallest pivot kept over largest dropped; infinite where none was dropped.
    """

    rank: int
    most: int
    rows: int
    gap: float

    @property
    def undetermined(self) -> bool:
        """Whether the pivots have no clear gap."""
        return self.gap < _CLEAR


def wide_batch_dimension(params: nets.Params, points: np.ndarray, random: np.random.Generator) -> WideRank:
    """Batch functional dimension at points that span less than the input space, such as images.

    ``rank [d F_k(x_i) / d theta]``, with ``x_i = Q c_i`` replaced by its coordinates ``c_i``

    Source: Grigsby, Lindsey, Rolnick 2023 (arXiv 2306.06179); the rank by a random rotation and one QR is Demmel,
      Dumitriu, Holtz 2007 (RURV).

    Args:
      params: [(W, b), ...].
      points: (m, n_0).
      random: of the rotation.

    Returns:
      The rank with its evidence.

    Raises:
      ValueError: parameters or points of wrong shapes or not finite.

    Example:
      >>> random = np.random.default_rng(0)
      >>> params = nets.random_params((50, 3, 1), random)
      >>> points = random.normal(size=(40, 2)) @ random.normal(size=(2, 50))
      >>> wide_batch_dimension(params, points, random)[:3]
      (10, 10, 40)
    """
    params = nets.as_params(params)
    sizes = nets.widths(params)
    points = nets.as_points("points", points, sizes[0])
    masks = nets.patterns(params, points)
    left, values, right = np.linalg.svd(points, full_matrices=False)
    span = int(np.sum(values > max(points.shape) * _EPS * values.max(initial=0.0)))
    coordinates, basis = left[:, :span] * values[:span], right[:span]
    low = [(params[0][0] @ basis.T, params[0][1]), *params[1:]] if span else params
    inputs = coordinates if span else points
    rows = gradients(low, Slices(masks, inputs[:, None, :], np.ones(1)))
    rows = rows.reshape(-1, rows.shape[-1])
    rank, gap = _rank(rows, random)
    most = nets.bound((max(span, 1), *sizes[1:]))
    return WideRank(rank, min(most, len(rows)), len(rows), gap)


def wide_sampled_dimension(params: nets.Params, points: np.ndarray, random: np.random.Generator) -> WideRank:
    """Functional dimension on the regions that points lie in, for many inputs.

    The gradients of a region are affine in the input. Along a direction that the first layer does not see they are
    ``delta_1 (x) v`` alone, the same for all such directions; ``r`` others and the constant are left:

    ``rank = (n_0 - r) rank [delta_1(s)]_s + rank [rows of pattern s, inputs reduced to r]_s``, ``r = rank W_1``

    Random combinations of the patterns' rows stand for all of them: a lower bound, equal with probability one where
    they are more than the columns.

    Source: this library's own.

    Args:
      params: [(W, b), ...] with at least one hidden layer.
      points: (m, n_0).
      random: of the combinations and the rotation.

    Returns:
      The rank with its evidence.

    Raises:
      ValueError: parameters or points of wrong shapes or not finite, or no hidden layer.

    Example:
      >>> random = np.random.default_rng(0)
      >>> params = nets.random_params((60, 4, 3, 2), random)
      >>> found = wide_sampled_dimension(params, random.normal(size=(100, 60)), random)
      >>> found.rank == found.most == nets.bound((60, 4, 3, 2))
      True
    """
    params = nets.as_params(params)
    sizes = nets.widths(params)
    if len(params) < 2:
        raise ValueError(f"params have widths {sizes}, but a network needs a hidden layer to have regions")
    points = nets.as_points("points", points, sizes[0])
    masks = np.unique(nets.patterns(params, points), axis=0)
    left, values, _ = np.linalg.svd(params[0][0], full_matrices=False)
    seen = int(np.sum(values > max(params[0][0].shape) * _EPS * values.max(initial=0.0)))
    low = [(left[:, :seen] * values[:seen], params[0][1]), *params[1:]]
    factors = [mask.astype(np.float64) for mask in nets.split(masks, sizes)]
    deltas = [np.broadcast_to(np.eye(sizes[-1]), (len(masks), sizes[-1], sizes[-1]))]
    for (w, _), factor in zip(params[:0:-1], factors[::-1], strict=True):
        deltas.insert(0, (deltas[0] @ w) * factor[:, None, :])
    block, gap = _rank(deltas[0].reshape(-1, sizes[1]).copy(), random)
    columns = nets.parameters((seen, *sizes[1:])) if seen else nets.parameters(sizes[1:]) + sizes[1]
    count = min(int(_MORE * columns) // (seen + 1) + 1, len(masks) * sizes[-1])
    mixed = random.normal(size=(count, len(masks), sizes[-1]))
    weights = [np.tensordot(mixed, delta, ((1, 2), (0, 1))) for delta in deltas[:1]]
    weights += [np.einsum("qsk,ska->qsa", mixed, delta, optimize=True) for delta in deltas[1:]]
    rows = np.concatenate([_along(low, factors, weights, direction) for direction in range(-1, seen)])
    rank, other = _rank(rows, random)
    total = (sizes[0] + 1) * len(masks) * sizes[-1]
    return WideRank((sizes[0] - seen) * block + rank, min(nets.bound(sizes), total), total, min(gap, other))


def _along(low: nets.Params, factors: list[np.ndarray], weights: list[np.ndarray], direction: int) -> np.ndarray:
    """Combinations (q, D) of the patterns' rows along an input, or at the origin for direction -1."""
    (w, b), origin = low[0], direction < 0
    first = np.zeros((len(weights[0]), *w.shape))
    if not origin:
        first[:, :, direction] = weights[0]
    blocks = [first.reshape(len(first), -1), weights[0] * origin]
    height = np.broadcast_to(b if origin else w[:, direction], (len(factors[0]), len(b)))
    for (w, b), factor, weight in zip(low[1:], factors, weights[1:], strict=True):
        height = height * factor
        blocks.append(np.tensordot(weight, height, (1, 0)).reshape(len(first), -1))
        blocks.append(weight.sum(axis=1) * origin)
        height = height @ w.T + b * origin
    return np.concatenate(blocks, axis=1)


def _rank(rows: np.ndarray, random: np.random.Generator) -> tuple[int, float]:
    """Rank and gap: rows and columns balanced, columns mixed at random, and the diagonal of one QR (RURV).

    Once the columns are mixed the leading ones are generic, so the diagonal falls to rounding after as many entries as
    the rank has: a tenth of the work of singular values. The mixing is signs and a cosine transform, twice.
    """
    for _ in range(2):
        for axis in (1, 0):
            lengths = np.linalg.norm(rows, axis=axis)
            rows = np.compress(lengths > 0, rows, axis=1 - axis)
            lengths = lengths[lengths > 0]
            rows /= lengths[:, None] if axis == 1 else lengths
    if not rows.size:
        return 0, np.inf
    rows = rows if len(rows) >= rows.shape[1] else rows.T
    tries = []
    while len(tries) < _TRIES and not (tries and tries[-1][1] >= _CLEAR):  # a mixing may be an unlucky one
        pivots = _pivots(rows, random)
        alive = pivots > _CUT * pivots.max()
        dropped = pivots[~alive].max(initial=0.0)
        tries.append((int(alive.sum()), float(pivots[alive].min() / dropped) if dropped else np.inf))
    return max(tries, key=lambda found: found[1])


def _pivots(rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    from scipy.fft import dct
    from scipy.linalg import qr

    for _ in range(2):
        order = random.permutation(rows.shape[1])
        rows = dct(rows[:, order] * random.choice([-1.0, 1.0], rows.shape[1]), axis=1, norm="ortho", overwrite_x=True)
    (triangle,) = qr(np.asfortranarray(rows), mode="r", check_finite=False, overwrite_a=True)
    return np.abs(np.diag(triangle))

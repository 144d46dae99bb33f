"""Full-dimensional cells of a skeleton, and which of them touch, read off its corners.

In general position a corner lies on exactly n_0 zero sets, and the cells around it are the 2^n_0 ways to give these a
sign: every cell is found from each of its corners, and so is every facet.

Source: this library's own.
"""

from itertools import combinations, product
from typing import NamedTuple

import numpy as np

from symjax.dimension.subdivision import Skeleton

__all__ = ["Cells", "cells_of", "euler_characteristic"]


class Cells(NamedTuple):
    """Full-dimensional cells of a skeleton.

    Attributes:
      switches: which way each switch is, (R, S).
      centres: the mean of each cell's corners, ``p + M q``, (R, 2, n_0).
      facets: pairs of cells with a common facet, (F, 2).
      zeros: the switch that vanishes on each of these facets, (F,).
      corners: pairs (cell, corner), (I, 2), by cell.
    """

    switches: np.ndarray
    centres: np.ndarray
    facets: np.ndarray
    zeros: np.ndarray
    corners: np.ndarray


def cells_of(skeleton: Skeleton) -> Cells:
    """Read the full-dimensional cells off the corners of a skeleton.

    Source: this library's own; the cells around a corner in general position are the signs its zeros may take.

    Args:
      skeleton: from :func:`subdivide`.

    Returns:
      The cells with their corners and facets; those of a wall are left out.
    """
    size, total = skeleton.points.shape[2], skeleton.signs.shape[1]
    hashes = np.random.default_rng(1).integers(0, 2**64, total + 2 * size, dtype=np.uint64)
    hashes[total:] = 0
    fills = (2 * ((np.arange(2**size)[:, None] >> np.arange(size)) & 1) - 1).astype(np.int8)
    base = skeleton.signs.astype(np.uint64) @ hashes[:total]
    keys = base[:, None] + hashes[skeleton.zeros] @ fills.T.astype(np.uint64)
    is_wall = skeleton.zeros >= total
    # outside of a wall there is no cell
    wanted = ~np.any(is_wall[:, None, :] & (fills[None] < 0), axis=2)
    which = np.flatnonzero(wanted)
    _, first, number = np.unique(keys.ravel()[which], return_index=True, return_inverse=True)
    cell = np.full(keys.shape, -1)
    cell.ravel()[which] = number
    corner, fill = np.divmod(which[first], 2**size)
    signs = np.concatenate([skeleton.signs[corner], np.zeros((len(corner), 2 * size), np.int8)], axis=1)
    np.put_along_axis(signs, skeleton.zeros[corner], fills[fill], axis=1)
    members = np.stack([number, which // 2**size], axis=1)
    members = members[np.argsort(members[:, 0], kind="stable")]
    counts = np.bincount(members[:, 0])
    sums = np.add.reduceat(skeleton.points[members[:, 1]], np.cumsum(counts) - counts)
    facets, of = _facets(skeleton.zeros, is_wall, cell, fills)
    return Cells(signs[:, :total] > 0, sums / counts[:, None, None], facets, of, members)


def _facets(
    zeros: np.ndarray, is_wall: np.ndarray, cell: np.ndarray, fills: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of cells that differ at a corner in the sign of one switch, which vanishes between them."""
    found = []
    for place in range(zeros.shape[1]):
        off = np.flatnonzero(fills[:, place] < 0)
        rows = np.flatnonzero(~is_wall[:, place])
        pair = np.stack([cell[np.ix_(rows, off)], cell[np.ix_(rows, off + 2**place)]], axis=-1)
        unit = np.broadcast_to(zeros[rows, place][:, None], pair.shape[:2])
        inside = pair[..., 1] >= 0
        found.append(np.column_stack([pair[inside], unit[inside]]))
    every = np.unique(np.concatenate(found), axis=0)
    return every[:, :2], every[:, 2]


def euler_characteristic(skeleton: Skeleton) -> int:
    """Count the faces of the complex with alternating signs: 1, as of every convex set cut into cells.

    A missing or superfluous corner, edge or cell changes it. Faces of k dimensions are those around the corners: of the
    n_0 zeros of a corner k get a sign.

    Source: Euler, Poincare, Schlafli; an independent check of an enumeration.

    Args:
      skeleton: of the regions of a network in general position.

    Returns:
      ``sum_k (-1)^k f_k``, with f_0 the corners that are listed and f_1 the edges that are listed.

    Example:
      >>> from symjax.dimension.regions import activation_regions
      >>> params = [(np.eye(2), np.zeros(2)), (np.ones((1, 2)), np.zeros(1))]
      >>> euler_characteristic(activation_regions(params).skeleton)
      1
    """
    size, total = skeleton.points.shape[2], skeleton.signs.shape[1]
    hashes = np.random.default_rng(2).integers(0, 2**64, total + 2 * size, dtype=np.uint64)
    is_wall = skeleton.zeros >= total
    steps = hashes[skeleton.zeros]
    # a wall is added where the face lies on it, a switch with its sign where it does not
    base = skeleton.signs.astype(np.uint64) @ hashes[:total] + np.sum(steps * is_wall, axis=1, dtype=np.uint64)
    characteristic = len(skeleton.points) - len(skeleton.edges)
    for dimension in range(2, size + 1):
        keys = []
        for freed in combinations(range(size), dimension):
            for signs in product((1, -1), repeat=dimension):
                walls = is_wall[:, freed]
                inside = ~np.any(walls & (np.array(signs) < 0), axis=1)
                moves = np.where(walls, np.uint64(2**64 - 1), np.array(signs).astype(np.uint64))
                keys.append(np.unique((base + np.sum(steps[:, freed] * moves, axis=1, dtype=np.uint64))[inside]))
        characteristic += (-1) ** dimension * len(np.unique(np.concatenate(keys)))
    return characteristic

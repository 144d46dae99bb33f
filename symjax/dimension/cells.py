"""Full-dimensional cells of a skeleton, and which of them touch, read off its corners.

In general position a corner lies on exactly n_0 zero sets, and the cells around it are the 2^n_0 ways to give these a
sign: every cell is found from each of its corners, and so is every facet.

Source: this library's own.
"""

from typing import NamedTuple

import numpy as np

from symjax.dimension.subdivision import Skeleton

__all__ = ["Cells", "cells_of"]


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

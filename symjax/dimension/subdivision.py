"""Activation regions of a generic network, by cutting the edges of its complex.

The bent hyperplanes of a network cut a box into convex cells. Of that complex only the corners and the edges are kept:
a unit cuts an edge whose ends it sees with two signs, the cut is a new corner, and the two cuts of a polygon are
joined by a new edge. In general position a corner lies on exactly n_0 zero sets (walls of the box included), so the
cells around it are the 2^n_0 ways to give its zeros a sign: the regions are read off the corners, without any
optimisation.

**All of the input space.** A corner is the solution of n_0 linear equations, of which those of walls read
``x_k = +-M``; so it is ``p + M q``, and so is every pre-activation at it. For all M that are large enough the sign of
``v + M u`` is that of u, or of v where u is zero. Carrying p and q instead of numbers, the complex is that of a box
beyond every corner that the bent hyperplanes have: nothing lies outside.

A face is known by the sum of one random 64-bit number for each unit with the sign it has there, so that the same
polygon is found from different edges; the pairing is checked. Beside every number its rounding is carried; a unit that
is within it at a corner is not in general position, and raises :class:`NotGeneric`.

Source: Berzins 2023 (arXiv 2306.07212), edge subdivision; the box without end and the reading of the regions are this
library's own.
"""

from typing import NamedTuple

import numpy as np

from symjax.dimension.networks import Params, widths

__all__ = ["Cells", "NotGeneric", "Skeleton", "cells_of", "subdivide"]

MEMORY = 2 * 2**30  # bytes that the cells around all corners may need
ROUNDING = 1e-14  # assumed of every sum, as a share of its terms; dozens of times what it is


class NotGeneric(Exception):
    """The zero sets of the network are not in general position."""


class Skeleton(NamedTuple):
    """Corners and edges of the complex; what lies on a zero set carries its number, walls of the box after the units.

    Attributes:
      points: corners, ``p + M q``: (V, 2, n_0), p before q. In a finite box q is 0.
      signs: of the H units at the corners, int8 (V, H).
      zeros: the n_0 zero sets through each corner, (V, n_0); a number from H on is a wall.
      edges: pairs of corners, (E, 2).
      edge_zeros: the n_0 - 1 zero sets through each edge, (E, n_0 - 1).
      box: half the side of the box, or where it has no end the least M from which on the complex is this one.
    """

    points: np.ndarray
    signs: np.ndarray
    zeros: np.ndarray
    edges: np.ndarray
    edge_zeros: np.ndarray
    box: float


class Cells(NamedTuple):
    """Full-dimensional cells of a skeleton.

    Attributes:
      patterns: which units are on, (R, H).
      centres: the mean of each cell's corners, ``p + M q``, (R, 2, n_0).
      facets: pairs of cells with a common facet, (F, 2).
      units: the unit that vanishes on each of these facets, (F,).
      corners: pairs (cell, corner), (I, 2), by cell.
    """

    patterns: np.ndarray
    centres: np.ndarray
    facets: np.ndarray
    units: np.ndarray
    corners: np.ndarray


class _State(NamedTuple):
    points: np.ndarray
    signs: np.ndarray
    zeros: np.ndarray
    edges: np.ndarray
    edge_zeros: np.ndarray
    keys: np.ndarray  # the face hash of every edge
    values: np.ndarray  # (V, 2, n_l): pre-activations of the layer that cuts
    noise: np.ndarray  # (V, 2, n_0 + n_l): rounding of the points and of these
    box: float


def subdivide(params: Params, box: float | None, slope: float = 0.0) -> Skeleton:
    """Cut the box ``[-box, box]^n_0`` along the bent hyperplanes of every unit.

    Source: Berzins 2023.

    Args:
      params: the network, float64.
      box: half the side; None takes one without end.
      slope: of a leaky ReLU below zero.

    Returns:
      The skeleton of the complex.

    Raises:
      NotGeneric: a unit vanishes at a corner, or a polygon is not cut in two.
      ValueError: more corners than memory is meant for.
    """
    sizes = widths(params)
    size, units = sizes[0], sum(sizes[1:-1])
    hashes = np.random.default_rng(0).integers(0, 2**64, units + 2 * size, dtype=np.uint64)
    _refuse_memory(2**size, size)
    state = _box(size, units, box, hashes)
    heights, noise, first = state.points, state.noise, 0
    for w, b in params[:-1]:
        values = heights @ w.T
        values[:, 0] += b
        terms = np.abs(heights) @ np.abs(w).T
        terms[:, 0] += np.abs(b)
        noise = noise @ np.abs(w).T + ROUNDING * terms
        state = state._replace(values=values, noise=np.concatenate([state.noise[:, :, :size], noise], axis=2))
        for place in range(len(b)):
            state = _cut(state, place, first + place, hashes)
        factor = np.where(state.signs[:, None, first : first + len(b)] < 0, slope, 1.0)
        heights, noise = factor * state.values, np.abs(factor) * state.noise[:, :, size:]
        first += len(b)
    return Skeleton(state.points, state.signs, state.zeros, state.edges, state.edge_zeros, state.box)


def _box(size: int, units: int, box: float | None, hashes: np.ndarray) -> _State:
    bits = (np.arange(2**size)[:, None] >> np.arange(size)) & 1
    walls = units + np.arange(size) + size * bits
    edges, edge_zeros = [], []
    for axis in range(size):
        low = np.flatnonzero(bits[:, axis] == 0)
        edges.append(np.stack([low, low + 2**axis], axis=1))
        edge_zeros.append(np.delete(walls[low], axis, axis=1))
    zeros = np.concatenate(edge_zeros)
    keys = np.sum(hashes[units:]) - np.sum(hashes[zeros], axis=1, dtype=np.uint64)
    corners = 2.0 * bits - 1
    points = np.stack([0 * corners, corners] if box is None else [box * corners, 0 * corners], axis=1)
    signs = np.zeros((2**size, units), np.int8)
    none = np.zeros((2**size, 2, 0))
    return _State(points, signs, walls, np.concatenate(edges), zeros, keys, none, ROUNDING * np.abs(points), box or 1.0)


def _cut(state: _State, place: int, unit: int, hashes: np.ndarray) -> _State:
    """Cut every edge along one unit of the layer."""
    size = state.points.shape[2]
    far = np.abs(state.values[:, 1, place]) > state.noise[:, 1, size + place]
    state.values[~far, 1, place] = 0
    near, slopes = state.values[:, 0, place], state.values[:, 1, place]
    if np.any(np.abs(near[~far]) <= state.noise[~far, 0, size + place]):
        raise NotGeneric
    turns = far & (near * slopes < 0)
    box = max(state.box, 2 * float(np.max(np.abs(near[turns] / slopes[turns]), initial=0)))
    sign = np.where(np.where(far, slopes, near) > 0, 1, -1).astype(np.int8)
    state.signs[:, unit] = sign
    ends = sign[state.edges]
    cut = np.flatnonzero(ends[:, 0] != ends[:, 1])
    keys = state.keys + hashes[unit] * ends[:, 0].astype(np.uint64)
    if not len(cut):
        return state._replace(keys=keys, box=box)
    a, b = state.edges[cut].T
    new = len(state.points) + np.arange(len(cut))
    _refuse_memory(len(state.points) + len(cut), size)
    zeros = np.column_stack([state.edge_zeros[cut], np.full(len(cut), unit)])
    bounded = np.all(zeros < state.signs.shape[1], axis=1)
    points, values, noise = _corners(state, a, b, place, bounded)
    signs = np.sign(state.signs[a] + state.signs[b])  # along an edge no sign turns round
    signs[:, unit] = 0
    joined, joined_zeros, joined_keys = _join(state, cut, new, unit, hashes)
    first, second = state.edges.copy(), np.stack([new, b], axis=1)
    first[cut, 1] = new
    return _State(
        points=np.concatenate([state.points, points]),
        signs=np.concatenate([state.signs, signs]),
        zeros=np.concatenate([state.zeros, zeros]),
        edges=np.concatenate([first, second, joined]),
        edge_zeros=np.concatenate([state.edge_zeros, state.edge_zeros[cut], joined_zeros]),
        keys=np.concatenate([keys, state.keys[cut] + hashes[unit] * sign[b].astype(np.uint64), joined_keys]),
        values=np.concatenate([state.values, values]),
        noise=np.concatenate([state.noise, noise]),
        box=box,
    )


def _refuse_memory(corners: int, size: int) -> None:
    needed = corners * 2**size * (64 + size)
    if needed > MEMORY:
        raise ValueError(
            f"the regions of a network with {size} inputs have {corners:,} corners or more, which need {needed:,} "
            f"bytes, more than {MEMORY:,}; sample its dimension instead"
        )


def _corners(
    state: _State, a: np.ndarray, b: np.ndarray, place: int, bounded: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, pre-activations and rounding where a unit vanishes between the corners a and b.

    The share of the way is ``t = v_a / (v_a - v_b) = t_0 + t_1 / M + ..``, and of ``a + t (b - a)`` only the terms in M
    and 1 are not zero.
    """
    value = state.values[..., place]
    change = value[a] - value[b]
    grows = change[:, 1] != 0
    whole = np.where(grows, change[:, 1], change[:, 0])
    share = np.where(grows, value[a, 1], value[a, 0]) / whole
    rest = np.where(grows, (value[a, 0] - share * change[:, 0]) / whole, 0.0)[:, None]
    share = share[:, None]

    def between(each: np.ndarray) -> np.ndarray:
        grown = each[a, 1] * (1 - share) + each[b, 1] * share
        fixed = each[a, 0] * (1 - share) + each[b, 0] * share + rest * (each[b, 1] - each[a, 1])
        return np.stack([fixed, np.where(bounded[:, None], 0.0, grown)], axis=1)  # without a wall M is in no equation

    points, values = between(state.points), between(state.values)
    values[:, :, place] = 0
    noise = (1 - share[:, None]) * state.noise[a] + share[:, None] * state.noise[b]
    noise[:, 0] += np.abs(rest) * (state.noise[a, 1] + state.noise[b, 1])
    both = np.abs(np.concatenate([state.points, state.values], axis=2))
    noise += ROUNDING / 10 * (both[a] + both[b])
    noise[:, 0] += ROUNDING * np.abs(rest) * (both[a, 1] + both[b, 1])
    return points, values, noise


def _join(
    state: _State, cut: np.ndarray, new: np.ndarray, unit: int, hashes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """New edges along the unit: each polygon around a cut edge is cut twice, and its two cuts are joined."""
    zeros = state.edge_zeros[cut]
    size = zeros.shape[1] + 1
    ends, kept, keys = [], [], []
    for leave in range(size - 1):
        rest = np.column_stack([np.delete(zeros, leave, axis=1), np.full(len(cut), unit)])
        step, inside = hashes[zeros[:, leave]], zeros[:, leave] < state.signs.shape[1]
        ends += [new, new[inside]]
        kept += [rest, rest[inside]]
        keys += [state.keys[cut] + step, (state.keys[cut] - step)[inside]]
    if not ends:
        return np.empty((0, 2), int), np.empty((0, size - 1), int), np.empty(0, np.uint64)
    end, rest, key = np.concatenate(ends), np.concatenate(kept), np.concatenate(keys)
    order = np.argsort(key, kind="stable")
    pairs = key[order]
    if len(pairs) % 2 or np.any(pairs[::2] != pairs[1::2]) or np.any(pairs[2::2] == pairs[:-2:2]):
        raise NotGeneric
    return np.stack([end[order[::2]], end[order[1::2]]], axis=1), rest[order[::2]], pairs[::2]


def cells_of(skeleton: Skeleton) -> Cells:
    """Read the full-dimensional cells off the corners of a skeleton.

    Source: this library's own; the cells around a corner in general position are the signs its zeros may take.

    Args:
      skeleton: from :func:`subdivide`.

    Returns:
      The cells with their corners and facets; those of a wall are left out.
    """
    size, units = skeleton.points.shape[2], skeleton.signs.shape[1]
    hashes = np.random.default_rng(1).integers(0, 2**64, units + 2 * size, dtype=np.uint64)
    hashes[units:] = 0
    fills = (2 * ((np.arange(2**size)[:, None] >> np.arange(size)) & 1) - 1).astype(np.int8)
    base = skeleton.signs.astype(np.uint64) @ hashes[:units]
    keys = base[:, None] + hashes[skeleton.zeros] @ fills.T.astype(np.uint64)
    is_wall = skeleton.zeros >= units
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
    return Cells(signs[:, :units] > 0, sums / counts[:, None, None], facets, of, members)


def _facets(
    zeros: np.ndarray, is_wall: np.ndarray, cell: np.ndarray, fills: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of cells that differ at a corner in the sign of one unit, which vanishes between them."""
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

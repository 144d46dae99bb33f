"""Activation regions of a generic network, by cutting the edges of its complex.

The bent hyperplanes of a network cut a box into convex cells. Of that complex only the corners and the edges are kept:
a unit cuts an edge whose ends it sees with two signs, the cut is a new corner, and the two cuts of a polygon are
joined by a new edge. In general position a corner lies on exactly n_0 zero sets (walls of the box included), so the
cells around it are the 2^n_0 ways to give its zeros a sign: the regions are read off the corners, without any
optimisation (:mod:`~symjax.dimension.cells`). What cuts are the switches of :mod:`~symjax.dimension.units`, of a ReLU
one.

**All of the input space.** A corner is the solution of n_0 linear equations, of which those of walls read
``x_k = +-M``; so it is ``p + M q``, and so is every pre-activation at it. For all M that are large enough the sign of
``v + M u`` is that of u, or of v where u is zero. Carrying p and q instead of numbers, the complex is that of a box
beyond every corner that the bent hyperplanes have: nothing lies outside.

A face is known by the sum of one random 64-bit number for each switch with the sign it has there, so that the same
polygon is found from different edges; the pairing is checked. Beside every number its rounding is carried; a switch
that is within it at a corner is not in general position, and raises :class:`NotGeneric`.

Source: Berzins 2023 (arXiv 2306.07212), edge subdivision; the box without end and the switches are this library's own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from symjax.dimension.networks import Params
from symjax.dimension.units import RELU, Unit, as_units, pooled, unit_counts

__all__ = ["NotGeneric", "Skeleton", "subdivide"]

MEMORY = 2 * 2**30  # bytes that the cells around all corners may need
ROUNDING = 1e-14  # assumed of every sum, as a share of its terms; dozens of times what it is


class NotGeneric(Exception):
    """The zero sets of the network are not in general position."""


class Skeleton(NamedTuple):
    """Corners and edges of the complex; what lies on a zero set carries its number; walls come after the switches.

    Attributes:
      points: corners, ``p + M q``: (V, 2, n_0), p before q. In a finite box q is 0.
      signs: of the S switches at the corners, int8 (V, S).
      zeros: the n_0 zero sets through each corner, (V, n_0); a number from S on is a wall.
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


class _Switch(NamedTuple):
    """The switch of a unit between the piece that leads after some and the next one."""

    unit: Unit
    column: int  # the first pre-activation that the unit reads
    first: int  # the unit's first switch among all
    place: int  # of this one among the unit's

    @property
    def number(self) -> int:
        return self.first + self.place

    def form(self, signs: np.ndarray) -> np.ndarray:
        """Coefficients (V, k) of the difference, where the switches have signs (V, S)."""
        leader = self.unit.leader(signs[:, self.first : self.number] >= 0)
        return self.unit.matrix[leader] - self.unit.matrix[self.place + 1]

    def read(self, values: np.ndarray) -> np.ndarray:
        """The pre-activations of the unit (V, 2, k), as a view."""
        return values[:, :, self.column : self.column + self.unit.reads]


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


def subdivide(params: Params, box: float | None, unit: Unit | Sequence[Unit] = RELU) -> Skeleton:
    """Cut the box ``[-box, box]^n_0`` along the zero sets of every switch.

    Source: Berzins 2023.

    Args:
      params: the network, float64.
      box: half the side; None takes one without end.
      unit: the kind of the hidden units, or one for each hidden layer.

    Returns:
      The skeleton of the complex.

    Raises:
      NotGeneric: a switch vanishes at a corner, or a polygon is not cut in two.
      ValueError: more corners than memory is meant for.
    """
    units = as_units(unit, len(params) - 1)
    size, counts = params[0][0].shape[1], unit_counts(params, units)
    total = sum(count * unit.switches for count, unit in zip(counts, units, strict=True))
    hashes = np.random.default_rng(0).integers(0, 2**64, total + 2 * size, dtype=np.uint64)
    _refuse_memory(2**size, size)
    state = _box(size, total, box, hashes)
    heights, noise, first = state.points, state.noise, 0
    for (w, b), unit, count in zip(params[:-1], units, counts, strict=True):
        values = heights @ w.T
        values[:, 0] += b
        terms = np.abs(heights) @ np.abs(w).T
        terms[:, 0] += np.abs(b)
        noise = noise @ np.abs(w).T + ROUNDING * terms
        state = state._replace(values=values, noise=np.concatenate([state.noise[:, :, :size], noise], axis=2))
        start = first
        for column in range(0, len(b), unit.reads):
            for place in range(unit.switches):
                state = _cut(state, _Switch(unit, column, first, place), hashes)
            first += unit.switches
        factor = _factors(unit, state.signs[:, start:first].reshape(-1, count, unit.switches))[:, None]
        heights = pooled(factor * state.values, count)
        noise = pooled(np.abs(factor) * state.noise[:, :, size:], count)
    return Skeleton(state.points, state.signs, state.zeros, state.edges, state.edge_zeros, state.box)


def _factors(unit: Unit, signs: np.ndarray) -> np.ndarray:
    """Factors of the pre-activations (V, n_l) where the switches have these signs (V, number of units, p - 1)."""
    return unit.matrix[unit.leader(signs >= 0)].reshape(len(signs), -1)


def _box(size: int, total: int, box: float | None, hashes: np.ndarray) -> _State:
    bits = (np.arange(2**size)[:, None] >> np.arange(size)) & 1
    walls = total + np.arange(size) + size * bits
    edges, edge_zeros = [], []
    for axis in range(size):
        low = np.flatnonzero(bits[:, axis] == 0)
        edges.append(np.stack([low, low + 2**axis], axis=1))
        edge_zeros.append(np.delete(walls[low], axis, axis=1))
    zeros = np.concatenate(edge_zeros)
    keys = np.sum(hashes[total:]) - np.sum(hashes[zeros], axis=1, dtype=np.uint64)
    corners = 2.0 * bits - 1
    points = np.stack([0 * corners, corners] if box is None else [box * corners, 0 * corners], axis=1)
    signs = np.zeros((2**size, total), np.int8)
    none = np.zeros((2**size, 2, 0))
    return _State(points, signs, walls, np.concatenate(edges), zeros, keys, none, ROUNDING * np.abs(points), box or 1.0)


def _along(form: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A form (V, k) of values (V, q, k), (V, q)."""
    return np.sum(values * form[:, None], axis=2)


def _put_zero(form: np.ndarray, values: np.ndarray) -> None:
    """Move values (V, q, k), in place, to where the form (V, k) is zero."""
    values -= (_along(form, values) / np.sum(form**2, axis=1)[:, None])[:, :, None] * form[:, None]


def _cut(state: _State, switch: _Switch, hashes: np.ndarray) -> _State:
    """Cut every edge along one switch of the layer."""
    size, unit = state.points.shape[2], switch.number
    form, read = switch.form(state.signs), switch.read(state.values)
    noise = _along(np.abs(form), switch.read(state.noise[:, :, size:]))
    value = _along(form, read)
    far = np.abs(value[:, 1]) > noise[:, 1]
    if not np.all(far):
        rest = read[~far, 1:]
        _put_zero(form[~far], rest)
        read[~far, 1:], value[~far, 1] = rest, 0
    near, slopes = value.T
    if np.any(np.abs(near[~far]) <= noise[~far, 0]):
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
    points, values, noise = _corners(state, a, b, value, bounded)
    signs = np.sign(state.signs[a] + state.signs[b])  # along an edge no sign turns round
    signs[:, unit] = 0
    _put_zero(switch.form(signs), switch.read(values))
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
    state: _State, a: np.ndarray, b: np.ndarray, value: np.ndarray, bounded: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, pre-activations and rounding between the corners a and b, where a switch of value (V, 2) vanishes.

    The share of the way is ``t = v_a / (v_a - v_b) = t_0 + t_1 / M + ..``, and of ``a + t (b - a)`` only the terms in M
    and 1 are not zero.
    """
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
    noise = (1 - share[:, None]) * state.noise[a] + share[:, None] * state.noise[b]
    noise[:, 0] += np.abs(rest) * (state.noise[a, 1] + state.noise[b, 1])
    both = np.abs(np.concatenate([state.points, state.values], axis=2))
    noise += ROUNDING / 10 * (both[a] + both[b])
    noise[:, 0] += ROUNDING * np.abs(rest) * (both[a, 1] + both[b, 1])
    return points, values, noise


def _join(
    state: _State, cut: np.ndarray, new: np.ndarray, unit: int, hashes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """New edges along a switch: each polygon around a cut edge is cut twice, and its two cuts are joined."""
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

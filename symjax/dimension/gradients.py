"""Gradients of multilayer perceptrons in their parameters, with the activation patterns frozen.

With its pattern fixed a network is linear in every layer, and its gradient an affine function of the input: explicit
outer products ``delta_l (x) h_{l-1}``. Columns are ordered as in :func:`~symjax.dimension.networks.flatten`. Hidden
units may read several pre-activations (:mod:`~symjax.dimension.units`): a unit is then the sum of them times the
factors of the pattern, and how many there are follows from the shapes of the weights.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from symjax.dimension.networks import Params, flatten, patterns, split, widths
from symjax.dimension.units import RELU, Unit, as_units, pooled

__all__ = [
    "Slices",
    "at_points",
    "gradients",
    "jacobian",
    "of_patterns",
    "pattern_rows",
    "products",
    "scaling_tangents",
    "shaped",
    "translation_tangents",
    "unit_rows",
]


class Slices(NamedTuple):
    """What gradients are asked for: frozen patterns, and for each the inputs they are taken at.

    Attributes:
      masks: factors of the pre-activations (M, H); of ReLUs, which units are on.
      inputs: (M or 1, R, n_0).
      constants: (R,); 1 for the gradient at a point, 0 for its change along a direction of the input.
    """

    masks: np.ndarray
    inputs: np.ndarray
    constants: np.ndarray

    def take(self, which: np.ndarray | slice) -> "Slices":
        """Some of the patterns."""
        return Slices(self.masks[which], self.inputs if len(self.inputs) == 1 else self.inputs[which], self.constants)


def at_points(params: Params, points: np.ndarray) -> Slices:
    """The gradient at every point (m, n_0), its pattern frozen."""
    return Slices(patterns(params, points), points[:, None, :], np.ones(1))


def of_patterns(masks: np.ndarray, size: int) -> Slices:
    """The n_0 + 1 rows that span the gradients of a region, for patterns (P, H) over inputs of this size."""
    inputs = np.concatenate([np.zeros((1, size)), np.eye(size)])
    return Slices(masks, inputs[None], np.concatenate([np.ones(1), np.zeros(size)]))


def _factors(params: Params, slices: Slices) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The two factors of each layer's gradient: ``h_{l-1}`` (M, R, n_{l-1}) and ``delta_l`` (M, n_d, n_l)."""
    sizes, count = widths(params), len(slices.masks)
    factors = split(np.asarray(slices.masks, np.float64), sizes)
    heights = [np.broadcast_to(slices.inputs, (count, *slices.inputs.shape[1:]))]
    for (w, b), (above, _), factor in zip(params[:-1], params[1:], factors, strict=True):
        z = _flat(heights[-1], w.T) + slices.constants[:, None] * b
        heights.append(pooled(z * factor[:, None, :], above.shape[1]))
    deltas = [np.broadcast_to(np.eye(sizes[-1]), (count, sizes[-1], sizes[-1]))]
    for (w, _), factor in zip(params[:0:-1], factors[::-1], strict=True):
        deltas.append(_spread(_flat(deltas[-1], w), factor.shape[-1]) * factor[:, None, :])
    return heights, deltas[::-1]


def _spread(values: np.ndarray, size: int) -> np.ndarray:
    """Values (..., units) for each of the pre-activations (..., size) that the units read."""
    return values if values.shape[-1] == size else np.repeat(values, size // values.shape[-1], axis=-1)


def _flat(stack: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``stack @ matrix`` as one product: NumPy makes many small ones of it."""
    return (stack.reshape(-1, stack.shape[-1]) @ matrix).reshape(*stack.shape[:-1], -1)


def gradients(params: Params, slices: Slices) -> np.ndarray:
    """Gradient rows (M, R, n_d, D) of the masked network, as explicit outer products ``delta_l (x) h_{l-1}``."""
    heights, deltas = _factors(params, slices)
    shape = (*heights[0].shape[:2], deltas[-1].shape[1])
    rows, start = np.empty((*shape, sum(w.size + len(b) for w, b in params))), 0
    for h, delta in zip(heights, deltas, strict=True):
        middle = start + delta.shape[-1] * h.shape[-1]
        end = middle + delta.shape[-1]
        rows[..., start:middle] = (delta[:, None, :, :, None] * h[:, :, None, None, :]).reshape(*shape, -1)
        rows[..., middle:end] = delta[:, None] * slices.constants[:, None, None]
        start = end
    return rows


def products(params: Params, slices: Slices, vector: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Products (M, R, n_d) of the gradient rows with a vector (D,), and the lengths of the rows times factors (D,).

    No row is formed.
    """
    heights, deltas = _factors(params, slices)
    along, squares, constant = 0.0, 0.0, slices.constants[:, None]
    layers = zip(*(shaped(params, each) for each in (vector, factors**2)), heights, deltas, strict=True)
    for (w, b), (w_factors, b_factors), h, delta in layers:
        along = along + np.einsum("mrn,mkn->mrk", _flat(h, w.T) + constant * b, delta)
        squares = squares + np.einsum("mrn,mkn->mrk", _flat(h**2, w_factors.T) + constant * b_factors, delta**2)
    return along, np.sqrt(squares)


def shaped(params: Params, vector: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """A vector (D,) in the shapes of the layers."""
    ends = np.cumsum([leaf.size for layer in params for leaf in layer])
    parts = np.split(vector, ends[:-1])
    return [(w.reshape(layer[0].shape), b) for layer, w, b in zip(params, parts[::2], parts[1::2], strict=True)]


def jacobian(params: Params, points: np.ndarray) -> np.ndarray:
    """Jacobian of the outputs in the parameters, (m, n_d, D), as explicit outer products ``delta_l (x) h_{l-1}``.

    Source: Grigsby, Lindsey, Rolnick 2023; back-propagation.

    Args:
      params: the network.
      points: inputs (m, n_0), off the bent hyperplanes.

    Returns:
      ``d F_k / d theta`` for every point and output.
    """
    return gradients(params, at_points(params, points))[:, 0]


def unit_rows(params: Params, points: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Gradients at points (m, n_0), each divided by its length: (m n_d, F) in Fortran's order, some columns (D,) of it.

    What :func:`jacobian` gives, a few times faster.
    """
    heights, ons = [np.ascontiguousarray(points.T)], []
    for w, b in params[:-1]:
        z = w @ heights[-1] + b[:, None]
        ons.append(z > 0)
        heights.append(z * ons[-1])
    outputs = params[-1][0].shape[0]
    heights, ons = ([np.repeat(part, outputs, axis=1) for part in parts] for parts in (heights, ons))
    deltas = [np.tile(np.eye(outputs), len(points))]  # (n_l, m n_d)
    for (w, _), on in zip(params[:0:-1], ons[::-1], strict=True):
        deltas.append((w.T @ deltas[-1]) * on)
    layers = list(zip(heights, deltas[::-1], strict=True))
    lengths = np.sqrt(sum(((h * h).sum(0) + 1) * (delta * delta).sum(0) for h, delta in layers))
    rows, start, end = np.empty((np.count_nonzero(columns), len(lengths))), 0, 0
    for h, delta in layers:
        delta /= lengths
        units, inputs = np.nonzero(columns[start : start + len(delta) * len(h)].reshape(len(delta), len(h)))
        begin, end, start = end, end + len(units), start + len(delta) * len(h)
        np.multiply(delta[units], h[inputs], out=rows[begin:end])
        biases = columns[start : start + len(delta)]
        begin, end, start = end, end + np.count_nonzero(biases), start + len(delta)
        rows[begin:end] = delta[biases]
    return rows.T


def pattern_rows(params: Params, masks: np.ndarray) -> np.ndarray:
    """Rows that span the gradients of a whole activation region, for every pattern: (P, n_0 + 1, n_d, D).

    With the pattern fixed the gradient is affine in the input, ``g(x) = g(0) + sum_i x_i (g(e_i) - g(0))``; a region is
    open, so its gradients span what these n_0 + 1 rows span, wherever the region lies and however small it is.

    Source: this library's own, from the formula of the gradient.

    Args:
      params: the network.
      masks: patterns (P, H), booleans, or factors such as the slopes of a leaky ReLU.

    Returns:
      The rows; the first of each pattern is ``g(0)``.

    Example:
      >>> params = [(np.array([[2.0]]), np.array([1.0])), (np.array([[3.0]]), np.array([0.0]))]
      >>> pattern_rows(params, np.array([[True]]))[0, :, 0]
      array([[0., 3., 1., 1.],
             [3., 0., 2., 0.]])
    """
    return gradients(params, of_patterns(masks, params[0][0].shape[1]))


def scaling_tangents(params: Params) -> np.ndarray:
    """Tangents of the positive scalings, (H, D): ``+W_l[i], +b_l[i]`` and ``-W_{l+1}[:, i]`` for each hidden unit.

    Source: Grigsby, Lindsey, Rolnick 2023.

    Their rank is H for generic parameters, and less where units hang together only through zeros. Of a unit that reads
    several pre-activations, i stands for all of them.
    """
    tangents = [np.zeros((0, len(flatten(params))))]
    for layer, (above, _) in enumerate(params[1:]):
        for unit in range(above.shape[1]):
            moved = [(np.zeros_like(w), np.zeros_like(b)) for w, b in params]
            own = _read_by(params, layer, unit)
            moved[layer][0][own], moved[layer][1][own] = params[layer][0][own], params[layer][1][own]
            moved[layer + 1][0][:, unit] = -above[:, unit]
            tangents.append(flatten(moved)[None])
    return np.concatenate(tangents)


def _read_by(params: Params, layer: int, unit: int) -> slice:
    reads = len(params[layer][1]) // params[layer + 1][0].shape[1]
    return slice(unit * reads, (unit + 1) * reads)


def translation_tangents(params: Params, unit: Unit | Sequence[Unit] = RELU) -> np.ndarray:
    """Tangents of what units that can be translated (maxout) allow beyond the scalings, (T, D); none for ReLUs.

    An affine function of the layer below may be added to all pre-activations of the units of a layer, with shares nu:
    they grow by it, and the next layer does not see its linear part when ``W_{l+1} nu = 0``; its constant goes to
    ``b_{l+1}``.

    Source: this library's own.

    Args:
      params: the network.
      unit: the kind of the hidden units, or one for each hidden layer.

    Returns:
      For each such hidden layer, n_l constants and n_{l-1} linear functions for each null vector of ``W_{l+1}``.
    """
    tangents = [np.zeros((0, len(flatten(params))))]
    for layer, kind in enumerate(as_units(unit, len(params) - 1)):
        if kind.translation is None:
            continue
        w, above = params[layer][0], params[layer + 1][0]
        _, sizes, right = np.linalg.svd(above)
        null = right[np.sum(sizes > 1e-12 * max(sizes, default=0)) :]
        steps = [(shares, np.zeros((1, w.shape[1])), above @ shares) for shares in np.eye(above.shape[1])]
        steps += [(shares, column, 0 * above[:, 0]) for shares in null for column in np.eye(w.shape[1])]
        for shares, column, seen in steps:
            moved = [(np.zeros_like(each), np.zeros_like(bias)) for each, bias in params]
            added = np.kron(shares, kind.translation)
            if np.any(column):
                moved[layer][0][:] = np.outer(added, column)
            else:
                moved[layer][1][:], moved[layer + 1][1][:] = added, -seen
            tangents.append(flatten(moved)[None])
    return np.concatenate(tangents)

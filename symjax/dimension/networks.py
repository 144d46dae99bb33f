"""Multilayer perceptrons with ReLU as plain arrays: ``params = [(W, b), ...]``, ``W`` of shape (n_l, n_{l-1}).

``h_0 = x``, ``z_l = W_l h_{l-1} + b_l``, ``h_l = max(z_l, 0)`` in the hidden layers, and the outputs are the last
``z_l``. A *pattern* says which hidden units are on: booleans of shape (H,), layer after layer. With the pattern fixed
the network is linear in every layer, and its gradient an affine function of the input.

Parameters are ordered ``W1`` row by row, ``b1``, ``W2``, ``b2``, ... Everything here is NumPy in float64.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "Params",
    "Slices",
    "as_params",
    "as_points",
    "as_widths",
    "at_points",
    "bound",
    "flatten",
    "forward",
    "gradients",
    "hidden",
    "jacobian",
    "of_patterns",
    "parameters",
    "pattern_rows",
    "patterns",
    "preactivations",
    "products",
    "random_params",
    "scaling_tangents",
    "split",
    "unflatten",
    "widths",
]

Params = Sequence[tuple[np.ndarray, np.ndarray]]


def as_widths(sizes: Sequence[int]) -> tuple[int, ...]:
    """Read the widths of an architecture, inputs first and outputs last.

    Source: this library's bookkeeping.

    Raises:
      ValueError: fewer than two, or one that is not a positive integer.
    """
    from symjax.arguments import whole_number

    read = tuple(whole_number(f"widths[{place}]", size, 1) for place, size in enumerate(sizes))
    if len(read) < 2:
        raise ValueError(f"widths are {read}, but a network has at least an input and an output width")
    return read


def as_params(params: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read the layers of a network as float64 arrays.

    Source: this library's bookkeeping.

    Args:
      params: a sequence of (W, b); arrays of any kind or nested lists, W (n_l, n_{l-1}) and b (n_l,).

    Returns:
      A list of pairs of NumPy arrays.

    Raises:
      ValueError: no layer, shapes that do not follow each other, or an entry that is not finite (the leaf is named).
    """
    read: list[tuple[np.ndarray, np.ndarray]] = []
    for number, layer in enumerate(params):
        if len(layer) != 2:
            raise ValueError(f"params[{number}] has {len(layer)} entries, but a layer is a pair (W, b)")
        w, b = (np.asarray(leaf, np.float64) for leaf in layer)
        below = read[-1][0].shape[0] if read else None
        if w.ndim != 2 or b.shape != w.shape[:1] or 0 in w.shape or (below is not None and w.shape[1] != below):
            wanted = "(n, k) and (n,)" if below is None else f"(n, {below}) and (n,)"
            raise ValueError(f"params[{number}] has shapes {w.shape} and {b.shape}, but must have {wanted}")
        for name, leaf in (("W", w), ("b", b)):
            if not np.all(np.isfinite(leaf)):
                raise ValueError(f"{name} of params[{number}] is not finite, so the network has no dimension")
        read.append((w, b))
    if not read:
        raise ValueError("params hold no layer, but need at least one pair (W, b)")
    return read


def as_points(name: str, points: Any, size: int) -> np.ndarray:
    """Read points of the input space as a float64 array (m, n_0).

    Source: this library's bookkeeping.

    Raises:
      ValueError: another shape, no point, or an entry that is not finite.
    """
    read = np.asarray(points, np.float64)
    if read.ndim != 2 or read.shape[1] != size or not len(read):
        raise ValueError(f"{name} has shape {read.shape}, but must have shape (m, {size}) with m at least 1")
    if not np.all(np.isfinite(read)):
        raise ValueError(f"{name} holds a number that is not finite")
    return read


def widths(params: Params) -> tuple[int, ...]:
    """Widths (n_0, ..., n_d) of a network.

    Source: Grigsby, Lindsey, Rolnick 2023 (arXiv 2306.06179), the architecture.

    Example:
      >>> widths([(np.ones((3, 2)), np.ones(3)), (np.ones((1, 3)), np.ones(1))])
      (2, 3, 1)
    """
    return (params[0][0].shape[1], *(w.shape[0] for w, _ in params))


def parameters(sizes: Sequence[int]) -> int:
    """Number of parameters, ``D = sum_l n_l (n_{l-1} + 1)``.

    Source: Grigsby, Lindsey, Rolnick 2023.

    Example:
      >>> parameters((2, 3, 1))
      13
    """
    return sum(above * (below + 1) for below, above in pairwise(sizes))


def bound(sizes: Sequence[int]) -> int:
    """Largest functional dimension of an architecture: ``D - H = n_d + sum_l n_{l-1} n_l``.

    Each of the H hidden units can be scaled positively without a change of the function.

    Source: Grigsby, Lindsey, Rolnick 2023.

    Args:
      sizes: (n_0, ..., n_d).

    Returns:
      An integer.

    Raises:
      ValueError: fewer than two widths, or one that is not a positive integer.

    Example:
      >>> bound((5, 5, 5, 5, 1))
      81
    """
    sizes = as_widths(sizes)
    return parameters(sizes) - sum(sizes[1:-1])


def random_params(
    sizes: Sequence[int], random: np.random.Generator, bias_std: float = 0.1
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw a network as the paper does: weights N(0, 2 / fan in), biases N(0, 0.01).

    Source: Grigsby, Lindsey, Rolnick 2023, the experiments.

    Args:
      sizes: (n_0, ..., n_d).
      random: the generator.
      bias_std: standard deviation of the biases.
    """
    return [
        (random.normal(size=(above, below)) * np.sqrt(2 / below), random.normal(size=above) * bias_std)
        for below, above in pairwise(sizes)
    ]


def flatten(params: Params) -> np.ndarray:
    """All parameters as one vector (D,), in the order of every Jacobian here."""
    return np.concatenate([leaf.ravel() for w, b in params for leaf in (w, b)])


def unflatten(vector: np.ndarray, sizes: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """A vector (D,) as a network, the inverse of :func:`flatten`."""
    params, start = [], 0
    for below, above in pairwise(sizes):
        middle, end = start + above * below, start + above * (below + 1)
        params.append((vector[start:middle].reshape(above, below), vector[middle:end]))
        start = end
    return params


def split(pattern: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Patterns (..., H) as one array (..., n_l) a hidden layer."""
    return np.split(pattern, np.cumsum(sizes[1:-1])[:-1], axis=-1) if len(sizes) > 2 else []


def preactivations(params: Params, points: np.ndarray) -> list[np.ndarray]:
    """Every ``z_l`` (m, n_l) at points (m, n_0); the last one is the output."""
    found, h = [], points
    for w, b in params:
        found.append(h @ w.T + b)
        h = np.maximum(found[-1], 0)
    return found


def hidden(params: Params, points: np.ndarray) -> np.ndarray:
    """Pre-activations (m, H) of all hidden units: their signs are the patterns, their zeros the bent hyperplanes."""
    found = preactivations(params, points)[:-1]
    return np.concatenate(found, axis=1) if found else np.zeros((len(points), 0))


def patterns(params: Params, points: np.ndarray) -> np.ndarray:
    """Which hidden units are on: booleans (m, H) at points (m, n_0); a unit at exactly 0 is off."""
    return hidden(params, points) > 0


def forward(params: Params, points: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
    """Outputs (m, n_d) at points (m, n_0).

    Args:
      params: the network.
      points: inputs.
      masks: factors of the hidden units, (H,) or (m, H): a pattern freezes the network to one affine map; None: ReLU.
    """
    if masks is None:
        return preactivations(params, points)[-1]
    h, factors = points, [*split(np.asarray(masks, np.float64), widths(params)), 1.0]
    for (w, b), factor in zip(params, factors, strict=True):
        h = (h @ w.T + b) * factor
    return h


class Slices(NamedTuple):
    """What gradients are asked for: frozen patterns, and for each the inputs they are taken at.

    Attributes:
      masks: factors of the hidden units (M, H).
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
    for (w, b), factor in zip(params[:-1], factors, strict=True):
        heights.append((_flat(heights[-1], w.T) + slices.constants[:, None] * b) * factor[:, None, :])
    deltas = [np.broadcast_to(np.eye(sizes[-1]), (count, sizes[-1], sizes[-1]))]
    for (w, _), factor in zip(params[:0:-1], factors[::-1], strict=True):
        deltas.append(_flat(deltas[-1], w) * factor[:, None, :])
    return heights, deltas[::-1]


def _flat(stack: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``stack @ matrix`` as one product: NumPy makes many small ones of it."""
    return (stack.reshape(-1, stack.shape[-1]) @ matrix).reshape(*stack.shape[:-1], -1)


def gradients(params: Params, slices: Slices) -> np.ndarray:
    """Gradient rows (M, R, n_d, D) of the masked network, as explicit outer products ``delta_l (x) h_{l-1}``."""
    heights, deltas = _factors(params, slices)
    shape = (*heights[0].shape[:2], deltas[-1].shape[1])
    rows, start = np.empty((*shape, parameters(widths(params)))), 0
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
    layers = zip(*(unflatten(each, widths(params)) for each in (vector, factors**2)), heights, deltas, strict=True)
    for (w, b), (w_factors, b_factors), h, delta in layers:
        along = along + np.einsum("mrn,mkn->mrk", _flat(h, w.T) + constant * b, delta)
        squares = squares + np.einsum("mrn,mkn->mrk", _flat(h**2, w_factors.T) + constant * b_factors, delta**2)
    return along, np.sqrt(squares)


def jacobian(params: Params, points: np.ndarray) -> np.ndarray:
    """Jacobian of the outputs in the parameters, (m, n_d, D), as explicit outer products ``delta_l (x) h_{l-1}``.

    Source: Grigsby, Lindsey, Rolnick 2023; back-propagation.

    Args:
      params: the network.
      points: inputs (m, n_0), off the bent hyperplanes.

    Returns:
      ``d F_k / d theta`` for every point and output; columns in the order of :func:`flatten`.
    """
    return gradients(params, at_points(params, points))[:, 0]


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

    Their rank is H for generic parameters, and less where units hang together only through zeros.
    """
    sizes = widths(params)
    tangents = []
    for layer, size in enumerate(sizes[1:-1]):
        for unit in range(size):
            moved = [(np.zeros_like(w), np.zeros_like(b)) for w, b in params]
            moved[layer][0][unit], moved[layer][1][unit] = params[layer][0][unit], params[layer][1][unit]
            moved[layer + 1][0][:, unit] = -params[layer + 1][0][:, unit]
            tangents.append(flatten(moved))
    return np.stack(tangents) if tangents else np.zeros((0, parameters(sizes)))

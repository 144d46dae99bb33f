"""Multilayer perceptrons with ReLU as plain arrays: ``params = [(W, b), ...]``, ``W`` of shape (n_l, n_{l-1}).

``h_0 = x``, ``z_l = W_l h_{l-1} + b_l``, ``h_l = max(z_l, 0)`` in the hidden layers, and the outputs are the last
``z_l``. A *pattern* says which hidden units are on: booleans of shape (H,), layer after layer. Gradients are in
:mod:`~symjax.dimension.gradients`.

Parameters are ordered ``W1`` row by row, ``b1``, ``W2``, ``b2``, ... Everything here is NumPy in float64.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

__all__ = [
    "Params",
    "as_params",
    "as_points",
    "as_widths",
    "bound",
    "flatten",
    "forward",
    "hidden",
    "parameters",
    "patterns",
    "preactivations",
    "random_params",
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


def as_params(params: Any, reads: Sequence[int] | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read the layers of a network as float64 arrays.

    Source: this library's bookkeeping.

    Args:
      params: a sequence of (W, b); arrays of any kind or nested lists, W (n_l, n_{l-1}) and b (n_l,).
      reads: how many pre-activations each hidden layer's units read; None: one. The next W has a column for each unit.

    Returns:
      A list of pairs of NumPy arrays.

    Raises:
      ValueError: no layer, shapes that do not follow each other, or an entry that is not a finite real number (the leaf
        is named).
    """
    read: list[tuple[np.ndarray, np.ndarray]] = []
    for number, layer in enumerate(params):
        if len(layer) != 2:
            raise ValueError(f"params[{number}] has {len(layer)} entries, but a layer is a pair (W, b)")
        w, b = (_real(f"{name} of params[{number}]", leaf) for name, leaf in zip("Wb", layer, strict=True))
        each = 1 if reads is None or not number else reads[number - 1]
        below = len(read[-1][1]) / each if read else None
        if w.ndim != 2 or b.shape != w.shape[:1] or 0 in w.shape or (below is not None and w.shape[1] != below):
            wanted = "(n, k) and (n,)" if below is None else f"(n, {below:g}) and (n,)"
            raise ValueError(f"params[{number}] has shapes {w.shape} and {b.shape}, but must have {wanted}")
        read.append((w, b))
    if not read:
        raise ValueError("params hold no layer, but need at least one pair (W, b)")
    return read


def _real(name: str, leaf: Any) -> np.ndarray:
    """A leaf as a float64 array of finite numbers."""
    try:
        array = np.asarray(leaf)
        if array.dtype.kind in "bcOSUmM":
            raise TypeError
        array = array.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must hold real numbers in equally long rows") from None
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} is not finite, so the network has no dimension")
    return array


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

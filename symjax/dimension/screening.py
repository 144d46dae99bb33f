"""One pass of many points through a network: patterns, and the outputs' derivatives along a direction of parameters.

Heights and their derivatives are stacked, so that a layer is one product, ``[W 0; dW W] [h; dh]``, on chunks of points
that stay in the cache. No gradient is formed.
"""

from typing import NamedTuple

import numpy as np

from symjax.dimension import networks as nets
from symjax.dimension.gradients import shaped

__all__ = ["Screening", "screen"]

_CHUNK = 2**18  # bytes of a chunk of heights in one layer
_WORD = 52  # bits that a float64 holds exactly
_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, the golden ratio of 2^64


class Screening(NamedTuple):
    """What one pass says about m points.

    Attributes:
      along: (m, n_d) derivatives of the outputs along the direction.
      codes: (m,) one number a pattern: the pattern itself up to 52 hidden units, a hash of 64 bits above.
      boundary: (m,) booleans, whether some hidden unit is exactly 0.
    """

    along: np.ndarray
    codes: np.ndarray
    boundary: np.ndarray


class _Layer(NamedTuple):
    """A layer on stacked heights: the product's matrix, what is added, the bits of its units and their word."""

    matrix: np.ndarray
    constant: np.ndarray
    bits: np.ndarray


def _layers(params: nets.Params, direction: list[tuple[np.ndarray, np.ndarray]] | None) -> list[_Layer]:
    """The layers on ``[h; dh]``, or on ``h`` alone where there is no direction; bits (words, n_l)."""
    hidden = sum(nets.widths(params)[1:-1])
    numbers = np.arange(hidden)
    powers = np.zeros((-(-hidden // _WORD) or 1, hidden))
    powers[numbers // _WORD, numbers] = 2.0 ** (numbers % _WORD)
    bits = [*nets.split(powers, nets.widths(params)), powers[:, :0]]
    if direction is None:
        return [_Layer(w, b[:, None], bit) for (w, b), bit in zip(params, bits, strict=True)]
    layers = []
    for number, ((w, b), (dw, db), bit) in enumerate(zip(params, direction, bits, strict=True)):
        below = np.concatenate([dw, w], axis=1) if number else dw
        above = np.concatenate([w, np.zeros_like(w)], axis=1) if number else w
        layers.append(_Layer(np.concatenate([above, below]), np.concatenate([b, db])[:, None], bit))
    return layers


def screen(
    params: nets.Params, points: np.ndarray, vector: np.ndarray | None = None, masks: np.ndarray | None = None
) -> Screening:
    """Send points through a network, with the derivative along a direction of its parameters.

    ``d/dt F_{theta + t v}(x) = grad_theta F(x) v`` at t = 0, the masks kept

    Source: forward differentiation of Grigsby, Lindsey, Rolnick 2023 (arXiv 2306.06179), the architecture.

    Args:
      params: [(W, b), ...], float64.
      points: (m, n_0).
      vector: (D,) as :func:`networks.flatten`; None: only the patterns.
      masks: (m, H) patterns to keep instead of the points' own, or factors of the pre-activations; units may then be
        sums of several of these.

    Returns:
      The derivatives (zeros without a vector), codes of the patterns, and which points lie on a bent hyperplane.

    Example:
      >>> params = [(np.array([[2.0]]), np.array([1.0])), (np.array([[3.0]]), np.array([0.0]))]
      >>> found = screen(params, np.array([[1.0], [-1.0]]), np.array([1.0, 0.0, 0.0, 0.0]))
      >>> found.along.tolist(), found.codes.tolist()
      ([[3.0], [0.0]], [1, 0])
    """
    sizes = nets.widths(params)
    layers = _layers(params, None if vector is None else shaped(params, vector))
    frozen = None if masks is None else nets.split(masks, sizes)
    count = len(points)
    along, boundary = np.zeros((count, sizes[-1])), np.zeros(count, bool)
    words = np.zeros((len(layers[0].bits), count))
    step = max(256, _CHUNK // (8 * max(sizes)))
    for start in range(0, count, step):
        part = slice(start, min(start + step, count))
        h = np.ascontiguousarray(points[part].T)
        for number, (layer, width) in enumerate(zip(layers, sizes[1:], strict=True)):
            z = layer.matrix @ h
            z += layer.constant
            if number == len(layers) - 1:
                break
            if not z[:width].all():
                boundary[part] |= np.any(z[:width] == 0, axis=0)
            on = np.empty((width, z.shape[1]))
            np.greater(z[:width], 0, out=on) if frozen is None else np.copyto(on, frozen[number][part].T)
            words[:, part] += layer.bits @ on
            for half in range(0, len(z), width):
                z[half : half + width] *= on
            h = _pooled(z, layers[number + 1].matrix.shape[1])
        if vector is not None:
            along[part] = z[sizes[-1] :].T
    return Screening(along, _codes(words), boundary)


def _pooled(stacked: np.ndarray, size: int) -> np.ndarray:
    """Stacked heights of units, each the sum of the pre-activations that it reads."""
    return stacked if len(stacked) == size else stacked.reshape(size, -1, stacked.shape[1]).sum(axis=1)


def _codes(words: np.ndarray) -> np.ndarray:
    """Words (k, m) of 52 bits as one number each: exact for a single word."""
    codes = words[0].astype(np.uint64)
    for word in words[1:]:
        codes = (codes ^ (codes >> np.uint64(29))) * _MIX + word.astype(np.uint64)
    return codes

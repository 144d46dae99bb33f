"""One pass of many points through a network: patterns, and the outputs' derivatives along a direction of parameters.

Heights and their derivatives are stacked, so that a layer is one product, ``[W 0 b; dW W db] [h; dh; 1]``, on chunks of
points that stay in the cache. No gradient is formed.
"""

from typing import NamedTuple

import numpy as np

from symjax.dimension import networks as nets
from symjax.dimension.gradients import shaped

__all__ = ["Screen", "Screening"]

_CHUNK = 2**17  # bytes of a chunk of heights in one layer
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


class Screen:
    """A network through which points are sent.

    Args:
      params: [(W, b), ...], float64; a hidden unit is the sum of one or several pre-activations times their factors.

    Example:
      >>> params = [(np.array([[2.0]]), np.array([1.0])), (np.array([[3.0]]), np.array([0.0]))]
      >>> found = Screen(params).along(np.array([[1.0], [-1.0]]), np.array([1.0, 0.0, 0.0, 0.0]))
      >>> found.along.tolist(), found.codes.tolist()
      ([[3.0], [0.0]], [1, 0])
    """

    def __init__(self, params: nets.Params) -> None:
        self.params, self.sizes = params, nets.widths(params)
        self.step = max(256, _CHUNK // (8 * max(self.sizes)))
        hidden = np.arange(sum(self.sizes[1:-1]))
        powers = np.zeros((-(-len(hidden) // _WORD) or 1, len(hidden)))
        powers[hidden // _WORD, hidden] = 2.0 ** (hidden % _WORD)
        self.bits = nets.split(powers, self.sizes)
        self.words = len(powers)
        self.plain = [np.concatenate([w, b[:, None]], axis=1) for w, b in params]
        self.stacked = []
        for number, (w, b) in enumerate(params):
            above, below = w.shape
            matrix = np.zeros((2 * above, (2 if number else 1) * below + 1))
            matrix[:above, :below], matrix[:above, -1] = w, b
            if number:
                matrix[above:, below:-1] = w
            self.stacked.append(matrix)

    def along(self, points: np.ndarray, vector: np.ndarray, masks: np.ndarray | None = None) -> Screening:
        """Send points through, with the derivative along a direction of the parameters.

        ``d/dt F_{theta + t v}(x) = grad_theta F(x) v`` at t = 0, the masks kept

        Source: forward differentiation of the network.

        Args:
          points: (m, n_0).
          vector: (D,) as :func:`networks.flatten`.
          masks: (m, H) patterns to keep instead of the points' own, or factors of the pre-activations.
        """
        for matrix, (dw, db) in zip(self.stacked, shaped(self.params, vector), strict=True):
            matrix[len(db) :, : dw.shape[1]], matrix[len(db) :, -1] = dw, db
        return self._pass(self.stacked, points, masks, 2)

    def patterns(self, points: np.ndarray) -> Screening:
        """Send points (m, n_0) through; the derivatives are zeros."""
        return self._pass(self.plain, points, None, 1)

    def _pass(self, matrices: list[np.ndarray], points: np.ndarray, masks: np.ndarray | None, parts: int) -> Screening:
        count, step = len(points), min(self.step, len(points))
        along, boundary = np.zeros((count, self.sizes[-1])), np.zeros(count, bool)
        words = np.zeros((self.words, count))
        heights = [np.ones((matrix.shape[1], step)) for matrix in matrices]
        products = [np.empty((len(matrix), step)) for matrix in matrices]
        signs = [np.empty((width, step)) for width in self.sizes[1:-1]]
        frozen = None if masks is None else nets.split(masks, self.sizes)
        for start in range(0, count, step):
            part, wide = slice(start, min(start + step, count)), min(step, count - start)
            heights[0][:-1, :wide] = points[part].T
            for number, on in enumerate(signs):
                width, on = len(on), on[:, :wide]
                z = np.matmul(matrices[number], heights[number][:, :wide], out=products[number][:, :wide])
                if frozen is None:
                    np.greater(z[:width], 0, out=on)
                    words[:, part] += self.bits[number] @ on
                    if not z[:width].all():
                        boundary[part] |= np.any(z[:width] == 0, axis=0)
                else:
                    on[:] = frozen[number][part].T
                _multiply(z, on, heights[number + 1][:-1, :wide], parts)
            if parts == 2:
                z = np.matmul(matrices[-1][self.sizes[-1] :], heights[-1][:, :wide])
                along[part] = z.T
        return Screening(along, _codes(words), boundary)


def _multiply(z: np.ndarray, on: np.ndarray, out: np.ndarray, parts: int) -> None:
    """Units of pre-activations (parts n_l, m) and factors (n_l, m): products, summed where a unit reads several."""
    width, units = len(on), len(out) // parts
    for part in range(parts):
        whole, to = z[part * width : (part + 1) * width], out[part * units : (part + 1) * units]
        if width == units:
            np.multiply(whole, on, out=to)
        else:
            to[:] = (whole * on).reshape(units, -1, on.shape[1]).sum(axis=1)


def _codes(words: np.ndarray) -> np.ndarray:
    """Words (k, m) of 52 bits as one number each: exact for a single word."""
    codes = words[0].astype(np.uint64)
    for word in words[1:]:
        codes = (codes ^ (codes >> np.uint64(29))) * _MIX + word.astype(np.uint64)
    return codes

"""A lower bound of the functional dimension that is proven: the rank of exact rows modulo primes.

A float64 weight is an integer times a power of two. With the pattern of a point fixed the gradient rows are polynomials
in the weights, so they can be computed in the integers modulo an odd prime p, without rounding; a minor that is not
zero modulo p is not zero. The pattern itself is proven by the signs of all pre-activations at the point, in integers;
none may be zero, so that an open region has this pattern. No tolerance decides anything.
"""

from typing import NamedTuple

import numpy as np

from symjax.dimension import networks as nets
from symjax.dimension.rank import Dimension

__all__ = ["Certificate", "certify", "exact_patterns", "rank_modulo"]

PRIMES = (2147483647, 2147483629)
"""The two largest primes of 31 bits; the second is tried where the first finds less than the floating-point rank."""

_PANEL = 64  # terms of a product; 64 (2^16 - 1) (2^31 - 1) < 2^53


class Certificate(NamedTuple):
    """A proven lower bound of the functional dimension.

    Attributes:
      rank: the proven bound: some minor of this size of the exact rows is not zero.
      prime: modulo which it is not zero.
      witnesses: number of points whose regions the rows are of, each with its pattern proven.
      claimed: the floating-point rank that was to be proven.
      largest_possible: the bound of the architecture.
    """

    rank: int
    prime: int
    witnesses: int
    claimed: int
    largest_possible: int

    @property
    def certified(self) -> bool:
        """Whether all of the floating-point rank is proven."""
        return self.rank >= self.claimed

    @property
    def full(self) -> bool:
        """Proven: no hidden symmetry of positive dimension."""
        return self.rank == self.largest_possible


def certify(params: nets.Params, dimension: Dimension) -> Certificate:
    """Prove a sampled rank from below.

    ``rank (J mod p) <= rank J <= functional dimension``

    Source: this library's own.

    Args:
      params: [(W, b), ...], the float64 numbers themselves.
      dimension: of :func:`sampled_dimension` or :func:`batch_dimension`; its witnesses are used.

    Returns:
      The proven bound. At the architecture's bound it proves that there is no hidden symmetry of positive dimension;
      below, what lies between the proven rank and the bound stays open.

    Raises:
      ValueError: parameters of wrong shapes or not finite.

    Example:
      >>> from symjax.dimension import sampled_dimension
      >>> params = nets.random_params((2, 3, 1), np.random.default_rng(0))
      >>> found = certify(params, sampled_dimension(params, np.random.default_rng(1).normal(size=(500, 2))))
      >>> found.rank, found.certified, found.full
      (10, True, True)
    """
    params = nets.as_params(params)
    masks, proven = exact_patterns(params, dimension.witnesses)
    masks = np.unique(masks[proven], axis=0)
    best = (0, PRIMES[0])
    for prime in PRIMES if len(masks) else ():  # no region is proven where a unit vanishes on all of it
        rows = _rows_modulo(params, masks, prime)
        best = max(best, (rank_modulo(rows, prime, dimension.rank), prime), key=lambda found: found[0])
        if best[0] >= dimension.rank:
            break
    return Certificate(*best, len(masks), dimension.rank, dimension.largest_possible)


def exact_patterns(params: nets.Params, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patterns (m, H) of points by integer arithmetic, and of which points (m,) no hidden unit is exactly zero.

    Source: this library's own; every float64 number is an integer times a power of two.

    Args:
      params: [(W, b), ...].
      points: (m, n_0).

    Example:
      >>> params = [(np.array([[0.1]]), np.array([-0.1 * 3])), (np.ones((1, 1)), np.zeros(1))]
      >>> exact_patterns(params, np.array([[3.0], [3.1]]))[0].ravel()
      array([False,  True])
    """
    h, scale = _integers(points)
    signs, proven = [], np.ones(len(points), bool)
    for w, b in params[:-1]:
        (w, w_scale), (b, b_scale) = _integers(w), _integers(b)
        z, z_scale = h @ w.T, scale + w_scale
        scale = max(z_scale, b_scale)
        z = z * 2 ** (scale - z_scale) + b * 2 ** (scale - b_scale)
        signs.append((z > 0).astype(bool))
        proven &= np.all((z != 0).astype(bool), axis=1)
        h = np.where(signs[-1], z, 0)
    return np.concatenate([*signs, np.zeros((len(points), 0), bool)], axis=1), proven


def _integers(array: np.ndarray) -> tuple[np.ndarray, int]:
    """Python integers n and one k with ``array = n / 2^k`` exactly."""
    mantissas, exponents = np.frexp(array)
    whole = np.ldexp(mantissas, 53).astype(np.int64).astype(object)
    powers = exponents - 53
    least = min(int(powers[mantissas != 0].min(initial=0)), 0)
    shifts = np.where(mantissas != 0, powers - least, 0).astype(object)
    return whole * 2**shifts, -least


def _residues(array: np.ndarray, prime: int) -> np.ndarray:
    """``array`` modulo an odd prime, division by powers of two included."""
    whole, scale = _integers(array)
    return (whole * pow(2, -scale, prime) % prime).astype(np.int64)


def _product(left: np.ndarray, right: np.ndarray, prime: int) -> np.ndarray:
    """``left @ right`` of residues: two halves of 16 bits, 64 terms at a time, so that float64 holds every sum."""
    total = np.zeros((len(left), right.shape[1]), np.int64)
    for start in range(0, left.shape[1], _PANEL):
        part, factor = left[:, start : start + _PANEL], right[start : start + _PANEL].astype(np.float64)
        top, bottom = ((half.astype(np.float64) @ factor).astype(np.int64) for half in (part >> 16, part & 0xFFFF))
        total = (total + top % prime * 65536 + bottom) % prime
    return total


def _rows_modulo(params: nets.Params, masks: np.ndarray, prime: int) -> np.ndarray:
    """The rows of :func:`~symjax.dimension.gradients.pattern_rows` modulo a prime, (P (n_0 + 1) n_d, D)."""
    layers = [tuple(_residues(leaf, prime) for leaf in layer) for layer in params]
    sizes, count = nets.widths(params), len(masks)
    factors = [mask.astype(np.int64) for mask in nets.split(masks, sizes)]
    constants = np.zeros(sizes[0] + 1, np.int64)
    constants[0] = 1
    start = np.concatenate([np.zeros((1, sizes[0]), np.int64), np.eye(sizes[0], dtype=np.int64)])
    heights = [np.broadcast_to(start, (count, *start.shape))]
    for (w, b), factor in zip(layers[:-1], factors, strict=True):
        moved = _product(heights[-1].reshape(-1, w.shape[1]), w.T, prime).reshape(count, -1, w.shape[0])
        heights.append((moved + constants[:, None] * b) % prime * factor[:, None, :])
    deltas = [np.broadcast_to(np.eye(sizes[-1], dtype=np.int64), (count, sizes[-1], sizes[-1]))]
    for (w, _), factor in zip(layers[:0:-1], factors[::-1], strict=True):
        moved = _product(deltas[-1].reshape(-1, w.shape[0]), w, prime).reshape(count, sizes[-1], w.shape[1])
        deltas.append(moved * factor[:, None, :])
    blocks = []
    for h, delta in zip(heights, deltas[::-1], strict=True):
        outer = delta[:, None, :, :, None] * h[:, :, None, None, :] % prime
        blocks.append(outer.reshape(*outer.shape[:3], -1))
        blocks.append(np.broadcast_to(delta[:, None] * constants[:, None, None], (*outer.shape[:3], delta.shape[-1])))
    return np.concatenate(blocks, axis=-1).reshape(-1, nets.parameters(sizes))


def rank_modulo(matrix: np.ndarray, prime: int, enough: int | None = None) -> int:
    """Rank of a matrix of integers modulo a prime of at most 31 bits, by elimination in panels.

    Source: Gaussian elimination; a lower bound of the rank over the rationals.

    Args:
      matrix: (m, n) of integers.
      prime: odd, below 2^31.
      enough: stop at this rank.

    Example:
      >>> rank_modulo(np.array([[1, 2], [3, 6], [0, 7]]), 7)
      1
      >>> rank_modulo(np.array([[1, 2], [3, 6], [0, 7]]), 11)
      2
    """
    rest, rank = np.asarray(matrix, np.int64) % prime, 0
    while rest.size and (enough is None or rank < enough):
        panel = rest[:_PANEL].copy()
        reduced, pivots = _reduced(panel, prime)
        rank += len(pivots)
        rest = rest[_PANEL:]
        if not len(rest):
            break
        if pivots:
            rest = (rest - _product(rest[:, pivots], reduced, prime)) % prime
        keep = np.ones(rest.shape[1], bool)
        keep[pivots] = False
        rest = rest[:, keep]
        rest = rest[np.any(rest != 0, axis=1)]
    return rank


def _reduced(panel: np.ndarray, prime: int) -> tuple[np.ndarray, list[int]]:
    """Reduced echelon form of a few rows: the rows that are not zero, and the columns of their ones."""
    pivots: list[int] = []
    for row in range(len(panel)):
        alive = np.flatnonzero(panel[row])
        if not len(alive):
            continue
        column = int(alive[0])
        panel[row] = panel[row] * pow(int(panel[row, column]), -1, prime) % prime
        others = np.flatnonzero(panel[:, column])
        others = others[others != row]
        panel[others] = (panel[others] - panel[others, column, None] * panel[row] % prime) % prime
        pivots.append(column)
    return panel[np.any(panel != 0, axis=1)], pivots

"""The space that many rows span, from a triangle of D x D: rows are added in chunks and never kept.

Rows are normalised, folded into ``R <- qr([R; rows]).R``, and the columns of R are balanced before anything is decided:
Householder's QR errs by a rounding of each *column*, so a column of tiny entries counts as much as a large one.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

__all__ = ["Evidence", "Null", "RowSpace", "evidence", "span"]

_EPS = np.finfo(np.float64).eps
_CLEAR = 1e3  # a smaller gap between the last singular value kept and the first dropped decides nothing


class Evidence(NamedTuple):
    """A rank, and the singular values that decided it.

    Attributes:
      rank: number of singular values above ``threshold``.
      largest: the largest singular value of the balanced rows.
      kept: the smallest above the threshold; 0 where the rank is 0.
      dropped: the largest below; 0 where there is none.
      gap: ``kept / dropped``; infinite where nothing was dropped.
      threshold: ``max(rows, D) eps largest``, NumPy's own, or more where the rows carry more noise than rounding.
      undetermined: True where the gap is below 1e3: the rank is then a guess.
    """

    rank: int
    largest: float
    kept: float
    dropped: float
    gap: float
    threshold: float
    undetermined: bool


class Null(NamedTuple):
    """A vector of the kernel (D,), of length 1 when divided by the columns' factors, these, and the rank by pivots."""

    vector: np.ndarray
    factors: np.ndarray
    rank: int


def _balance(triangle: np.ndarray, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """The triangle with columns of length 1, and the factors; what is below ``floor`` of the largest becomes 0."""
    lengths = np.linalg.norm(triangle, axis=0)
    alive = lengths > floor * lengths.max(initial=0.0)
    factors = 1 / np.where(alive, lengths, 1.0)
    return np.where(alive, triangle * factors, 0.0), factors


def evidence(triangle: np.ndarray, rows: int, floor: float = 0.0, noise: float = 0.0) -> Evidence:
    """Decide the rank of a matrix by the singular values of its triangle with balanced columns.

    Source: this library's own; the threshold is NumPy's ``max(m, n) eps sigma_1``.

    Args:
      triangle: (k, D).
      rows: number of rows of the matrix that the triangle stands for.
      floor: columns below this part of the largest are rounding, and count as 0.
      noise: singular values below this part of the largest are dropped, where that is more than the threshold.

    Returns:
      The rank and what decided it.

    Example:
      >>> evidence(np.diag([1.0, 2.0, 0.0]), 3).rank
      2
    """
    values = np.linalg.svd(_balance(triangle, floor)[0], compute_uv=False)
    largest = float(values.max(initial=0.0))
    threshold = max(max(rows, triangle.shape[1]) * _EPS, noise) * largest
    rank = int(np.sum(values > threshold))
    kept = float(values[rank - 1]) if rank else 0.0
    dropped = float(values[rank]) if rank < len(values) else 0.0
    gap = kept / dropped if dropped else np.inf
    return Evidence(rank, largest, kept, dropped, gap, threshold, rank > 0 and gap < _CLEAR)


class RowSpace:
    """The span of the rows added so far, D columns wide; memory is ``D^2`` and a chunk.

    Columns below the part ``floor`` of the largest are rounding: autodiff leaves some, explicit products none.
    """

    def __init__(self, columns: int, floor: float = 0.0, noise: float = 0.0) -> None:
        self.triangle, self.rows, self.floor, self.noise = np.zeros((0, columns)), 0, floor, noise

    def add(self, rows: np.ndarray) -> None:
        """Fold rows (k, D) into the triangle; rows of zeros are left out."""
        lengths = np.linalg.norm(rows, axis=1)
        rows = rows[lengths > 0] / lengths[lengths > 0, None]
        self.rows += len(rows)
        self.triangle = np.linalg.qr(np.concatenate([self.triangle, rows]), mode="r")

    def null_vector(self, random: np.random.Generator) -> Null:
        """A random vector orthogonal to all rows.

        A row that does not see this vector lies in the span, with probability one.
        """
        from scipy.linalg import qr, solve_triangular

        columns = self.triangle.shape[1]
        if not len(self.triangle):
            return Null(random.normal(size=columns), np.ones(columns), 0)
        balanced, factors = _balance(self.triangle, self.floor)
        upper, pivots = qr(balanced, mode="r", pivoting=True, check_finite=False)
        sizes = np.abs(np.diag(upper))
        rank = int(np.sum(sizes > 10 * columns * _EPS * sizes.max(initial=0.0)))
        free = random.normal(size=columns - rank)
        vector = np.empty(columns)
        vector[pivots[rank:]] = free
        vector[pivots[:rank]] = -solve_triangular(upper[:rank, :rank], upper[:rank, rank:] @ free)
        return Null(factors * vector / (np.linalg.norm(vector) or 1.0), factors, rank)

    def kernel(self) -> np.ndarray:
        """Orthonormal basis (k, D) of the vectors orthogonal to all rows."""
        columns = self.triangle.shape[1]
        if not len(self.triangle):
            return np.eye(columns)
        balanced, factors = _balance(self.triangle, self.floor)
        _, _, right = np.linalg.svd(balanced)
        null = right[self.evidence().rank :] * factors
        return np.linalg.qr(null.T)[0].T if len(null) else null

    @property
    def idle(self) -> int:
        """Number of columns that are zero in all rows, up to the floor."""
        lengths = np.linalg.norm(self.triangle, axis=0)
        return int(np.sum(lengths <= self.floor * lengths.max(initial=0.0)))

    def evidence(self) -> Evidence:
        """The rank of all rows added."""
        return evidence(self.triangle, self.rows, self.floor, self.noise)


def span(chunks: Iterable[np.ndarray], columns: int) -> RowSpace:
    """The row space of chunks of rows (k, D), one after the other.

    >>> span([np.ones((2, 3)), np.eye(3)[:1]], 3).evidence().rank
    2
    """
    space = RowSpace(columns)
    for rows in chunks:
        space.add(rows)
    return space

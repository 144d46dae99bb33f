"""The space that many rows span, from a triangle of D x D: rows are added in chunks and never kept.

Rows are normalised, folded into ``R <- qr([R; rows]).R``, and the columns of R are balanced before anything is decided:
Householder's QR errs by a rounding of each *column*, so a column of tiny entries counts as much as a large one. Of
large triangles only the smallest singular values are computed, which decide the rank.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from symjax.dimension.smallest import smallest

__all__ = ["Evidence", "Kernel", "RowSpace", "evidence", "span"]

_EPS = np.finfo(np.float64).eps
_SMALL = 64  # columns up to which all singular values are computed
_CLEAR = 1e3  # a smaller gap between the last singular value kept and the first dropped decides nothing


class Evidence(NamedTuple):
    """A rank, and the singular values that decided it.

    Attributes:
      rank: number of singular values above ``threshold``.
      largest: the largest singular value of the balanced rows; a lower bound within a few percent of it where not all
        singular values were computed, and ``kept`` an upper bound then.
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


class Kernel(NamedTuple):
    """What is orthogonal to the rows.

    Attributes:
      basis: (D, k), orthonormal after division by the factors: ``rows @ (factors[:, None] * basis) = 0``.
      factors: (D,), which balance the columns.
      evidence: for the rank D - k.
    """

    basis: np.ndarray
    factors: np.ndarray
    evidence: Evidence


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
    return _decided(values[::-1], 0, largest, max(max(rows, triangle.shape[1]) * _EPS, noise) * largest)


def _decided(values: np.ndarray, below: int, largest: float, threshold: float) -> Evidence:
    """The evidence of ascending singular values, of which the first stand for all that are small; ``below`` are not."""
    small = int(np.sum(values <= threshold))
    rank = below + len(values) - small
    dropped = float(values[small - 1]) if small else 0.0
    kept = float(values[small]) if small < len(values) else 0.0
    gap = kept / dropped if dropped else np.inf
    return Evidence(rank, largest, kept, dropped, gap, threshold, rank > 0 and gap < _CLEAR)


def _largest(upper: np.ndarray, rounds: int = 8) -> float:
    """The largest singular value of a triangle, from below, by power iteration."""
    from scipy.linalg import blas

    vector = np.abs(upper).sum(axis=0) * np.sign(upper[0])
    size = 0.0
    for _ in range(rounds):
        vector /= np.linalg.norm(vector) or 1.0
        image = blas.dtrmv(upper, vector)
        size = max(size, float(np.linalg.norm(image)))
        vector = blas.dtrmv(upper, image, trans=1)
    return size


class RowSpace:
    """The span of the rows added so far, D columns wide; memory is ``D^2`` and a chunk.

    Columns below the part ``floor`` of the largest are rounding: autodiff leaves some, explicit products none.
    """

    def __init__(self, columns: int, floor: float = 0.0, noise: float = 0.0) -> None:
        self.triangle, self.rows, self.floor, self.noise = np.zeros((0, columns)), 0, floor, noise

    def add(self, rows: np.ndarray) -> None:
        """Fold rows (k, D) into the triangle; rows of zeros are left out."""
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        alive = lengths > 0
        self.fold(np.asfortranarray(rows[alive] / lengths[alive, None]))

    def fold(self, rows: np.ndarray) -> None:
        """Fold rows (k, D) of length about 1 into the triangle; those in Fortran's order are overwritten."""
        from scipy.linalg import lapack

        columns = self.triangle.shape[1]
        self.rows += len(rows)
        if len(self.triangle) == columns > len(rows) > 0:
            self.triangle = lapack.dtpqrt(0, min(32, columns), self.triangle, rows, overwrite_a=1, overwrite_b=1)[0]
        elif len(rows):
            rows = np.asfortranarray(np.concatenate([self.triangle, rows])) if len(self.triangle) else rows
            factored = lapack.dgeqrf(rows, lwork=64 * columns, overwrite_a=1)[0]
            self.triangle = np.asfortranarray(np.triu(factored[:columns]))

    def kernel(self, rounds: int = 2) -> Kernel:
        """What is orthogonal to all rows, by all singular values of the balanced triangle or the smallest.

        Args:
          rounds: of inverse iteration, see :func:`symjax.dimension.smallest.smallest`.
        """
        columns = self.triangle.shape[1]
        balanced, factors = _balance(self.triangle, self.floor)
        part = max(max(self.rows, columns) * _EPS, self.noise)
        if len(balanced) == columns > _SMALL:
            balanced = np.asfortranarray(balanced)
            largest = _largest(balanced)
            found = smallest(balanced, part * largest, np.random.default_rng(0), rounds)
            if found is not None:
                decided = _decided(found.values, columns - len(found.values), largest, part * largest)
                if not decided.undetermined:
                    return Kernel(found.vectors[:, : columns - decided.rank], factors, decided)
        if not len(balanced):
            return Kernel(np.eye(columns), factors, Evidence(0, 0.0, 0.0, 0.0, np.inf, 0.0, False))
        _, values, right = np.linalg.svd(balanced)
        largest = float(values.max(initial=0.0))
        decided = _decided(values[::-1], 0, largest, part * largest)
        return Kernel(right[decided.rank :].T, factors, decided)

    def null_space(self) -> np.ndarray:
        """Orthonormal basis (k, D) of the vectors orthogonal to all rows."""
        basis, factors, _ = self.kernel()
        return np.linalg.qr(basis * factors[:, None])[0].T if basis.size else basis.T

    @property
    def idle(self) -> int:
        """Number of columns that are zero in all rows, up to the floor."""
        lengths = np.linalg.norm(self.triangle, axis=0)
        return int(np.sum(lengths <= self.floor * lengths.max(initial=0.0)))

    def evidence(self) -> Evidence:
        """The rank of all rows added."""
        return self.kernel().evidence


def span(chunks: Iterable[np.ndarray], columns: int) -> RowSpace:
    """The row space of chunks of rows (k, D), one after the other.

    >>> span([np.ones((2, 3)), np.eye(3)[:1]], 3).evidence().rank
    2
    """
    space = RowSpace(columns)
    for rows in chunks:
        space.add(rows)
    return space

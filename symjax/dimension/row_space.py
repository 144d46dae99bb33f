"""The space that many rows span, from a triangle of D x D: rows are added in chunks and never kept.

Rows are normalised, folded into ``R <- qr([R; rows]).R``, and the columns of R are balanced before anything is decided:
Householder's QR errs by a rounding of each *column*, so a column of tiny entries counts as much as a large one. Of
large triangles only the smallest singular values are computed, which decide the rank.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from symjax.dimension.smallest import null_space, smallest_value

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
    return _decided(values, largest, max(max(rows, triangle.shape[1]) * _EPS, noise) * largest)


def _decided(values: np.ndarray, largest: float, threshold: float) -> Evidence:
    """The evidence of all singular values, in descending order."""
    rank = int(np.sum(values > threshold))
    kept = float(values[rank - 1]) if rank else 0.0
    dropped = float(values[rank]) if rank < len(values) else 0.0
    gap = kept / dropped if dropped else np.inf
    return Evidence(rank, largest, kept, dropped, gap, threshold, rank > 0 and gap < _CLEAR)


def _largest(upper: np.ndarray, rounds: int = 5) -> float:
    """The largest singular value of a triangle, from below, by power iteration."""
    from scipy.linalg import blas

    vector = upper[np.argmax(np.einsum("ij,ij->i", upper, upper))]
    for _ in range(rounds):
        image = blas.dtrmv(upper, vector / (blas.dnrm2(vector) or 1.0))
        vector = blas.dtrmv(upper, image, trans=1)
    return float(blas.dnrm2(image))


class RowSpace:
    """The span of the rows added so far, D columns wide; memory is ``D^2`` and a chunk.

    Columns below the part ``floor`` of the largest are rounding: autodiff leaves some, explicit products none.
    """

    def __init__(self, columns: int, floor: float = 0.0, noise: float = 0.0) -> None:
        self.triangle, self.rows, self.floor, self.noise = np.zeros((0, columns)), 0, floor, noise
        self.random = np.random.default_rng(0)

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

    def nulls(self) -> tuple[np.ndarray, np.ndarray]:
        """Basis and factors of the kernel, as of :meth:`kernel`, without evidence; a few times faster."""
        columns = self.triangle.shape[1]
        if not len(self.triangle) == columns > _SMALL:
            return self.kernel()[:2]
        balanced, factors = _balance(self.triangle, self.floor)
        return null_space(np.asfortranarray(balanced), self._part() * np.sqrt(columns)), factors

    def kernel(self) -> Kernel:
        """What is orthogonal to all rows, by the smallest singular values of the balanced triangle, or by all."""
        columns = self.triangle.shape[1]
        balanced, factors = _balance(self.triangle, self.floor)
        if len(balanced) == columns > _SMALL:
            found = self._quick(np.asfortranarray(balanced))
            if found is not None:
                return Kernel(found[0], factors, found[1])
        if not len(balanced):
            return Kernel(np.eye(columns), factors, Evidence(0, 0.0, 0.0, 0.0, np.inf, 0.0, False))
        _, values, right = np.linalg.svd(balanced)
        largest = float(values.max(initial=0.0))
        decided = _decided(values, largest, self._part() * largest)
        return Kernel(right[decided.rank :].T, factors, decided)

    def _part(self) -> float:
        """What is rounding, as a part of the largest singular value."""
        return float(max(max(self.rows, self.triangle.shape[1]) * _EPS, self.noise))

    def _quick(self, balanced: np.ndarray) -> tuple[np.ndarray, Evidence] | None:
        """Kernel and evidence without all singular values; None where they leave a doubt."""
        from scipy.linalg import blas

        largest = _largest(balanced)
        threshold = self._part() * largest
        null = null_space(balanced, threshold)
        dropped = float(np.linalg.norm(blas.dtrmm(1.0, balanced, null), 2)) if null.size else 0.0
        kept = smallest_value(balanced, null, self.random)
        if dropped > threshold or kept <= max(threshold, 10 * _CLEAR * dropped):
            return None
        gap = kept / dropped if dropped else np.inf
        return null, Evidence(len(balanced) - null.shape[1], largest, kept, dropped, gap, threshold, False)

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

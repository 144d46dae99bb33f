"""The smallest singular values of a triangle by block inverse iteration, a tenth of what all of them cost."""

from typing import NamedTuple

import numpy as np

__all__ = ["Smallest", "orthonormal", "smallest"]

_EPS = np.finfo(np.float64).eps
_SPARE = 8  # vectors beyond those that are expected in the kernel
_MOST = 0.6  # a block wider than this part of the columns is no gain over all singular values


class Smallest(NamedTuple):
    """Singular values (p,) in ascending order, upper bounds of the p smallest, and their right vectors (n, p)."""

    values: np.ndarray
    vectors: np.ndarray


def orthonormal(block: np.ndarray) -> np.ndarray:
    """Orthonormal columns (n, p) that span those given; the block may be overwritten."""
    from scipy.linalg import lapack

    factors, scales, _, _ = lapack.dgeqrf(block, lwork=32 * block.shape[1], overwrite_a=1)
    return lapack.dorgqr(factors, scales, lwork=32 * block.shape[1], overwrite_a=1)[0]


def smallest(upper: np.ndarray, cut: float, random: np.random.Generator, rounds: int) -> Smallest | None:
    """Find the singular values of a triangle below a cut, and a few above.

    ``X <- orth(R^{-1} orth(R^{-T} X))`` from a random block X, then the singular values of ``R X``

    A column that depends on those before it leaves a tiny entry on the diagonal, so the block is as wide as there are
    of these and a few more; zeros on the diagonal count as one rounding.

    Source: Golub, Van Loan, Matrix Computations, 4th edition, section 8.2 (orthogonal iteration), on the inverse.

    Args:
      upper: (n, n) upper triangular in Fortran's order, columns of length about 1.
      cut: what is small, such as the rounding of the triangle.
      random: of the block.
      rounds: one finds the kernel and bounds the next value within a tenth or so; each further one squares the error.

    Returns:
      The values and vectors; None where so many are small that all singular values should be computed.

    Example:
      >>> found = smallest(np.asfortranarray(np.diag([1.0, 0.0, 0.5] + 60 * [1.0])), 1e-12, np.random.default_rng(0), 9)
      >>> found.values[:2].round(6).tolist()
      [0.0, 0.5]
    """
    from scipy.linalg import blas, lapack

    size, diagonal = len(upper), np.diagonal(upper)
    sizes = np.abs(diagonal)
    width = int(np.sum(sizes <= cut)) + _SPARE
    solvable = upper.copy(order="F")
    np.fill_diagonal(solvable, np.where(sizes < _EPS, _EPS, diagonal))
    while width <= _MOST * size:
        block = random.normal(size=(width, size)).T
        for _ in range(rounds):
            block = orthonormal(blas.dtrsm(1.0, solvable, block, trans_a=1, overwrite_b=1))
            block = orthonormal(blas.dtrsm(1.0, solvable, block, overwrite_b=1))
        image = lapack.dgeqrf(blas.dtrmm(1.0, upper, block), lwork=32 * width, overwrite_a=1)[0][:width]
        _, values, right = np.linalg.svd(np.triu(image))
        if np.sum(values > cut) >= _SPARE // 2:
            return Smallest(values[::-1], (block @ right.T)[:, ::-1])
        width *= 2
    return None

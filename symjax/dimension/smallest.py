"""The kernel of a triangle and its smallest singular value, a tenth of what all singular values cost."""

import numpy as np

__all__ = ["null_space", "orthonormal", "smallest_value"]

_SPARE = 8  # vectors that look for the smallest singular value


def orthonormal(block: np.ndarray) -> np.ndarray:
    """Orthonormal columns (n, p) that span those given, which may be overwritten."""
    from scipy.linalg import lapack

    factors, scales, _, _ = lapack.dgeqrf(block, lwork=32 * block.shape[1], overwrite_a=1)
    return lapack.dorgqr(factors, scales, lwork=32 * block.shape[1], overwrite_a=1)[0]


def null_space(upper: np.ndarray, cut: float) -> np.ndarray:
    """Find orthonormal columns (n, k) that a triangle takes to rounding.

    The columns with a tiny entry on the diagonal are chosen freely, and the others follow from their own rows; what the
    other rows see of this is taken out.

    Source: this library's own. The diagonal of a triangle without pivoting can hide a dependence (Kahan 1966), which
    :func:`smallest_value` of the rest shows.

    Args:
      upper: (n, n) upper triangular in Fortran's order, columns of length about 1.
      cut: what is tiny.

    Example:
      >>> (null_space(np.asfortranarray([[1.0, 1.0], [0.0, 0.0]]), 1e-12) ** 2).round(6)
      array([[0.5],
             [0.5]])
    """
    from scipy.linalg import blas

    dependent = np.flatnonzero(np.abs(np.diagonal(upper)) <= cut)
    block = np.zeros((len(upper), len(dependent)), order="F")
    if not len(dependent):
        return block
    block[dependent, np.arange(len(dependent))] = 1.0
    solvable = upper.copy(order="F")
    solvable[dependent] = 0.0
    solvable[dependent, dependent] = 1.0
    block = orthonormal(blas.dtrsm(1.0, solvable, block, overwrite_b=1))
    image = upper[dependent] @ block
    if np.abs(image).max() <= cut:
        return block
    _, values, right = np.linalg.svd(image)
    return np.asfortranarray(block @ right[values <= cut].T)


def smallest_value(upper: np.ndarray, null: np.ndarray, random: np.random.Generator, rounds: int = 2) -> float:
    """Bound the smallest singular value of a triangle outside of its kernel, from above.

    ``X <- orth(S^{-1} orth(S^{-T} X))`` from a random block X, S the triangle of ``[R; null^T]``; then ``min |S X|``

    Source: Golub, Van Loan, Matrix Computations, 4th edition, section 8.2 (orthogonal iteration), on the inverse.

    Args:
      upper: R (n, n), upper triangular in Fortran's order.
      null: orthonormal (n, k), its kernel.
      random: of the block.
      rounds: two leave an error of a percent or so.

    Example:
      >>> upper = np.asfortranarray(np.diag([1.0, 0.0, 0.5] + 60 * [1.0]))
      >>> round(smallest_value(upper, null_space(upper, 1e-12), np.random.default_rng(0), 9), 6)
      0.5
    """
    from scipy.linalg import blas, lapack

    if null.shape[1]:
        upper = lapack.dtpqrt(0, min(32, len(upper)), upper, null.T)[0]
    block = random.normal(size=(min(_SPARE, len(upper)), len(upper))).T
    for _ in range(rounds):
        block = orthonormal(blas.dtrsm(1.0, upper, block, trans_a=1, overwrite_b=1))
        block = orthonormal(blas.dtrsm(1.0, upper, block, overwrite_b=1))
    return float(np.linalg.svd(blas.dtrmm(1.0, upper, block), compute_uv=False)[-1])

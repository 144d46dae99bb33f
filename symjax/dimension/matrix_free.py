"""How many directions a linear map forgets, from products with it alone: for Jacobians too large to be written down."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["NullityEstimate", "estimate_nullity"]

_SCALES = 16  # random products for the lengths of the columns


class NullityEstimate(NamedTuple):
    """Dimension of a kernel, estimated.

    Attributes:
      nullity: the mean of the probes' squared distances from the row space.
      error: its standard error: ``sqrt(2 nullity / probes)`` for normal probes, from the kernel's dimension itself.
      converged: whether every distance was found to the tolerance; otherwise ``nullity`` is too large, and what
        remains of D an estimate of the rank from below.
      steps: the most products with the map that a probe took.
    """

    nullity: float
    error: float
    converged: bool
    steps: int


def estimate_nullity(
    product: Callable[[np.ndarray], np.ndarray],
    transposed: Callable[[np.ndarray], np.ndarray],
    shape: tuple[int, int],
    random: np.random.Generator,
    probes: int = 8,
    steps: int = 2000,
    tolerance: float = 1e-6,
    known: np.ndarray | None = None,
) -> NullityEstimate:
    """Estimate the dimension of the kernel of J without writing J down.

    ``E |P z|^2 = dim ker J`` for standard normal z, P the projection on the kernel; ``|P z| = min_u |z - J^T u|``

    Columns are balanced first, by estimates of their lengths. The least-squares problems are solved by LSMR.

    Source: Hutchinson 1989 for the trace; Fong, Saunders 2011 (LSMR).

    Args:
      product: v (D,) to J v (m,).
      transposed: u (m,) to J^T u (D,).
      shape: (m, D).
      random: of the probes.
      probes: how many; the error falls with their root.
      steps: at most for each.
      tolerance: of LSMR, relative.
      known: (k, D) independent vectors of the kernel, which are not counted; the error is that of the others.

    Returns:
      The estimate with its error.

    Example:
      >>> matrix = np.diag([1.0, 2.0, 3.0, 0.0, 0.0])
      >>> found = estimate_nullity(matrix.dot, matrix.T.dot, (5, 5), np.random.default_rng(0), probes=64)
      >>> abs(found.nullity - 2) < 3 * found.error, found.converged
      (True, True)
    """
    from scipy.sparse.linalg import LinearOperator, lsmr

    rows, columns = shape
    squares = sum(transposed(random.choice([-1.0, 1.0], rows)) ** 2 for _ in range(_SCALES)) / _SCALES
    factors = 1 / np.sqrt(np.where(squares > 1e-20 * squares.max(initial=0.0), squares, 1.0))
    directions = np.zeros((columns, 0)) if known is None else np.linalg.qr((known / factors).T)[0]
    spans = LinearOperator(
        (columns, rows),
        matvec=lambda u: factors * transposed(u),
        rmatvec=lambda v: product(factors * v),
        dtype=np.float64,
    )
    distances, most, converged = [], 0, True
    for _ in range(probes):
        probe = random.normal(size=columns)
        probe -= directions @ (directions.T @ probe)
        _, reason, taken, distance, *_ = lsmr(spans, probe, atol=tolerance, btol=tolerance, conlim=0, maxiter=steps)
        distances.append(distance**2)
        most, converged = max(most, int(taken)), converged and reason in (1, 2, 4, 5)
    nullity = float(np.mean(distances))
    return NullityEstimate(nullity, float(np.sqrt(2 * nullity / probes)), converged, most)

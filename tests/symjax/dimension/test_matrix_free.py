"""The estimated kernel of a Jacobian whose rank is known, and what its error is worth."""

import numpy as np

from symjax.dimension import networks as nets
from symjax.dimension.gradients import jacobian
from symjax.dimension.matrix_free import estimate_nullity


def test_a_shallow_network_forgets_one_direction_a_unit() -> None:
    """4-10-1: D = 61, rank 10 (4 + 1) + 1 = 51, and the estimate is exact where nothing is forgotten."""
    random = np.random.default_rng(0)
    params = nets.random_params((4, 10, 1), random)
    rows = jacobian(params, random.normal(size=(400, 4)))[:, 0]
    assert np.linalg.matrix_rank(rows) == 51
    found = estimate_nullity(rows.dot, rows.T.dot, rows.shape, random, probes=40)
    assert found.converged and abs(found.nullity - 10) < 3 * found.error < 3.0
    _, _, right = np.linalg.svd(rows)
    known = rows @ right[:51].T  # without the kernel
    none = estimate_nullity(known.dot, known.T.dot, known.shape, random)
    assert none.converged and none.nullity < 1e-3 and none.error < 0.1


def test_too_few_steps_are_said() -> None:
    rows = np.diag(np.logspace(-6, 0, 50)) @ np.linalg.qr(np.random.default_rng(1).normal(size=(50, 50)))[0]
    found = estimate_nullity(rows.dot, rows.T.dot, rows.shape, np.random.default_rng(0), steps=5)
    assert not found.converged and found.steps == 5 and found.nullity > 1

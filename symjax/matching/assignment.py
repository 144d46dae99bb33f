"""Best assignments of units: free, signed, orthogonal, and by an involution; on the host, in float64."""

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Assignment", "assign", "assign_involution", "assign_orthogonal", "assign_signed"]


class Assignment(NamedTuple):
    """Who is matched with whom.

    Attributes:
      element: integers (n,), unit ``element[i]`` of the second network stands at place ``i``; or a matrix (n, n).
      value: the sum of the scores matched.
      lost: how much less that is than the best without the constraint.
      signs: array (n,) of +1 and -1, (signs, n) for several signs of a unit; None where signs were not sought.
    """

    element: np.ndarray
    value: float
    lost: float = 0.0
    signs: np.ndarray | None = None


def assign(scores: Any) -> Assignment:
    """Find the permutation with the largest sum ``sum_i scores[i, p[i]]``.

    Source: Crouse 2016 (scipy's linear_sum_assignment); Li et al. 2015 (for the units of two networks).

    Args:
      scores: array (n, n), real and finite.

    Returns:
      The assignment. Of several best ones, one.

    Raises:
      ValueError: scores that are no square matrix, or not finite.

    Example:
      >>> print(assign([[0.1, 0.9], [0.8, 0.7]]).element)
      [1 0]
    """
    from scipy.optimize import linear_sum_assignment  # late: importing symjax needs jax alone

    scores = square("scores", scores)
    _, columns = linear_sum_assignment(scores, maximize=True)
    return Assignment(columns, float(scores[np.arange(len(scores)), columns].sum()))


def assign_signed(scores: Any) -> Assignment:
    """Find the permutation and signs with the largest sum ``sum_i s_i scores[i, p[i]]``: an assignment of sizes.

    Source: Zhao et al. 2023, Table 1 (tanh units change sign); the reduction is immediate.

    Args:
      scores: array (n, n), real and finite.

    Returns:
      The assignment with its signs; a score of zero takes +1.

    Raises:
      ValueError: as :func:`assign`.

    Example:
      >>> print(assign_signed([[0.1, -0.9], [0.8, 0.7]]).signs)
      [-1.  1.]
    """
    scores = square("scores", scores)
    best = assign(np.abs(scores))
    matched = scores[np.arange(len(scores)), best.element]
    return best._replace(signs=np.where(matched < 0, -1.0, 1.0))


def assign_orthogonal(scores: Any) -> Assignment:
    """Find the orthogonal matrix ``g`` with the largest ``sum_ij g_ij scores[i, j]``: the polar factor.

    With scores ``E[a b^T]`` it brings ``g b`` nearest to ``a`` in the mean square.

    Source: Schönemann 1966 (orthogonal Procrustes).

    Args:
      scores: array (n, n), real and finite.

    Returns:
      The assignment, its element a matrix (n, n); its value is the nuclear norm of the scores.

    Raises:
      ValueError: as :func:`assign`.

    Example:
      >>> print(assign_orthogonal([[0.0, 2.0], [-1.0, 0.0]]).element.round(6) + 0.0)
      [[ 0.  1.]
       [-1.  0.]]
    """
    left, values, right = np.linalg.svd(square("scores", scores))
    return Assignment(left @ right, float(values.sum()))


def assign_involution(scores: Any) -> Assignment:
    """Find the permutation of order two with the largest sum: a maximum-weight matching with self-loops.

    Only ``S = (scores + scores^T) / 2`` counts. The best assignment of S bounds it from above, and its even cycles
    split into swaps of equal value; only its odd cycles of length three or more can cost something. Where they do, the
    duals of the assignment leave those pairs whose slack is below the gap, mostly few, and an integer program over
    them decides: exact, without an implementation of blossoms and without a further dependency.

    Source: Bökman & Kahl 2023 (the permutation of a flip should be an involution); reduction to the assignment and
      its gap: derived. Edmonds 1965 for the matching.

    Args:
      scores: array (n, n), real and finite.

    Returns:
      The assignment; ``lost`` is against :func:`assign` of the same scores.

    Raises:
      ValueError: as :func:`assign`; or an integer program that was not solved (never seen).

    Example:
      >>> best = assign_involution([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
      >>> sorted(best.element.tolist()), best.value, best.lost
      ([0, 1, 2], 1.0, 2.0)
    """
    scores = square("scores", scores)
    symmetric = (scores + scores.T) / 2
    free = assign(symmetric)
    element = _split(symmetric, free.element)
    value = _value(symmetric, element)
    scale = np.abs(symmetric).max() * len(scores)
    gap = free.value - value
    if gap > 1e-13 * scale:
        element = _searched(symmetric, free.element, gap * (1 + 1e-9) + 1e-12 * scale, element)
        value = _value(symmetric, element)
    return Assignment(element, value, assign(scores).value - value)


def square(name: str, scores: Any) -> np.ndarray:
    """A square matrix of finite numbers, float64."""
    scores = np.asarray(scores)
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1] or not scores.size:
        raise ValueError(f"{name} has shape {scores.shape}, but must be a square matrix")
    if scores.dtype.kind not in "iuf":
        raise ValueError(f"{name} has dtype {scores.dtype}, but must hold real numbers")
    scores = scores.astype(np.float64)
    if not np.isfinite(scores).all():
        raise ValueError(f"{name} has entries that are not finite, so nothing can be assigned")
    return scores


def _value(scores: np.ndarray, perm: np.ndarray) -> float:
    return float(scores[np.arange(len(scores)), perm].sum())


def cycles_of(perm: np.ndarray) -> list[list[int]]:
    """The cycles of a permutation, each from its smallest unit on."""
    found, seen = [], np.zeros(len(perm), bool)
    for start in range(len(perm)):
        cycle, unit = [], start
        while not seen[unit]:
            seen[unit] = True
            cycle.append(unit)
            unit = int(perm[unit])
        if cycle:
            found.append(cycle)
    return found


def _split(symmetric: np.ndarray, perm: np.ndarray) -> np.ndarray:
    """Cut each cycle into swaps, an odd one's best unit fixed."""
    result = np.arange(len(perm))
    for cycle in cycles_of(perm):
        options = []
        for shift in range(len(cycle)):
            rolled = cycle[shift:] + cycle[:shift]
            alone = rolled[:1] if len(cycle) % 2 else []
            pairs = list(zip(rolled[len(alone) :: 2], rolled[len(alone) + 1 :: 2], strict=True))
            value = 2 * sum(symmetric[pair] for pair in pairs) + sum(symmetric[unit, unit] for unit in alone)
            options.append((value, shift, pairs))
        for i, j in max(options)[2]:
            result[i], result[j] = j, i
    return result


def _searched(symmetric: np.ndarray, perm: np.ndarray, gap: float, known: np.ndarray) -> np.ndarray:
    """The best involution, over the pairs whose slack in the dual of the assignment is at most the gap."""
    from scipy.optimize import LinearConstraint, milp
    from scipy.sparse import csr_array

    n = len(symmetric)
    prices = _prices(symmetric, perm)
    slack = prices[:, None] + prices[None, :] - symmetric
    costs = np.where(np.eye(n, dtype=bool), slack, 2 * slack)
    first, second = np.nonzero(np.triu(costs <= gap))
    edges, swaps = np.arange(len(first)), first != second
    units = np.concatenate([first, second[swaps]])
    held = csr_array((np.ones(len(units)), (units, np.concatenate([edges, edges[swaps]]))), (n, len(first)))
    # what is lost, in thousandths of the gap: the solver's tolerances are absolute
    lost = 1e3 * np.maximum(costs[first, second], 0.0) / gap
    solution = milp(
        lost, integrality=1, bounds=(0, 1), constraints=LinearConstraint(held, 1, 1), options={"mip_rel_gap": 0}
    )
    if solution.x is None:
        raise ValueError(f"the integer program of the involution was not solved: {solution.message}")
    chosen, result = solution.x > 0.5, np.arange(n)
    result[first[chosen]], result[second[chosen]] = second[chosen], first[chosen]
    return result if _value(symmetric, result) >= _value(symmetric, known) else known


def _prices(symmetric: np.ndarray, perm: np.ndarray) -> np.ndarray:
    """Optimal duals y of an assignment of a symmetric matrix, ``S_ij <= y_i + y_j``, by shortest paths."""
    matched = symmetric[np.arange(len(perm)), perm]
    # what row i loses by the column of row k in place of its own; no cycle of such losses is negative
    cost = matched[:, None] - symmetric[:, perm]
    distance = np.zeros(len(perm))
    for _ in range(len(perm)):
        shorter = np.minimum(distance, (distance[None, :] + cost).min(1))
        if np.allclose(shorter, distance, rtol=0, atol=1e-15 * np.abs(symmetric).max()):
            break
        distance = shorter
    # columns: v[perm[k]] = distance[k]; rows: u[i] = matched[i] - distance[i]; S_ij <= u_i + v_j
    columns = np.empty_like(distance)
    columns[perm] = distance
    return (matched - distance + columns) / 2

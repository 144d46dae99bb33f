"""Actions of a finite group on units: the best one for given scores, and how far permutations are from one."""

from collections.abc import Sequence
from itertools import combinations, permutations
from math import perm as falling
from typing import Any, NamedTuple

import numpy as np

from symjax.matching.assignment import assign, assign_involution, square

__all__ = ["Action", "assign_homomorphism", "homomorphism_defect", "neutral_element", "require_group"]

_ALL = 20_000  # orbits that are looked at one by one, where they are so few
_ROUNDS = 3


class Action(NamedTuple):
    """An action of a group on units.

    Attributes:
      element: integers (group, n), ``P_gh[i] == P_h[P_g[i]]``.
      value: ``sum_g sum_i scores[g, i, P_g[i]]`` over all elements but the identity.
      lost: how much less that is than the best permutation for each element by itself, whether they obey a law or not.
    """

    element: np.ndarray
    value: float
    lost: float


def homomorphism_defect(element: Any, table: Any) -> float:
    """Share of the triples (g, h, unit) with ``P_gh[i] != P_h[P_g[i]]``.

    Source: Bökman & Kahl 2023 (a network is a GCNN for permutations that represent the group).

    Args:
      element: integers (group, n), a permutation for each element.
      table: integers (group, group), ``table[g, h] = g h``.

    Returns:
      A number between 0 and 1; 0 for an action.

    Raises:
      ValueError: a table that is no group's, or rows that are no permutations, one for each element.

    Example:
      >>> homomorphism_defect([[0, 1, 2], [1, 2, 0]], [[0, 1], [1, 0]])  # a three-cycle is no involution
      0.25
    """
    element, table = np.asarray(element), require_group(table)
    full = np.arange(element.shape[1]) if element.ndim == 2 else np.zeros(0)
    if element.dtype.kind not in "iu" or len(element) != len(table) or not (np.sort(element, -1) == full).all():
        raise ValueError(f"element must hold a permutation for each of the {len(table)} elements of the group")
    joined = np.stack([[h_[g_] for h_ in element] for g_ in element])
    return float(np.mean(element[table] != joined))


def assign_homomorphism(scores: Any, table: Any) -> Action:
    r"""Find an action of a finite group with a large sum ``sum_g sum_i scores[g, i, P_g[i]]``.

    An action is a partition of the units into orbits, each a set of cosets ``H\\G``: an integer program over orbits.
    For two elements it is :func:`symjax.matching.assign_involution`, exact. All orbits are looked at where they are
    few, which is exact too. Else they are proposed from each unit and each subgroup by an assignment of cosets to
    units, improved one by one, and proposed again at the prices that the program sets: the best found, and ``lost``
    bounds what any other could gain.

    Source: derived; Bökman & Kahl 2023 (permutation representations of C4 and D4 split into orbits).

    Args:
      scores: array (group, n, n); those of the identity are not used.
      table: integers (group, group), ``table[g, h] = g h``, a group.

    Returns:
      The action.

    Raises:
      ValueError: scores that are not finite or no square matrices; a table that is no group's, or of another size.

    Example:
      >>> import numpy as np
      >>> turn = np.roll(np.eye(4), 1, 1)
      >>> quarter = [np.linalg.matrix_power(turn, k) for k in range(4)]
      >>> print(assign_homomorphism(quarter, np.add.outer(range(4), range(4)) % 4).element[1])
      [1 2 3 0]
    """
    table = require_group(table)
    scores = np.stack([square(f"scores[{g}]", one) for g, one in enumerate(scores)])
    if len(scores) != len(table):
        raise ValueError(f"scores hold {len(scores)} matrices, but the group has {len(table)} elements")
    n, neutral = scores.shape[1], neutral_element(table)
    scores[neutral] = 0.0
    size = np.abs(scores).max() or 1.0
    free = sum(assign(one).value for g, one in enumerate(scores) if g != neutral)
    if len(table) == 2:
        swap = assign_involution(scores[1 - neutral]).element
        element = np.stack([swap, swap])
        element[neutral] = np.arange(n)
    else:
        scaled = scores / size  # the solver's tolerances are absolute
        scaled[neutral] = np.eye(n)
        element = _partitioned(scaled, table)
    value = sum(float(scores[g, np.arange(n), element[g]].sum()) for g in range(len(table)) if g != neutral)
    return Action(element, value, free - value)


class _Orbits(NamedTuple):
    """Cosets of one subgroup: ``where[c, g]`` is the coset ``c g``, the subgroup itself coset 0."""

    where: np.ndarray


def require_group(table: Any) -> np.ndarray:
    """The table of a group as integers; what is no group's is refused by a ValueError."""
    table = np.asarray(table)
    size = len(table) if table.ndim else 0
    full = np.arange(size)
    law = (
        table.shape == (size, size)
        and size > 0
        and table.dtype.kind in "iu"
        and (np.sort(table, 0) == full[:, None]).all()
        and (np.sort(table, 1) == full[None]).all()
        and (table[table] == table[:, table]).all()
    )
    if not law:
        raise ValueError("table must be the table of a group: integers (group, group) with table[g, h] = g h")
    return table


def neutral_element(table: np.ndarray) -> int:
    """The number of the identity."""
    return int(np.flatnonzero((table == np.arange(len(table))[None]).all(1))[0])


def _subgroups(table: np.ndarray) -> list[frozenset[int]]:
    found = set()
    for count in range(4):
        for generators in combinations(range(len(table)), count):
            held = {neutral_element(table), *generators}
            while len(more := held | {int(table[g, h]) for g in held for h in held}) > len(held):
                held = more
            found.add(frozenset(held))
    return sorted(found, key=lambda one: (len(one), sorted(one)))


def _cosets(table: np.ndarray, subgroup: frozenset[int]) -> _Orbits:
    number, cosets = {}, []
    for g in [min(subgroup), *range(len(table))]:
        if g not in number:
            cosets.append(g)
            number.update(dict.fromkeys((int(table[h, g]) for h in subgroup), len(cosets) - 1))
    return _Orbits(np.array([[number[int(table[c, g])] for g in range(len(table))] for c in cosets]))


def _partitioned(scores: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The best partition into orbits among those proposed."""
    n, kinds = scores.shape[1], [_cosets(table, one) for one in _subgroups(table)]
    kinds = [one for one in kinds if len(one.where) <= n]
    orbits: dict[tuple[int, tuple[int, ...]], float] = {}
    if sum(falling(n, len(kind.where)) for kind in kinds) <= _ALL:
        for number, kind in enumerate(kinds):
            for units in permutations(range(n), len(kind.where)):
                orbits[number, units] = _worth(scores, kind, units)
        return _chosen(orbits, kinds, n, len(table))
    prices = np.zeros(n)
    for turn in range(_ROUNDS):
        for number, kind in enumerate(kinds):
            for start in range(n):
                units = _proposed(scores, kind, start, prices)
                orbits[number, units] = _worth(scores, kind, units)
        if turn < _ROUNDS - 1:
            prices = _prices(orbits, n) / len(table)
    return _chosen(orbits, kinds, n, len(table))


def _worth(scores: np.ndarray, kind: _Orbits, units: Sequence[int]) -> float:
    at = np.asarray(units)
    return float(scores[np.arange(len(scores))[None], at[:, None], at[kind.where]].sum())


def _proposed(scores: np.ndarray, kind: _Orbits, start: int, prices: np.ndarray) -> tuple[int, ...]:
    """Units for the cosets, the subgroup's being ``start``."""
    count, n = len(kind.where), scores.shape[1]
    if count == 1:
        return (start,)
    gains = np.stack([scores[kind.where[0] == c, start].mean(0) for c in range(1, count)]) - prices[None]
    near = np.unique(np.argpartition(-gains, min(2 * count, n - 1), 1)[:, : 2 * count])
    near = near[near != start] if len(near[near != start]) >= count - 1 else np.flatnonzero(np.arange(n) != start)
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(gains[:, near], maximize=True)
    units = np.empty(count, int)
    units[0], units[1 + rows] = start, near[columns]
    for c in range(1, count):  # one round: the best unit for each coset beside the others
        here = -len(scores) * prices
        for g, one in enumerate(scores):
            target, sources = kind.where[c, g], np.flatnonzero(kind.where[:, g] == c)
            here = here + (np.diagonal(one) if target == c else one[:, units[target]])
            here = here + sum(one[units[d]] for d in sources if d != c)
        here[np.delete(units, c)] = -np.inf
        units[c] = int(np.argmax(here))
    return tuple(int(unit) for unit in units)


def _held(orbits: dict[tuple[int, tuple[int, ...]], float], n: int) -> Any:
    from scipy.sparse import csr_array

    rows = np.concatenate([np.asarray(units) for _, units in orbits])
    columns = np.repeat(np.arange(len(orbits)), [len(units) for _, units in orbits])
    return csr_array((np.ones(len(rows)), (rows, columns)), (n, len(orbits)))


def _prices(orbits: dict[tuple[int, tuple[int, ...]], float], n: int) -> np.ndarray:
    from scipy.optimize import linprog

    solution = linprog(-np.array(list(orbits.values())), A_eq=_held(orbits, n), b_eq=np.ones(n), method="highs")
    return np.zeros(n) if solution.x is None else -solution.eqlin.marginals


def _chosen(
    orbits: dict[tuple[int, tuple[int, ...]], float], kinds: Sequence[_Orbits], n: int, group: int
) -> np.ndarray:
    from scipy.optimize import LinearConstraint, milp

    solution = milp(
        -np.array(list(orbits.values())),
        integrality=1,
        bounds=(0, 1),
        constraints=LinearConstraint(_held(orbits, n), 1, 1),
        options={"mip_rel_gap": 1e-9, "time_limit": 120},
    )
    if solution.x is None:
        raise ValueError(f"the integer program of the orbits was not solved: {solution.message}")
    element = np.tile(np.arange(n), (group, 1))
    for (number, units), taken in zip(orbits, solution.x > 0.5, strict=True):
        if taken:
            at = np.asarray(units)
            element[:, at] = at[kinds[number].where].T
    return element

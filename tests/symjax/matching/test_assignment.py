"""Assignments against brute force, and the cycles of a permutation."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from symjax.matching import assign, assign_involution, assign_orthogonal, assign_signed, cycles

rng = np.random.default_rng(0)
SCORES = [rng.standard_normal((n, n)) for n in (1, 2, 3, 5, 6, 6)]
# the odd cycles whose splitting an assignment cannot price: two triangles joined by one good pair
TRIANGLES = np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3)) + 0.9 * np.outer(np.eye(6)[2], np.eye(6)[3])


def _permutations(n: int) -> Iterator[list[int]]:
    return map(list, itertools.permutations(range(n)))


@pytest.mark.parametrize("scores", [*SCORES, TRIANGLES])
def test_no_permutation_signs_or_involution_has_a_larger_sum(scores: np.ndarray) -> None:
    n = len(scores)
    sums = {tuple(p): scores[np.arange(n), p].sum() for p in _permutations(n)}
    sizes = max(np.abs(scores)[np.arange(n), p].sum() for p in _permutations(n))
    own = max(value for p, value in sums.items() if all(p[p[i]] == i for i in range(n)))
    free, signed, tied = assign(scores), assign_signed(scores), assign_involution(scores)
    np.testing.assert_allclose([free.value, signed.value, tied.value], [max(sums.values()), sizes, own], atol=1e-12)
    np.testing.assert_allclose(free.value, scores[np.arange(n), free.element].sum(), atol=1e-12)
    np.testing.assert_allclose(signed.value, (signed.signs * scores[np.arange(n), signed.element]).sum(), atol=1e-12)
    np.testing.assert_allclose(tied.value, scores[np.arange(n), tied.element].sum(), atol=1e-12)
    np.testing.assert_allclose(tied.lost, free.value - tied.value, atol=1e-12)
    assert np.array_equal(tied.element[tied.element], np.arange(n))


def test_no_involution_is_better_where_triangles_tempt_and_staying_is_dear() -> None:
    """Where the best permutation has odd cycles the search decides: its duals, and what a swap counts."""
    n = 5
    every = np.array(list(_permutations(n)))
    own = every[(np.take_along_axis(every, every, 1) == np.arange(n)).all(1)]
    for seed in range(100):
        scores = np.random.default_rng(seed).random((n, n)) * (1 - np.eye(n) / 2)
        best = scores[np.arange(n), own].sum(1).max()
        np.testing.assert_allclose(assign_involution(scores).value, best, atol=1e-12)
    assert assign_signed([[0.0]]).signs.tolist() == [1]


def test_a_planted_involution_of_many_units_is_recovered() -> None:
    order = rng.permutation(200)
    planted = np.arange(200)
    planted[order[:150:2]], planted[order[1:150:2]] = order[1:150:2], order[:150:2]
    scores = 0.4 * rng.random((200, 200))
    scores[np.arange(200), planted] += 0.5
    assert np.array_equal(assign_involution(scores).element, planted)


def test_orthogonal_matrices_are_those_of_least_squares() -> None:
    b = rng.standard_normal((40, 4))
    g = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    best = assign_orthogonal((b @ g.T).T @ b)
    np.testing.assert_allclose(best.element, g, atol=1e-12)
    np.testing.assert_allclose(best.value, np.sum(best.element * ((b @ g.T).T @ b)), rtol=1e-12)
    a = rng.standard_normal((40, 4))
    least = np.sum((a - b @ assign_orthogonal(a.T @ b).element.T) ** 2)
    others = [np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(200)]
    assert least < min(np.sum((a - b @ other.T) ** 2) for other in others)


def test_cycles_are_counted_and_bad_scores_are_refused() -> None:
    described = cycles([1, 0, 2, 4, 5, 3], matched=[0.9, 0.9, 0.9, 0.9, 0.1, 0.1])
    assert (described.order, described.lengths) == (6, {1: 1, 2: 1, 3: 1})
    np.testing.assert_allclose(described[1:4], [1 / 6, 1 / 2, 3 / 4])
    assert np.isnan(cycles([0], matched=[0.1]).confident)
    for bad, sentence in (([[np.nan]], "not finite"), ([[1.0, 2.0]], "square"), ([["a"]], "dtype")):
        for find in (assign, assign_signed, assign_orthogonal, assign_involution):
            with pytest.raises(ValueError, match=sentence):
                find(bad)
    with pytest.raises(ValueError, match="perm must hold"):
        cycles([0, 0])

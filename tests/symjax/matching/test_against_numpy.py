"""Values that were worked out apart, by NumPy and brute force: scales, positions between others, what is refused."""

from itertools import permutations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import matching
from symjax.tracing import symmetries

TURNS = np.add.outer(range(4), range(4)) % 4


def _apply(v: dict, x: Any) -> Any:
    return jnp.maximum(x @ v["in"] + v["bias"][None], 0.0) @ v["out"]


def _drawn(seed: int, scales: Any = 1.0, dtype: Any = np.float64) -> dict:
    random = np.random.default_rng(seed)
    v = {"in": random.normal(size=(6, 5)) * scales, "bias": random.normal(size=5) * scales}
    v["out"] = random.normal(size=(5, 2)) / np.reshape(scales * np.ones(5), (5, 1))
    return {name: leaf.astype(dtype) for name, leaf in v.items()}


@pytest.mark.parametrize("scale", [1e-20, 1e-200, 1e20, 1e200])
def test_constrained_assignments_have_no_scale(scale: float) -> None:
    random = np.random.default_rng(0)
    every = [np.array(p) for p in permutations(range(5))]
    swaps = [p for p in every if (p[p] == np.arange(5)).all()]
    turns = [np.stack([np.arange(5), p, p[p], p[p[p]]]) for p in every if (p[p[p[p]]] == np.arange(5)).all()]
    for _ in range(4):
        scores = random.normal(size=(4, 5, 5))
        scores[1, [0, 1, 2], [1, 2, 0]] += 9  # best by itself is a cycle of three
        best = max(sum(scores[1, np.arange(5), p]) for p in swaps)
        found = matching.assign_involution(scale * scores[1])
        assert found.value / scale == pytest.approx(best, rel=1e-12)
        best = max(sum(scores[g, np.arange(5), p[g]].sum() for g in range(1, 4)) for p in turns)
        assert matching.assign_homomorphism(scale * scores, TURNS).value / scale == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_correlations_do_not_see_the_scale_of_a_unit(dtype: Any) -> None:
    scales = np.array([1e-30, 1e-12, 1.0, 1e15, 1e30])
    x, plain = np.random.default_rng(2).normal(size=(40, 6)).astype(dtype), [_drawn(seed) for seed in (0, 1)]
    a, b = _drawn(0, scales, dtype), _drawn(1, scales[::-1], dtype)
    said = [np.maximum(x.astype(float) @ v["in"] + v["bias"], 0.0) for v in plain]
    wanted = np.corrcoef(*(one.T for one in said))[:5, 5:]
    found = matching.match(symmetries(_apply, a, x[:1]), a, b, [x[:7], x[7:]])
    np.testing.assert_allclose(found.correlations["in"], wanted, rtol=0, atol=1e-12 if dtype == np.float64 else 1e-5)
    assert not sum(len(units) for units in found.dead["in"])
    best = max(permutations(range(5)), key=lambda p: wanted[range(5), p].sum())
    assert tuple(found.permutations["in"]) == best


def test_units_inside_heads_whose_order_is_fixed_are_matched_head_by_head() -> None:
    def apply(v: dict, x: Any) -> Any:
        query, key, value = (jnp.reshape(x @ v[name], (*x.shape[:2], 2, 3)) for name in ("q", "k", "v"))
        slopes = jnp.array([1.0, 0.5])[None, :, None, None] * jnp.arange(4.0)[None, None, None]
        weights = jax.nn.softmax(jnp.einsum("nthd,nshd->nhts", query, key) + slopes, -1)
        return jnp.reshape(jnp.einsum("nhts,nshd->nthd", weights, value), (*x.shape[:2], 6)) @ v["o"]

    def drawn(seed: int) -> dict:
        random = np.random.default_rng(seed)
        return {name: random.normal(size=(5, 6)) for name in "qkv"} | {"o": random.normal(size=(6, 5))}

    a, b, x = drawn(0), drawn(1), np.random.default_rng(2).normal(size=(3, 4, 5))
    moved = matching.aligned(matching.match(symmetries(apply, a, x[:1]), a, b, method="weights"), b)
    np.testing.assert_allclose(apply(moved, x), apply(b, x), rtol=0, atol=1e-11)


def test_what_is_refused_in_one_sentence() -> None:
    a, x = _drawn(0), np.random.default_rng(2).normal(size=(4, 6))
    found, low = symmetries(_apply, a, x[:1]), _drawn(0, dtype=np.float32)
    for message, call in (
        ("variables_b .* in is float32 instead of float64", lambda: matching.match(found, a, low, [x])),
        ("epsilon is -1.0", lambda: matching.match(found, a, a, [x], epsilon=-1)),
        ("seed is 1.5", lambda: matching.match(found, a, a, method="weights", seed=1.5)),
        ("names is 'in'", lambda: matching.match(found, a, a, [x], names="in")),
        ("batches is None", lambda: matching.match_group(found, [a, a], [[0, 1], [1, 0]], None)),
        ("a batch is complex", lambda: matching.match(found, a, a, [x + 0j])),
        ("alpha is nan", lambda: matching.merge(a, a, float("nan"))),
        ("images\\[1\\] has shapes nothing", lambda: matching.merge_group(_grouped(found, a, x), [a, {}])),
        ("table must be", lambda: matching.homomorphism_defect([[0], [0]], [[0, 1], [0, 1]])),
        ("element must hold", lambda: matching.homomorphism_defect([[0, 0], [1, 0]], [[0, 1], [1, 0]])),
        ("perm must hold", lambda: matching.cycles([0.0, 1.0])),
        (
            "the score at alpha = 0.5",
            lambda: matching.highest_barrier(lambda t: {0.5: np.nan}.get(t, 1.0), [0, 0.5, 1]),
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def _grouped(found: Any, v: dict, x: Any) -> Any:
    return matching.match_group(found, [v, v], [[0, 1], [1, 0]], [x])

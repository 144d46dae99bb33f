"""Corrections worked out apart, by NumPy: of units of every scale, of a layer used twice, of a concatenation."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from symjax.matching import merge
from symjax.repair import outputs, repair, statistics, streams, writers
from symjax.tracing import symmetries


def _layer(v: dict, x: Any, name: str) -> Any:
    return x @ v[name] + v[f"{name}_bias"][None]


def _drawn(seed: int, dtype: Any = np.float64, **shapes: tuple[int, int]) -> dict:
    random = np.random.default_rng(seed)
    v = {name: random.normal(size=shape) for name, shape in shapes.items()}
    v |= {f"{name}_bias": random.normal(size=shape[1]) for name, shape in shapes.items()}
    return {name: leaf.astype(dtype) for name, leaf in v.items()}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_goals_are_met_at_every_scale_of_a_unit(dtype: Any) -> None:
    scales = np.array([1e-30, 1.0, 1e30])

    def apply(v: dict, x: Any) -> Any:
        return _layer(v, jnp.maximum(_layer(v, x, "first"), 0.0), "last")

    def scaled(seed: int) -> dict:
        v = _drawn(seed, first=(4, 3), last=(3, 2))
        v |= {name: v[name] * scales for name in ("first", "first_bias")} | {"last": v["last"] / scales[:, None]}
        return {name: leaf.astype(dtype) for name, leaf in v.items()}

    def seen(v: dict) -> np.ndarray:
        return (x @ np.asarray(v["first"], np.float64) + np.asarray(v["first_bias"], np.float64)) / scales

    a, b, x = scaled(0), scaled(1), np.random.default_rng(2).normal(size=(30, 4)).astype(dtype)
    found, merged = symmetries(apply, a, x[:1]), merge(a, b)
    fixed = repair(found, merged, a, b, [x[:11], x[11:]]).variables
    close = {"rtol": 1e-12, "atol": 1e-12} if dtype == np.float64 else {"rtol": 1e-5, "atol": 1e-6}
    for moment in (np.mean, np.std):
        np.testing.assert_allclose(moment(seen(fixed), 0), (moment(seen(a), 0) + moment(seen(b), 0)) / 2, **close)


def test_a_layer_that_is_used_twice_is_left_out() -> None:
    """No factor on it would scale one of its two outputs alone."""

    def apply(v: dict, x: Any) -> Any:
        x = jnp.maximum(_layer(v, x, "first"), 0.0)
        for _ in range(2):
            x = jnp.maximum(_layer(v, x, "twice"), 0.0)
        return _layer(v, x, "last")

    a = _drawn(0, first=(3, 4), twice=(4, 4), last=(4, 2))
    assert [place.name for place in writers(symmetries(apply, a, jnp.ones((1, 3))))] == ["first_bias"]


@pytest.mark.slow  # compiles five stages
def test_streams_that_stand_side_by_side_in_one_tensor() -> None:
    def apply(v: dict, x: Any, change: Any = lambda n, h: h) -> Any:
        h = change(0, jnp.maximum(_layer(v, x, "first"), 0.0))
        for n, name in enumerate(("second", "third"), 1):
            h = change(n, jnp.concatenate([h, jnp.maximum(_layer(v, h, name), 0.0)], -1))
        return _layer(v, h, "last")

    shapes = {"first": (3, 4), "second": (4, 3), "third": (7, 2), "last": (9, 2)}
    a, b, x = _drawn(0, **shapes), _drawn(1, **shapes), np.random.default_rng(2).normal(size=(20, 3))
    found, merged = symmetries(apply, a, x[:1]), merge(a, b, 0.25)

    def corrected(n: int, h: Any) -> Any:
        """The streams are the tensors read twice or more: what comes last is new there, and is not one of them."""
        ends: dict[int, list] = {}
        for v in (a, b):
            apply(v, x, lambda m, h: ends.setdefault(m, []).append(np.asarray(h)) or h)
        width = {0: 4, 1: 7, 2: 7}[n]
        means, spreads = (0.75 * f(ends[n][0], 0) + 0.25 * f(ends[n][1], 0) for f in (np.mean, np.std))
        now = np.asarray(h)
        spread = np.where(now.std(0) > 1e-12, now.std(0), np.inf)  # a silent unit becomes a constant
        moved = spreads / spread * (now - now.mean(0)) + means
        return jnp.asarray(np.concatenate([moved[:, :width], now[:, width:]], 1))

    fixed = repair(found, merged, a, b, [x[:9], x[9:]], places="streams", alpha=0.25)
    assert len(streams(found)) == 5
    np.testing.assert_allclose(outputs(found, fixed, x), apply(merged, x, corrected), rtol=1e-11, atol=1e-11)


def test_statistics_refuse_what_does_not_fit() -> None:
    def apply(v: dict, x: Any) -> Any:
        return _layer(v, jnp.maximum(_layer(v, x, "first"), 0.0), "last")

    a = _drawn(0, first=(3, 4), last=(4, 2))
    found = symmetries(apply, a, jnp.ones((1, 3)))
    with pytest.raises(ValueError, match=r"first is \(3, 2\) instead of \(3, 4\)"):
        statistics(found, a | {"first": np.ones((3, 2))}, [jnp.ones((2, 3))], writers(found))
    with pytest.raises(ValueError, match="batches is None"):
        repair(found, a, a, a, None)

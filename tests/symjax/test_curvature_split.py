"""Sharpness along and across an orbit against NumPy's projectors on the dense Hessian."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import curvature
from symjax.symmetry import Symmetry

HIDDEN = 3


def loss(params: Any, y: jax.Array) -> jax.Array:
    u, v = params
    return jnp.sum((y - u @ v) ** 2)


def scaled(s: jax.Array, params: Any) -> Any:
    """U diag(e^s), diag(e^-s) V."""
    u, v = params
    return u * jnp.exp(s)[None], v * jnp.exp(-s)[:, None]


SCALING = Symmetry(scaled, np.zeros(HIDDEN))


def setting(seed: int) -> tuple[Any, np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    u, v, y = draws.normal(size=(4, HIDDEN)), draws.normal(size=(HIDDEN, 5)), draws.normal(size=(4, 5))
    tangents = []
    for i in range(HIDDEN):
        du, dv = np.zeros_like(u), np.zeros_like(v)
        du[:, i], dv[i] = u[:, i], -v[i]
        tangents.append(np.concatenate((du.ravel(), dv.ravel())))
    return (jnp.asarray(u), jnp.asarray(v)), y, np.stack(tangents)


def projected(dense: np.ndarray, tangents: np.ndarray) -> tuple[float, float]:
    basis, _ = np.linalg.qr(tangents.T, mode="complete")
    rank = len(tangents)
    along, across = basis[:, :rank], basis[:, rank:]
    return tuple(float(np.linalg.eigvalsh(b.T @ dense @ b)[-1]) for b in (along, across))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_split_is_the_projected_hessian(sign: float) -> None:
    """With the loss turned round, the complement has negative eigenvalues beside what the projector removes."""
    split = jax.jit(lambda params, y: curvature.split(lambda p, y: sign * loss(p, y), params, SCALING, y))
    for seed in (0, 1):
        params, y, tangents = setting(seed)
        along, across = projected(sign * np.asarray(curvature.hessian(loss, params, y)), tangents)
        found = split(params, jnp.asarray(y))
        assert int(found.rank) == HIDDEN and bool(found.converged)
        np.testing.assert_allclose(found.along, along, rtol=1e-10)
        assert abs(found.across - across) <= float(found.residual) + 1e-9
        assert float(found.residual) <= 1e-2 * abs(across)


def test_a_minimum_is_flat_along_its_orbit() -> None:
    (u, v), _, _ = setting(2)
    found = curvature.split(loss, (u, v), SCALING, u @ v)
    assert abs(float(found.along)) < 1e-12 and float(found.across) > 1


def test_generators_that_depend_are_counted_once_and_a_definite_complement_keeps_its_sign() -> None:
    twice = Symmetry(lambda s, q: q + s[0] * jnp.array([1.0, 0, 0]) + s[1] * jnp.array([2.0, 0, 0]), jnp.zeros(2))
    found = curvature.split(lambda q: -0.5 * (5 * q[0] ** 2 + 2 * q[1] ** 2 + 3 * q[2] ** 2), jnp.ones(3), twice)
    assert int(found.rank) == 1
    np.testing.assert_allclose([found.along, found.across], [-5, -2], rtol=1e-6)


def test_the_split_of_a_loss_of_any_size_in_float32() -> None:
    params, y, tangents = setting(0)
    known = projected(np.asarray(curvature.hessian(loss, params, y)), tangents)
    symmetry = Symmetry(scaled, np.zeros(HIDDEN, np.float32))
    split = jax.jit(lambda p, y, size: curvature.split(lambda p, y: size * loss(p, y), p, symmetry, y))
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    for size in (1e-30, 1e-12, 1.0, 1e30):
        found = split(narrow, jnp.asarray(y, jnp.float32), jnp.float32(size))
        assert bool(found.converged)
        np.testing.assert_allclose([float(found.along) / size, float(found.across) / size], known, rtol=1e-3)


def test_an_empty_side_is_not_a_number() -> None:
    nothing = Symmetry(lambda s, q: q + 0 * s, jnp.array(0.0))
    everything = Symmetry(lambda s, q: q + s, jnp.zeros(2))
    none = curvature.split(lambda q: jnp.sum(q**2), jnp.ones(2), nothing)
    whole = curvature.split(lambda q: jnp.sum(q**2), jnp.ones(2), everything)
    assert int(none.rank) == 0 and np.isnan(none.along) and float(none.across) == pytest.approx(2)
    assert int(whole.rank) == 2 and np.isnan(whole.across) and float(whole.along) == pytest.approx(2)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="no coordinates"):
        curvature.split(lambda q: jnp.sum(q**2), jnp.ones(2), Symmetry(lambda s, q: q, jnp.zeros(0)))
    with pytest.raises(ValueError, match="the basis of 2 generators has 32 bytes, more than limit_bytes=31"):
        curvature.split(
            lambda q: jnp.sum(q**2), jnp.ones(2), Symmetry(lambda s, q: q + s, jnp.zeros(2)), limit_bytes=31
        )

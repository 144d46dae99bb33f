"""Curvature against NumPy's eigensolver on prescribed spectra, and against spec 1.7's closed-form Hessian spectrum."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import curvature

N = 120  # one size for every prescribed spectrum: one compilation for each k
M, HIDDEN, INPUTS = 3, 4, 2


def matrix(spectrum: np.ndarray, seed: int = 0) -> np.ndarray:
    """A symmetric matrix with these eigenvalues."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(spectrum),) * 2))
    return basis @ np.diag(spectrum) @ basis.T


def product(vector: dict[str, jax.Array], a: jax.Array) -> dict[str, jax.Array]:
    """``A v`` on a pytree of two leaves."""
    flat = a @ jnp.concatenate((vector["a"], vector["b"].reshape(-1)))
    return {"a": flat[:20], "b": flat[20:].reshape(10, 10)}


def point(dtype: Any = jnp.float64) -> dict[str, jax.Array]:
    return {"a": jnp.zeros(20, dtype), "b": jnp.zeros((10, 10), dtype)}


def rows(vectors: dict[str, jax.Array]) -> np.ndarray:
    return np.concatenate((vectors["a"], vectors["b"].reshape(-1, 100)), axis=1)


def network(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """Squared error of a two-layer tanh network with a bias."""
    u, v, b = params
    return jnp.sum((y - u @ jnp.tanh(v @ x + b[:, None])) ** 2)


def linear(params: Any, y: jax.Array) -> jax.Array:
    """Squared error of a linear two-layer network on X = I, in the layout of the scripts."""
    u, v = params
    return jnp.sum((y - u @ v.T) ** 2)


@pytest.fixture(scope="module")
def setting() -> tuple[Any, jax.Array, jax.Array]:
    draws = np.random.default_rng(1)
    params = tuple(jnp.asarray(draws.normal(size=shape)) for shape in ((M, HIDDEN), (HIDDEN, INPUTS), (HIDDEN,)))
    return params, jnp.asarray(draws.normal(size=(INPUTS, 6))), jnp.asarray(draws.normal(size=(M, 6)))


def analytic_gradient(params: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Backpropagation by hand, raveled."""
    u, v, b = (np.asarray(p) for p in params)
    hidden = np.tanh(v @ x + b[:, None])
    error = 2 * (u @ hidden - y)
    back = (u.T @ error) * (1 - hidden**2)
    return np.concatenate([part.ravel() for part in (error @ hidden.T, back @ x.T, back.sum(axis=1))])


def difference_hessian(params: Any, x: np.ndarray, y: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences of the gradient written by hand."""
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    def gradient(q: np.ndarray) -> np.ndarray:
        return analytic_gradient(unravel(jnp.asarray(q)), np.asarray(x), np.asarray(y))

    flat = np.asarray(flat)
    return np.stack([(gradient(flat + e) - gradient(flat - e)) / (2 * step) for e in step * np.eye(flat.size)])


# Hessian and products


def test_the_hessian_is_the_derivative_of_the_gradient(setting: Any) -> None:
    params, x, y = setting
    expected = difference_hessian(params, x, y)
    found = curvature.hessian(network, params, x, y)
    assert np.max(np.abs(found - expected)) <= 1e-7 * np.max(np.abs(expected))
    for chunk in (5, 128):
        chunked = curvature.hessian(network, params, x, y, method="chunks", chunk=chunk)
        assert np.max(np.abs(chunked - found)) <= 1e-13 * np.max(np.abs(expected))


def test_a_product_is_the_hessian_times_a_vector(setting: Any) -> None:
    params, x, y = setting
    direction = jax.tree.map(lambda p: jnp.cos(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)
    vector = np.concatenate([np.ravel(leaf) for leaf in direction])
    expected = difference_hessian(params, x, y) @ vector
    found = jax.jit(lambda q, v: curvature.hvp(network, q, x, y)(v))(params, direction)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, params)
    flat = np.concatenate([np.ravel(leaf) for leaf in found])
    assert np.max(np.abs(flat - expected)) <= 1e-7 * np.max(np.abs(expected))


@pytest.mark.slow
def test_the_spectrum_of_a_linear_network_at_zero_loss() -> None:
    """Eigenvalues 2 (lambda_i(V V^T) + mu_j(U U^T)), and zeros (spec 1.7); orbits of the group are flat (1.1)."""
    draws = np.random.default_rng(2)
    m, h, n = 4, 6, 3
    u, v = draws.normal(size=(m, h)), draws.normal(size=(n, h))
    closed = 2 * np.add.outer(np.linalg.eigvalsh(v @ v.T), np.linalg.eigvalsh(u @ u.T)).ravel()
    params, y = (jnp.asarray(u), jnp.asarray(v)), jnp.asarray(u @ v.T)
    dense = np.asarray(curvature.hessian(linear, params, y))
    values = np.linalg.eigvalsh(dense)
    expected = np.sort(np.concatenate((closed, np.zeros((m + n) * h - m * n))))
    assert np.max(np.abs(values - expected)) <= 1e-10 * expected[-1]
    assert np.sum(values > 1e-8) == m * n
    generator = draws.normal(size=(h, h))
    tangent = np.concatenate(((-u @ generator).ravel(), (v @ generator.T).ravel()))
    assert np.linalg.norm(dense @ tangent) <= 1e-12 * np.linalg.norm(tangent) * expected[-1]
    away = np.asarray(curvature.hessian(linear, params, y + 1))
    assert np.linalg.norm(away @ tangent) > 0.1, "away from the minimum the orbit is not flat"
    found = curvature.eigenvalues(linear, params, y, k=5, tolerance=1e-8)
    assert bool(found.converged)
    np.testing.assert_allclose(found.values, expected[::-1][:5], rtol=1e-10)


def test_the_guard_names_size_limit_and_alternatives() -> None:
    with pytest.raises(
        ValueError, match="100 parameters in float64 has 80000 bytes, more than limit_bytes=79999; .*eigenvalues"
    ):
        curvature.hessian(lambda q: jnp.sum(q**3), jnp.ones(100), limit_bytes=79_999)
    assert curvature.hessian(lambda q: jnp.sum(q**2), jnp.ones(4), limit_bytes=128).shape == (4, 4)


# Eigenvalues

SPECTRA = {
    "spread": np.linspace(-1, 1, N),
    "clustered": np.concatenate(([10, 9.99, 9.98, 9.97], np.linspace(0, 1, N - 4))),
    "repeated": np.concatenate(([5, 5, 5, 3, 3], np.full(40, 0.1), np.zeros(N - 45))),
    "negative": np.concatenate((-np.geomspace(1e-3, 10, 20), np.zeros(N - 20))),
    "one": np.full(N, 3.0),
    "zero": np.zeros(N),
}


@pytest.fixture(scope="module")
def five() -> dict[str, Callable[[jax.Array], Any]]:
    """``five[which](matrix)``: its five outermost eigenvalues, compiled once for all matrices."""

    def compiled(which: str) -> Callable[[jax.Array], Any]:
        options = {"k": 5, "which": which, "operator": "product", "tolerance": 1e-6}
        return jax.jit(lambda a: curvature.eigenvalues(product, point(), a, **options))

    return {which: compiled(which) for which in ("largest", "smallest")}


@pytest.mark.parametrize("which", ["largest", "smallest"])
@pytest.mark.parametrize("name", SPECTRA)
def test_eigenvalues_of_prescribed_spectra(five: Any, name: str, which: str) -> None:
    spectrum = np.sort(SPECTRA[name])[:: -1 if which == "largest" else 1]
    a = matrix(spectrum)
    found = five[which](jnp.asarray(a))
    scale = max(np.max(np.abs(spectrum)), 1e-300)
    assert bool(found.converged)
    np.testing.assert_allclose(found.values, spectrum[:5], atol=1e-10 * scale)
    vectors = rows(found.vectors)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(5), atol=1e-12)
    true = np.linalg.norm(vectors @ a - np.asarray(found.values)[:, None] * vectors, axis=1)
    assert np.all(true <= 1.5 * np.asarray(found.residuals) + 1e-10 * scale)
    assert np.all(np.asarray(found.residuals) <= 1.01 * np.maximum(1e-6 * np.abs(spectrum[:5]), 1e-12 * scale))


def test_nearly_all_eigenvalues() -> None:
    spectrum = np.random.default_rng(3).normal(size=N)
    found = curvature.eigenvalues(product, point(), jnp.asarray(matrix(spectrum)), k=N - 1, operator="product")
    np.testing.assert_allclose(found.values, np.sort(spectrum)[::-1][:-1], atol=1e-12)
    assert bool(found.converged) and int(found.products) == N + (N - 1) + 6, "formed, and measured"


def test_too_few_products_are_reported_and_the_residuals_are_true() -> None:
    """The bound holds for what has not converged as well."""
    a = matrix(SPECTRA["spread"])
    found = curvature.eigenvalues(product, point(), jnp.asarray(a), k=5, operator="product", max_products=31)
    assert not bool(found.converged) and int(found.products) == 31, "two cycles of ten, and eleven that measure"
    vectors = rows(found.vectors)
    true = np.linalg.norm(vectors @ a - np.asarray(found.values)[:, None] * vectors, axis=1)
    np.testing.assert_allclose(found.residuals, true, rtol=1e-8)
    assert np.max(np.abs(found.values - SPECTRA["spread"][::-1][:5])) > 1e-3


def test_an_operator_that_is_not_a_number_has_not_converged(five: Any) -> None:
    found = five["largest"](jnp.full((N, N), jnp.nan))
    assert not bool(found.converged)
    assert int(found.products) <= 21
    assert np.isnan(found.values).all() and np.isinf(found.residuals).all()
    small = curvature.eigenvalues(lambda q: jnp.nan * jnp.sum(q**2), jnp.ones(4), k=2)  # formed and diagonalised
    assert not bool(small.converged) and np.isinf(small.residuals).all()


def test_fewer_products_than_an_answer_needs_are_refused() -> None:
    a = jnp.asarray(matrix(SPECTRA["spread"]))
    with pytest.raises(ValueError, match="max_products is 20, but must be a whole number of at least 21, to find and"):
        curvature.eigenvalues(product, point(), a, k=5, operator="product", max_products=20)
    with pytest.raises(ValueError, match="max_products is 11, but must be a whole number of at least 12"):
        curvature.eigenvalues(lambda q: jnp.sum(q**2), jnp.ones(4), k=2, max_products=11)
    enough = curvature.eigenvalues(lambda q: jnp.sum(q**2), jnp.ones(4), k=2, max_products=12)
    assert bool(enough.converged) and int(enough.products) == 12


@pytest.mark.slow
def test_a_traced_limit_below_a_cycle_leaves_no_answer() -> None:
    """What cannot be refused has NaN values, infinite residuals and has not converged."""
    a = jnp.asarray(matrix(SPECTRA["spread"]))
    found = jax.jit(
        lambda limit: curvature.eigenvalues(product, point(), a, k=5, operator="product", max_products=limit)
    )(9)
    assert not bool(found.converged) and int(found.products) == 11, "what measures"
    assert np.isnan(found.values).all() and np.isinf(found.residuals).all()


@pytest.mark.slow
def test_eigenvalues_in_float32() -> None:
    for name in ("clustered", "repeated"):
        spectrum = np.sort(SPECTRA[name])[::-1]
        a = jnp.asarray(matrix(spectrum), jnp.float32)
        found = curvature.eigenvalues(product, point(jnp.float32), a, k=5, operator="product")
        assert found.values.dtype == jnp.float32 and bool(found.converged)
        np.testing.assert_allclose(found.values, spectrum[:5], rtol=1e-5)


def test_a_batch_of_networks_is_the_networks_one_by_one() -> None:
    """Members stop after different numbers of products; none disturbs another. The oracle is NumPy's."""
    draws = np.random.default_rng(4)
    shapes = ((3, 3, 8), (3, 8, 4), (3, 8))
    params = tuple(jnp.asarray(draws.normal(size=shape)) for shape in shapes)
    x, y = jnp.asarray(draws.normal(size=(4, 9))), jnp.asarray(draws.normal(size=(3, 9)))
    solve = jax.jit(jax.vmap(lambda q: curvature.eigenvalues(network, q, x, y, k=3, which="smallest", tolerance=1e-8)))
    found = solve(params)
    dense = jax.vmap(lambda q: curvature.hessian(network, q, x, y))(params)
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh(dense)[:, :3], rtol=1e-10)
    assert np.all(found.converged)
    assert len(set(np.asarray(found.products).tolist())) > 1


# Density and trace


@pytest.mark.slow
def test_quadrature_of_a_density_gives_the_moments() -> None:
    """Nodes and weights of a probe are Gauss': v^T A^p v for p up to 2 steps - 1, whatever the probe."""
    a = matrix(np.random.default_rng(5).normal(size=N))
    key = jax.random.key(3)
    for batching in ("map", "vmap"):
        found = curvature.density(
            product, point(), jnp.asarray(a), key=key, steps=6, probes=2, operator="product", batching=batching
        )
        assert found.nodes.shape == found.weights.shape == (2, 6)
        probes = [np.asarray(jax.random.rademacher(k, (N,), jnp.float64)) / N**0.5 for k in jax.random.split(key, 2)]
        for probe, nodes, weights in zip(probes, found.nodes, found.weights, strict=True):
            for power in range(12):
                expected = probe @ np.linalg.matrix_power(a, power) @ probe
                np.testing.assert_allclose(jnp.sum(weights * nodes**power), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_a_density_knows_the_shares_of_a_spectrum_with_three_values() -> None:
    """More steps than distinct eigenvalues: the space ends, the rest weighs nothing. 60, 36 and 24 of 120."""
    a = jnp.asarray(matrix(np.repeat([0.0, 1.0, 4.0], (60, 36, 24))))
    found = curvature.density(product, point(), a, key=jax.random.key(0), steps=12, probes=64, operator="product")
    assert bool(jnp.all(jnp.isfinite(found.nodes)))
    for value, share in ((0.0, 0.5), (1.0, 0.3), (4.0, 0.2)):
        mass = jnp.mean(jnp.sum(jnp.where(jnp.abs(found.nodes - value) < 1e-9, found.weights, 0), axis=1))
        assert abs(float(mass) - share) < 0.03
    points = jnp.linspace(-2, 6, 401)
    smooth = found.at(points, 0.2)
    assert abs(float(jnp.trapezoid(smooth, points)) - 1) < 1e-6
    assert int(jnp.argmax(smooth)) == 100, "the peak is at zero"


@pytest.mark.parametrize("estimator", ["hutchinson", "xtrace"])
def test_the_trace_within_its_standard_error(estimator: str) -> None:
    spectrum = np.geomspace(1e-3, 100, N)
    a = jnp.asarray(matrix(spectrum))
    estimate: Callable[..., curvature.Trace] = jax.jit(
        jax.vmap(
            lambda key: curvature.trace(
                product, point(), a, key=key, probes=20, operator="product", estimator=estimator
            )
        )
    )
    found = estimate(jax.random.split(jax.random.key(1), 50))
    standardised = (np.asarray(found.value) - spectrum.sum()) / np.asarray(found.error)
    assert abs(np.mean(standardised)) < 0.6 and 0.5 < np.std(standardised) < 2
    variance = 2 * (np.sum(spectrum**2) - np.sum(np.diag(a) ** 2)) / 20
    if estimator == "hutchinson":
        assert 0.5 < np.var(found.value) / variance < 2
    else:
        assert np.var(found.value) < 0.2 * variance, "XTrace gains on a falling spectrum"


def test_trace_and_density_of_a_loss(setting: Any) -> None:
    """Both of the same Hessian: the mean of the density is the trace over P, here with every sign's own noise bound."""
    params, x, y = setting
    dense = difference_hessian(params, x, y)
    found = curvature.trace(network, params, x, y, key=jax.random.key(0), probes=400)
    assert abs(float(found.value) - np.trace(dense)) < 5 * float(found.error)
    spectrum = curvature.density(network, params, x, y, key=jax.random.key(0), steps=4, probes=400)
    mean = jnp.sum(spectrum.nodes * spectrum.weights, axis=1) * len(dense)
    assert abs(float(jnp.mean(mean)) - np.trace(dense)) < 5 * float(jnp.std(mean)) / 20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda f, q: curvature.eigenvalues(f, q, k=0),
            "k is 0, but must be a whole number from 1 to the 4 parameters",
        ),
        (
            lambda f, q: curvature.eigenvalues(f, q, k=5),
            "k is 5, but must be a whole number from 1 to the 4 parameters",
        ),
        (lambda f, q: curvature.eigenvalues(f, q, k=2.5), "k is 2.5, but must be a whole number"),
        (lambda f, q: curvature.eigenvalues(f, q, k=1, tolerance=-1), "tolerance is -1.0, but must not be negative"),
        (
            lambda f, q: curvature.hessian(lambda q: q**2, q),
            r"the loss gives an array of shape \(4,\), but must give a scalar",
        ),
        (
            lambda f, q: curvature.density(f, q, key=jax.random.key(0), steps=2).at(q, 0.0),
            "width is 0.0, but a standard deviation must be positive",
        ),
        (lambda f, q: curvature.eigenvalues(f, q, k=1, which="LM"), "which is 'LM', but must be \"largest\""),
        (lambda f, q: curvature.eigenvalues(f, q, k=2, keep=1), "keep is 1, but must be a whole number of at least 2"),
        (lambda f, q: curvature.eigenvalues(f, q, k=1, operator="square"), "operator is 'square'"),
        (lambda f, q: curvature.hessian(f, q, method="rows"), "method is 'rows'"),
        (lambda f, q: curvature.hessian(f, q, chunk=0), "chunk is 0"),
        (lambda f, q: curvature.hessian(f, q > 0), "params is an array of dtype bool"),
        (lambda f, q: curvature.hessian(f, {}), "params has no leaves"),
        (lambda f, q: curvature.hessian(f, jnp.ones(0)), "params has no entries"),
        (lambda f, q: curvature.density(f, q, key=jax.random.key(0), steps=0), "steps is 0, but must be a whole"),
        (lambda f, q: curvature.trace(f, q, key=jax.random.key(0), probes="many"), "probes is 'many'"),
        (lambda f, q: curvature.eigenvalues(f, q, k=True), "k is True"),
        (lambda f, q: curvature.hvp(f, q)({"w": q}), "the vector has the structure"),
        (lambda f, q: curvature.hvp(f, q)(jnp.ones(3)), r"the vector has leaves of shapes \[\(3,\)\]"),
        (lambda f, q: curvature.eigenvalues(f, q, k=1, operator="product"), "the product has leaves of shapes"),
        (lambda f, q: curvature.density(f, q, key=jax.random.key(0), steps=2, probes=0), "probes is 0"),
        (lambda f, q: curvature.density(f, q, key=jax.random.key(0), steps=2, batching="loop"), "batching is 'loop'"),
        (lambda f, q: curvature.trace(f, q, key=jax.random.key(0), probes=1), "probes is 1"),
        (
            lambda f, q: curvature.trace(f, q, key=jax.random.key(0), probes=5, estimator="xtrace"),
            "from 2 to the 4 parameters",
        ),
        (lambda f, q: curvature.trace(f, q, key=jax.random.key(0), estimator="hutch++"), "estimator is 'hutch\\+\\+'"),
    ],
)
def test_bad_input(call: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(lambda q: jnp.sum(q**2), jnp.ones(4))

"""Lanczos quadrature without re-orthogonalisation: moments and density of spectra with outliers and clusters.

For a diagonal operator every probe of random signs has the same weight 1/P on each eigenvector, so that one probe's
quadrature stands for the whole spectrum and the oracle is a plain mean over the eigenvalues, without sampling noise.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import curvature

N = 2000


def bulk_with_outliers() -> np.ndarray:
    """A semicircle of radius 1 and 20 outliers up to 50, as Hessians of classifiers have."""
    draws = np.random.default_rng(0)
    angle = np.pi * (np.arange(N - 20) + 0.5) / (N - 20)
    bulk = np.sqrt(1 - 0.5 * np.cos(angle)) * np.cos(angle)
    return np.concatenate((bulk, np.sort(draws.uniform(5, 50, 20))))


def four_clusters() -> np.ndarray:
    centres = np.repeat([-3.0, 0.0, 1.0, 10.0], (200, 1400, 300, 100))
    return centres + 1e-3 * np.random.default_rng(1).normal(size=N)


SPECTRA: dict[str, Callable[[], np.ndarray]] = {
    "bulk with outliers": bulk_with_outliers,
    "four clusters": four_clusters,
    "geometric": lambda: np.geomspace(1e-6, 1, N),
}


def quadrature(spectrum: np.ndarray, steps: int, dtype: Any, probes: int = 1) -> curvature.Density:
    diagonal = jnp.asarray(spectrum, dtype)
    return curvature.density(
        lambda v, d: d * v,
        jnp.zeros(spectrum.size, dtype),
        diagonal,
        key=jax.random.key(0),
        steps=steps,
        probes=probes,
        operator="product",
    )


@pytest.mark.parametrize(("dtype", "accuracy"), [(jnp.float32, 1e-4), (jnp.float64, 1e-12)])
@pytest.mark.parametrize("name", SPECTRA)
def test_moments_and_density_are_the_dense_ones(name: str, dtype: Any, accuracy: float) -> None:
    spectrum = SPECTRA[name]()
    found = quadrature(spectrum, 160, dtype)
    nodes, weights = np.asarray(found.nodes[0], float), np.asarray(found.weights[0], float)
    low, high = spectrum.min(), spectrum.max()
    assert nodes.min() > low - 1e-4 * (high - low) and nodes.max() < high + 1e-4 * (high - low)
    assert abs(weights.sum() - 1) < accuracy and weights.min() >= 0
    for degree in range(1, 60):  # Chebyshev's polynomials are bounded by one: no moment is drowned by the outliers
        polynomial = np.polynomial.Chebyshev.basis(degree, domain=[low, high])
        assert abs(weights @ polynomial(nodes) - polynomial(spectrum).mean()) < accuracy, degree
    for power in range(1, 9):
        size = np.mean(np.abs(spectrum) ** power)
        assert abs(weights @ nodes**power - np.mean(spectrum**power)) < 20 * accuracy * size, power
    width = 0.03 * (high - low)
    points = np.linspace(low - 2 * width, high + 2 * width, 101)
    exact = np.exp(-(((points[:, None] - spectrum) / width) ** 2) / 2).mean(axis=1) / (width * np.sqrt(2 * np.pi))
    smooth = np.asarray(found.at(jnp.asarray(points, dtype), width), float)
    np.testing.assert_allclose(smooth, exact, atol=20 * accuracy * exact.max())


def test_ghosts_share_the_weight_of_the_one() -> None:
    """Copies of the outliers do appear, so the test above tests something; together each weighs 1/P."""
    spectrum = bulk_with_outliers()
    found = quadrature(spectrum, 160, jnp.float32)
    nodes, weights = np.asarray(found.nodes[0], float), np.asarray(found.weights[0], float)
    copies = []
    for outlier in spectrum[-5:]:
        near = np.abs(nodes - outlier) < 1e-3
        copies.append(near.sum())
        assert abs(weights[near].sum() * N - 1) < 2e-2
    assert max(copies) > 1


def test_a_dense_matrix_in_a_rotated_basis() -> None:
    """With 16 probes the mean over probes stays within its own spread of the dense moments, outliers and all."""
    spectrum = bulk_with_outliers()[::8]
    basis, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(spectrum.size,) * 2))
    a = jnp.asarray(basis @ np.diag(spectrum) @ basis.T, jnp.float32)
    found = curvature.density(
        lambda v, a: a @ v,
        jnp.zeros(spectrum.size, jnp.float32),
        a,
        key=jax.random.key(1),
        steps=120,
        probes=16,
        operator="product",
    )
    for function in (lambda x: x, lambda x: x**2, lambda x: np.exp(-(x**2)), lambda x: np.tanh(x - 5)):
        each = np.sum(np.asarray(found.weights, float) * function(np.asarray(found.nodes, float)), axis=1)
        assert abs(each.mean() - function(spectrum).mean()) < 4 * each.std() / 4


def test_more_steps_than_parameters() -> None:
    """The space ends with the parameters, or before; what comes after weighs nothing and is finite."""
    for spectrum in (np.array([1.0, 2.0, 5.0, 5.0]), np.zeros(3), np.array([7.0])):
        found = quadrature(spectrum, 80, jnp.float64, probes=3)
        assert found.nodes.shape == (3, 80) and np.isfinite(found.nodes).all()
        values, counts = np.unique(spectrum, return_counts=True)
        for value, count in zip(values, counts, strict=True):
            mass = np.sum(np.where(np.abs(found.nodes - value) < 1e-9, found.weights, 0), axis=1)
            np.testing.assert_allclose(mass, count / spectrum.size, rtol=1e-9)


def test_members_of_a_batch_and_probes_one_by_one_agree() -> None:
    scales = jnp.asarray([1e-6, 1.0, 1e6])
    spectrum = four_clusters()[::20]

    def estimate(scale: jax.Array, batching: str) -> curvature.Density:
        return curvature.density(
            lambda v, d: d * v,
            jnp.zeros(spectrum.size),
            scale * jnp.asarray(spectrum),
            key=jax.random.key(0),
            steps=12,
            probes=2,
            operator="product",
            batching=batching,
        )

    together = jax.jit(jax.vmap(lambda scale: estimate(scale, "vmap")))(scales)
    apart = jax.jit(lambda scale: estimate(scale, "map"))
    for scale, nodes, weights in zip(scales, together.nodes, together.weights, strict=True):
        one = apart(scale)
        np.testing.assert_allclose(nodes, one.nodes, atol=1e-9 * scale)
        np.testing.assert_allclose(weights, one.weights, atol=1e-9)


def test_memory_does_not_grow_with_the_steps() -> None:
    """Two vectors are held, and the product's own: a basis of 400 would be 160 MB."""
    count = 100_000

    def program(steps: int) -> Any:
        run = jax.jit(
            lambda d: curvature.density(
                lambda v, d: d * v,
                jnp.zeros_like(d),
                d,
                key=jax.random.key(0),
                steps=steps,
                probes=1,
                operator="product",
            )
        )
        return run.lower(jax.ShapeDtypeStruct((count,), jnp.float32)).compile().memory_analysis()

    assert program(400).temp_size_in_bytes < 40 * 4 * count

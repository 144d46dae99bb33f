"""Spectra at minima of two-layer networks against finite differences and dense Jacobians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.gradient_flow.networks.two_layer import minima
from symjax.conserved import matrix


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def hessian(loss, point, step=1e-4):
    """Central second differences, accurate to about 1e-7."""
    point, steps = np.asarray(point, float), step * np.eye(len(point))
    four = lambda a, b: loss(point + a + b) - loss(point + a - b) - loss(point - a + b) + loss(point - a - b)  # noqa: E731
    return np.array([[four(a, b) for b in steps] for a in steps]) / (4 * step**2)


@pytest.fixture(scope="module")
def network():
    generator = np.random.default_rng(3)
    return generator.normal(size=(3, 4)), generator.normal(size=(2, 4))


def dense_hessian(output, given, sigma, target):
    """Central differences of the loss in all weights, with NumPy alone."""
    split = output.size

    def loss(flat):
        u, v = flat[:split].reshape(output.shape), flat[split:].reshape(given.shape)
        return ((u @ sigma(v).T - target) ** 2).sum()

    return hessian(loss, np.concatenate([output.ravel(), given.ravel()]))


def test_linear_spectrum(network):
    output, given = network
    dense = np.linalg.eigvalsh(dense_hessian(output, given, lambda v: v, output @ given.T))[::-1]
    spectrum = np.asarray(minima.linear_spectrum(jnp.asarray(output), jnp.asarray(given)))
    assert spectrum.shape == (6,)
    np.testing.assert_allclose(dense[:6], spectrum, rtol=1e-6)
    np.testing.assert_allclose(dense[6:], 0, atol=1e-5)
    np.testing.assert_allclose(
        minima.tangent_gram(jnp.asarray(output), jnp.asarray(given), "linear"),
        2 * (np.kron(np.eye(3), given @ given.T) + np.kron(output @ output.T, np.eye(2))),
        rtol=1e-12,
        atol=1e-13,
    )


def test_linear_trace_at_any_residual(network):
    output, given = network
    off = output @ given.T + 1.0
    trace = float(minima.linear_trace(jnp.asarray(output), jnp.asarray(given)))
    np.testing.assert_allclose(np.trace(dense_hessian(output, given, lambda v: v, off)), trace, rtol=1e-6)
    q = 2 * float(jnp.trace(matrix(jnp.asarray(output), jnp.asarray(given.T))))
    size = (output**2).sum() + (given**2).sum()
    np.testing.assert_allclose(trace, (3 + 2) * size + (2 - 3) * q, rtol=1e-13)


@pytest.mark.parametrize(("name", "sigma"), [("tanh", np.tanh), ("sigmoid", lambda v: 1 / (1 + np.exp(-v)))])
def test_tangent_gram_is_the_hessian_at_zero_loss_only(network, name, sigma):
    output, given = network
    gram = np.linalg.eigvalsh(np.asarray(minima.tangent_gram(jnp.asarray(output), jnp.asarray(given), name)))[::-1]
    function = output @ sigma(given).T
    dense = np.linalg.eigvalsh(dense_hessian(output, given, sigma, function))[::-1]
    np.testing.assert_allclose(dense[:6], gram, rtol=1e-5)
    off = np.linalg.eigvalsh(dense_hessian(output, given, sigma, function + 1.0))[::-1]
    assert np.abs(off[:6] - gram).max() > 0.1


def test_float32_jit_and_vmap(network):
    output, given = (jnp.asarray(w, jnp.float32) for w in network)
    both = jax.jit(jax.vmap(minima.linear_spectrum))(jnp.stack([output, 2 * output]), jnp.stack([given, 2 * given]))
    assert both.dtype == jnp.float32
    exact = np.linalg.eigvalsh(network[0] @ network[0].T)[:, None] + np.linalg.eigvalsh(network[1] @ network[1].T)
    exact = np.sort(2 * exact.ravel())[::-1]
    np.testing.assert_allclose(both, [exact, 4 * exact], rtol=5e-6)
    gram = jax.jit(jax.vmap(lambda u, v: minima.tangent_gram(u, v, "linear")))(output[None], given[None])[0]
    np.testing.assert_allclose(np.linalg.eigvalsh(gram)[::-1], exact, rtol=1e-5)

"""Solved models against gradient flow integrated by SciPy, finite differences and dense Jacobians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from papers.gradient_flow.networks import solvable
from symjax.conserved import matrix


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def flow(gradient, start, times):
    return solve_ivp(lambda t, q: -gradient(q), (0, times[-1]), start, t_eval=times, rtol=1e-11, atol=1e-13).y


def slope_of_log(times, losses):
    return -np.polyfit(times, np.log(losses), 1)[0]


def hessian(loss, point, step=1e-4):
    """Central second differences, accurate to about 1e-7."""
    point, steps = np.asarray(point, float), step * np.eye(len(point))
    four = lambda a, b: loss(point + a + b) - loss(point + a - b) - loss(point - a + b) + loss(point - a - b)  # noqa: E731
    return np.array([[four(a, b) for b in steps] for a in steps]) / (4 * step**2)


@pytest.mark.parametrize(("charge", "target"), [(0.0, 1.3), (3.0, 0.7), (-2.0, -0.4), (50.0, 1e-3)])
def test_product_minimum_and_limit(charge, target):
    u, v = (float(side) for side in solvable.product_minimum(jnp.array(charge), jnp.array(target)))
    assert (
        u >= 0
        and abs(u * v - target) < 1e-14 * max(1, abs(target))
        and abs(u * u - v * v - charge) < 1e-13 * (1 + abs(charge))
    )
    values = np.linalg.eigvalsh(hessian(lambda q: (target - q[0] * q[1]) ** 2, (u, v)))
    sharpness = float(solvable.product_limit(jnp.array(charge), jnp.array(target)).sharpness)
    np.testing.assert_allclose(values, [0, sharpness], atol=2e-6 * (1 + sharpness))


def test_product_flow_keeps_charge_and_has_the_rate():
    charge, target = 1.5, 0.8
    limit = solvable.product_limit(jnp.array(charge), jnp.array(target))
    start = [float(side) for side in solvable.product_minimum(jnp.array(charge), jnp.array(0.5 * target))]
    times = np.linspace(0, 14, 141) * 2 / float(limit.rate)
    u, v = flow(lambda q: -2 * (target - q[0] * q[1]) * q[::-1], start, times)
    np.testing.assert_allclose(solvable.product_charge((u, v)), charge, rtol=1e-8)
    losses = np.asarray(solvable.product_loss((u, v), target))
    assert abs(slope_of_log(times[70:], losses[70:]) / float(limit.rate) - 1) < 5e-3
    assert abs(slope_of_log(times[:20], losses[:20]) / float(limit.rate) - 1) > 5e-3  # only near the minimum


def test_quotient_flow_keeps_charge_has_the_rate_and_stays_under_the_bound():
    charge, target = 2.0, -1.2
    limit = solvable.quotient_limit(jnp.array(charge), jnp.array(target))
    minimum = [float(side) for side in solvable.quotient_minimum(jnp.array(charge), jnp.array(target))]
    assert abs(minimum[0] / minimum[1] - target) < 1e-14 and abs(minimum[0] ** 2 + minimum[1] ** 2 - charge) < 1e-14
    values = np.linalg.eigvalsh(hessian(lambda q: (target - q[0] / q[1]) ** 2, minimum))
    np.testing.assert_allclose(values, [0, float(limit.sharpness)], atol=1e-5)

    def gradient(q):
        residual = target - q[0] / q[1]
        return 2 * residual * np.array([-1 / q[1], q[0] / q[1] ** 2])

    start = [float(side) for side in solvable.quotient_minimum(jnp.array(charge), jnp.array(0.5))]
    times = np.linspace(0, 20, 161) * 2 / float(limit.rate)
    u, v = flow(gradient, start, times)
    np.testing.assert_allclose(solvable.quotient_charge((u, v)), charge, rtol=1e-8)
    losses = np.asarray(solvable.quotient_loss((u, v), target))
    assert abs(slope_of_log(times[120:], losses[120:]) / float(limit.rate) - 1) < 5e-3
    bound = np.asarray(solvable.quotient_bound(losses[0], charge, times))
    assert (losses <= bound * (1 + 1e-9)).all() and losses[-1] < 0.1 * bound[-1]


def test_ellipse():
    start, ratio, times = (1.3, -0.4), 3.0, np.linspace(0, 1.5, 11)
    w1, w2 = solvable.ellipse_flow(start, ratio, times)
    np.testing.assert_allclose(
        flow(lambda q: np.array([2 * q[0], 2 * ratio * q[1]]), start, times), [w1, w2], atol=1e-10
    )
    charge = np.asarray(solvable.ellipse_charge((w1, w2), ratio))
    np.testing.assert_allclose(charge, charge[0], rtol=1e-13)
    np.testing.assert_allclose(np.exp(charge[0]), abs(1.3) ** ratio / 0.4, rtol=1e-13)
    gradient = jax.grad(lambda q: solvable.ellipse_loss((q[0], q[1]), ratio))(jnp.array(start))
    np.testing.assert_allclose(gradient, [2.6, -2.4], rtol=1e-14)
    assert np.ptp(np.asarray(solvable.ellipse_charge((w1, w2), 2.0))) > 0.1  # with the wrong ratio it is not conserved


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
    spectrum = np.asarray(solvable.linear_spectrum(jnp.asarray(output), jnp.asarray(given)))
    assert spectrum.shape == (6,)
    np.testing.assert_allclose(dense[:6], spectrum, rtol=1e-6)
    np.testing.assert_allclose(dense[6:], 0, atol=1e-5)
    np.testing.assert_allclose(
        solvable.tangent_gram(jnp.asarray(output), jnp.asarray(given), "linear"),
        2 * (np.kron(np.eye(3), given @ given.T) + np.kron(output @ output.T, np.eye(2))),
        rtol=1e-12,
        atol=1e-13,
    )


def test_linear_trace_at_any_residual(network):
    output, given = network
    off = output @ given.T + 1.0
    trace = float(solvable.linear_trace(jnp.asarray(output), jnp.asarray(given)))
    np.testing.assert_allclose(np.trace(dense_hessian(output, given, lambda v: v, off)), trace, rtol=1e-6)
    q = 2 * float(jnp.trace(matrix(jnp.asarray(output), jnp.asarray(given.T))))
    size = (output**2).sum() + (given**2).sum()
    np.testing.assert_allclose(trace, (3 + 2) * size + (2 - 3) * q, rtol=1e-13)


@pytest.mark.parametrize(("name", "sigma"), [("tanh", np.tanh), ("sigmoid", lambda v: 1 / (1 + np.exp(-v)))])
def test_tangent_gram_is_the_hessian_at_zero_loss_only(network, name, sigma):
    output, given = network
    gram = np.linalg.eigvalsh(np.asarray(solvable.tangent_gram(jnp.asarray(output), jnp.asarray(given), name)))[::-1]
    function = output @ sigma(given).T
    dense = np.linalg.eigvalsh(dense_hessian(output, given, sigma, function))[::-1]
    np.testing.assert_allclose(dense[:6], gram, rtol=1e-5)
    off = np.linalg.eigvalsh(dense_hessian(output, given, sigma, function + 1.0))[::-1]
    assert np.abs(off[:6] - gram).max() > 0.1


def test_float32_jit_and_vmap(network):
    output, given = (jnp.asarray(w, jnp.float32) for w in network)
    both = jax.jit(jax.vmap(solvable.linear_spectrum))(jnp.stack([output, 2 * output]), jnp.stack([given, 2 * given]))
    assert both.dtype == jnp.float32
    exact = np.linalg.eigvalsh(network[0] @ network[0].T)[:, None] + np.linalg.eigvalsh(network[1] @ network[1].T)
    exact = np.sort(2 * exact.ravel())[::-1]
    np.testing.assert_allclose(both, [exact, 4 * exact], rtol=5e-6)
    gram = jax.jit(jax.vmap(lambda u, v: solvable.tangent_gram(u, v, "linear")))(output[None], given[None])[0]
    np.testing.assert_allclose(np.linalg.eigvalsh(gram)[::-1], exact, rtol=1e-5)
    charges = jnp.array([-1.0, 2.0], jnp.float32)
    rate = jax.jit(jax.vmap(solvable.product_limit))(charges, jnp.ones(2, jnp.float32)).rate
    np.testing.assert_allclose(rate, 4 * np.sqrt(np.array([5.0, 8.0])), rtol=1e-6)

"""Solved models against gradient flow integrated by SciPy, finite differences and dense Jacobians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from papers.gradient_flow.networks import solvable


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


def test_limit_in_float32_under_jit_and_vmap():
    charges = jnp.array([-1.0, 2.0], jnp.float32)
    rate = jax.jit(jax.vmap(solvable.product_limit))(charges, jnp.ones(2, jnp.float32)).rate
    np.testing.assert_allclose(rate, 4 * np.sqrt(np.array([5.0, 8.0])), rtol=1e-6)

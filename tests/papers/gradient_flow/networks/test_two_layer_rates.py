"""The two-layer loss of one hidden unit under gradient flow: rates and bounds known in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.gradient_flow.networks.two_layer import model as two_layer
from symjax.integrate import adaptive


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@functools.partial(jax.jit, static_argnums=0)
def flow(name, target, u, v, times):
    """Loss and the paper's Q along gradient flow of one hidden unit, one input, one output."""
    start, goal = (jnp.full((1, 1), u), jnp.full((1, 1), v)), jnp.full((1, 1), target)
    path = adaptive(
        two_layer.scaled_gradient(goal, jnp.ones(()), name),
        start,
        times=times,
        record=lambda params: (two_layer.loss(params, goal, name), 2 * two_layer.charge(params, name)[0]),
    )
    return path.recorded


def final_rate(times, losses):
    return -np.log(losses[-1] / losses[-2]) / (times[-1] - times[-2])


def test_rate_of_the_product():
    """L = (y - uv)^2 loses at the rate 4 sqrt(Q^2 + 4 y^2) in the end, Q = u^2 - v^2 (spec 1.7)."""
    for u, v, y in ((2.0, 0.3, 1.0), (0.5, 0.6, 1.0)):
        charge = u**2 - v**2
        rate = 4 * np.sqrt(charge**2 + 4 * y**2)
        times = np.array([0.0, 16 / rate, 20 / rate])
        losses, kept = map(np.asarray, flow("linear", y, u, v, times))
        assert final_rate(times, losses) == pytest.approx(rate, rel=5e-3)
        np.testing.assert_allclose(kept, charge, rtol=1e-8)


def test_rate_and_bound_of_the_ratio():
    """L = (s - u/v)^2: rate 4 (1 + s^2)^2/Q in the end, L(t) <= L(0) e^(-4t/Q) always, Q = u^2 + v^2 (spec 1.7)."""
    for u, v, s in ((0.2, 1.0, 1.5), (2.0, 1.5, 0.5)):
        charge = u**2 + v**2
        rate = 4 * (1 + s**2) ** 2 / charge
        times = np.concatenate([np.linspace(0.0, 6 / rate, 20), [28 / rate, 32 / rate]])
        losses, kept = map(np.asarray, flow("row_radial", s, u, v, times))
        assert final_rate(times, losses) == pytest.approx(rate, rel=5e-3)
        assert (losses <= losses[0] * np.exp(-4 * times / charge) * (1 + 1e-9)).all()
        np.testing.assert_allclose(kept, -charge, rtol=1e-8)

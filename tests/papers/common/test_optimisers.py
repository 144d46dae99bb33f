"""The registry of optimisers: every one trains with traced numbers, AdamW by its formula, SGD by its law's rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.common.optimisers import OPTIMISERS
from papers.common.training import sgd, step_schedule

DECAY, STEPS = 0.05, 6
HESSIAN = np.array([[2.0, 0.5], [0.5, 1.0]])


def descend(name, rate, momentum):
    """A quadratic's path from (1, -2), every number traced: the points (steps + 1, 2), and the last state."""
    start = {"q": jnp.array([1.0, -2.0])}

    def run(rate, momentum, decay):
        rule = OPTIMISERS[name].build(step_schedule(rate, (3,)), momentum, decay)
        q, state, path = start, rule.init(start), [start["q"]]
        for _ in range(STEPS):
            updates, state = rule.update({"q": jnp.asarray(HESSIAN) @ q["q"]}, state, q)
            q = {"q": q["q"] + updates["q"]}
            path.append(q["q"])
        return jnp.stack(path), state

    return jax.jit(run)(rate, momentum, DECAY)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_rule_descends_with_traced_numbers(name):
    path, _ = descend(name, 0.05, 0.9)
    heights = np.einsum("ni,ij,nj->n", path, HESSIAN, path)
    assert np.isfinite(path).all() and heights[-1] < heights[0]
    if OPTIMISERS[name].law is None:
        return
    rule = OPTIMISERS[name].law(step_schedule(0.05, (3,)), 0.9, DECAY)
    q, v = np.array([1.0, -2.0]), 0.0
    for step in range(STEPS):
        v = rule.momentum * v + HESSIAN @ q + rule.weight_decay * q
        q = q - float(rule.learning_rate(jnp.int32(step))) * v
    np.testing.assert_allclose(path[-1], q, rtol=1e-10)


def test_adamw_is_its_formula():
    """Loshchilov & Hutter 2019, Algorithm 2, in NumPy."""
    q, m, v = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    expected = [q]
    for step in range(1, STEPS + 1):
        rate = 0.05 * (0.1 if step > 3 else 1)
        g = HESSIAN @ q
        m, v = 0.8 * m + 0.2 * g, 0.999 * v + 0.001 * g**2
        q = q - rate * (m / (1 - 0.8**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8) + DECAY * q)
        expected.append(q)
    np.testing.assert_allclose(descend("adamw", 0.05, 0.8)[0], expected, rtol=1e-10)


def test_sgd_is_the_librarys():
    q, rule = {"q": jnp.array([1.0, -2.0])}, sgd(step_schedule(0.05, (3,)), 0.9, DECAY)
    state, expected = rule.init(q), [q["q"]]
    for _ in range(STEPS):
        updates, state = rule.update({"q": jnp.asarray(HESSIAN) @ q["q"]}, state, q)
        q = {"q": q["q"] + updates["q"]}
        expected.append(q["q"])
    np.testing.assert_allclose(descend("sgd", 0.05, 0.9)[0], jnp.stack(expected), rtol=1e-13)

"""Translations: the exact law against NumPy's softmax under SGD, and its closed form at a constant rate."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symjax.mechanics import discrete

SIZE, CLASSES = 7, 5
RULES = {
    "plain": {"momentum": 0.0, "weight_decay": 0.0},
    "decay": {"momentum": 0.0, "weight_decay": 0.02},
    "plain_dampened": {"momentum": 0.0, "weight_decay": 0.02, "dampening": 0.4},
    "heavy_ball": {"momentum": 0.9, "weight_decay": 0.0},
    "heavy_ball_decay": {"momentum": 0.9, "weight_decay": 0.01},
    "dampened": {"momentum": 0.9, "weight_decay": 0.01, "dampening": 0.5},
    "nesterov": {"momentum": 0.8, "weight_decay": 0.01, "nesterov": True},
    "nesterov_plain": {"momentum": 0.0, "weight_decay": 0.01, "nesterov": True},
}
STEPS = 300
DROPS = np.where(np.arange(STEPS) < 150, 0.05, np.where(np.arange(STEPS) < 220, 0.005, 0.02))


@pytest.fixture(autouse=True)
def _rank_promotion_raises():
    with jax.numpy_rank_promotion("raise"):
        yield


def simulate(gradient, q, *, momentum, weight_decay, dampening=0.0, nesterov=False):
    """Run PyTorch's SGD in NumPy; return the positions of all steps."""
    buffer, path = None, [q]
    for n, rate in enumerate(DROPS):
        full = gradient(n, q) + weight_decay * q
        if momentum:
            buffer = full if buffer is None else momentum * buffer + (1 - dampening) * full
        else:
            buffer = full
        q = q - rate * (full + momentum * buffer if nesterov else buffer)
        path.append(q)
    return np.array(path)


def softmax_loss():
    """Gradient of the cross-entropy of W (inputs, classes) on three random examples a step."""
    rng = np.random.default_rng(5)
    inputs, labels = rng.normal(size=(STEPS, 3, SIZE)), rng.integers(0, CLASSES, size=(STEPS, 3))

    def gradient(n, w):
        logits = inputs[n] @ w
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        p[np.arange(3), labels[n]] -= 1
        return inputs[n].T @ p / 3

    return gradient, rng.normal(size=(SIZE, CLASSES))


@functools.partial(jax.jit, static_argnames=("nesterov",))
def linear_scan(start, rates, nesterov, rule):
    def body(state, rate):
        state = discrete.linear_step(
            state, residual=jnp.zeros_like(start), learning_rate=rate, nesterov=nesterov, **rule
        )
        return state, discrete.linear_value(state)

    return jax.lax.scan(body, discrete.linear_start(start), rates)[1]


@pytest.mark.parametrize("rule", RULES)
def test_translation_is_exact(rule):
    gradient, w = softmax_loss()
    assert np.abs(gradient(0, w).sum(-1)).max() < 1e-15
    sums = simulate(gradient, w, **RULES[rule]).sum(-1)
    rest = {"dampening": 0.0, **RULES[rule]}
    nesterov = rest.pop("nesterov", False)
    scale = np.abs(sums[0]).max()
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
        found = linear_scan(jnp.asarray(sums[0], dtype), jnp.asarray(DROPS, dtype), nesterov, rest)
        assert found.dtype == dtype
        np.testing.assert_allclose(np.asarray(found, np.float64) / scale, sums[1:] / scale, atol=tolerance)


def test_translation_with_residual():
    """A force along n that breaks the symmetry: measured e_n restores exactness."""
    rng = np.random.default_rng(0)
    force = rng.normal(size=(STEPS,))
    s, w = 1.0, 0.0
    state = discrete.linear_start(jnp.array([1.0]))
    for n in range(40):
        full = force[n] + 0.1 * s
        w = full if n == 0 else 0.9 * w + 0.7 * full
        s -= DROPS[n] * w
        state = discrete.linear_step(
            state, residual=jnp.array([force[n]]), learning_rate=DROPS[n], momentum=0.9, weight_decay=0.1, dampening=0.3
        )
    np.testing.assert_allclose(discrete.linear_value(state), [s], rtol=1e-13)
    np.testing.assert_allclose(state.velocity, [w], rtol=1e-12)


def test_linear_step_under_vmap():
    starts, rates = jnp.arange(12.0).reshape(3, 4), jnp.array([0.1, 0.2, 0.3])

    def one_linear(value, rate):
        state = discrete.linear_start(value)
        return discrete.linear_value(
            discrete.linear_step(state, residual=value, learning_rate=rate, momentum=0.5, weight_decay=0.1)
        )

    np.testing.assert_allclose(jax.jit(jax.vmap(one_linear))(starts, rates)[1], one_linear(starts[1], 0.2), rtol=1e-14)


def recurrence(start, steps, rate, beta, decay):
    values = [start, (1 - rate * decay) * start]
    for _ in range(steps):
        values.append((1 + beta - rate * decay) * values[-1] - beta * values[-2])
    return np.array(values[: steps + 1])


CRITICAL = (1 - np.sqrt(0.81)) ** 2  # eta k of the double root at beta = 0.81


@settings(max_examples=40, deadline=None)
@given(beta=st.floats(0.0, 0.99), product=st.floats(0.0, 3.9))
def test_linear_closed_form_solves_its_recurrence(beta, product):
    product = product * (1 + beta) / 2
    found = discrete.linear_closed_form(
        jnp.full(41, 2.0), jnp.arange(41), learning_rate=product, momentum=beta, weight_decay=1.0
    )
    expected = recurrence(2.0, 40, product, beta, 1.0)
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("product", [CRITICAL, CRITICAL * (1 + 1e-12), CRITICAL * (1 - 1e-9), 0.0, 0.2, 3.0, 3.61])
def test_linear_closed_form_near_the_double_root(product):
    found = discrete.linear_closed_form(
        jnp.full(301, 1.5), jnp.arange(301), learning_rate=product, momentum=0.81, weight_decay=1.0
    )
    expected = recurrence(1.5, 300, product, 0.81, 1.0)
    np.testing.assert_allclose(found, expected, atol=1e-11 * np.abs(expected).max())
    assert np.isfinite(np.asarray(found)).all()


def test_linear_closed_form_without_momentum():
    found = jax.vmap(
        lambda n: discrete.linear_closed_form(jnp.array(3.0), n, learning_rate=0.1, momentum=0.0, weight_decay=0.5)
    )(jnp.arange(50))
    np.testing.assert_allclose(found, 3.0 * 0.95 ** np.arange(50), rtol=1e-13)
    dead = discrete.linear_closed_form(jnp.ones(3), jnp.arange(3), learning_rate=1.0, momentum=0.0, weight_decay=1.0)
    np.testing.assert_array_equal(dead, [1.0, 0.0, 0.0])


def test_linear_roots_against_numpy():
    for beta, product in [(0.9, 0.001), (0.9, 0.5), (0.0, 0.3), (0.81, 3.7)]:
        roots = discrete.linear_roots(learning_rate=product, momentum=beta, weight_decay=1.0)
        expected = np.roots([1, -(1 + beta - product), beta])
        np.testing.assert_allclose(np.sort_complex(roots), np.sort_complex(expected), atol=1e-14)

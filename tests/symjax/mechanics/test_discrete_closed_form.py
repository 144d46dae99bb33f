"""The constant-rate closed form along a translation, against its recurrence and NumPy's roots."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symjax.mechanics import discrete


@pytest.fixture(autouse=True)
def _rank_promotion_raises():
    with jax.numpy_rank_promotion("raise"):
        yield


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

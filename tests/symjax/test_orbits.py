"""Ascent along orbits against closed forms: circles, level sets of Rosenbrock's function, balanced layers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symjax.orbits import ascend
from symjax.symmetry import Symmetry

TURN = Symmetry(
    lambda s, q: jnp.stack([jnp.cos(s) * q[0] - jnp.sin(s) * q[1], jnp.sin(s) * q[0] + jnp.cos(s) * q[1]]),
    np.zeros(()),
)
OPPOSITE = Symmetry(
    lambda s, q: (q[0] * jnp.exp(s)[None], q[1] * jnp.exp(-s)[:, None]),
    np.zeros(3),
)


def two_layers(seed: int, dtype: Any = jnp.float64) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.standard_normal((2, 3)), dtype), jnp.asarray(4 * rng.standard_normal((3, 4)), dtype)


def squares(q: Any) -> jax.Array:
    return -sum(jnp.sum(leaf * leaf) for leaf in q)


@settings(max_examples=10)
@given(angle=st.floats(-3, 3))
def test_a_linear_function_on_a_circle(angle: float) -> None:
    """The largest ``<a, q>`` on the circle of q is ``|a| |q|``, at the direction of a."""
    a, q = jnp.array([1.0, 2.0]), 3 * jnp.array([jnp.cos(angle), jnp.sin(angle)])
    found = ascend(TURN, lambda q, a: jnp.sum(a * q), q, a)
    np.testing.assert_allclose(found.values[-1], np.sqrt(5) * 3, rtol=1e-12)
    np.testing.assert_allclose(found.params, 3 * a / np.sqrt(5), atol=1e-5)
    assert bool(found.converged) and (np.diff(found.values) >= 0).all()
    assert int(found.steps) < 100 and float(found.gradient_norm) < 1e-5


def rosenbrock(q: jax.Array) -> jax.Array:
    return 100 * (q[0] ** 2 - q[1]) ** 2 + (1 - q[0]) ** 2


def turned(s: jax.Array, q: jax.Array) -> jax.Array:
    """Rotations of ``(10 (x^2 - y), 1 - x)``, in which Rosenbrock's function is the squared norm."""
    u = TURN.flow(s, jnp.stack([10 * (q[0] ** 2 - q[1]), 1 - q[0]]))
    x = 1 - u[1]
    return jnp.stack([x, x**2 - u[0] / 10])


@pytest.mark.parametrize("start", [(-1.0, 1.5), (0.5, -0.4), (2.0, 3.0)])
def test_teleportation_on_rosenbrock(start: tuple[float, float]) -> None:
    """The largest gradient on the level set, against a scan of the circle with NumPy; the loss is what it was."""
    q = jnp.array(start)
    steepness = lambda q: jnp.sum(jax.grad(rosenbrock)(q) ** 2)  # noqa: E731
    found = ascend(Symmetry(turned, np.zeros(())), steepness, q, longest=0.3)
    assert bool(found.converged)
    np.testing.assert_allclose(rosenbrock(found.params), rosenbrock(q), rtol=1e-12)
    radius, angles = np.sqrt(float(rosenbrock(q))), np.linspace(-np.pi, np.pi, 400001)
    u, v = radius * np.cos(angles), radius * np.sin(angles)
    x = 1 - v
    along_x, along_y = 40 * x * u - 2 * v, -20 * u  # d(u^2 + v^2) with du/dx = 20 x, dv/dx = -1, du/dy = -10
    scan = along_x**2 + along_y**2
    peaks = scan[1:-1][(scan[1:-1] > scan[:-2]) & (scan[1:-1] > scan[2:])]
    reached = float(found.values[-1])
    assert np.abs(peaks / reached - 1).min() < 1e-8
    assert reached > float(steepness(q)) * 1.01 and (np.diff(found.values) >= 0).all()


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_the_balanced_form_of_two_layers(dtype: Any) -> None:
    """The smallest ``|U|^2 + |V|^2`` on the orbit is ``2 sum |U_i| |V_i|``: every neuron balanced."""
    u, v = two_layers(1, dtype)
    found = ascend(OPPOSITE, squares, (u, v))
    sizes = np.linalg.norm(u, axis=0), np.linalg.norm(v, axis=1)
    tolerance = 1e-12 if dtype == jnp.float64 else 1e-5
    assert bool(found.converged) and found.params[0].dtype == dtype
    np.testing.assert_allclose(found.values[-1], -2 * np.sum(sizes[0] * sizes[1]), rtol=tolerance)
    np.testing.assert_allclose(
        np.linalg.norm(found.params[0], axis=0), np.linalg.norm(found.params[1], axis=1), rtol=20 * tolerance**0.5
    )
    np.testing.assert_allclose(found.params[0] @ found.params[1], u @ v, rtol=1e3 * tolerance, atol=1e3 * tolerance)


def test_the_flattest_point_of_a_valley() -> None:
    """On ``u v = 1``: the Hessian's trace of ``(u v - 1)^2/2`` is ``u^2 + v^2``, smallest, 2, at ``|u| = |v|``."""
    loss = lambda q: (q[0] * q[1] - 1) ** 2 / 2  # noqa: E731
    valley = Symmetry(lambda s, q: jnp.stack([q[0] * jnp.exp(s), q[1] * jnp.exp(-s)]), 0.0)
    found = ascend(valley, lambda q: -jnp.trace(jax.hessian(loss)(q)), jnp.array([5.0, 0.2]))
    np.testing.assert_allclose(found.params, [1, 1], rtol=1e-6)
    np.testing.assert_allclose(found.values[0], -25.04, rtol=1e-14)
    np.testing.assert_allclose(found.values[-1], -2, rtol=1e-14)


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15, 1e30])
def test_objectives_of_every_size_have_one_path(scale: float) -> None:
    params, factor = two_layers(2, jnp.float32), jnp.float32(2.0 ** np.round(np.log2(scale)))
    one, two = (ascend(OPPOSITE, lambda q, c: c * squares(q), params, c) for c in (jnp.float32(1), factor))
    for got, wanted in zip(two.params, one.params, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert bool(one.converged) and bool(two.converged) and int(one.steps) == int(two.steps)
    np.testing.assert_array_equal(two.values / factor, one.values)


def test_without_a_largest_value_every_step_is_taken_and_none_is_too_long() -> None:
    grow = Symmetry(lambda s, q: q * jnp.exp(s), jnp.zeros(()))
    found = ascend(grow, lambda q: jnp.log(q), jnp.array(1.0), steps=7, longest=0.25)
    assert int(found.steps) == 7 and not bool(found.converged)
    np.testing.assert_allclose(found.values, 0.25 * np.arange(8), atol=1e-13)


def test_steps_stay_inside_the_domain() -> None:
    """A flow defined for coordinates that keep q below 2: the objective wants more and does not get it."""
    bounded = Symmetry(lambda s, q: q * jnp.exp(s), jnp.zeros(()), lambda s, q: q * jnp.exp(s) < 2)
    found = ascend(bounded, lambda q: q, jnp.array(1.0))
    assert 1.999 < float(found.params) < 2


def test_what_is_not_finite_is_not_converged() -> None:
    grow = Symmetry(lambda s, q: q * jnp.exp(s), jnp.zeros(()))
    assert not bool(ascend(grow, lambda q: jnp.sqrt(-q), jnp.array(1.0)).converged)
    stays = ascend(grow, lambda q: jnp.where(q > 1, jnp.nan, q), jnp.array(1.0))
    assert float(stays.params) == 1.0


def test_compiled_batched_and_differentiated_by_nothing_kept() -> None:
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), two_layers(3), two_layers(4))
    found = jax.jit(jax.vmap(lambda q: ascend(OPPOSITE, squares, q)))(params)
    for place in (0, 1):
        alone = ascend(OPPOSITE, squares, jax.tree.map(lambda leaf, place=place: leaf[place], params))
        np.testing.assert_allclose(found.values[place][-1], alone.values[-1], rtol=1e-12)
    state = {"sign": 1.0}
    objective = lambda q: state["sign"] * q[0]  # noqa: E731
    for sign in (1.0, -1.0):
        state["sign"] = sign
        np.testing.assert_allclose(ascend(TURN, objective, jnp.array([0.0, 1.0])).params[0], sign, rtol=1e-8)


def test_numbers_of_every_type() -> None:
    for q in ([0, 2], np.array([0, 2]), jnp.array([0, 2], jnp.bfloat16)):
        found = ascend(TURN, lambda q: q[0], q if not isinstance(q, list) else np.array(q))
        assert found.params.dtype in (jnp.float32, jnp.float64)
        np.testing.assert_allclose(found.params[0], 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ascend(TURN, lambda q: q, jnp.ones(2)), "objective returns .*, but must return one real number"),
        (lambda: ascend(TURN, lambda q: 3, jnp.ones(2)), "objective returns .*, but must return one real number"),
        (lambda: ascend(TURN, lambda q: q[0], jnp.ones(2), steps=0), "steps is 0, but must be at least 1"),
        (lambda: ascend(TURN, lambda q: q[0], jnp.ones(2), longest=0), "longest is 0, but must be a positive finite"),
        (lambda: ascend(TURN, lambda q: q[0], jnp.ones(2), longest="far"), "longest is 'far', but must be an array"),
        (lambda: ascend(TURN, lambda q: q[0], "q"), "params is 'q', but must be an array of real numbers"),
        (lambda: ascend(TURN.flow, lambda q: q[0], jnp.ones(2)), "symmetry is a function, but must be a Symmetry"),
        (lambda: ascend(Symmetry(TURN.flow, {}), lambda q: q[0], jnp.ones(2)), "symmetry has no coordinates"),
    ],
)
def test_bad_input_is_one_sentence(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

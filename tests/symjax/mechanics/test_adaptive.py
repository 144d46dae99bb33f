"""SGD on a scale-symmetric loss against RMSProp on the sphere; exact equivalences and angles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax.mechanics import adaptive, closed_forms

TARGET = np.array([0.4, -1.0, 0.8, 0.3])
FORM = np.array([[1.0, 0.3, 0.0, 0.2], [0.0, -0.5, 0.1, 0.0], [0.2, 0.0, 0.7, -0.4], [0.0, 0.5, 0.0, 0.1]])
START = np.array([1.8, 0.2, 1.0, -1.2])


@pytest.fixture(autouse=True)
def _rank_promotion_raises():
    with jax.numpy_rank_promotion("raise"):
        yield


def loss(q):
    unit = q / jnp.sqrt(q @ q)
    return unit @ TARGET + unit @ (FORM @ unit)


@functools.partial(jax.jit, static_argnames="steps")
def train(start, rates, momentum, decay, steps):
    """PyTorch's SGD; returns q_1 ... q_steps."""

    def body(carry, rate):
        q, v = carry
        v = momentum * v + jax.grad(loss)(q) + decay * q
        return (q - rate * v, v), q - rate * v

    return jax.lax.scan(body, (start, jnp.zeros_like(start)), jnp.broadcast_to(rates, (steps,)))[1]


def unit(q):
    return np.asarray(q) / np.linalg.norm(q, axis=-1, keepdims=True)


def sphere(hyper, start, steps):
    correspondence = adaptive.rmsprop_correspondence(start @ start, **hyper)

    def body(state, _):
        gradient = jax.grad(loss)(state.direction)
        state = adaptive.rmsprop_step(
            state, gradient, learning_rate=correspondence.learning_rate, rho=correspondence.rho
        )
        return state, state

    state = adaptive.RMSPropState(start / jnp.sqrt(start @ start), correspondence.average)
    return correspondence, jax.jit(lambda s: jax.lax.scan(body, s, length=steps)[1])(state)


@pytest.mark.parametrize(("momentum", "tolerance"), [(0.0, 1e-4), (0.5, 5e-3)])
def test_sgd_follows_rmsprop_on_the_sphere(momentum, tolerance):
    """The paper's main claim end to end: 20,000 steps, the same direction at every one of them."""
    hyper = {"learning_rate": 0.002, "momentum": momentum, "weight_decay": 0.02}
    start, steps = jnp.asarray(START), 20_000
    sgd = train(start, 0.002, momentum, 0.02, steps)
    correspondence, states = sphere(hyper, start, steps)
    error = np.linalg.norm(unit(sgd) - np.asarray(states.direction), axis=-1).max()
    assert np.linalg.norm(unit(sgd)[-1] - unit(START)) > 0.5  # the direction went somewhere
    assert error < tolerance
    # The denominator is the norm: r^4 = prefactor/(rate of forgetting) G.
    r4 = (np.asarray(sgd) ** 2).sum(-1) ** 2
    forgetting = (1 - correspondence.rho) / 0.002
    predicted = np.asarray(correspondence.prefactor / forgetting * states.average)
    np.testing.assert_allclose(r4, predicted, rtol=20 * tolerance)
    # A wrong correspondence shows: without the momentum's part of it the directions part.
    if momentum:
        _, wrong = sphere(hyper | {"momentum": 0.0}, start, steps)
        assert np.linalg.norm(unit(sgd) - np.asarray(wrong.direction), axis=-1).max() > 10 * error


def test_rmsprop_average_solves_eq_18():
    """Constant |gh|: G is the discretised exponential average."""
    state = adaptive.RMSPropState(jnp.array([[1.0, 0.0]]), jnp.array([4.0]))
    for _ in range(50):
        turned = jnp.stack([-state.direction[:, 1], state.direction[:, 0]], axis=-1)
        state = adaptive.rmsprop_step(state, turned, learning_rate=0.1, rho=0.9)
    np.testing.assert_allclose(state.average, [0.9**50 * 4 + 1 - 0.9**50], rtol=1e-12)
    np.testing.assert_allclose((state.direction**2).sum(-1), [1.0], rtol=1e-14)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_scaling_equivalence(momentum):
    """q -> c q, eta -> c^2 eta, k -> k/c^2 leaves the direction alone."""
    base = train(jnp.asarray(START), 0.03, momentum, 0.01, 500)
    scaled = train(3.0 * jnp.asarray(START), 0.03 * 9, momentum, 0.01 / 9, 500)
    np.testing.assert_allclose(unit(scaled), unit(base), atol=1e-9)
    other = train(3.0 * jnp.asarray(START), 0.03, momentum, 0.01, 500)
    assert np.abs(unit(other) - unit(base)).max() > 1e-2


def test_decay_is_a_growing_rate():
    """beta = 0: decay at constant eta is no decay with eta (1 - eta k)^-(2n + 1)."""
    rate, decay = 0.03, 0.05
    base = train(jnp.asarray(START), rate, 0.0, decay, 500)
    grown = train(jnp.asarray(START), rate * (1 - rate * decay) ** -(2 * jnp.arange(500.0) + 1), 0.0, 0.0, 500)
    np.testing.assert_allclose(grown * (1 - rate * decay) ** jnp.arange(1.0, 501.0)[:, None], base, rtol=1e-9)


def turning(rate, momentum, decay, steps):
    """Constant |gh| = 1, forever turning in a plane; returns positions."""
    q, v, path = np.array([1.0, 0.0]), np.zeros(2), []
    for _ in range(steps):
        g = np.array([-q[1], q[0]]) / (q @ q)
        v = momentum * v + g + decay * q
        q = q - rate * v
        path.append(q)
    return np.array(path)


def angles(path):
    unit_path = unit(path)
    return 2 * np.arcsin(np.linalg.norm(np.diff(unit_path, axis=0), axis=-1) / 2)


def test_angular_update_is_exact_without_momentum():
    path = turning(0.3, 0.0, 0.4, 40)
    r2 = jnp.asarray((path[:-1] ** 2).sum(-1))
    hyper = {"learning_rate": 0.3, "weight_decay": 0.4}
    found = jax.jit(functools.partial(adaptive.angular_update, **hyper))(r2, jnp.ones_like(r2))
    np.testing.assert_allclose(found, angles(path), rtol=1e-12)
    single = jax.vmap(functools.partial(adaptive.angular_update, **hyper))(
        r2.astype(jnp.float32), jnp.ones(39, jnp.float32)
    )
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, angles(path), rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_equilibrium_angle_is_exact(momentum):
    rate, decay = 0.1, 0.3
    path = turning(rate, momentum, decay, 3000)
    found = float(jax.jit(adaptive.equilibrium_angle)(learning_rate=rate, momentum=momentum, weight_decay=decay))
    np.testing.assert_allclose(angles(path)[-1], found, rtol=1e-10)
    np.testing.assert_allclose(found, np.sqrt(2 * rate * decay / (1 + momentum)), rtol=0.01)
    if momentum == 0:
        np.testing.assert_allclose(np.cos(found), 1 - rate * decay, rtol=1e-14)
        fixed = adaptive.equilibrium_squared_norm_without_momentum(
            jnp.array(1.0), learning_rate=rate, weight_decay=decay
        )
        np.testing.assert_allclose(fixed, path[-1] @ path[-1], rtol=1e-10)


def test_effective_learning_rate_moves_the_direction():
    """One SGD step from r qh is one step of the effective rate from qh, renormalised (beta = 0)."""
    hyper = {"learning_rate": 0.2, "weight_decay": 0.3}
    start = jnp.asarray(START) * 1.7
    step = train(start, 0.2, 0.0, 0.3, 1)[0]
    direction = start / jnp.sqrt(start @ start)
    rate = adaptive.effective_learning_rate(start @ start, momentum=0.0, **hyper)
    np.testing.assert_allclose(unit(step), unit(direction - rate * jax.grad(loss)(direction)), rtol=1e-13)
    with_momentum = adaptive.effective_learning_rate(jnp.array(2.0), learning_rate=0.1, momentum=0.9)
    np.testing.assert_allclose(with_momentum, 0.5, rtol=1e-14)


def test_correspondence_agrees_with_eq_17():
    """RMSProp's G and Eq. 17's r^4 are one recursion up to the constant, to first order in 1 - rho."""
    hyper = {"learning_rate": 1e-3, "momentum": 0.5, "weight_decay": 0.05}
    start = jnp.array([1.3])
    c = jax.vmap(functools.partial(adaptive.rmsprop_correspondence, **hyper))(start)
    r4 = (c.prefactor * 1e-3 / (1 - c.rho)) * c.average
    np.testing.assert_allclose(r4, start**2, rtol=1e-12)
    state, average = closed_forms.bernoulli_start(start), c.average
    for _ in range(20):
        state = closed_forms.bernoulli_step(state, squared_gradient=jnp.array([0.8]), **hyper)
        average = c.rho * average + (1 - c.rho) * 0.8
    expected = closed_forms.bernoulli_value(state) ** 2
    np.testing.assert_allclose(c.prefactor * 1e-3 / (1 - c.rho) * average, expected, rtol=1e-5)

"""Oscillator recursions against matrix exponentials; Eq. 17 against simulation, with and without noise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from symjax.mechanics import closed_forms


@pytest.fixture(autouse=True)
def _rank_promotion_raises():
    with jax.numpy_rank_promotion("raise"):
        yield


def exponential(damping, stiffness, time):
    """Matrix exponential of (x, x', F) under x'' = F - 2 Gam x' - om^2 x, F' = 0."""
    return scipy.linalg.expm(time * np.array([[0, 1, 0], [-stiffness, -2 * damping, 1], [0, 0, 0]]))


REGIMES = [
    (5.0, 0.0),
    (5.0, 1e-9),
    (5.0, 0.3),
    (5.0, 24.9),
    (5.0, 25.0 * (1 - 1e-13)),
    (5.0, 25.0),
    (5.0, 25.0 * (1 + 1e-13)),
    (5.0, 25.1),
    (5.0, 400.0),
    (0.0, 4.0),
    (0.0, 0.0),
]


@pytest.mark.parametrize("time", [1e-6, 1e-3, 0.09, 0.2, 1.0, 7.0])
@pytest.mark.parametrize(("damping", "stiffness"), REGIMES)
def test_oscillator_step_is_the_matrix_exponential(damping, stiffness, time):
    flow = exponential(damping, stiffness, time)
    for column, (position, velocity, force) in enumerate(np.eye(3)):
        state = closed_forms.oscillator_step(
            closed_forms.Oscillator(jnp.array(position), jnp.array(velocity)),
            force=jnp.array(force),
            damping=damping,
            stiffness=stiffness,
            duration=time,
        )
        atol = 1e-13 if column < 2 else 1e-12 * abs(flow[0, 2])
        np.testing.assert_allclose(state.position, flow[0, column], rtol=1e-11, atol=atol)
        np.testing.assert_allclose(state.velocity, flow[1, column], rtol=1e-11, atol=2e-13)


@settings(max_examples=60, deadline=None)
@given(damping=st.floats(0.0, 50.0), ratio=st.floats(0.0, 4.0), time=st.floats(1e-4, 2.0))
def test_oscillator_step_in_float32(damping, ratio, time):
    stiffness = ratio * damping**2
    flow = exponential(np.float32(damping).item(), np.float32(stiffness).item(), np.float32(time).item())
    state = closed_forms.oscillator_step(
        closed_forms.Oscillator(jnp.ones((), jnp.float32), jnp.ones((), jnp.float32)),
        force=jnp.ones((), jnp.float32),
        damping=damping,
        stiffness=stiffness,
        duration=time,
    )
    assert state.position.dtype == jnp.float32
    scale = 1e-4 * (1 + stiffness * time)
    np.testing.assert_allclose(state.position, flow[0].sum(), atol=scale)
    np.testing.assert_allclose(state.velocity, flow[1].sum(), atol=scale * (1 + damping))


@pytest.mark.parametrize(("damping", "stiffness"), REGIMES)
def test_homogeneous_and_green(damping, stiffness):
    times = np.linspace(0.0, 3.0, 13)
    flows = np.array([exponential(damping, stiffness, t) for t in times])
    kwargs = {"damping": damping, "stiffness": stiffness}
    h = jax.jit(functools.partial(closed_forms.homogeneous, **kwargs))(jnp.asarray(times))
    g = jax.vmap(functools.partial(closed_forms.green, **kwargs))(jnp.asarray(times))
    np.testing.assert_allclose(h, flows[:, 0, 0], atol=1e-13)
    np.testing.assert_allclose(g, flows[:, 0, 1], atol=1e-13)


def test_forced_motion_is_the_convolution():
    """Many small steps against x(0) h + int G F, by quadrature in SciPy."""
    damping, stiffness, end, steps = 2.0, 3.0, 1.5, 600
    force = lambda t: np.sin(3 * t) + 0.5  # noqa: E731
    width = end / steps
    middles = jnp.asarray(force((np.arange(steps) + 0.5) * width))
    step = functools.partial(closed_forms.oscillator_step, damping=damping, stiffness=stiffness, duration=width)
    start = closed_forms.oscillator_start(jnp.array(0.7))
    last, _ = jax.lax.scan(lambda x, f: (step(x, force=f), None), start, middles)

    def kernel(tau):
        return exponential(damping, stiffness, end - tau)[0, 1] * force(tau)

    expected = 0.7 * exponential(damping, stiffness, end)[0, 0] + scipy.integrate.quad(kernel, 0, end)[0]
    np.testing.assert_allclose(last.position, expected, rtol=1e-5)


def test_long_float32_run_neither_overflows_nor_drifts():
    """At beta = 0.9 the integrating factor dies before step 850; here 50,000 steps settle at F/om^2."""
    c = closed_forms.oscillator_coefficients("scale", learning_rate=0.1, momentum=0.9, weight_decay=5e-3)
    assert float(2 * c.damping * c.duration) * 850 > np.log(np.finfo(np.float32).max)
    start = closed_forms.oscillator_start(jnp.ones(2, jnp.float32))
    force = jnp.array([0.0, 0.3], jnp.float32)
    step = functools.partial(
        closed_forms.oscillator_step,
        force=force,
        damping=float(c.damping),
        stiffness=float(c.stiffness),
        duration=float(c.duration),
    )
    last, _ = jax.lax.scan(lambda x, _: (step(x), None), start, length=50_000)
    np.testing.assert_allclose(last.position, [0.0, 0.3 / float(c.stiffness)], rtol=1e-4, atol=1e-6)


def test_coefficients_of_the_three_laws():
    eta, beta, k, delta = 0.1, 0.9, 0.013, 0.5
    mass, friction = eta * (1 - delta) * (1 + beta) / 2, 1 - beta
    for symmetry, springs in [("translation", 1), ("scale", 2), ("rescale", 2)]:
        c = closed_forms.oscillator_coefficients(
            symmetry, learning_rate=eta, momentum=beta, weight_decay=k, dampening=delta
        )
        np.testing.assert_allclose(2 * c.damping, friction / mass, rtol=1e-14)
        np.testing.assert_allclose(c.stiffness, springs * k / mass, rtol=1e-14)
        np.testing.assert_allclose(c.duration, eta * (1 - delta), rtol=1e-14)
    critical = (1 - beta) ** 2 / (4 * eta * (1 + beta))  # of scale, without dampening
    c = closed_forms.oscillator_coefficients("scale", learning_rate=eta, momentum=beta, weight_decay=critical)
    np.testing.assert_allclose(c.damping**2, c.stiffness, rtol=1e-13)
    with pytest.raises(ValueError, match="rotation"):
        closed_forms.oscillator_coefficients("rotation", learning_rate=eta, momentum=beta, weight_decay=k)


@pytest.mark.parametrize("rate", [0.0, 1e-12, 0.3, 40.0])
def test_relaxation_step(rate):
    flow = scipy.linalg.expm(0.7 * np.array([[-rate, 1], [0, 0]]))
    step = jax.jit(jax.vmap(functools.partial(closed_forms.relaxation_step, rate=rate, duration=0.7)))
    found = step(jnp.array([1.0, 0.0, 2.0]), force=jnp.array([0.0, 1.0, 3.0]))
    np.testing.assert_allclose(found, [flow[0, 0], flow[0, 1], 2 * flow[0, 0] + 3 * flow[0, 1]], rtol=1e-12, atol=1e-15)


def spiral(*, rate, momentum, decay, steps, noise=0.0, start=1.0, dimension=2):
    """SGD on f = angle (constant |gh| = 1, forever turning), or on random tangent forces; returns R, |gh|^2, |v|^2."""
    rng = np.random.default_rng(0)
    q, v = np.zeros(dimension), np.zeros(dimension)
    q[0] = start
    log = []
    for _ in range(steps):
        r2 = q @ q
        if noise:
            unit = rng.normal(size=dimension)
            unit -= q * (q @ unit) / r2
            gh = noise * unit / np.sqrt(unit @ unit)
        else:
            gh = np.array([-q[1], q[0]]) / np.sqrt(r2)
        v = momentum * v + gh / np.sqrt(r2) + decay * q
        log.append((r2, gh @ gh, v @ v))
        q = q - rate * v
    return np.array(log).T


def bernoulli(squared_gradients, start, **hyper):
    def body(state, g2):
        state = closed_forms.bernoulli_step(state, squared_gradient=g2, **hyper)
        return state, closed_forms.bernoulli_value(state)

    return jax.jit(lambda s, g: jax.lax.scan(body, s, g)[1])(closed_forms.bernoulli_start(start), squared_gradients)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_bernoulli_is_eq_17(dtype, decay):
    """A schedule with a drop and varying |gh|: the recursion is the integral of Eq. 17, piece by piece."""
    beta, start = 0.7, 1.7
    rates = np.where(np.arange(400) < 250, 0.02, 0.004)
    squares = 1 + np.sin(np.arange(400) / 9) ** 2
    state = closed_forms.bernoulli_start(jnp.array([start], dtype))

    def body(state, x):
        state = closed_forms.bernoulli_step(
            state, squared_gradient=x[1:], learning_rate=x[0], momentum=beta, weight_decay=decay
        )
        return state, closed_forms.bernoulli_value(state)

    _, found = jax.lax.scan(body, state, jnp.asarray(np.stack([rates, squares], 1), dtype))
    assert found.dtype == dtype
    u = start**2
    for n in range(400):
        lam, source = 4 * decay / (1 - beta), 2 * rates[n] * (1 + beta) / (1 - beta) ** 3 * squares[n]
        integral = scipy.integrate.quad(lambda tau, lam=lam, n=n: np.exp(-lam * (rates[n] - tau)), 0, rates[n])[0]
        u = np.exp(-lam * rates[n]) * u + source * integral
        np.testing.assert_allclose(found[n], [np.sqrt(u)], rtol=1e-12 if dtype == jnp.float64 else 1e-6)


def test_bernoulli_predicts_a_smooth_run_to_first_order_in_the_rate():
    """Error against simulated SGD, at a fixed time, shrinks in proportion to eta."""
    beta, decay, errors = 0.5, 0.1, []
    for rate in (0.004, 0.002):
        r2, g2, v2 = spiral(rate=rate, momentum=beta, decay=decay, steps=int(4 / rate))
        hyper = {"learning_rate": rate, "momentum": beta, "weight_decay": decay}
        smooth = bernoulli(jnp.asarray(g2), jnp.array(r2[0]), **hyper)
        errors.append(np.abs(np.asarray(smooth)[-2] / r2[-1] - 1))  # after the first steps' transient
        own = closed_forms.smooth_squared_gradient(beta, jnp.asarray(r2), jnp.asarray(v2))
        np.testing.assert_allclose(bernoulli(own, jnp.array(r2[0]), **hyper)[:-1], r2[1:], rtol=10 * rate)
    assert np.abs(r2 / r2[0] - 1).max() > 0.1
    assert errors[0] < 1e-3
    assert errors[0] / errors[1] > 1.6


def test_noise_and_smooth_equilibria():
    """The caution: at beta = 0.9 independent gradients settle 4.36 times below the smooth prediction."""
    rate, beta, decay = 0.1, 0.9, 0.05
    hyper = {"learning_rate": rate, "momentum": beta, "weight_decay": decay}
    expected = {
        kind: float(closed_forms.equilibrium_squared_norm(jnp.array(1.0), gradients=kind, **hyper))
        for kind in ("smooth", "noise")
    }
    np.testing.assert_allclose(expected["smooth"] / expected["noise"], np.sqrt(19), rtol=1e-12)
    r2, g2, v2 = spiral(**{"rate": rate, "momentum": beta, "decay": decay}, steps=3000, noise=1.0, dimension=200)
    tail = r2[2000:].mean()
    np.testing.assert_allclose(tail, expected["noise"], rtol=0.02)
    start = jnp.array(r2[0])
    verbatim = bernoulli(jnp.asarray(g2), start, **hyper)[-1]
    np.testing.assert_allclose(verbatim, expected["smooth"], rtol=1e-3)
    own = bernoulli(closed_forms.smooth_squared_gradient(beta, jnp.asarray(r2), jnp.asarray(v2)), start, **hyper)
    np.testing.assert_allclose(np.asarray(own)[2000:].mean(), tail, rtol=0.06)


def test_smooth_equilibrium_without_momentum():
    rate, decay = 0.01, 0.5
    r2, _, _ = spiral(rate=rate, momentum=0.0, decay=decay, steps=2000)
    found = closed_forms.equilibrium_squared_norm(jnp.array(1.0), learning_rate=rate, momentum=0.0, weight_decay=decay)
    np.testing.assert_allclose(r2[-1], found, rtol=rate * decay)


def test_bernoulli_long_float32_run_keeps_small_increments():
    """1e5 steps that each add 1e-9 of r^4, and a filter that loses ten orders of r^4 to decay."""
    steps = 100_000
    start = closed_forms.bernoulli_start(jnp.array([2.0, 2.0], jnp.float32))
    squares, decay = jnp.array([2e-3, 0.0], jnp.float32), jnp.array([0.0, 0.06], jnp.float32)

    def body(state, _):
        return closed_forms.bernoulli_step(
            state, squared_gradient=squares, learning_rate=1e-3, momentum=0.0, weight_decay=decay
        ), None

    last, _ = jax.jit(lambda s: jax.lax.scan(body, s, length=steps))(start)
    expected = [np.sqrt(4 + 2e-6 * 2e-3 * steps), 2 * np.exp(-2 * 0.06 * 1e-3 * steps)]
    np.testing.assert_allclose(closed_forms.bernoulli_value(last), expected, rtol=1e-5)
    np.testing.assert_allclose(last.ratio[0] - 1, 2e-6 * 2e-3 * steps / 4, rtol=1e-2)


def test_unknown_kind_of_gradients_is_refused():
    with pytest.raises(ValueError, match="rough"):
        closed_forms.fourth_power_source(learning_rate=0.1, momentum=0.9, gradients="rough")

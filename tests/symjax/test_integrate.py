"""Integrators of gradient flow against matrix powers, exponentials, SciPy, and the drift orders of conserved Q."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg

from symjax import conserved
from symjax.integrate import adaptive, gradient_descent, log_spaced, rk4

HESSIAN = np.array([[2.0, 0.3, 0.0], [0.3, 1.0, -0.2], [0.0, -0.2, 0.5]])
START = np.array([1.0, -2.0, 0.5])


def quadratic(params):
    """Gradient of q H q/2, the parameters split over a pytree."""
    q = jnp.concatenate([params["a"], params["b"]])
    g = jnp.asarray(HESSIAN, q.dtype) @ q
    return {"a": g[:1], "b": g[1:]}


def start(dtype=jnp.float64):
    return {"a": jnp.asarray(START[:1], dtype), "b": jnp.asarray(START[1:], dtype)}


def joined(tree):
    return np.concatenate([tree["a"], tree["b"]], axis=-1)


@pytest.mark.parametrize("steps", [(0, 1, 2, 3), (0, 10, 20), (2, 7, 50)])
def test_descent_is_a_matrix_power(steps):
    path = gradient_descent(quadratic, start(), learning_rate=0.1, steps=steps)
    step = np.eye(3) - 0.1 * HESSIAN
    expected = [np.linalg.matrix_power(step, n) @ START for n in steps]
    np.testing.assert_allclose(joined(path.recorded), expected, rtol=1e-13)
    np.testing.assert_allclose(joined(path.params), expected[-1], rtol=1e-13)
    assert path.finite.all() and path.finite.shape == (len(steps),)


def test_runge_kutta_is_the_exponentials_taylor_polynomial():
    path = rk4(quadratic, start(), step_size=0.2, steps=(0, 5))
    x = -0.2 * HESSIAN
    step = np.eye(3) + x + x @ x / 2 + x @ x @ x / 6 + x @ x @ x @ x / 24
    np.testing.assert_allclose(joined(path.params), np.linalg.matrix_power(step, 5) @ START, rtol=1e-13)


def test_adaptive_follows_the_exponential():
    times = jnp.array([0.0, 0.5, 3.0])
    path = adaptive(quadratic, start(), times=times)
    expected = [scipy.linalg.expm(-t * HESSIAN) @ START for t in times]
    np.testing.assert_allclose(joined(path.recorded), expected, rtol=1e-8)
    np.testing.assert_array_equal(joined(path.params), joined(path.recorded)[-1])


def test_float32():
    path = gradient_descent(quadratic, start(jnp.float32), learning_rate=0.1, steps=(0, 100))
    expected = np.linalg.matrix_power(np.eye(3) - 0.1 * HESSIAN, 100) @ START
    assert path.recorded["a"].dtype == jnp.float32
    np.testing.assert_allclose(joined(path.params), expected, rtol=1e-4)
    with pytest.raises(ValueError, match="float32 parameters allow at least .*jax_enable_x64"):
        adaptive(quadratic, start(jnp.float32), times=jnp.array([0.0, 1.0]))


def test_one_program_serves_schedules_rates_and_starts():
    """jit over traced steps, vmap over starts and rates: the matrix powers again."""

    @jax.jit
    def run(steps, rates, starts):
        def one(rate, q):
            params = {"a": q[:1], "b": q[1:]}
            return gradient_descent(quadratic, params, learning_rate=rate, steps=steps).params

        return jax.vmap(one)(rates, starts)

    rates, starts = np.array([0.1, 0.3]), np.stack([START, -2 * START])
    for steps in ((0, 3, 4), (1, 2, 9)):
        ends = joined(run(jnp.asarray(steps), jnp.asarray(rates), jnp.asarray(starts)))
        for rate, q, end in zip(rates, starts, ends, strict=True):
            step = np.eye(3) - rate * HESSIAN
            np.testing.assert_allclose(end, np.linalg.matrix_power(step, steps[-1]) @ q, rtol=1e-13)
    assert run._cache_size() == 1


def test_runge_kutta_and_adaptive_under_jit_and_vmap():
    rates = jnp.array([0.1, 0.2])
    ends = jax.jit(jax.vmap(lambda eta: rk4(quadratic, start(), step_size=eta, steps=(10,)).params))(rates)
    times = jnp.array([[0.0, 1.0], [0.0, 2.0]])
    flows = jax.jit(jax.vmap(lambda t: adaptive(quadratic, start(), times=t).params))(times)
    expected = [scipy.linalg.expm(-t * HESSIAN) @ START for t in (1.0, 2.0)]
    np.testing.assert_allclose(joined(ends), expected, rtol=2e-4)
    np.testing.assert_allclose(joined(flows), expected, rtol=1e-8)


def test_the_end_is_differentiable_in_the_start():
    def end(q):
        return gradient_descent(lambda x: x**3, q, learning_rate=0.1, steps=(0, 2)).params

    def by_hand(q):
        q = q - 0.1 * q**3
        return q - 0.1 * q**3

    q, small = 0.7, 1e-6
    expected = (by_hand(q + small) - by_hand(q - small)) / (2 * small)
    np.testing.assert_allclose(jax.grad(end)(jnp.array(q)), expected, rtol=1e-8)


def test_a_diverging_member_is_marked_and_alone():
    rates = jnp.array([0.1, 1e3, 0.2])
    run = jax.vmap(lambda eta: gradient_descent(lambda x: x**3, jnp.array(2.0), learning_rate=eta, steps=(0, 1, 50)))
    together, apart = run(rates), run(rates[jnp.array([0, 0, 2])])
    np.testing.assert_array_equal(together.finite, [[True] * 3, [True, True, False], [True] * 3])
    np.testing.assert_array_equal(together.params[jnp.array([0, 2])], apart.params[jnp.array([0, 2])])


def test_divergence_unseen_by_the_record_is_marked_at_the_end():
    path = gradient_descent(
        lambda x: x**3, jnp.array(9.0), learning_rate=9.0, steps=(0, 30), record=lambda x: jnp.zeros(())
    )
    np.testing.assert_array_equal(path.finite, [True, False])


def test_log_spaced():
    steps = log_spaced(400_000, 50)
    assert steps[0] == 0 and steps[-1] == 400_000 and (np.diff(steps) > 0).all()
    assert {1, 10, 100, 1000, 10_000, 100_000} <= set(steps.tolist())
    assert (np.diff(steps[steps > 200]) / steps[steps > 200][:-1] < 0.055).all()
    np.testing.assert_array_equal(log_spaced(1), [0, 1])


@pytest.mark.parametrize(
    ("steps", "words"),
    [((1, 1), "each above the last"), ((-1, 2), "from 0 on"), ((0.5, 1.0), "integers"), ((), "at least one")],
)
def test_wrong_steps_are_refused(steps, words):
    with pytest.raises(ValueError, match=words):
        gradient_descent(quadratic, start(), learning_rate=0.1, steps=steps)


def test_other_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="learning_rate has shape"):
        gradient_descent(quadratic, start(), learning_rate=jnp.ones(2), steps=(1,))
    with pytest.raises(
        ValueError, match=r"times are \[1.0, 0.0\], but must be a list of at least one, each above the last"
    ):
        adaptive(quadratic, start(), times=jnp.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="per_decade is 0"):
        log_spaced(10, 0)


# Drift of conserved quantities: a two-layer net with X = I, m = 2, h = 3, n = 4.
_RANDOM = np.random.default_rng(5)
TARGET, U, V = (_RANDOM.normal(size=shape) for shape in ((2, 4), (2, 3), (3, 4)))
SIGMA = {"linear": (lambda z: z, np.ones_like), "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2)}
SIGMA_JAX = {"linear": lambda z: z, "tanh": jnp.tanh}


def gradient_of(name):
    """By jax, of |Y - U sigma(V)|^2/(mn)."""

    def loss(params):
        u, v = params
        return jnp.mean((jnp.asarray(TARGET) - u @ SIGMA_JAX[name](v)) ** 2)

    return jax.grad(loss)


def charge_of(name):
    return lambda params: conserved.pointwise(*params, name)


@pytest.mark.parametrize("name", ["linear", "tanh"])
def test_drift_orders(name):
    """Spec 1.5: over a fixed time GD 1, one step of GD 2, RK4 4."""
    gradient, params, charge = gradient_of(name), (jnp.asarray(U), jnp.asarray(V)), charge_of(name)

    @jax.jit
    def descent(eta, count):
        steps = jnp.stack([0 * count, count])
        return gradient_descent(gradient, params, learning_rate=eta, steps=steps, record=charge).recorded

    @jax.jit
    def runge_kutta(eta, count):
        return rk4(gradient, params, step_size=eta, steps=jnp.stack([0 * count, count]), record=charge).recorded

    def order(run, eta, count, halved):
        """Of the drift in eta; ``halved`` is the number of steps at eta/2."""
        ends = [run(jnp.asarray(e), jnp.asarray(c)) for e, c in ((eta, count), (eta / 2, halved))]
        coarse, fine = (np.linalg.norm(end[1] - end[0]) for end in ends)
        return np.log2(coarse / fine)

    assert order(descent, 0.01, 2000, 4000) == pytest.approx(1, abs=0.05)
    assert order(descent, 0.002, 1, 1) == pytest.approx(2, abs=0.01)
    assert order(runge_kutta, 0.05, 400, 800) == pytest.approx(4, abs=0.1)


def test_flow_keeps_the_charges_and_descent_follows_scipy():
    """SciPy's solver and NumPy's gradient as oracle of the flow; Q stays to the solver's tolerance."""
    function, derivative = SIGMA["tanh"]

    def field(_, q):
        u, v = q[:6].reshape(2, 3), q[6:].reshape(3, 4)
        error = 2 / 8 * (u @ function(v) - TARGET)
        return -np.concatenate([(error @ function(v).T).ravel(), (u.T @ error * derivative(v)).ravel()])

    known = scipy.integrate.solve_ivp(
        field, (0.0, 5.0), np.concatenate([U.ravel(), V.ravel()]), rtol=1e-11, atol=1e-13, method="DOP853"
    ).y[:, -1]

    def record(params):
        return charge_of("tanh")(params), jnp.sum(params[0] ** 2) + jnp.sum(params[1] ** 2)

    path = adaptive(gradient_of("tanh"), (jnp.asarray(U), jnp.asarray(V)), times=jnp.array([0.0, 5.0]), record=record)
    np.testing.assert_allclose(path.params[0], known[:6].reshape(2, 3), rtol=1e-7)
    np.testing.assert_allclose(path.params[1], known[6:].reshape(3, 4), rtol=1e-7)
    charges, squares = path.recorded
    np.testing.assert_allclose(charges[1], charges[0], rtol=1e-8)
    assert abs(squares[1] - squares[0]) > 0.1  # what no symmetry keeps does move

"""Noether's learning dynamics along integrated trajectories of the modified equation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from symjax import symmetry
from symjax.mechanics import closed_forms, laws, modified_ode

HYPER = {"learning_rate": 0.2, "momentum": 0.5, "weight_decay": 0.3}
MASS, FRICTION = 0.15, 0.5
START = np.array([0.9, -0.7, 1.1, 0.4])
TIMES = np.linspace(0.0, 2.0, 9)


@pytest.fixture(autouse=True)
def _rank_promotion_raises():
    with jax.numpy_rank_promotion("raise"):
        yield


def scale_loss(q):
    unit = q / jnp.sqrt(q @ q)
    return unit[0] * unit[1] + jnp.sin(2 * unit[2]) - unit[3] ** 3


def rescale_loss(q):
    return (q[0] * q[2] - 0.5) ** 2 + jnp.sin(q[1] * q[3]) + (q[0] * q[3]) ** 2


def translation_loss(q):
    return jax.nn.logsumexp(q) - q[1]


def signed(q):
    return q[0] ** 2 + q[1] ** 2 - q[2] ** 2 - q[3] ** 2


CASES = {
    "translation": (translation_loss, jnp.sum, lambda v: jnp.zeros(())),
    "scale": (scale_loss, lambda q: q @ q, lambda v: v @ v),
    "rescale": (rescale_loss, signed, signed),
}


@functools.cache
def run(name):
    """Motion of the charge's integral and its kinetic force along a trajectory."""
    loss, quantity, kinetic = CASES[name]
    field = modified_ode.second_order_field(jax.grad(loss), **HYPER)

    def solve(start):
        path = modified_ode.solve_sgd(jax.grad(loss), start, jnp.asarray(TIMES), **HYPER)
        acceleration = jax.vmap(field)(path, jnp.asarray(TIMES)).velocity
        motion = jax.vmap(functools.partial(laws.motion_of, quantity))(path.position, path.velocity, acceleration)
        return motion, jax.vmap(kinetic)(path.velocity)

    return jax.jit(solve)(jnp.asarray(START))


@pytest.mark.parametrize("name", CASES)
def test_laws_hold_along_trajectories(name):
    motion, kinetic = run(name)
    constants = {"mass": MASS, "friction": FRICTION, "weight_decay": HYPER["weight_decay"]}
    residual = jax.jit(functools.partial(laws.law_residual, name, **constants))(motion, kinetic=kinetic)
    np.testing.assert_allclose(residual, np.zeros(9), atol=1e-10 * float(jnp.abs(motion.value).max()))
    wrong = {key: value * 1.1 for key, value in constants.items()} | {"mass": MASS}
    assert np.abs(laws.law_residual(name, motion, kinetic=kinetic, **wrong)).max() > 1e-3


@pytest.mark.parametrize("name", ["scale", "rescale"])
def test_kinetic_energy_drives_the_charge(name):
    """Without the driving term the law fails: the symmetry is broken by the kinetic energy."""
    motion, _ = run(name)
    residual = laws.law_residual(name, motion, mass=MASS, friction=FRICTION, weight_decay=HYPER["weight_decay"])
    assert np.abs(residual).max() > 1e-2


def test_translation_is_the_closed_form():
    """The trajectory's sum against the oscillator recursion, step by step."""
    motion, _ = run("translation")
    c = closed_forms.oscillator_coefficients("translation", **HYPER)
    state = closed_forms.Oscillator(motion.value[0], motion.rate[0])
    for n in range(8):
        state = closed_forms.oscillator_step(
            state, force=jnp.zeros(()), damping=c.damping, stiffness=c.stiffness, duration=TIMES[1]
        )
        np.testing.assert_allclose(state.position, motion.value[n + 1], atol=1e-8)


@pytest.mark.parametrize(("mass", "friction"), [(1.0, 0.0), (1.0, 0.3), (0.05, 1.0)])
def test_angular_momentum_decays(mass, friction):
    """Damped motion in a rotation-symmetric potential: L(t) = L(0) e^{-mu t/m}; conserved without friction."""

    def potential(q):
        r2 = q @ q
        return r2 + 0.3 * r2**2

    def rotate(s, q):
        return jnp.stack([jnp.cos(s) * q[0] - jnp.sin(s) * q[1], jnp.sin(s) * q[0] + jnp.cos(s) * q[1]])

    def field(state, _):
        return modified_ode.Trajectory(
            state.velocity, -(friction * state.velocity + jax.grad(potential)(state.position)) / mass
        )

    times = jnp.linspace(0.0, 1.5, 6)
    start = modified_ode.Trajectory(jnp.array([1.0, 0.2]), jnp.array([-0.3, 0.8]))
    path = jax.jit(lambda s: modified_ode.solve(field, s, times, rtol=1e-12, atol=1e-13))(start)
    charge = functools.partial(symmetry.noether_charge, symmetry.Symmetry(rotate, jnp.zeros(())), mass=mass)
    found = jax.vmap(lambda q, v: charge(q, v))(path.position, path.velocity)
    expected = jax.jit(functools.partial(laws.undriven_charge, mass=mass, friction=friction))(found[0], times)
    np.testing.assert_allclose(found / found[0], expected / found[0], atol=1e-9)
    assert abs(float(found[0])) > 0.04


def test_motion_of_a_vector_in_float32():
    q = jnp.array([[1.0, 2.0], [3.0, 4.0]], jnp.float32)
    found = laws.motion_of(lambda q: jnp.sum(q**2, axis=-1), q, q, q)
    assert found.acceleration.dtype == jnp.float32
    np.testing.assert_allclose(found.value, [5.0, 25.0])
    np.testing.assert_allclose(found.rate, [10.0, 50.0])
    np.testing.assert_allclose(found.acceleration, [20.0, 100.0])  # 2 |q'|^2 + 2 <q, q''>


def test_unknown_symmetry_is_refused():
    motion = laws.Motion(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))
    with pytest.raises(ValueError, match="rotation"):
        laws.law_residual("rotation", motion, mass=1.0, friction=1.0, weight_decay=0.0)

"""Lagrangians against the equations they stand for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symjax.mechanics import lagrangian, modified_ode

MASS, FRICTION = 0.4, 0.7


@pytest.fixture(autouse=True)
def _rank_promotion_raises():
    with jax.numpy_rank_promotion("raise"):
        yield


def loss(q):
    """No symmetry."""
    return jnp.cos(q[0]) + 0.5 * q[1] ** 2 + 0.3 * jnp.sin(q[0] * q[2]) + q[2] ** 4 / 4


def sum_cosh(q):
    return jnp.sum(jnp.cosh(q))


def start():
    return jnp.array([0.9, 0.7, 1.1]), jnp.array([0.11, -0.23, 0.17])


@functools.partial(jax.jit, static_argnames="law")
def accelerate(law, t, q, v):
    return lagrangian.euler_lagrange_acceleration(law, t, q, v)


EQUATIONS = {
    "nesterov": (lagrangian.nesterov_scales, lambda t: 3 / t, lambda t: 1.0),
    "damped": (
        lambda: lagrangian.damped_scales(mass=MASS, friction=FRICTION),
        lambda t: FRICTION / MASS,
        lambda t: 1 / MASS,
    ),
    "sgd": (
        lambda: lagrangian.sgd_scales(learning_rate=0.2, momentum=0.5),
        lambda t: 0.5 / 0.15,
        lambda t: 1 / 0.15,
    ),
}


@pytest.mark.parametrize("factor", ["full", "relative"])
@pytest.mark.parametrize("rule", EQUATIONS)
def test_table_of_rules(rule, factor):
    """Each row of Table 1 has its equation of motion, also under jit and vmap over times."""
    scales, damping, force = EQUATIONS[rule]
    law = lagrangian.bregman_lagrangian(loss, lagrangian.euclidean, scales(), factor=factor)
    q, v = start()
    times = jnp.array([0.3, 1.0, 2.5])
    found = jax.jit(jax.vmap(lambda t: accelerate(law, t, q, v)))(times)
    expected = [-damping(t) * v - force(t) * jax.grad(loss)(q) for t in np.asarray(times)]
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    residual = jax.jit(functools.partial(lagrangian.euler_lagrange_residual, law))
    np.testing.assert_allclose(residual(times[0], q, v, found[0]), np.zeros(3), atol=1e-11)
    assert np.abs(residual(times[0], q, v, found[0] + 1)).min() > 1e-3


def test_sgd_lagrangian_is_eq_4_and_the_modified_equation():
    eta, beta, k = 0.2, 0.5, 0.1
    law = lagrangian.sgd_lagrangian(loss, learning_rate=eta, momentum=beta, weight_decay=k)
    q, v = start()
    t = jnp.array(0.4)
    expected = np.exp(2 * (1 - beta) * 0.4 / (eta * (1 + beta))) * (
        eta * (1 + beta) / 4 * v @ v - (loss(q) + k / 2 * q @ q)
    )
    np.testing.assert_allclose(jax.jit(law)(t, q, v), expected, rtol=1e-12)
    field = modified_ode.second_order_field(jax.grad(loss), learning_rate=eta, momentum=beta, weight_decay=k)
    np.testing.assert_allclose(
        accelerate(law, t, q, v),
        field(modified_ode.Trajectory(q, v), t).velocity,
        rtol=1e-11,
    )


def test_relative_factor_does_not_overflow():
    q, v = start()
    scales, late = lagrangian.sgd_scales(learning_rate=0.01, momentum=0.0), jnp.array(20.0)
    full, relative = (
        lagrangian.bregman_lagrangian(loss, lagrangian.euclidean, scales, factor=factor)
        for factor in ("full", "relative")
    )
    assert np.isinf(float(full(late, q, v)))
    found = accelerate(relative, late, q, v)
    np.testing.assert_allclose(found, -(v + jax.grad(loss)(q)) / 0.005, rtol=1e-12)
    with pytest.raises(ValueError, match="absolute"):
        lagrangian.bregman_lagrangian(loss, lagrangian.euclidean, scales, factor="absolute")


def test_natural_gradient_flow_is_the_massless_limit():
    """mu q' = -F^{-1} grad f solves the Euler-Lagrange equation up to O(m)."""
    q, _ = start()
    fisher = np.cosh(q)
    v = -jax.grad(loss)(q) / fisher / FRICTION
    sizes = []
    for mass in (1e-2, 5e-3):
        law = lagrangian.bregman_lagrangian(
            loss, sum_cosh, lagrangian.damped_scales(mass=mass, friction=FRICTION), factor="relative"
        )
        residual = lagrangian.euler_lagrange_residual(law, jnp.array(0.1), q, v, jnp.zeros(3))
        sizes.append(np.linalg.norm(residual))
    assert sizes[0] < 0.1 * np.linalg.norm(jax.grad(loss)(q))
    assert abs(np.log2(sizes[0] / sizes[1]) - 1) < 0.1


def test_kinetic_energy_taylor():
    """T_h = (e^-alpha/2) <q', Hess h q'> + O(e^-2alpha), Eq. 7; exact and m/2 |q'|^2 for the Euclidean map."""
    q, v = start()
    np.testing.assert_allclose(
        lagrangian.bregman_kinetic_energy(lagrangian.euclidean, -jnp.log(MASS), q, v), MASS / 2 * v @ v, rtol=1e-12
    )
    errors = []
    for eps in (0.02, 0.01):
        energy = jax.jit(functools.partial(lagrangian.bregman_kinetic_energy, sum_cosh, -np.log(eps)))(q, v)
        errors.append(abs(float(energy) - eps / 2 * np.sum(np.cosh(q) * np.asarray(v) ** 2)))
    assert abs(np.log2(errors[0] / errors[1]) - 2) < 0.1


@settings(max_examples=25, deadline=None)
@given(x=st.floats(0.1, 5.0), y=st.floats(0.1, 5.0))
def test_bregman_divergence_of_the_entropy_is_kullback_leibler(x, y):
    found = lagrangian.bregman_divergence(lambda q: jnp.sum(q * jnp.log(q)), jnp.array([y]), jnp.array([x]))
    np.testing.assert_allclose(found, y * np.log(y / x) - y + x, atol=1e-13)


def test_float32_keeps_its_type():
    q, v = (x.astype(jnp.float32) for x in start())
    law = lagrangian.sgd_lagrangian(loss, learning_rate=0.2, momentum=0.5, weight_decay=0.1)
    found = accelerate(law, jnp.array(0.1, jnp.float32), q, v)
    assert found.dtype == jnp.float32
    exact = accelerate(law, jnp.array(0.1), *start())
    np.testing.assert_allclose(found, exact, rtol=1e-4)

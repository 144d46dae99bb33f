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


def test_numbers_of_every_type() -> None:
    """Integers, lists and half precision in the place of float64, and what is no number by its name."""
    rule = {"learning_rate": 0.5, "momentum": 0.5}
    q, v, a = {"w": np.array([1, 2])}, {"w": np.array([2, -1])}, {"w": np.array([0, 1])}
    exact = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), (q, v, a))
    loss = lambda p: jnp.sum(p["w"] ** 2)  # noqa: E731
    full = lagrangian.sgd_lagrangian(loss, weight_decay=1, **rule)
    for low in ((q, v, a), jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), (q, v, a))):
        dtype = jnp.float64 if low[0] is q else jnp.float32
        found = lagrangian.euler_lagrange_residual(full, jnp.ones((), dtype), *low)["w"]
        np.testing.assert_allclose(
            found, lagrangian.euler_lagrange_residual(full, jnp.ones(()), *exact)["w"], rtol=1e-5
        )
        assert found.dtype == dtype
        energy = lagrangian.bregman_kinetic_energy(lagrangian.euclidean, 0, *low[:2])
        np.testing.assert_allclose(energy, 2.5, rtol=1e-6)
        np.testing.assert_allclose(lagrangian.bregman_divergence(lagrangian.euclidean, *low[:2]), 5.0, rtol=1e-6)
        np.testing.assert_allclose(lagrangian.with_decay(loss, 2)(low[0]), 10.0, rtol=1e-6)
    acceleration = lagrangian.euler_lagrange_acceleration(full, 1, q, v)["w"]
    np.testing.assert_allclose(
        acceleration, lagrangian.euler_lagrange_acceleration(full, jnp.ones(()), *exact[:2])["w"], rtol=1e-12
    )
    for call, words in (
        (lambda: lagrangian.sgd_scales(learning_rate="a", momentum=0.5), "learning_rate is 'a', but"),
        (lambda: lagrangian.damped_scales(mass=1.0, friction=None), "friction is None, but"),
        (lambda: lagrangian.with_decay(loss, True), "weight_decay is True, but"),
        (lambda: lagrangian.euclidean("q"), "q is 'q', but"),
        (lambda: lagrangian.bregman_divergence(lagrangian.euclidean, q, [1, 2]), "y has shapes .*, but those of x are"),
        (lambda: lagrangian.euler_lagrange_residual(full, "t", q, v, a), "time is 't', but"),
        (lambda: lagrangian.euler_lagrange_residual(full, 1.0, q, v, None), "acceleration has no leaves"),
        (
            lambda: lagrangian.euler_lagrange_acceleration(full, 1.0, q, q["w"]),
            "velocity has shapes .* position",
        ),
        (lambda: lagrangian.bregman_kinetic_energy(lagrangian.euclidean, 1j, q, v), "alpha is 1j, but"),
    ):
        with pytest.raises(ValueError, match=words):
            call()

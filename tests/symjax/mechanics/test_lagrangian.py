"""Lagrangians against the equations they stand for; the generalised Noether theorem on integrated trajectories."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from hypothesis import given, settings
from hypothesis import strategies as st

from symjax import symmetry
from symjax.mechanics import lagrangian, modified_ode

MASS, FRICTION = 0.4, 0.7


@pytest.fixture(autouse=True)
def _rank_promotion_raises():
    with jax.numpy_rank_promotion("raise"):
        yield


def loss(q):
    """No symmetry."""
    return jnp.cos(q[0]) + 0.5 * q[1] ** 2 + 0.3 * jnp.sin(q[0] * q[2]) + q[2] ** 4 / 4


def scale_symmetric(q):
    unit = q / jnp.sqrt(q @ q)
    return unit[0] * unit[1] + jnp.sin(2 * unit[2])


def rescale_symmetric(q):
    return (q[0] * q[2] - 0.5) ** 2 + 0.3 * (q[1] * q[2]) ** 3


def rotation_symmetric(q):
    return jnp.sqrt(1 + q[0] ** 2 + q[1] ** 2) + q[2] ** 2


def translation_symmetric(q):
    return jnp.sin(q[0] - q[1]) + (q[1] - q[2]) ** 2


def rotation(s, q):
    c, d = jnp.cos(s), jnp.sin(s)
    return jnp.stack([c * q[0] - d * q[1], d * q[0] + c * q[1], q[2]])


SYMMETRIES = {
    "scale": (scale_symmetric, lambda s, q: jnp.exp(s) * q),
    "rescale": (rescale_symmetric, lambda s, q: jnp.exp(s * jnp.array([1.0, 1.0, -1.0])) * q),
    "rotation": (rotation_symmetric, rotation),
    "translation": (translation_symmetric, lambda s, q: q + s),
}
MIRRORS = {
    "euclidean": lagrangian.euclidean,
    "cosh": lambda q: jnp.sum(jnp.cosh(q)),
    "entropy": lambda q: jnp.sum(q * jnp.log(q)),
}


def start():
    return jnp.array([0.9, 0.7, 1.1]), jnp.array([0.11, -0.23, 0.17])


@functools.cache
def trajectory(mirror, name, count=5, span=0.6):
    """States (t, q, q', q'') of damped motion under a mirror map, integrated by odeint."""
    rule = lagrangian.bregman_lagrangian(
        SYMMETRIES[name][0], MIRRORS[mirror], lagrangian.damped_scales(mass=MASS, friction=FRICTION), factor="relative"
    )
    accelerate = functools.partial(lagrangian.euler_lagrange_acceleration, rule)

    def field(state, time):
        return modified_ode.Trajectory(state.velocity, accelerate(time, state.position, state.velocity))

    centres = jnp.linspace(0.1, span, count)
    times = jnp.concatenate([jnp.zeros(1), jnp.sort(jnp.concatenate([centres - 1e-3, centres, centres + 1e-3]))])
    path = jax.jit(lambda s: modified_ode.solve(field, s, times, rtol=1e-12, atol=1e-13))(
        modified_ode.Trajectory(*start())
    )
    return times, path.position, path.velocity, jax.jit(jax.vmap(accelerate))(times, path.position, path.velocity)


def terms(mirror, name, *state, potential=None):
    evaluate = functools.partial(
        lagrangian.noether_terms,
        SYMMETRIES[name][1],
        jnp.zeros(()),
        mirror=MIRRORS[mirror],
        scales=lagrangian.damped_scales(mass=MASS, friction=FRICTION),
        potential=potential or SYMMETRIES[name][0],
    )
    return jax.jit(jax.vmap(lambda t, q, v, a: evaluate(time=t, position=q, velocity=v, acceleration=a)))(*state)


@pytest.mark.parametrize("name", SYMMETRIES)
@pytest.mark.parametrize("mirror", MIRRORS)
def test_noether_theorem_on_trajectories(mirror, name):
    """Exact derivatives: both sides agree; central differences of the charge along the path: its motion is right."""
    state = trajectory(mirror, name)
    found = terms(mirror, name, *state)
    assert np.abs(lagrangian.noether_theorem_error(found)).max() < 1e-9
    assert np.abs(found.potential).max() < 1e-12  # the loss has the symmetry
    differences = (np.asarray(found.charge)[3::3] - np.asarray(found.charge)[1::3]) / 2e-3
    np.testing.assert_allclose(differences, found.charge_motion[2::3], rtol=1e-4, atol=5e-6)
    if mirror == "euclidean":
        assert np.abs(found.non_euclidean_metric).max() < 1e-13
    else:
        assert np.abs(found.non_euclidean_metric).max() > 1e-5  # each symmetry is broken by the metric
    if mirror == "euclidean" and name in ("rotation", "translation"):
        assert np.abs(found.dynamic_asymmetry).max() < 1e-13


@pytest.mark.parametrize("mirror", MIRRORS)
def test_noether_error_sees_a_wrong_motion(mirror):
    time, q, v, a = trajectory(mirror, "scale")
    assert np.abs(lagrangian.noether_theorem_error(terms(mirror, "scale", time, q, v, 1.01 * a))).max() > 1e-3


@pytest.mark.parametrize("name", SYMMETRIES)
def test_euclidean_terms_are_the_elementary_ones(name):
    """m <q', dQ>, mu/m of it, kinetic symmetry breaking, and the decay's pull."""
    decay = 0.3
    q, v = start()
    potential = lagrangian.with_decay(SYMMETRIES[name][0], decay)
    state = [x[None] for x in (jnp.array(0.2), q, v, jnp.array([0.4, 0.1, -0.2]))]
    found = terms("euclidean", name, *state, potential=potential)
    flow = SYMMETRIES[name][1]
    direction = np.asarray(symmetry.generator(flow, jnp.zeros(()), q, jnp.ones(())))
    charge = MASS * v @ direction
    np.testing.assert_allclose(found.charge, [charge], rtol=1e-13)
    np.testing.assert_allclose(found.dissipation, [FRICTION / MASS * charge], rtol=1e-13)
    breaking = symmetry.kinetic_symmetry_breaking(flow, jnp.zeros(()), q, v, MASS)
    np.testing.assert_allclose(found.dynamic_asymmetry, [breaking], atol=1e-15)
    np.testing.assert_allclose(found.potential, [-decay * q @ direction], atol=1e-14)
    if name == "scale":  # the erratum: m |q'|^2
        np.testing.assert_allclose(breaking, MASS * v @ v, rtol=1e-14)


def test_terms_for_a_vector_of_coordinates():
    """Two filters scaled each by its own coordinate: as two theorems."""
    q = {"w": jnp.array([[0.5, 0.2], [1.0, -0.3]])}
    v = {"w": jnp.array([[0.1, -0.2], [0.3, 0.4]])}

    def flow(s, q):
        return {"w": jnp.exp(s)[:, None] * q["w"]}

    def norms(q):
        return jnp.sum(jnp.cosh(q["w"]))

    common = {
        "mirror": norms,
        "scales": lagrangian.damped_scales(mass=MASS, friction=FRICTION),
        "potential": lambda q: jnp.sum(q["w"] ** 3),
        "time": jnp.array(0.3),
        "velocity": v,
        "acceleration": v,
        "position": q,
    }
    both = lagrangian.noether_terms(flow, jnp.zeros(2), **common)
    for i in range(2):
        one = lagrangian.noether_terms(lambda s, q, i=i: flow(s * jnp.eye(2)[i], q), jnp.zeros(()), **common)
        for found, expected in zip(both, one, strict=True):
            np.testing.assert_allclose(found[i], expected, rtol=1e-12, atol=1e-15)


def test_euler_lagrange_under_cosh_against_scipy():
    """Hand-derived equation of h = sum cosh, integrated by SciPy."""
    eps = MASS  # e^{-alpha}

    def gradient(q):
        return np.asarray(jax.grad(scale_symmetric)(jnp.asarray(q)))

    def field(_, y):
        q, v = y[:3], y[3:]
        ahead = q + eps * v
        delta = np.sinh(ahead) - np.sinh(q)
        # Delta' = cosh(ahead)(v + eps a) - cosh(q) v = (Delta - eps cosh(q) v)/eps - grad f - (mu/m) Delta
        a = (delta / eps - FRICTION / MASS * delta - gradient(q) - np.cosh(ahead) * v) / (eps * np.cosh(ahead))
        return np.concatenate([v, a])

    times, q, v, _ = trajectory("cosh", "scale")
    solved = scipy.integrate.solve_ivp(field, (0, float(times[-1])), np.concatenate(start()), rtol=1e-9, atol=1e-11).y[
        :, -1
    ]
    np.testing.assert_allclose(q[-1], solved[:3], rtol=1e-7)
    np.testing.assert_allclose(v[-1], solved[3:], rtol=1e-6)


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
    found = jax.jit(jax.vmap(lambda t: lagrangian.euler_lagrange_acceleration(law, t, q, v)))(times)
    expected = [-damping(t) * v - force(t) * jax.grad(loss)(q) for t in np.asarray(times)]
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    residual = lagrangian.euler_lagrange_residual(law, times[0], q, v, found[0])
    np.testing.assert_allclose(residual, np.zeros(3), atol=1e-11)
    assert np.abs(lagrangian.euler_lagrange_residual(law, times[0], q, v, found[0] + 1)).min() > 1e-3


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
        lagrangian.euler_lagrange_acceleration(law, t, q, v),
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
    found = lagrangian.euler_lagrange_acceleration(relative, late, q, v)
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
            loss, MIRRORS["cosh"], lagrangian.damped_scales(mass=mass, friction=FRICTION), factor="relative"
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
        energy = jax.jit(functools.partial(lagrangian.bregman_kinetic_energy, MIRRORS["cosh"], -np.log(eps)))(q, v)
        errors.append(abs(float(energy) - eps / 2 * np.sum(np.cosh(q) * np.asarray(v) ** 2)))
    assert abs(np.log2(errors[0] / errors[1]) - 2) < 0.1


@settings(max_examples=25, deadline=None)
@given(x=st.floats(0.1, 5.0), y=st.floats(0.1, 5.0))
def test_bregman_divergence_of_the_entropy_is_kullback_leibler(x, y):
    found = lagrangian.bregman_divergence(MIRRORS["entropy"], jnp.array([y]), jnp.array([x]))
    np.testing.assert_allclose(found, y * np.log(y / x) - y + x, atol=1e-13)


def test_float32_keeps_its_type():
    q, v = (x.astype(jnp.float32) for x in start())
    law = lagrangian.sgd_lagrangian(loss, learning_rate=0.2, momentum=0.5, weight_decay=0.1)
    found = lagrangian.euler_lagrange_acceleration(law, jnp.array(0.1, jnp.float32), q, v)
    assert found.dtype == jnp.float32
    exact = lagrangian.euler_lagrange_acceleration(law, jnp.array(0.1), *start())
    np.testing.assert_allclose(found, exact, rtol=1e-4)

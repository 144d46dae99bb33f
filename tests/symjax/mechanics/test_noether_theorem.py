"""The generalised Noether theorem, term by term: exact derivatives, integrated trajectories, a SciPy oracle."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from symjax import symmetry
from symjax.mechanics import lagrangian, modified_ode, noether_theorem

MASS, FRICTION = 0.4, 0.7
SCALES = lagrangian.damped_scales(mass=MASS, friction=FRICTION)


@pytest.fixture(autouse=True)
def _rank_promotion_raises():
    with jax.numpy_rank_promotion("raise"):
        yield


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


def law(mirror, name):
    return lagrangian.bregman_lagrangian(SYMMETRIES[name][0], MIRRORS[mirror], SCALES, factor="relative")


def terms(mirror, name, *state, potential=None):
    """Terms at one state (t, q, q', q'')."""
    return noether_theorem.noether_terms(
        symmetry.Symmetry(SYMMETRIES[name][1], jnp.zeros(())),
        mirror=MIRRORS[mirror],
        scales=SCALES,
        potential=potential or SYMMETRIES[name][0],
        **dict(zip(("time", "position", "velocity", "acceleration"), state, strict=True)),
    )


@functools.cache
def trajectory(mirror, name):
    """Times, positions, velocities of damped motion under a mirror map, in triples 1e-3 apart, and their terms."""
    accelerate = functools.partial(lagrangian.euler_lagrange_acceleration, law(mirror, name))

    def field(state, time):
        return modified_ode.Trajectory(state.velocity, accelerate(time, state.position, state.velocity))

    centres = jnp.linspace(0.1, 0.6, 5)
    times = jnp.concatenate([jnp.zeros(1), jnp.sort(jnp.concatenate([centres - 1e-3, centres, centres + 1e-3]))])

    @jax.jit
    def integrate(start):
        path = modified_ode.solve(field, start, times, rtol=1e-12, atol=1e-13)
        acceleration = jax.vmap(field)(path, times).velocity
        return times, *path, jax.vmap(functools.partial(terms, mirror, name))(times, *path, acceleration)

    return integrate(modified_ode.Trajectory(*start()))


@pytest.mark.parametrize("name", SYMMETRIES)
@pytest.mark.parametrize("mirror", MIRRORS)
def test_noether_theorem_with_exact_derivatives(mirror, name):
    """At any state whose acceleration solves the Euler-Lagrange equation; not if the acceleration is another."""
    q, v = start()
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, size=(2, 6, 3))

    @jax.jit
    @jax.vmap
    def evaluate(q, v):
        time = jnp.array(0.3)
        a = lagrangian.euler_lagrange_acceleration(law(mirror, name), time, q, v)
        return terms(mirror, name, time, q, v, a), terms(mirror, name, time, q, v, a + v)

    found, wrong = evaluate(jnp.asarray(np.asarray(q) + noise[0]), jnp.asarray(np.asarray(v) + noise[1]))
    assert np.abs(noether_theorem.noether_theorem_error(found)).max() < 1e-9
    assert np.abs(noether_theorem.noether_theorem_error(wrong)).max() > 1e-2
    assert np.abs(found.potential).max() < 1e-12  # the loss has the symmetry
    if mirror == "euclidean":
        assert np.abs(found.non_euclidean_metric).max() < 1e-13
        kept = np.abs(found.dynamic_asymmetry).max() < 1e-13
        assert kept == (name in ("rotation", "translation"))
    else:
        assert np.abs(found.non_euclidean_metric).max() > 1e-4  # each symmetry is broken by the metric


@pytest.mark.parametrize(("mirror", "name"), [("cosh", "scale"), ("entropy", "rescale")])
def test_noether_theorem_on_trajectories(mirror, name):
    """Central differences of the charge along an integrated path against the theorem's right side."""
    *_, found = trajectory(mirror, name)
    differences = (np.asarray(found.charge)[3::3] - np.asarray(found.charge)[1::3]) / 2e-3
    driven = found.dynamic_asymmetry + found.non_euclidean_metric + found.potential - found.dissipation
    np.testing.assert_allclose(differences, driven[2::3], rtol=1e-4, atol=5e-6)
    assert np.abs(differences).max() > 0.05
    assert np.abs(differences - (driven - found.non_euclidean_metric)[2::3]).max() > 1e-3  # the term is needed


@pytest.mark.parametrize("name", SYMMETRIES)
def test_euclidean_terms_are_the_elementary_ones(name):
    """m <q', dQ>, mu/m of it, kinetic symmetry breaking, and the decay's pull."""
    decay = 0.3
    q, v = start()
    potential = lagrangian.with_decay(SYMMETRIES[name][0], decay)
    state = (jnp.array(0.2), q, v, jnp.array([0.4, 0.1, -0.2]))
    found = jax.jit(functools.partial(terms, "euclidean", name, potential=potential))(*state)
    moving = symmetry.Symmetry(SYMMETRIES[name][1], jnp.zeros(()))
    direction = np.asarray(symmetry.generator(moving, q, jnp.ones(())))
    charge = MASS * v @ direction
    np.testing.assert_allclose(found.charge, charge, rtol=1e-13)
    np.testing.assert_allclose(found.dissipation, FRICTION / MASS * charge, rtol=1e-13)
    breaking = symmetry.kinetic_symmetry_breaking(moving, q, v, MASS)
    np.testing.assert_allclose(found.dynamic_asymmetry, breaking, atol=1e-15)
    np.testing.assert_allclose(found.potential, -decay * q @ direction, atol=1e-14)
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
        "scales": SCALES,
        "potential": lambda q: jnp.sum(q["w"] ** 3),
        "time": jnp.array(0.3),
        "velocity": v,
        "acceleration": v,
        "position": q,
    }
    both = noether_theorem.noether_terms(symmetry.Symmetry(flow, jnp.zeros(2)), **common)
    for i in range(2):
        alone = symmetry.Symmetry(lambda s, q, i=i: flow(s * jnp.eye(2)[i], q), jnp.zeros(()))
        one = noether_theorem.noether_terms(alone, **common)
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


def test_terms_of_integers_and_half_precision() -> None:
    scale = symmetry.Symmetry(lambda s, q: jnp.exp(s).astype(q.dtype) * q, jnp.zeros(()))
    common = {
        "mirror": lagrangian.euclidean,
        "scales": lagrangian.damped_scales(mass=1, friction=2),
        "potential": lambda q: jnp.sum(q**3),
    }
    whole = {"position": np.array([1, 2]), "velocity": np.array([2, -1]), "acceleration": np.array([0, 1])}
    found = noether_theorem.noether_terms(scale, time=1, **whole, **common)
    # by hand: <q, q'> = 0, |q'|^2 + <q, q''> = 7, mu/m times the charge, |q'|^2, no metric term, -<grad V, q> = -27
    np.testing.assert_allclose(np.array(found), [0, 7, 0, 5, 0, -27], atol=1e-12)
    half = {name: jnp.asarray(value, jnp.bfloat16) for name, value in whole.items()}
    low = noether_theorem.noether_terms(scale, time=jnp.float16(1), **half, **common)
    np.testing.assert_allclose(np.array(low), [0, 7, 0, 5, 0, -27], atol=1e-4)
    with pytest.raises(ValueError, match="velocity has shapes .*, but those of position are"):
        noether_theorem.noether_terms(scale, time=1, **{**whole, "velocity": np.ones(3)}, **common)
    with pytest.raises(ValueError, match="time is 'now', but"):
        noether_theorem.noether_terms(scale, time="now", **whole, **common)

"""The toy figures against closed forms: oscillator, spiral, matrix powers, sphere and hyperbola, the two-cycle."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.common.runs import RunDirectory
from papers.noether import toys
from papers.noether.toys import discretisation, measure, rmsprop, rotation, surfaces, valley
from symjax.actions import rotate


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def turn(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def power(matrix, exponents):
    """Symmetric matrix to real powers, by its eigenvectors: (n, 2, 2)."""
    values, vectors = np.linalg.eigh(matrix)
    return np.einsum("ij,nj,kj->nik", vectors, values[None] ** np.asarray(exponents)[:, None], vectors)


def test_turn_is_the_librarys_rotation():
    q = jnp.array([0.3, -1.2])
    np.testing.assert_allclose(rotation.turn(jnp.array(0.7), q), rotate(jnp.array([0.7]), q), rtol=1e-14)


def test_rotated_starts_are_harmonic_motions():
    """In |q|^2/2 the motion is q_0 cos t + v_0 sin t."""
    start, velocity, angles = np.array([1.5, 0.2]), np.array([-0.1, 0.6]), np.array([0.4, 2.0, 5.0])
    times = np.linspace(0.0, 6.0, 31)
    run = rotation.rotated_starts(
        lambda q: q @ q / 2, jnp.asarray(start), jnp.asarray(velocity), jnp.asarray(angles), jnp.asarray(times)
    )
    motion = np.outer(np.cos(times), start) + np.outer(np.sin(times), velocity)
    np.testing.assert_allclose(run.reference, motion, atol=1e-8)
    for index, angle in enumerate(angles):
        np.testing.assert_allclose(run.position[index], motion @ turn(angle).T, atol=1e-8)
    np.testing.assert_allclose(run.energy, np.full((3, 31), (start @ start + velocity @ velocity) / 2), rtol=1e-8)
    assert run.deviation.max() < 1e-8 and run.energy_error.max() < 1e-8


def test_rotated_starts_see_a_missing_symmetry():
    """Under constant force along q_1 the motion is ballistic, and the deviation |(1 - R) e_1| t^2/2."""
    angles, times = jnp.array([np.pi / 2, np.pi]), jnp.linspace(0.0, 2.0, 11)
    run = rotation.rotated_starts(lambda q: q[0], jnp.array([0.0, 1.0]), jnp.array([0.0, 0.0]), angles, times)
    largest = np.sqrt(1 + (2.0**2 / 2) ** 2)
    expected = np.array([[np.sqrt(2)], [2.0]]) * np.asarray(times)[None] ** 2 / 2 / largest
    np.testing.assert_allclose(run.deviation, expected, atol=1e-9)


def test_charge_decays_at_the_rate_of_friction():
    """The angular momentum decays as e^{-t/m} whatever the central force; a slope breaks that."""
    starts, velocities = jnp.array([[1.0, 0.5], [-0.7, 1.1]]), jnp.array([[0.2, 1.0], [1.0, 0.1]])
    times, masses = jnp.linspace(0.0, 3.0, 13), jnp.array([5.0, 0.4])
    expected = np.exp(-np.asarray(times)[None] / np.asarray(masses)[:, None])
    run = rotation.charge_decay(rotation.sombrero, starts, velocities, masses, times)
    np.testing.assert_allclose(run.charge, np.broadcast_to(expected, (2, 2, 13)), atol=1e-8)
    np.testing.assert_allclose(run.predicted, expected, rtol=1e-14)
    assert run.error.max() < 1e-8
    assert rotation.charge_decay(rotation.tilted, starts, velocities, masses, times).error.min() > 1e-2


def test_circle_spirals_out():
    """Discrete radius (1 + eta^2)^{n/2}; modified flow e^{eta t/2} and angle t; gradient flow the unit circle."""
    rate, steps = discretisation.CIRCLE_RATE, discretisation.CIRCLE_STEPS
    run = discretisation.paths(
        discretisation.circling, jnp.array([[1.0, 0.0]]), rate, 0.0, steps, ("flow", "modified_loss")
    )
    radius = np.linalg.norm(run.discrete[0], axis=-1)
    np.testing.assert_allclose(radius, (1 + rate**2) ** (np.arange(steps + 1) / 2), rtol=1e-12)
    time = np.asarray(run.time)
    circle = np.stack([np.cos(time), np.sin(time)], axis=-1)
    np.testing.assert_allclose(run.models["flow"][0], circle, atol=1e-7)
    np.testing.assert_allclose(run.models["modified_loss"][0], np.exp(rate * time / 2)[:, None] * circle, atol=1e-7)
    step_times = rate * np.arange(steps + 1)
    expected = np.abs(radius / np.exp(rate * step_times / 2) - 1).max()
    np.testing.assert_allclose(discretisation.radius_errors(run), [expected], rtol=1e-9)


def test_quadratic_is_matrix_functions():
    """Descent (1 - eta H)^n, gradient flow e^{-Ht}, modified loss e^{-(H + eta H^2/2)t}, all in the eigenbasis."""
    hessian, rate, steps = discretisation.HESSIAN, 0.1, 20
    np.testing.assert_allclose(hessian @ [-1.0, 1.0], [-4.0, 4.0])
    np.testing.assert_allclose(hessian @ [1.0, 1.0], [1.0, 1.0])
    start = np.array([1.0, 0.0])
    run = discretisation.paths(discretisation.quadratic_gradient, jnp.asarray(start)[None], rate, 0.0, steps)
    descent = power(np.eye(2) - rate * hessian, np.arange(steps + 1)) @ start
    np.testing.assert_allclose(run.discrete[0], descent, atol=1e-13)
    time = np.asarray(run.time)
    values, vectors = np.linalg.eigh(hessian)
    root = np.sqrt(1 - 2 * rate * values)  # of eta/2 x^2 + x + lambda
    fast, slow = (-1 - root) / rate, (-1 + root) / rate
    # x(0) = 1 and x'(0) = -lambda (matched) or 0 (rest), mode by mode.
    matched = (-values - fast) / (slow - fast), (values + slow) / (slow - fast)
    rest = -fast / (slow - fast), slow / (slow - fast)
    modes = {
        "flow": np.exp(-np.outer(time, values)),
        "modified_loss": np.exp(-np.outer(time, values + rate * values**2 / 2)),
        "matched": matched[0] * np.exp(np.outer(time, slow)) + matched[1] * np.exp(np.outer(time, fast)),
        "rest": rest[0] * np.exp(np.outer(time, slow)) + rest[1] * np.exp(np.outer(time, fast)),
    }
    for name, mode in modes.items():
        path = (mode * (start @ vectors)) @ vectors.T
        np.testing.assert_allclose(run.models[name][0], path, atol=1e-7, err_msg=name)
        distance = np.linalg.norm(path[:: len(path) // steps] - descent, axis=-1).max()
        np.testing.assert_allclose(run.errors[name], [distance], rtol=1e-4)


def test_momentum_is_the_two_term_recursion():
    """q_{n+1} - q_n = beta (q_n - q_{n-1}) - eta H q_n, q_{-1} = q_0, in NumPy."""
    start, rate, beta = np.array([0.3, -1.0]), 0.01, 0.9
    gradient = discretisation.quadratic_gradient
    found = discretisation.descend(gradient, jnp.asarray(start), jnp.array(rate), jnp.array(beta), 50)
    path = [start, start]
    for _ in range(50):
        path.append(path[-1] + beta * (path[-1] - path[-2]) - rate * discretisation.HESSIAN @ path[-1])
    np.testing.assert_allclose(found, path[1:], rtol=1e-12)


def test_steps_divide_the_points():
    with pytest.raises(ValueError, match="30, but must divide 200"):
        discretisation.paths(discretisation.circling, jnp.ones((1, 2)), 0.1, 0.0, 30)


@pytest.mark.parametrize("name", list(surfaces.NETWORKS))
def test_surfaces(name):
    """The flow stays where NumPy's own formula is constant; descent is recomputed step by step."""
    formula = {
        "translation": lambda q: q[..., 0] + q[..., 1],
        "scale": lambda q: q[..., 0] ** 2 + q[..., 1] ** 2,
        "rescale": lambda q: q[..., 0] ** 2 - q[..., 1] ** 2,
    }[name]
    network, starts = surfaces.NETWORKS[name], measure.random_starts(f"test {name}", 2, 1.0, 2.0, 3)
    run = surfaces.surface_run(network, jnp.asarray(starts), jnp.linspace(0.0, 4.0, 9), 0.3, 12)
    path = np.asarray(run.path)
    np.testing.assert_allclose(formula(path), np.repeat(formula(starts)[:, None], 9, axis=1), atol=1e-7)
    np.testing.assert_allclose(run.conserved, formula(path), atol=1e-13)
    assert np.linalg.norm(path[:, -1] - path[:, 0], axis=-1).min() > 1e-2
    q = starts
    for index in range(13):
        np.testing.assert_allclose(run.steps[:, index], q, atol=1e-12)
        np.testing.assert_allclose(run.descended[:, index], formula(q), atol=1e-12)
        q = q - 0.3 * np.stack([_differences(network.loss, point) for point in q])
    assert run.drift.max() < 1e-7 and run.residual.max() < 1e-12 and run.law_error.max() < 1e-12
    left = np.abs(run.descended[:, -1] - run.descended[:, 0]).max()
    assert left < 1e-12 if name == "translation" else left > 1e-3


def _differences(loss, q):
    """Gradient by fourth-order central differences."""
    h = 1e-3
    basis, loss = np.eye(2) * h, jax.jit(loss)
    f = [[float(loss(jnp.asarray(q + k * e))) for k in (-2, -1, 1, 2)] for e in basis]
    return np.array([(a - 8 * b + 8 * c - d) / (12 * h) for a, b, c, d in f])


def test_valley_two_cycle_norm_and_flow():
    """Fixed norm: cos = (1 + sqrt(1 + 2 eta^2))/(2 eta); flow: tan(angle/2) decays as e^{-t}; free norm by angles."""
    angle, rate, times = 1.3, 4.0, np.linspace(0.0, 5.0, 11)
    start = np.array([[np.cos(angle), np.sin(angle)]])
    run = valley.valley(jnp.asarray(start), rate, 60, jnp.asarray(times))
    cycle = 1 - (1 + np.sqrt(1 + 2 * rate**2)) / (2 * rate)
    np.testing.assert_allclose(run.fixed_loss[0, -4:], cycle, rtol=1e-9)
    assert run.fixed[0, -1, 1] * run.fixed[0, -2, 1] < 0
    np.testing.assert_allclose(np.linalg.norm(run.fixed[0], axis=-1), 1, rtol=1e-13)
    flow = np.arctan2(run.flow[0, :, 1], run.flow[0, :, 0])
    np.testing.assert_allclose(np.tan(flow / 2), np.tan(angle / 2) * np.exp(-times), atol=1e-7)
    square = 1.0
    for index in range(60):
        np.testing.assert_allclose(run.squared_norm[0, index], square, rtol=1e-12)
        np.testing.assert_allclose(np.arctan2(run.free[0, index, 1], run.free[0, index, 0]), angle, atol=1e-12)
        turned = rate * np.sin(angle) / square  # tangent of the angle by which a step turns
        angle, square = angle - np.arctan(turned), square * (1 + turned**2)
    assert run.law_error.max() < 1e-12 and run.flow_drift.max() < 1e-8


def test_rmsprop_is_sgds_direction():
    """SGD in NumPy by hand; RMSProp's recursion by hand from the published correspondence."""
    rate, decay, beta, steps = 0.01, 0.05, 0.5, 40
    start = measure.random_starts("test rmsprop", 4, 1.2, 1.5, 1)
    run = rmsprop.overlay(jnp.asarray(start), jnp.array([beta]), rate, decay, steps, every=1)
    q, v = start[0], np.zeros(4)
    unit, square = q / np.linalg.norm(q), q @ q
    scale = 2 * decay * (1 - beta) ** 2 / (rate * (1 + beta))
    average, rho = square**2 * scale, 1 - 4 * rate * decay / (1 - beta)
    for n in range(steps):
        phase = 2 * np.pi * rmsprop.TURNS * n / steps
        v = beta * v + _turning_gradient(q / np.linalg.norm(q), phase) / np.linalg.norm(q) + decay * q
        q = q - rate * v
        g = _turning_gradient(unit, phase)
        moved = unit - np.sqrt(2 * rate * decay / (1 + beta)) / np.sqrt(average) * g
        unit, average = moved / np.linalg.norm(moved), rho * average + (1 - rho) * g @ g
        np.testing.assert_allclose(run.direction[0, 0, n], q / np.linalg.norm(q), rtol=1e-11)
        np.testing.assert_allclose(run.adaptive[0, 0, n], unit, rtol=1e-11)
        np.testing.assert_allclose(run.squared_norm[0, 0, n], q @ q, rtol=1e-12)
        np.testing.assert_allclose(run.denominator[0, 0, n], np.sqrt(average / scale), rtol=1e-12)
    distance = np.linalg.norm(run.direction - run.adaptive, axis=-1).max()
    np.testing.assert_allclose(run.error, [[distance]], rtol=1e-12)


def _turning_gradient(unit, phase):
    """Tangent part of (F + F^T) qh/4 - a."""
    target = np.array([np.cos(phase), np.sin(phase), 0.5, -0.3])
    full = rmsprop.FORM @ unit / 2 - target
    return full - (full @ unit) * unit


def test_random_starts_are_fixed_and_bounded():
    first, again = measure.random_starts("a", 3, 1.0, 2.0), measure.random_starts("a", 3, 1.0, 2.0)
    np.testing.assert_array_equal(first, again)
    lengths = np.linalg.norm(first, axis=-1)
    assert first.shape == (5, 3) and lengths.min() >= 1 and lengths.max() <= 2
    assert np.abs(first - measure.random_starts("b", 3, 1.0, 2.0)).min() > 0


@pytest.mark.slow
def test_draw_all_writes_figures_and_claims(tmp_path):
    with RunDirectory.create(tmp_path / "run", {}, "command") as directory:
        claims = toys.draw_all(directory, ["valley"], "command")
        directory.write_claims(claims)
    picture = (tmp_path / "run" / "toy_valley.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) < 200_000
    with np.load(tmp_path / "run" / "toy_valley.npz") as arrays:
        assert all(np.isfinite(arrays[key]).all() for key in arrays.files)
    assert [claim.verdict for claim in claims] == ["holds"] * 5
    assert {claim.seeds for claim in claims} == {5} and {claim.command for claim in claims} == {"command"}
    assert len(json.loads((tmp_path / "run" / "claims.json").read_text())) == 5


def test_draw_all_refuses(tmp_path):
    with RunDirectory.create(tmp_path / "run", {}, "command") as directory:
        with pytest.raises(ValueError, match="no toy figure 'vally': choose from rotated_starts"):
            toys.draw_all(directory, ["vally"])
        with jax.enable_x64(False), pytest.raises(ValueError, match="need float64.*jax_enable_x64"):
            toys.draw_all(directory)

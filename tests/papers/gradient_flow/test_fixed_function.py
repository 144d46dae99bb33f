"""Q at a fixed function: moves by NumPy, times by SciPy, balanced spectra by singular values, claims that can fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from papers.gradient_flow.figures import FiguresConfig
from papers.gradient_flow.fixed_function import EXPERIMENT
from papers.gradient_flow.fixed_function import measure as fixed_function
from papers.gradient_flow.fixed_function.judge import judge
from papers.gradient_flow.networks.two_layer.starts import Start


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


M, H, N = 3, 6, 2
TOTALS = (-30.0, 0.0, 30.0)


@pytest.fixture(scope="module")
def weights():
    generator = np.random.default_rng(5)
    return generator.normal(size=(M, H)), generator.normal(size=(N, H))


@pytest.fixture(scope="module")
def places(weights):
    with jax.enable_x64(True):
        return fixed_function.even_and_split(*map(jnp.asarray, weights), TOTALS, "linear")


@pytest.fixture(scope="module")
def inspected(weights, places):
    shift = np.random.default_rng(6).normal(size=(M, N)) * 1e-3
    with jax.enable_x64(True):
        return fixed_function.inspect(places, weights[0] @ weights[1].T, shift, "linear"), shift


def test_moves_keep_the_function_and_reach_the_charges(weights, places):
    for u, v in zip(np.asarray(places.output), np.asarray(places.input), strict=True):
        np.testing.assert_allclose(u @ v.T, weights[0] @ weights[1].T, rtol=1e-12)
    charges = (np.asarray(places.output) ** 2).sum(axis=1) - (np.asarray(places.input) ** 2).sum(axis=1)
    signs = np.where(np.arange(H) % 2, -1, 1)
    np.testing.assert_allclose(charges, [[-5] * H, [0] * H, [5] * H, 5 * signs], atol=1e-11)


def test_split_has_the_size_of_both_ends_neuron_by_neuron(places):
    sizes = (np.asarray(places.output) ** 2).sum(axis=1) + (np.asarray(places.input) ** 2).sum(axis=1)
    np.testing.assert_allclose(sizes[0], sizes[2], rtol=1e-12)
    np.testing.assert_allclose(sizes[3], sizes[2], rtol=1e-12)
    assert (sizes[1] < sizes[2]).all()


def test_a_dead_neuron_is_refused(weights):
    u = weights[0].copy()
    u[:, 2] = 0
    with pytest.raises(ValueError, match="neuron 2"):
        fixed_function.even_and_split(jnp.asarray(u), jnp.asarray(weights[1]), TOTALS, "linear")


def test_spectrum_and_trace(places, inspected):
    run, _ = inspected
    for i, (u, v) in enumerate(zip(np.asarray(places.output), np.asarray(places.input), strict=True)):
        sums = np.linalg.eigvalsh(u @ u.T)[:, None] + np.linalg.eigvalsh(v @ v.T)[None]
        np.testing.assert_allclose(run.eigenvalues[i, : M * N], np.sort(2 * sums.ravel())[::-1], rtol=1e-10)
        size, charge = (u**2).sum() + (v**2).sum(), (u**2).sum() - (v**2).sum()
        np.testing.assert_allclose(run.eigenvalues[i].sum(), (M + N) * size + (N - M) * charge, rtol=1e-10)
        np.testing.assert_allclose([run.size[i], run.charge[i]], [size, charge], rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(run.sharpness, run.eigenvalues[:, 0])
    assert run.function_error.max() < 1e-12


def test_time_to_a_shifted_target_by_scipy(weights, places, inspected):
    run, shift = inspected
    target = weights[0] @ weights[1].T + shift
    for i in (0, 1, 3):
        u, v = np.asarray(places.output[i]), np.asarray(places.input[i])

        def slope(t, q):
            u, v = q[: M * H].reshape(M, H), q[M * H :].reshape(N, H)
            error = u @ v.T - target
            return -2 * np.concatenate([(error @ v).ravel(), (error.T @ u).ravel()])

        def excess(t, q):
            error = q[: M * H].reshape(M, H) @ q[M * H :].reshape(N, H).T - target
            return (error**2).sum() - 0.01 * (shift**2).sum()

        excess.terminal = True
        start = np.concatenate([u.ravel(), v.ravel()])
        found = solve_ivp(slope, (0, 100), start, events=excess, rtol=1e-9, atol=1e-13, max_step=run.time[i] / 20)
        np.testing.assert_allclose(run.time[i], found.t_events[0][0], rtol=2e-3)
        np.testing.assert_allclose(run.predicted_time[i], found.t_events[0][0], rtol=2e-2)


def test_time_of_two_modes():
    """c_1^2 e^(-2 a t) + c_2^2 e^(-2 b t) at the time found."""
    values, coefficients = np.array([0.5, 3.0]), np.array([0.1, 2.0])
    time = float(fixed_function._time_to(jnp.asarray(values), jnp.asarray(coefficients)))
    left = (coefficients**2 * np.exp(-2 * values * time)).sum() / (coefficients**2).sum()
    np.testing.assert_allclose(left, 0.01, rtol=1e-10)


def test_flow_of_tanh(weights):
    u, v = weights[0], 0.4 * weights[1]
    moved = fixed_function.along_flow(jnp.asarray(u), jnp.asarray(v), "tanh")
    norms = np.linalg.norm(np.asarray(moved.output), axis=(1, 2))
    assert len(norms) == 7 and (np.diff(norms) > 0).all() and norms[-1] / norms[0] > 2
    for a, b in zip(np.asarray(moved.output), np.asarray(moved.input), strict=True):
        np.testing.assert_allclose(a @ np.tanh(b).T, u @ np.tanh(v).T, rtol=1e-10)


def test_equalised_spectra(weights, monkeypatch):
    """The whole Q = 0: spectrum 2 (sigma_i + sigma_j) of the function's singular values, wherever training ended."""
    u, v = weights
    other = np.random.default_rng(8).normal(size=(H, H)) + 3 * np.eye(H)
    outputs, inputs = np.stack([u, u @ np.linalg.inv(other), 2 * u]), np.stack([v, v @ other.T, v / 2])
    end = Start(None, outputs[None], inputs[None])
    monkeypatch.setattr(fixed_function, "trained", lambda name, scales, config: (end, None))
    run = fixed_function.equalise("linear", FiguresConfig(figure="fixed-function", seeds=1))
    sigma = np.linalg.svd(u @ v.T, compute_uv=False)
    np.testing.assert_allclose(run.whole, np.full((1, 3), 4 * sigma[0]), rtol=1e-10)
    largest = [
        2 * (np.linalg.norm(a, 2) ** 2 + np.linalg.norm(b, 2) ** 2) for a, b in zip(outputs, inputs, strict=True)
    ]
    np.testing.assert_allclose(run.trained, [largest], rtol=1e-12)
    # a scaling of all neurons is undone by the neurons' Q, a general group element is not
    np.testing.assert_allclose(run.neurons[0, 0], run.neurons[0, 2], rtol=1e-10)
    assert abs(run.neurons[0, 1] / run.neurons[0, 0] - 1) > 0.05


def synthetic(sharpness, time):
    """Places with the spectrum that was predicted, 3 seeds."""
    sharpness, time = (np.broadcast_to(values, (3, len(values))).copy() for values in (sharpness, time))
    eigenvalues = sharpness[..., None] * np.array([1.0, 0.5, 0.0])
    predicted, ones = eigenvalues[..., :2], np.ones_like(sharpness)
    return fixed_function.Places(
        ones, ones, 0 * ones, eigenvalues, predicted, eigenvalues.sum(axis=-1), time, time.copy()
    )


CONFIG = FiguresConfig(figure="fixed-function")


def verdicts(claims):
    return {claim.claim: claim.verdict for claim in claims}


def test_claims_follow_the_numbers(tmp_path, monkeypatch, carried_out, setting):
    places = synthetic([60.0, 10.0, 40.0, 50.0], [1.0, 4.0, 2.0, 1.5])
    found = dict.fromkeys(fixed_function.ACTIVATIONS, places)
    spread, same = np.array([[10.0, 20.0, 90.0]] * 3), np.full((3, 3), 7.0)
    equal = {
        "linear": fixed_function.Equalised(spread, spread, same),
        "relu": fixed_function.Equalised(spread, spread, None),
    }
    monkeypatch.setattr(fixed_function, "move", lambda name, config: found[name])
    monkeypatch.setattr(fixed_function, "equalise", lambda name, config: equal[name])
    right = verdicts(carried_out(EXPERIMENT, CONFIG, tmp_path / "run", "fixed_function"))
    assert (tmp_path / "run" / "fixed_function.png").stat().st_size < 200_000
    assert len(right) == 22 and set(right.values()) == {"holds"}

    flat = synthetic([10.0, 10.0, 10.0, 10.0], [2.0, 2.0, 2.0, 2.0])
    flat.predicted[...] *= 1.01
    flat.predicted_time[...] *= 1.1
    flat.function_error[...] = 1e-3
    equal = {
        "linear": fixed_function.Equalised(spread, same, spread),
        "relu": fixed_function.Equalised(spread, same, None),
    }
    found = dict.fromkeys(fixed_function.ACTIVATIONS, flat)
    claims = judge(fixed_function.Measured(found, equal), CONFIG, setting)
    wrong = verdicts(claims)
    assert all(claim.subject == "control" for claim in claims)
    assert sum(claim.kind == "law" for claim in claims) == 7  # 3 functions, 3 spectra, the whole matrix
    assert len(wrong) == 22 and set(wrong.values()) == {"fails"}

"""Figure 3: drifts of made-up charges, the order against NumPy's exact law, the drawing, and the authors' numbers."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.common.runs import read_metrics
from papers.gradient_flow import figure_3_drift as drift
from papers.gradient_flow.figures import FiguresConfig
from papers.gradient_flow.networks.two_layer.descent import Curves, Job, train, train_all
from papers.gradient_flow.networks.two_layer.starts import draw_elementwise, stack
from symjax import conserved


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def made_up(charges):
    """Curves with given total charges (runs, records), of six runs with one neuron."""
    charges = np.asarray(charges)
    runs, records = charges.shape
    steps = np.array([0, 1, 10, 50, 100])[:records]
    ones = np.ones((runs, 1, 1))
    finite = np.isfinite(charges)
    return Curves(steps, np.full(charges.shape, 2.0), charges[..., None], ones, ones, finite)


def made_up_job(runs):
    start = stack([draw_elementwise(0, 0.1, "authors")] * runs)
    return Job("linear", start, np.tile(drift.RATES, runs // 3), np.array([0, 1, 10, 50, 100]))


def test_drift_counts_from_the_first_step_and_in_the_authors_scale():
    """Q/2 = -1 at step 0; the plotted drift is (|Q| - |Q_1|)/D with D = 2 sum U^2 - Q."""
    rows = [[-1, -1.1, -1.2, -1.5, -1.5], [-1, -1.01, -1.02, -1.05, -1.05], [-1, -1.001, -1.002, -1.005, -1.005]]
    found = drift.drifts(made_up_job(6), made_up(rows + rows))
    assert found.total.shape == (2, 3, 4)
    np.testing.assert_array_equal(found.steps, [1, 10, 50, 100])
    np.testing.assert_allclose(found.total[1, 0], [-0.2, -0.4, -1, -1], rtol=1e-13)
    squares = np.sum(draw_elementwise(0, 0.1, "authors").output ** 2)
    np.testing.assert_allclose(found.relative[0, 0, -1], 0.8 / (2 * squares + 2), rtol=1e-13)
    np.testing.assert_allclose(found.start, -2)
    np.testing.assert_allclose(drift.order(found), 1, rtol=1e-12)
    np.testing.assert_allclose(drift.settled(found), 0, atol=1e-14)
    np.testing.assert_allclose(found.distance, np.sqrt(2.0))


def test_a_diverged_run_has_no_drift():
    rows = [[1, 1.1, np.inf, np.nan, np.nan], [1, 1.01, 1.02, 1.05, 1.06], [1, 1.001, 1.002, 1.005, 1.006]]
    found = drift.drifts(made_up_job(3), made_up(rows))
    assert np.isnan(found.total[0, 0, -1]) and np.isfinite(found.total[0, 1:]).all()
    assert np.isnan(drift.settled(found)[0]) and np.isfinite(drift.order(found)[0])


def test_normalisation_of_the_authors():
    """D of the specification: linear 7.149, ReLU 4.913, tanh 507.2, sigmoid 504.3."""
    start = draw_elementwise(0, drift.SCALE, "authors")
    for name, known in (("linear", 7.149), ("relu", 4.913), ("tanh", 507.2), ("sigmoid", 504.3)):
        first = float(conserved.pointwise(jnp.asarray(start.output), jnp.asarray(start.input.T), name).sum())
        curves = made_up([[first, first, first + np.sign(first), first, first]] * 3)
        found = drift.drifts(made_up_job(3)._replace(activation=name), curves)
        np.testing.assert_allclose(drift.PAPER_SCALE[name] / found.relative[..., 1], known, rtol=2e-4)


def test_one_step_moves_the_linear_charge_by_the_square_of_the_gradient():
    """Exact law of one step: dQ = eta^2 (|G_U|^2 - |G_V|^2), summed over the steps of a NumPy loop."""
    start = draw_elementwise(1, 0.3, "authors")
    job = Job("linear", stack([start]), np.array([0.05]), np.array([0, 20]))
    found = drift.paper_charge(train(job).charge, "linear")[0]
    u, v, law = start.output.copy(), start.input.copy(), 0.0
    for _ in range(20):
        error = 2 * (u @ v.T - start.target) / 50
        du, dv = error @ v, error.T @ u
        law += 0.05**2 * (np.sum(du**2) - np.sum(dv**2))
        u, v = u - 0.05 * du, v - 0.05 * dv
    assert found[1] - found[0] == pytest.approx(law, rel=1e-10)


def test_the_figure_is_drawn(tmp_path, monkeypatch, carried_out):
    monkeypatch.setattr(drift, "STEPS", {"linear": 4000})
    monkeypatch.setattr(drift, "PER_DECADE", 10)
    config = FiguresConfig(figure="3", quick=True, seeds=1, seed=3, out=tmp_path)
    path = tmp_path / config.name
    claims = carried_out(drift.EXPERIMENT, config, path, config.name)
    assert len(claims) == 3 + 2 and all(claim.reduced and claim.verdict == "undecided" for claim in claims)
    assert {claim["figure"] for claim in json.loads((path / "claims.json").read_text())} == {"Fig. 3"}
    numbers = read_metrics(path)
    assert [(one["network"], one["learning_rate"]) for one in numbers[:2]] == [("linear", 0.1), ("linear", 0.01)]
    assert len(numbers) == 6 and all(one["seed"] == 3 and one["steps"] == 200 for one in numbers)
    assert (path / "figure_3.png").stat().st_size > 1000
    with np.load(path / "figure_3.npz") as arrays:
        assert arrays["linear_relative"].shape[:2] == (1, 3)


@pytest.mark.slow
def test_the_authors_drifts_at_full_length():
    """Spec 2, Fig. 3 in float64; item 19: the final drift again, to 1e-6, by kept numbers of this program."""
    config = FiguresConfig(figure="3", seeds=1)
    names = ("sigmoid", "linear", "relu", "tanh")
    jobs = [drift.job(name, config) for name in names]
    found = dict(zip(names, map(drift.drifts, jobs, train_all(jobs)), strict=True))
    known = {
        "linear": (6.909e-4, 6.959e-5, 6.964e-6),
        "relu": (3.561e-4, 3.421e-5, 3.407e-6),
        "tanh": (1.459e-5, 1.467e-6, 1.468e-7),
    }
    for name, values in known.items():
        np.testing.assert_allclose(np.abs(found[name].relative[0, :, -1]), values, rtol=5e-4)
    np.testing.assert_allclose(found["linear"].total[0, :, -1], [-4.998e-3, -4.981e-4, -4.979e-5], rtol=2e-4)
    np.testing.assert_allclose(found["sigmoid"].total[0, :, -1], [1.068e-2, 7.78e-4, 7.6e-5], rtol=6e-3)
    kept = [-4.99784048e-3, -4.98053814e-4, -4.97881039e-5]
    np.testing.assert_allclose(found["linear"].total[0, :, -1], kept, rtol=1e-6)

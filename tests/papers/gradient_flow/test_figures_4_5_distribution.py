"""Figures 4 and 5: the draws against theory, and against NumPy's own evaluation of Q."""

import json

import jax
import numpy as np
import pytest

from papers.gradient_flow import figures_4_5_distribution as distribution
from papers.gradient_flow.figures import FiguresConfig
from symjax.conserved import xavier_moments


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


SHAPE, NAMES = (8, 10, 6), ("linear", "relu", "tanh", "sigmoid")


@pytest.fixture(scope="module")
def charges():
    with jax.enable_x64(True):
        return distribution.charges(0, 1000, SHAPE, NAMES)


def numpy_charges(draws):
    """Q of other draws, in NumPy, by the table of the authors' code."""
    m, h, n = SHAPE
    generator = np.random.default_rng(0)
    u = generator.normal(size=(draws, m, h)) / np.sqrt(h)
    v = generator.normal(size=(draws, h, n)) / np.sqrt(n)
    square = (u**2).sum((1, 2))
    return np.stack(
        [
            square - (v**2).sum((1, 2)),
            square - (np.maximum(v, 0) ** 2).sum((1, 2)),
            square - (np.cosh(v) ** 2).sum((1, 2)),
            square / 2 - v.sum((1, 2)) - np.exp(v).sum((1, 2)),
        ]
    )


def test_moments_agree_with_theory_and_with_numpy(charges):
    other = numpy_charges(20_000)
    for name, q, reference in zip(NAMES, charges, other, strict=True):
        mean, variance = xavier_moments(name, *SHAPE)
        assert abs(q.mean() - mean) < 4 * np.sqrt(variance / len(q)), name
        assert abs(reference.mean() - mean) < 4 * np.sqrt(variance / len(reference)), name
        # kurtosis makes the variance of tanh's cosh^2 the least certain
        assert abs(q.var(ddof=1) / variance - 1) < 0.15, name
        assert abs(reference.var(ddof=1) / variance - 1) < 0.05, name


def test_draws_are_shared_by_activations_and_differ_by_seed(charges):
    again = distribution.charges(0, 1000, SHAPE, NAMES)
    np.testing.assert_array_equal(again, charges)
    assert len(np.unique(charges[0])) == 1000  # no draw comes twice
    other = distribution.charges(1, 1000, SHAPE, NAMES)
    assert abs(np.corrcoef(charges[0], other[0])[0, 1]) < 0.2
    assert np.corrcoef(charges[0], charges[1])[0, 1] > 0.5  # the same U and V


def test_a_wrong_scale_of_the_weights_is_seen(charges):
    """Fan-out in the place of fan-in moves the mean by many standard errors."""
    m, h, n = SHAPE
    mean, variance = xavier_moments("linear", h, m, n)
    assert abs(charges[0].mean() - mean) > 20 * np.sqrt(variance / 1000)


def test_figure(tmp_path, carried_out):
    experiment = distribution._experiment("Fig. 5", (distribution.Case("linear", *SHAPE, 0.0, 1.0),))
    config = FiguresConfig(figure="5", quick=True)
    claims = carried_out(experiment, config, tmp_path / "run", "figure_5")
    mean, variance, _ = claims
    assert {claim.figure for claim in claims} == {"Fig. 5"} and "variance 1.0" in mean.paper
    # of three experiments with 200 draws each: standard errors 0.6, and sqrt(2/600)
    assert abs(mean.measured) < 2.4 and abs(variance.measured) < 0.24
    assert all(claim.reduced and claim.verdict == "undecided" and claim.seeds == 3 for claim in claims)
    with np.load(tmp_path / "run" / "figure_5.npz") as file:
        assert file["charge"].shape == (1, 3, distribution.QUICK_DRAWS)
    assert (tmp_path / "run" / "figure_5.png").stat().st_size < 200_000
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["quick"] is True

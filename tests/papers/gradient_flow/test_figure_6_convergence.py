"""Figure 6: its measure on made-up curves, the rate of the solvable product, the drawing, and the authors' numbers."""

import jax
import numpy as np
import pytest

from papers.common.runs import read_metrics
from papers.gradient_flow import figure_6_convergence as figure_6
from papers.gradient_flow.figures import FiguresConfig
from papers.gradient_flow.networks.two_layer.convergence import first_below
from papers.gradient_flow.networks.two_layer.descent import distance, train_all


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def test_first_below():
    steps = np.array([0, 1, 10, 100])
    values = np.array([[3, 2, 0.5, 0.1], [3, 2, 2, 2], [3, 2, np.inf, np.nan], [0.5, 2, 2, 2]])
    np.testing.assert_array_equal(first_below(steps, values, 1.0), [10, 100, np.nan, 0])


def test_figure_6_is_drawn(tmp_path, monkeypatch, carried_out):
    monkeypatch.setattr(figure_6, "STEPS", {"linear": 100_000})
    monkeypatch.setattr(figure_6, "PER_DECADE", 10)
    config = FiguresConfig(figure="6", quick=True, seeds=1, out=tmp_path)
    claims = carried_out(figure_6.EXPERIMENT, config, tmp_path / config.name, config.name)
    numbers = read_metrics(tmp_path / config.name)
    assert len(claims) == 1 and claims[0].reduced and claims[0].figure == "Fig. 6"
    assert [one["scale"] for one in numbers] == [0.01, 0.1, 1.0]
    assert [one["first_step_below_0.1"] for one in numbers[:2]] == [None, None]
    assert 2270 / 1.3 < numbers[2]["first_step_below_0.1"] < 2270 * 1.3
    assert numbers[2]["start"] == pytest.approx(45.08, abs=0.01) and numbers[0]["start"] == pytest.approx(
        7.29, abs=0.01
    )
    assert (tmp_path / config.name / "figure_6.png").stat().st_size > 1000


@pytest.mark.slow
def test_the_authors_steps_to_convergence_at_full_length():
    """Spec 2, Fig. 6 in float64: first step with |F - Y| < 0.1, known to 6 %."""
    config = FiguresConfig(figure="6", seeds=1)
    known = {
        "sigmoid": (405_848, 226_623, 35_116),
        "linear": (84_159, 39_457, 2_270),
        "relu": (126_545, 74_902, 5_768),
        "tanh": (84_159, 41_824, 4_843),
    }
    jobs = [figure_6.job(name, config) for name in known]
    for (name, values), curves in zip(known.items(), train_all(jobs), strict=True):
        found = first_below(curves.steps, distance(curves), 0.1)
        np.testing.assert_allclose(found, values, rtol=0.06, err_msg=name)

"""Figures 1, 2 and 8 against matrix algebra, SciPy's integrator and closed forms."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from papers.common.experiment import carry_out
from papers.common.runs import RunDirectory
from papers.gradient_flow import figure_1_extended_minimum, figure_8_rates
from papers.gradient_flow.figures import FiguresConfig, experiment
from papers.gradient_flow.networks import solvable


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Figure -> (claims, arrays, size of the picture), each drawn once in its quick form."""
    out = tmp_path_factory.mktemp("pictures")

    def draw(figure):
        config = FiguresConfig(figure=figure, quick=True)
        with (
            jax.enable_x64(True),
            RunDirectory.create(out / figure, dataclasses.asdict(config), "command") as directory,
        ):
            claims = carry_out(experiment(figure), config, directory, name=config.name, command="command", reduced=True)
        with np.load(out / figure / f"figure_{figure}.npz") as file:
            arrays = dict(file)
        return claims, arrays, (out / figure / f"figure_{figure}.png").stat().st_size

    return {figure: draw(figure) for figure in ("1", "2", "8")}


@pytest.mark.parametrize("figure", ["1", "2", "8"])
def test_all_claims_hold_in_the_quick_run(drawn, figure):
    claims, _, size = drawn[figure]
    assert size < 200_000 and len(claims) >= 3
    for claim in claims:
        assert "holds" in (claim.verdict, claim.reduced_verdict) and claim.seeds == 3 and claim.reduced, claim


def test_orbits(drawn):
    """Q(s) = e^2s |U|^2 - e^-2s |V|^2, and the loss of the product U V X, by NumPy."""
    _, arrays, _ = drawn["1"]
    for seed in range(3):
        u, v, x, y = figure_1_extended_minimum._problem(seed)
        assert np.linalg.cond(x) < 1.6 and np.linalg.matrix_rank(x) == 2
        expected = np.exp(2 * arrays["s"]) * (u**2).sum() - np.exp(-2 * arrays["s"]) * (v**2).sum()
        np.testing.assert_allclose(arrays["charge"][seed], expected, rtol=1e-12)
        np.testing.assert_allclose(arrays["loss"][seed], ((y - u @ v @ x) ** 2).sum(), rtol=1e-12)
    assert (np.diff(arrays["charge"], axis=1) > 0).all()


def test_plane(drawn):
    """Trajectories by SciPy; their ends on the minimum, with the Q of their starts."""
    _, arrays, _ = drawn["2"]
    times = np.linspace(0.0, 40.0, 201)
    target, u, v = arrays["target"][1], arrays["u"][1], arrays["v"][1]
    for us, vs in zip(u[:3], v[:3], strict=True):
        other = solve_ivp(
            lambda t, q: 2 * (target - q[0] * q[1]) * q[::-1],
            (0, 40),
            (us[0], vs[0]),
            t_eval=times,
            rtol=1e-10,
            atol=1e-12,
        )
        np.testing.assert_allclose(other.y, [us, vs], atol=1e-6)
    np.testing.assert_allclose(u[:, -1] * v[:, -1], target, rtol=1e-9)
    np.testing.assert_allclose(u[:, -1] ** 2 - v[:, -1] ** 2, u[:, 0] ** 2 - v[:, 0] ** 2, atol=1e-8)
    # both branches of the minimum are reached
    assert (u[:, -1] > 0).any() and (u[:, -1] < 0).any()


def test_rates(drawn):
    _, arrays, _ = drawn["8"]
    y, q = arrays["product_target"][:, None], arrays["product_charge"][None]
    np.testing.assert_allclose(arrays["product_rate"], 4 * np.sqrt(q**2 + 4 * y**2), rtol=5e-3)
    s, q = arrays["quotient_target"][:, None], arrays["quotient_charge"][None]
    np.testing.assert_allclose(arrays["quotient_sharpness"], 2 * (1 + s**2) ** 2 / q, rtol=1e-10)
    # the flattest and slowest product is at Q = 0, the quotient becomes flatter and slower with Q
    assert (arrays["product_rate"].argmin(axis=1) == 2).all()
    assert (np.diff(arrays["quotient_rate"], axis=1) < 0).all()


def test_measured_rate_is_not_the_closed_form_by_construction():
    """At the wrong target the measured rate differs from the closed form of the right one."""
    right = figure_8_rates.rates(solvable.PRODUCT, jnp.array([1.0, 1.4, 0.6]), jnp.linspace(-6.0, 6.0, 5))
    wrong = np.asarray(right.expected.rate[1])
    assert abs(np.asarray(right.rate[0])[2] / wrong[2] - 1) > 0.2

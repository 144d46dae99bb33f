"""The sweeps: a rank against singular values, the claims and the picture of known ranks, a small run as a command."""

import json

import numpy as np
import pytest

from papers.common.claims import Setting
from papers.common.cli import main
from papers.hidden_symmetries import sweeps
from papers.hidden_symmetries.sweep import PROG, SweepConfig, entry
from symjax.dimension import bound
from symjax.dimension import networks as nets
from symjax.dimension.gradients import jacobian


def test_a_rank_is_that_of_the_whole_jacobian() -> None:
    sizes = (2, 3, 3, 1)
    random = np.random.default_rng((8, *sizes, 4))
    params = nets.random_params(sizes, random, 0.3)
    points = 2.0 * random.normal(size=(20 * bound(sizes), 2))
    expected = np.linalg.matrix_rank(jacobian(params, points).reshape(-1, nets.parameters(sizes)))
    assert sweeps._rank(4, sizes, 20, 2.0, 0.3) == expected


def test_claims_and_picture_of_known_ranks() -> None:
    """At the bound: none with one input, all with sixteen; half with small biases, none with large."""
    found = {}
    for width in sweeps.WIDTHS:
        limits = np.array([bound((inputs, width, width, width, 1)) for inputs in sweeps.INPUTS])
        rank = np.repeat(limits[:, None], 20, axis=1)
        rank[0] -= 1
        found[f"inputs_{width}"] = sweeps.Ranks(rank, limits)
    for name, values in (("points", sweeps.POINTS), ("scales", sweeps.SCALES), ("biases", sweeps.BIASES)):
        limits = np.full(len(values), bound(sweeps.SIZES))
        steps = np.arange(len(values))[:, None]
        rank = limits[:, None] - (steps[::-1] if name != "biases" else steps) * np.ones(20, int)
        found[name] = sweeps.Ranks(rank, limits)
    found["biases"].rank[2, ::2] = bound(sweeps.SIZES)
    setting = Setting("", "", "", {"device": "", "versions": {}, "commit": None})
    claims = sweeps.judge(found, SweepConfig(networks=20), setting)
    assert [claim.measured for claim in claims] == pytest.approx([1, 1, 1, 2, 0.5, 1, 0])
    assert {claim.verdict for claim in claims} == {"holds"}
    assert sweeps.draw(found, SweepConfig()).arrays["points_rank"].shape == (6, 20)


@pytest.mark.slow
def test_a_run_measures_draws_and_judges(tmp_path) -> None:
    assert main(entry, SweepConfig, PROG, argv=["--networks", "2", "--out", str(tmp_path / "run")]) == 0
    claims = json.loads((tmp_path / "run" / "claims.json").read_text())
    assert {claim["verdict"] for claim in claims if claim["kind"] == "law"} == {"holds"}
    with pytest.raises(SystemExit, match="2"):
        main(entry, SweepConfig, PROG, argv=["--networks", "0"])

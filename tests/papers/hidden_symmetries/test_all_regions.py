"""Exact dimensions of small networks, through the whole command: against singular values at many points."""

import dataclasses
import json

import numpy as np
import pytest

from papers.common.errors import UserError
from papers.hidden_symmetries.all_regions.measure import MECHANISMS, exact, network
from papers.hidden_symmetries.exact import ExactConfig, entry
from symjax.dimension import bound
from symjax.dimension.gradients import jacobian


def test_a_run_measures_draws_and_judges(tmp_path, capsys) -> None:
    config = ExactConfig(width=2, inputs=2, depth=3, networks=12, out=tmp_path / "run")
    entry(config)
    assert "12 of 12 networks" in capsys.readouterr().out
    claims = json.loads((tmp_path / "run" / "claims.json").read_text())
    assert {claim["verdict"] for claim in claims if claim["kind"] == "law"} == {"holds"}
    assert len(claims) == 5 and (tmp_path / "run" / "all_regions.png").exists()
    with np.load(tmp_path / "run" / "all_regions.npz") as file:
        arrays = dict(file)
    assert len(arrays["segments"]) == len(arrays["units"]) > 0 and len(arrays["exact"]) == 12
    assert np.all(arrays["missing"].sum(axis=1) == bound((2, 2, 2, 1)) - arrays["exact"])
    assert np.all(arrays["pieces"] <= arrays["regions"]) and np.all(arrays["patterns"] <= arrays["regions"])


def test_exact_dimensions_are_ranks_at_very_many_points() -> None:
    found = exact((2, 2, 2, 1), range(6))
    for seed, rank, proven in zip(range(6), found.exact, found.proven, strict=True):
        params, _ = network((2, 2, 2, 1), seed)
        points = np.random.default_rng(seed).normal(size=(20_000, 2)) * 3
        assert rank == proven == np.linalg.matrix_rank(jacobian(params, points)[:, 0])
    assert found.missing.shape == (6, len(MECHANISMS))


@pytest.mark.parametrize("wrong", [{"networks": 0}, {"width": 7}, {"inputs": 7}, {"depth": 1}, {"seed": -1}])
def test_what_is_refused(wrong: dict) -> None:
    with pytest.raises(UserError):
        dataclasses.replace(ExactConfig(), **wrong).validate()

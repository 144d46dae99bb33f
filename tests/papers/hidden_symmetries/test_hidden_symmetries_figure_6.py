"""Figure 6: its ranks against singular values, its interval against SciPy, its claims against shares counted here."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from papers.common.claims import Setting
from papers.common.cli import main
from papers.common.errors import UserError
from papers.hidden_symmetries.figure_6 import EXPERIMENT
from papers.hidden_symmetries.figure_6.measure import Figure6, Proofs, Ranks, proven, pruned, ranks
from papers.hidden_symmetries.figures import PROG, FiguresConfig, entry
from symjax.dimension import networks as nets
from symjax.dimension.gradients import jacobian


def test_ranks_are_those_of_the_whole_jacobian() -> None:
    found = ranks(3, 3, range(5, 9))
    assert found.rank.shape == (4,)
    for seed, rank, regions in zip(range(5, 9), found.rank, found.regions, strict=True):
        random = np.random.default_rng((6, 3, 3, seed))
        params = nets.random_params((3, 3, 3, 1), random)
        points = random.normal(size=(2200, 3))
        assert rank == np.linalg.matrix_rank(jacobian(params, points)[:, 0])
        assert rank <= regions <= 22


@pytest.mark.parametrize(("depth", "seed", "rank"), [(5, 87, 87), (6, 43, 96), (6, 80, 84)])
def test_a_search_takes_no_rounding_for_a_row(depth: int, seed: int, rank: int) -> None:
    """Networks whose kernel is hard to find; the ranks are those of the balanced rows' singular values."""
    assert ranks(depth, 5, range(seed, seed + 1)).rank.tolist() == [rank]


def test_networks_at_the_bound_are_proven_to_be() -> None:
    found = ranks(3, 3, range(5, 15))
    seeds = 5 + np.flatnonzero(found.regions == 22)
    assert len(seeds) > 2
    assert proven(3, 3, seeds).rank.tolist() == [22] * len(seeds)


def test_units_that_are_off_are_pruned() -> None:
    off = np.zeros(6, bool)
    off[[1, 4]] = True
    assert pruned((2, 3, 3, 1), off) == nets.bound((2, 2, 2, 1))
    off[:3] = True
    assert pruned((2, 3, 3, 1), off) == 1


def test_claims_and_picture_of_known_shares() -> None:
    """Shares 0.6, 0.3 and 0.1 at the bound for depths 4, 5 and 6."""
    config = FiguresConfig(figure="6", networks=(100,), widths=(5,))
    found, proofs = {}, {}
    for depth, share in ((4, 6), (5, 3), (6, 1)):
        largest = nets.bound((5,) * depth + (1,))
        rank = np.where(np.arange(100) % 10 < share, largest, largest - 3)
        zeros = np.zeros(100)
        found[depth, 5] = Ranks(rank, rank, rank, rank, zeros, zeros, zeros, zeros + 1e9)
        proofs[depth, 5] = Proofs(np.arange(share), np.full(share, largest))
    setting = Setting("", "", "", {"device": "", "versions": {}, "commit": None}, reduced=True)
    figure = Figure6(found, proofs)
    claims = EXPERIMENT.judge(figure, config, setting)
    fall = claims[0]
    assert fall.measured == pytest.approx(0.2) and fall.reduced_verdict == "holds" and fall.seeds == 300
    assert 0.05 < fall.interval[0] < 0.2 < fall.interval[1]
    assert {claim.verdict for claim in claims if claim.kind == "law"} == {"holds"}
    picture = EXPERIMENT.draw(figure, config)
    assert picture.arrays["d6_n5_rank"].shape == (100,)
    assert "0.600 [0.502, 0.691]" in picture.figure.axes[0].get_title()


def test_none_of_few_networks_decides_nothing() -> None:
    """Where none of ten is at the bound the groups' spread is 0, but the share may be a fifth."""
    config = FiguresConfig(figure="6", networks=(10,), widths=(5,))
    found = {}
    for depth, count in ((4, 1), (5, 0), (6, 0)):
        rank = nets.bound((5,) * depth + (1,)) - (np.arange(10) >= count)
        zeros = np.zeros(10)
        found[depth, 5] = Ranks(rank, rank, rank, rank, zeros, zeros, zeros, zeros + 1e9)
    setting = Setting("", "", "", {"device": "", "versions": {}, "commit": None})
    fall = EXPERIMENT.judge(Figure6(found, {}), config, setting)[0]
    assert fall.verdict == "undecided" and fall.measured == 0 and fall.interval[0] < -0.2


@pytest.mark.parametrize(
    "wrong",
    [{"networks": (0,)}, {"networks": (9, 9)}, {"depths": ()}, {"depths": (4, 4)}, {"widths": (31,)}, {"seed": -1}],
)
def test_what_is_refused(wrong: dict) -> None:
    with pytest.raises(UserError):
        dataclasses.replace(FiguresConfig(figure="6"), **wrong).validate()


def test_networks_of_other_runs_are_read_and_a_number_a_width(tmp_path: Path, monkeypatch) -> None:
    """What two runs measured makes a third, without a network measured again; another seed's run is refused."""
    common = ["--figure", "6", "--depths", "3", "--widths"]
    for width, count in (("2", "4"), ("3", "2")):
        told = [*common, width, "--networks", count, "--out", str(tmp_path / width)]
        assert main(entry, FiguresConfig, PROG, argv=told) == 0
    monkeypatch.setattr("papers.hidden_symmetries.figure_6.measure.batch_dimension", None)
    monkeypatch.setattr("papers.hidden_symmetries.figure_6.measure.certify", None)
    told = [*common, "2", "3", "--networks", "4", "2", "--reuse", str(tmp_path / "2"), str(tmp_path / "3")]
    assert main(entry, FiguresConfig, PROG, argv=[*told, "--out", str(tmp_path / "both")]) == 0
    with np.load(tmp_path / "both" / "figure_6.npz") as file, np.load(tmp_path / "3" / "figure_6.npz") as other:
        both, one = dict(file), dict(other)
    np.testing.assert_array_equal(both["d3_n3_rank"], one["d3_n3_rank"])
    assert len(both["d3_n2_rank"]) == 4 and len(both["d3_n3_rank"]) == 2
    with pytest.raises(SystemExit, match="2"):
        main(entry, FiguresConfig, PROG, argv=[*told, "--seed", "1", "--out", str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_mechanisms_and_a_small_figure_run_as_commands(tmp_path: Path) -> None:
    for number, options in enumerate((["mechanisms"], ["6", "--widths", "3", "--depths", "3", "4", "--networks", "4"])):
        out = tmp_path / str(number)
        assert main(entry, FiguresConfig, PROG, argv=["--figure", *options, "--out", str(out)]) == 0
        found = json.loads((out / "claims.json").read_text())
        assert found and {claim["verdict"] for claim in found if claim["kind"] == "law"} == {"holds"}

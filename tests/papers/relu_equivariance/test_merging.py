"""Pairs of networks: laws on an equivariant one, the judging of made-up numbers, the whole commands on digits."""

import dataclasses

import jax
import numpy as np
import pytest

from papers.common.claims import Setting
from papers.common.cli import main
from papers.common.errors import UserError
from papers.common.finished import load_json
from papers.common.runs import RunDirectory, load
from papers.relu_equivariance.merge import PROG, MergeConfig, entry
from papers.relu_equivariance.merging import EXPERIMENT as MERGING
from papers.relu_equivariance.merging.measure import Merged
from papers.relu_equivariance.networks.config import TrainConfig
from papers.relu_equivariance.networks.finished import Trained
from papers.relu_equivariance.networks.plain import apply_vgg11
from papers.relu_equivariance.networks.run import build_vgg11
from papers.relu_equivariance.networks.tied import draw, expand
from papers.relu_equivariance.pairs.corrections import CORRECTIONS
from papers.relu_equivariance.pairs.measure import LONGEST, Layers, Pair, flipped_self
from papers.relu_equivariance.pairs.stage import prepare
from papers.relu_equivariance.table1 import Table1Config
from papers.relu_equivariance.table_1 import EXPERIMENT as TABLE_1
from papers.relu_equivariance.table_1.measure import Row
from papers.relu_equivariance.train import entry as train

SETTING = Setting("", "", "command", {"device": "cpu", "versions": {}, "commit": None})


def made_up_pair(middle: float, own: bool) -> Pair:
    """Ends of accuracy 0.8, a middle by REPAIR, less without it and less without a permutation."""
    ways = 3 if own else 2
    table = np.full((ways, len(CORRECTIONS)), middle)
    table[0] -= 0.3
    table[:, list(CORRECTIONS).index("none")] -= 0.1
    ones, nan = np.ones(2), np.full(3, np.nan)
    lengths = np.zeros((2, LONGEST))
    lengths[:, 1], lengths[:, 2] = 6, 3
    names = np.array(["conv1", "conv2"])
    layers = Layers(names, 9 * ones, 0.9 * ones, 2 / 3 * ones, ones, 0 * ones, lengths, 0.01 * ones, 0 * ones)
    right = np.arange(200) < np.round(200 * table)[..., None]
    curve, filters = np.zeros((2, 2, 3)), np.zeros((2, 3, 3, 3, 4))
    error = np.array([0.3, 1e-6, 1e-5]) if own else nan
    mirrored = np.array(1e-6 if own else np.nan)
    ends = np.array([0.8, 0.8])
    right_ends = np.arange(200)[None] < 200 * ends[:, None]
    return Pair(
        ends, table, right, right_ends, np.linspace(0, 1, 3), curve, error, mirrored, filters, layers, 0.4 * ones
    )


def test_claims_of_merging_say_what_the_numbers_say():
    dataset = TrainConfig(limit=20).load()
    trained = Trained(TrainConfig(), (0, 1, 2), ({},) * 3, None, ({},) * 3, (), dataset)
    middles = (0.78, 0.77, 0.785)
    selves = tuple(made_up_pair(middle, True) for middle in middles)
    others = tuple(made_up_pair(middle - 0.04, False) for middle in middles)
    merged = Merged(trained, selves, others)
    claims = {claim.claim.split(":")[0]: claim for claim in MERGING.judge((merged,), MergeConfig(("runs",)), SETTING)}
    verdicts = [claim.reduced_verdict or claim.verdict for claim in claims.values()]
    assert verdicts == ["holds"] * 6 + ["fails", "holds"]  # two thirds of the channels in swaps are less than asked
    easier = claims["merging with the flipped self is easier than with another network"]
    assert easier.measured == pytest.approx(0.04 / 0.8)
    wide = Merged(trained._replace(config=TrainConfig(width=0.5)), tuple(made_up_pair(0.84, True) for _ in middles), ())
    several = MERGING.judge((wide, merged), MergeConfig(("a", "b")), SETTING)
    assert len(several) == 7 + 8 + 1 and several[-1].reduced_verdict == "holds"
    assert several[-1].measured == pytest.approx(np.mean(0.84 - np.array(middles)) / 0.8, abs=0.003)
    np.testing.assert_allclose(MERGING.draw((wide, merged), None).arrays["barrier_flipped_self_matched_0"], -0.05)
    picture = MERGING.draw((merged,), None)
    np.testing.assert_allclose(picture.arrays["flipped_self_barrier"][0, 1], [0.15, *[0.025] * (len(CORRECTIONS) - 1)])


def test_claims_of_the_table_say_what_the_numbers_say():
    def row(accuracy: float, error: float, barrier: float, seeds: tuple[int, ...] = (0, 1, 2)) -> Row:
        spread = 1e-4 * np.arange(len(seeds))
        values = {
            "accuracy": accuracy + spread,
            "error": error + 0 * spread,
            "centred": error + spread,
            "barrier": barrier + spread,
        }
        values |= {"uncorrected": barrier + spread, "unmatched": 0.9 + spread, "other": barrier + 0.02 + spread}
        values |= dict.fromkeys(("matched", "layerwise"), np.ones((len(seeds), 2)))
        return Row(seeds=np.array(seeds), failed=np.zeros(0, int), involutive=1 + 0 * spread, **values)

    rows = {
        "cnn": row(0.88, 0.41, 0.15),
        "cnn_aug": row(0.9, 0.28, 0.04, (0, 1, 2, 5)),
        "cnn_inv": row(0.89, 0.06, 0.002),
        "gcnn": row(0.9, 1e-6, 0.001),
        "pgcnn": row(0.902, 0.27, 0.03),
    }
    config = Table1Config(limit=60)
    claims = TABLE_1.judge(rows, config, SETTING._replace(reduced=True))
    assert [claim.reduced_verdict or claim.verdict for claim in claims] == ["holds"] * 8
    worse = rows | {"pgcnn": row(0.87, 0.27, 0.03), "cnn_aug": row(0.9, 0.28, 0.16)}
    claims = TABLE_1.judge(worse, config, SETTING._replace(reduced=True))
    failed = [claim.claim[:5] for claim in claims if claim.reduced_verdict == "fails"]
    assert failed == ["(iii)", "(iii)", "(iv) "]
    assert TABLE_1.judge({"cnn": rows["cnn"]}, config, SETTING) == []
    assert set(TABLE_1.draw(rows, config).arrays) >= {"kinds", "cnn_barrier", "gcnn_error"}


def test_what_cannot_be_merged_is_one_sentence(tmp_path, capsys):
    for options, sentence in (
        (["--networks", str(tmp_path)], "holds no finished network"),
        (["--networks", str(tmp_path), "--alphas", "4"], "--alphas is 4, but must be odd"),
        (["--networks", str(tmp_path), str(tmp_path)], "must be different directories"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(entry, MergeConfig, PROG, argv=[*options, "--out", str(tmp_path / "out")])
        said = capsys.readouterr().err
        assert stop.value.code == 2 and sentence in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow  # a minute of compiling
def test_an_equivariant_network_is_merged_with_its_mirror_image_without_a_trace():
    dataset = TrainConfig(limit=100).load()
    tied = draw(build_vgg11(10, 1 / 32), 8, 1, (32, 32, 3), gain=2.4)
    variables = {"params": jax.tree.map(np.asarray, expand(tied, 8))}
    stage = prepare(apply_vgg11(), variables, dataset, 100)
    pair = flipped_self(stage, variables, corrections=("none", "repair"))
    np.testing.assert_array_equal(pair.middle[1:], pair.ends[0])
    layers = pair.layers
    assert layers.involutive.min() == 1 and (layers.fixed * layers.size <= layers.dead).all()  # the planted swaps
    assert pair.error.max() < 1e-5 and pair.mirrored < 1e-5 and np.abs(layers.lost).max() < 1e-9
    dead = layers.dead > 0  # matched arbitrarily: the kernels that write and read them are not the planted ones
    assert pair.layerwise[~(np.append(dead, False) | np.append(False, dead))].max() < 1e-5


@pytest.mark.slow
def test_trained_networks_are_merged_and_a_stopped_merging_goes_on(tmp_path, monkeypatch, capsys):
    recipe = {"width": 1 / 16, "limit": 400, "epochs": 12, "warm_up_epochs": 1, "seeds": 2}
    train(TrainConfig(**recipe, out=tmp_path / "networks"))
    assert load_json(tmp_path / "networks", "summary.json")["failed"] == []
    config = MergeConfig((tmp_path / "networks",), images=100, alphas=3, curve_images=50, out=tmp_path / "merged")
    opened = RunDirectory.part

    def stopping(self, name, kind, compute):
        if name == "two-0-1":
            raise KeyboardInterrupt
        return opened(self, name, kind, compute)

    monkeypatch.setattr(RunDirectory, "part", stopping)
    with pytest.raises(KeyboardInterrupt):
        entry(config)
    monkeypatch.undo()
    entry(dataclasses.replace(config))
    claims = load_json(tmp_path / "merged", "claims.json")
    assert [claim["verdict"] for claim in claims if claim["kind"] == "law"] == ["holds", "holds"]
    with np.load(tmp_path / "merged" / "merging.npz") as drawn:
        accuracy = load(tmp_path / "networks" / "seed-0").arrays["test_top1"][-1]
        assert drawn["flipped_self_ends"][0] == pytest.approx([accuracy, accuracy], abs=1e-6)
        assert drawn["flipped_self_curve"].shape == (2, 2, 2, 3)
        assert drawn["two_networks_barrier"].shape == (1, 2, len(CORRECTIONS))
    with pytest.raises(UserError, match="holds a finished run"):
        entry(dataclasses.replace(config, images=50))

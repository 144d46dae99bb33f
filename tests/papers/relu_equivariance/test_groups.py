"""Turns and flips: the subgroups, orbits of images, claims on made-up numbers, bad input, the whole command."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from papers.common.claims import Setting
from papers.common.cli import main
from papers.common.finished import load_json
from papers.relu_equivariance.groups import PROG, GroupsConfig, entry, presets
from papers.relu_equivariance.networks.config import TrainConfig
from papers.relu_equivariance.pairs.stage import Stage
from papers.relu_equivariance.turns_and_flips import EXPERIMENT
from papers.relu_equivariance.turns_and_flips.elements import ELEMENTS, SQUARE, SUBGROUPS, table
from papers.relu_equivariance.turns_and_flips.measure import Row
from papers.relu_equivariance.turns_and_flips.merges import Merges, element_barriers, orbit_sizes, whole_barriers
from papers.relu_equivariance.turns_and_flips.scene import moved, whole_orbits
from symjax.matching import GroupMatching

SETTING = Setting("", "", "command", {"device": "cpu", "versions": {}, "commit": None}, True)


def test_subgroups_and_elements_are_what_their_names_say():
    image = np.random.default_rng(0).normal(size=(1, 4, 4, 3))
    for name, members in SUBGROUPS.items():
        for (i, g), (j, h) in ((a, b) for a in enumerate(members) for b in enumerate(members)):
            product = moved(image, members[table(name)[i, j]])
            np.testing.assert_array_equal(moved(moved(image, h), g), product)
    pixels = image[0]
    wanted = {"horizontal flip": pixels[:, ::-1], "vertical flip": pixels[::-1], "half turn": pixels[::-1, ::-1]}
    wanted["quarter turn"] = np.rot90(pixels)
    for name, result in wanted.items():
        np.testing.assert_array_equal(moved(image, ELEMENTS[name])[0], result)
    both_diagonals = {moved(image, ELEMENTS[name]).tobytes() for name in ("diagonal flip", "other diagonal")}
    transposed = np.swapaxes(pixels, 0, 1)
    assert both_diagonals == {transposed.tobytes(), transposed[::-1, ::-1].tobytes()}


def test_digits_are_joined_by_whole_orbits():
    train = TrainConfig(limit=12, symmetry="D4").load().train
    orbits = train.images.reshape(SQUARE.order, 12, 32, 32, 3)
    assert (train.labels.reshape(SQUARE.order, 12) == train.labels[:12]).all()
    for g in range(SQUARE.order):
        there = {moved(orbits[k], g)[0].tobytes() for k in range(SQUARE.order)}
        assert there == {orbits[k, 0].tobytes() for k in range(SQUARE.order)}


def made_up(height: float, seed: int) -> Merges:
    """All ends right on 80 of 100 images; the middle by permutations on less by the height asked for."""
    images = np.arange(1000)
    ends = np.tile(images < 800, (8, 1))
    right = images < 800 * (1 - height) + seed
    middle = np.stack([np.stack([images < 300, right])] * len(ELEMENTS))
    count = len(SUBGROUPS)
    return Merges(
        ends=ends,
        middle=middle,
        plain=np.zeros((len(ELEMENTS), 2)),
        whole=np.stack([right] * count),
        plain_whole=np.zeros(count),
        error=np.full(8, 0.3),
        whole_error=np.full(count, 1e-6),
        moved=np.array(1e-6),
        defect=np.array(0.2 + 1e-3 * seed),
        lost=np.full(count, 0.01 + 1e-4 * seed),
        orbits=np.array([[0, 2, 4, 8], [2, 0, 4, 8]]),
    )


def test_barriers_are_against_the_ends_that_were_merged_and_orbits_are_counted():
    accuracies = np.array([0.8, 0.7, 0.9, 0.6, 0.5, 0.75, 0.65, 0.85])
    merges = made_up(0.05, 0)._replace(ends=np.arange(1000) < 1000 * accuracies[:, None])
    ends = (accuracies[0] + accuracies[list(ELEMENTS.values())]) / 2
    np.testing.assert_allclose(element_barriers(merges), 1 - np.array([0.3, 0.76]) / ends[:, None])
    whole = [accuracies[list(members)].mean() for members in SUBGROUPS.values()]
    np.testing.assert_allclose(whole_barriers(merges), 1 - 0.76 / np.array(whole))
    swaps = GroupMatching({"layer": np.array([[0, 1, 2, 3, 4], [1, 0, 2, 4, 3]])}, {}, {}, {}, {})
    assert orbit_sizes(swaps).tolist() == [[1, 4, 0, 0]]


def test_a_batch_holds_whole_orbits():
    images = np.random.default_rng(0).normal(size=(3, 4, 4, 1)).astype(np.float32)
    both = jnp.concatenate([images, images[:, :, ::-1]])
    (batch,) = whole_orbits(Stage(None, None, None, (both,), (), None)).batches
    np.testing.assert_array_equal(batch, np.concatenate([moved(images, g) for g in range(SQUARE.order)]))


def test_claims_and_the_picture_say_what_the_numbers_say():
    rows = {
        kind: Row((0, 1, 2), (), tuple(made_up(height, seed) for seed in range(3)))
        for kind, height in (("cnn_d4", 0.05), ("cnn", 0.25))
    }
    one = rows["cnn_d4"].merges[0]
    np.testing.assert_allclose(element_barriers(one), [[0.625, 0.05]] * len(ELEMENTS))
    np.testing.assert_allclose(whole_barriers(one), [0.05] * len(SUBGROUPS))
    claims = EXPERIMENT.judge(rows, GroupsConfig(), SETTING)
    verdicts = [claim.reduced_verdict or claim.verdict for claim in claims]
    augmented = ["holds", "holds", "holds", "fails", "holds", "holds", "holds"]  # the law of D4 is broken too often
    plain = ["fails", "holds", "holds", "fails", "holds", "fails", "fails"]
    assert verdicts == ["holds"] * 2 + augmented + plain + ["holds"]
    arrays = EXPERIMENT.draw(rows, None).arrays
    assert arrays["cnn_element_barrier"].shape == (3, len(ELEMENTS), 2)
    np.testing.assert_allclose(arrays["cnn_accuracy"], np.full((3, 8), 0.8))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--preset", "eurosat"], "--data-dir is None, but must be the folder of the images"),
        (["--size", "48"], "--size is 48, but must be divisible by 32"),
        (["--kinds", "cnn", "cnn"], "--kinds is cnn cnn, but must be different kinds"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(options, sentence, capsys):
    with pytest.raises(SystemExit) as stop:
        main(entry, GroupsConfig, PROG, argv=options, presets=presets())
    said = capsys.readouterr().err
    assert stop.value.code == 2 and sentence in said and "Traceback" not in said


@pytest.mark.slow
def test_the_command_merges_and_the_laws_hold_at_64_pixels(tmp_path):
    config = GroupsConfig(
        size=64, width=1 / 32, limit=100, epochs=15, batch_size=50, seeds=1, kinds=("cnn_d4",), images=10
    )
    entry(dataclasses.replace(config, out=tmp_path / "run"))
    claims = load_json(tmp_path / "run", "claims.json")
    assert [claim["verdict"] for claim in claims if claim["kind"] == "law"] == ["holds", "holds"]

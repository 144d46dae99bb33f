"""The seven kinds of network: their sizes, the tied parameters, the rule, a tiny training of two seeds."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.common.cli import main
from papers.common.errors import UserError
from papers.common.finished import load_json
from papers.common.runs import load
from papers.relu_equivariance.networks.config import TrainConfig
from papers.relu_equivariance.networks.kinds import DEPTH, KINDS
from papers.relu_equivariance.networks.plain import apply_vgg11
from papers.relu_equivariance.networks.presets import presets
from papers.relu_equivariance.networks.rule import gate, warm_up_and_decay
from papers.relu_equivariance.networks.run import build_vgg11, train_all
from papers.relu_equivariance.networks.tied import draw, expand
from papers.relu_equivariance.train import entry
from symjax.equivariance import invariance_error

SHAPE = (32, 32, 3)


@pytest.mark.parametrize(("equivariant", "count"), [(0, 9_225_610), (DEPTH, 4_612_810), (2, 9_187_786)])
def test_parameters_are_as_many_as_in_the_paper(equivariant, count):
    tied = draw(build_vgg11(10, 1.0), equivariant, 0, SHAPE)
    assert sum(leaf.size for leaf in jax.tree.leaves(tied)) == count
    assert (
        sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(lambda p: expand(p, equivariant), tied))) == 9_225_610
    )
    kernel = tied["conv3"]["kernel"]  # the fan-in is that of the expanded layer
    assert abs(kernel).max() <= 1 / np.sqrt(9 * 128) and kernel.std() == pytest.approx(1 / np.sqrt(27 * 128), rel=0.01)


def test_a_network_of_equivariant_layers_is_invariant_and_one_of_two_is_not():
    model = build_vgg11(10, 1 / 32, "float64")
    with jax.enable_x64(True):
        wide = (64, 64, 3)  # the classifier reads a map of 2 x 2, mirrored too
        images = jnp.asarray(np.random.default_rng(0).normal(size=(2, *wide)))
        errors = {}
        for equivariant in (DEPTH, 2):
            tied = jax.tree.map(lambda leaf: 3 * leaf.astype(np.float64), draw(model, equivariant, 1, wide))
            params = expand(tied, equivariant)
            both = model.apply({"params": params}, jnp.concatenate([images, images[:, :, ::-1]]))
            errors[equivariant] = float(invariance_error(*jnp.split(both, 2)).max())
    assert errors[DEPTH] < 1e-12 < 1e-4 < errors[2]


def test_the_plain_program_is_the_network_that_is_trained():
    images = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
    model = build_vgg11(10, 1 / 32)
    variables = {"params": draw(model, 0, 3, SHAPE, gain=2.4)}
    np.testing.assert_allclose(apply_vgg11()(variables, images), model.apply(variables, images), rtol=1e-4, atol=1e-6)


def test_the_rate_and_the_gate_of_the_published_recipe():
    rate = warm_up_and_decay(0.08, 500, 10_000)
    assert [float(rate(step)) for step in (0, 500, 10_000)] == [0, pytest.approx(0.08, rel=1e-7), 0]
    assert float(rate(250)) == pytest.approx(0.04) and float(rate(5250)) == pytest.approx(0.04)
    steps = jnp.array([0, 1999, 2000, 9999])
    gates = {name: gate(kind, steps, 10_000).astype(int).tolist() for name, kind in KINDS.items()}
    assert gates["cnn_late_inv"] == gates["pgcnn_late_inv"] == [0, 0, 1, 1]
    assert (gates["cnn"], gates["cnn_inv"]) == ([0] * 4, [1] * 4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    tiny = TrainConfig(kind="gcnn", width=1 / 32, limit=40, epochs=2, warm_up_epochs=1, batch_size=40, seeds=2, out=out)
    entry(tiny)
    return out


def test_a_trained_network_opens_in_one_line_as_a_plain_one(trained):
    network = load(trained / "seed-1")
    assert network.config["kind"] == "gcnn" and len(network.arrays["train_loss"]) == 4
    images = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    logits, mirrored = (network.apply(network.variables, x) for x in (images, images[:, :, ::-1]))
    np.testing.assert_allclose(logits, mirrored, atol=1e-5)
    assert network.variables["params"]["conv2"]["kernel"].shape == (3, 3, 2, 4)
    summary = load_json(trained, "summary.json")
    assert summary["failed"] == [0, 1]  # two steps teach nothing, and that is counted
    with pytest.raises(UserError, match="holds 2 networks"):
        load(trained)


def test_a_finished_network_is_read_and_one_of_another_recipe_refused(trained):
    config = TrainConfig(**load(trained / "seed-0").config | {"seeds": 2, "out": None})
    rows = train_all(config, trained, "", "")
    assert rows == load_json(trained, "summary.json")["networks"]
    with pytest.raises(UserError, match=r"was trained with learning_rate 0\.04, not 0\.1"):
        train_all(dataclasses.replace(config, learning_rate=0.1), trained, "", "")


@pytest.mark.slow
def test_a_network_that_diverged_is_counted_and_the_others_are_trained(tmp_path):
    wild = TrainConfig(
        width=1 / 32,
        limit=40,
        epochs=2,
        warm_up_epochs=0,
        batch_size=40,
        learning_rate=1e30,
        seeds=2,
        out=tmp_path / "a",
    )
    entry(wild)
    rows = load_json(tmp_path / "a", "summary.json")["networks"]
    assert [row["seed"] for row in rows] == [0, 1] and all("became" in row["failed"] for row in rows)


def test_a_width_without_pairs_is_refused(capsys):
    arguments = ["--kind", "gcnn", "--width", "0.02"]
    with pytest.raises(SystemExit) as stop:
        main(entry, TrainConfig, "train", argv=arguments, presets=presets(TrainConfig))
    said = capsys.readouterr().err
    assert stop.value.code == 2 and "--width is 0.02" in said and "Traceback" not in said

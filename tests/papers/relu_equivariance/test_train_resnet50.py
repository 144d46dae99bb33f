"""A ResNet-50 trained through the stream of crops: the invariance loss, and real photographs from end to end."""

import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.common.cli import main
from papers.common.models.pretrained import read_resnet50
from papers.common.runs import load
from papers.common.training import sgd, start
from papers.relu_equivariance.resnet_50.training import invariant_step, normalise
from papers.relu_equivariance.train_resnet50 import PRESETS, ResNet50Training, entry, say_how_to_merge
from symjax.tracing import symmetries


class Small(nn.Module):
    """One dense layer and a normalisation, which a mirror image does not leave alone."""

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Dense(3)(images.reshape(len(images), -1))
        return nn.BatchNorm(not train, momentum=0.9)(x)


def test_the_step_with_an_invariance_loss_is_the_gradient_of_its_sum():
    random = np.random.default_rng(0)
    raw, labels = random.integers(0, 256, (6, 2, 2, 3), np.uint8), jnp.array([0, 1, 2, 0, 1, 2])
    model, optimiser = Small(), sgd(1.0)
    dense = {"kernel": random.normal(size=(12, 3)).astype(np.float32), "bias": np.zeros(3, np.float32)}
    ones, zeros = np.ones(3, np.float32), np.zeros(3, np.float32)
    params = {"Dense_0": dense, "BatchNorm_0": {"scale": ones, "bias": zeros}}
    variables = {"params": params, "batch_stats": {"BatchNorm_0": {"mean": zeros, "var": ones}}}
    state = start(variables, optimiser, jax.random.key(0))

    x = np.asarray(normalise(raw))
    both = np.concatenate([x, x[:, :, ::-1]]).reshape(12, -1)

    def objective(params, weight):
        y = both @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"][None]
        y = (y - y.mean(0)[None]) / jnp.sqrt(y.var(0) + 1e-5)[None]
        y = y * params["BatchNorm_0"]["scale"][None] + params["BatchNorm_0"]["bias"][None]
        one, two = y[:6], y[6:]
        norms = [jnp.linalg.norm(logits, axis=1) for logits in (one - two, one, two)]
        error = (norms[0] / (norms[1] / 2 + norms[2] / 2)).mean()
        return -jnp.log(jax.nn.softmax(one)[jnp.arange(6), labels]).mean() + weight * error, error

    moved, metrics = jax.jit(invariant_step(model, optimiser, 0.3))(state, (raw, labels))
    gradient, error = jax.jit(jax.grad(objective, has_aux=True))(variables["params"], 0.3)
    expected = jax.tree.map(lambda q, g: q - g, variables["params"], gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), moved.params, expected)
    assert metrics["invariance_error"] == pytest.approx(float(error), rel=1e-4) and int(moved.step) == 1
    assert not np.allclose(moved.batch_stats["BatchNorm_0"]["var"], 1)


def test_the_recipe_is_torchvisions_first_and_what_cannot_be_is_refused(capsys):
    recipe = PRESETS["imagenet"].config
    known = (recipe.learning_rate, recipe.batch_size, recipe.epochs, recipe.momentum, recipe.weight_decay, recipe.size)
    assert known == (0.1, 256, 90, 0.9, 1e-4, 224)
    assert not recipe.reduced(1_281_167) and recipe.reduced(1500)
    for arguments, message in (
        ([], "--images is None"),
        (["--images", "nowhere"], "nowhere does not exist"),
        (["--preset", "imagenet", "--images", ".", "--width", "9"], "--width is 9"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(entry, ResNet50Training, "train", argv=arguments, presets=PRESETS)
        said = capsys.readouterr().err
        assert stop.value.code == 2 and message in said and "Traceback" not in said


def test_the_next_command_names_the_test_folder_that_is_there(tmp_path, capsys):
    say_how_to_merge(Path("run"), ResNet50Training(images=tmp_path))
    assert capsys.readouterr().out == ""
    (tmp_path / "test").mkdir()
    say_how_to_merge(Path("run"), ResNet50Training(images=tmp_path))
    assert f"--weights run --images {tmp_path}/test --seen {tmp_path}/train --sizes 64 --resize 73" in (
        " ".join(capsys.readouterr().out.replace("\\", " ").split())
    )


@pytest.mark.slow  # compiles a training step of fifty layers
def test_photographs_are_learnt_from_and_the_network_is_opened_and_traced(tmp_path: Path, real_data: Path) -> None:
    subprocess.run([sys.executable, str(real_data / "restore.py"), str(tmp_path), "imagenet"], check=True)
    images = tmp_path / "imagenette"
    images.mkdir()
    for split in ("train", "val"):
        (images / split).symlink_to(tmp_path / "imagenet" / f"imagenette_{split}")
    config = ResNet50Training(
        **{"images": images, "epochs": 1, "batch_size": 100, "evaluated": 50, "record_every": 5},
        **{"out": tmp_path / "run", "cache_dir": tmp_path / "cache", "learning_rate": 0.05},
    )
    entry(config)
    network = load(tmp_path / "run")
    losses = network.arrays["train_loss"]
    assert len(losses) == 15 and losses[-5:].mean() < losses[:5].mean()
    assert "Reduced" in (tmp_path / "run" / "notes.md").read_text()
    net = read_resnet50(tmp_path / "run")
    assert net.model.width == 0.25 and "1500 photographs" in net.words
    like = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    found = symmetries(network.apply, network.variables, like)
    assert len(found.permutations) == 37
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    np.testing.assert_array_equal(network.apply(network.variables, images), net.model.apply(net.variables, images))

"""The train command of gradient_flow: its charges against NumPy, its laws, what it leaves, how it stops and goes on.

VGG11 is cut to two convolutions, which compiles in seconds and keeps every part.
"""

import dataclasses
import json
import os
import signal

import jax
import numpy as np
import pytest

from papers.common import cli, data
from papers.common.errors import Divergence, UserError
from papers.common.experiment import carry_out
from papers.common.models import vgg
from papers.common.runs import RunDirectory, load, read_metrics
from papers.common.training import session, sgd
from papers.gradient_flow import train
from papers.gradient_flow.networks import neurons
from papers.gradient_flow.networks.cifar.config import NetworkConfig
from papers.gradient_flow.networks.cifar.network import build, initialise, pixels, scaled
from papers.gradient_flow.networks.vgg11 import first_variables
from papers.gradient_flow.training.config import TrainConfig
from papers.gradient_flow.training.experiment import EXPERIMENT
from symjax.channels import Channel, Scaling, Site

# 32 images in batches of 8: 4 steps an epoch, a record every 2
SMALL = TrainConfig(
    network="vgg11",
    width=1 / 16,
    limit=32,
    batch_size=8,
    epochs=2,
    learning_rate=0.02,
    record_every=2,
    checkpoint_epochs=0,
)
STEPS = 8


@pytest.fixture(scope="module", autouse=True)
def short_network(tmp_path_factory):
    """Two convolutions, and one compilation for all runs of the same network."""
    options = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("xla")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in options}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vgg, "CONVOLUTIONS", ((64, True), (128, True)))
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        for name, value in options.items():
            jax.config.update(name, value)
        yield
        for name, value in before.items():
            jax.config.update(name, value)


def run(config, out, **changes):
    """Carry one training out; None where it was stopped."""
    config = dataclasses.replace(config, out=out, **changes).resolved()
    measured = []

    def measure(config, directory):
        measured.append(EXPERIMENT.measure(config, directory))
        return measured[0]

    experiment = EXPERIMENT._replace(measure=measure)
    with RunDirectory.open(config, "train") as directory:
        try:
            carry_out(experiment, config, directory, name="training", command="train", reduced=True)
        except KeyboardInterrupt:
            return None
    return measured[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of the shortened VGG11 never stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, run(SMALL, out)


def vgg_charge(params, sign=-1):
    """(|writers|^2 + sign |readers|^2)/2 by NumPy in float64, in the order of the layers' names."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    parts = []
    for layer, reader in (("conv1", "conv2"), ("conv2", "dense1"), ("dense1", "dense2"), ("dense2", "dense3")):
        kernel, bias, reads = params[layer]["kernel"], params[layer]["bias"], params[reader]["kernel"]
        writers = (kernel**2).reshape(-1, len(bias)).sum(0) + bias**2
        if kernel.ndim == 4 and reads.ndim == 2:  # flattened in the order height, width, channel
            readers = (reads**2).reshape(-1, len(bias), reads.shape[1]).sum((0, 2))
        else:
            readers = np.moveaxis(reads**2, -2, 0).reshape(len(bias), -1).sum(1)
        parts.append((writers + sign * readers) / 2)
    return np.concatenate(parts)


def test_the_first_charges_are_those_of_the_first_weights(whole):
    _, arrays = whole
    dataset = data.load("digits", limit=32)
    params = first_variables(dataset, 1 / 16, "float32", "he", 0)["params"]
    np.testing.assert_allclose(arrays["start"], vgg_charge(params), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(arrays["size"], vgg_charge(params, +1), rtol=1e-5)
    assert list(arrays["layer"]) == ["conv1"] * 4 + ["conv2"] * 8 + ["dense1"] * 64 + ["dense2"] * 64
    kernel = params["dense1"]["kernel"]
    assert abs(kernel.var() * kernel.shape[0] / 2 - 1) < 0.05 and kernel.dtype == np.float32


def test_the_exact_law_of_descent_holds_and_the_gradient_identity(whole):
    """Q is measured from the weights, the law from the gradients: nothing but the symmetry joins them."""
    _, arrays = whole
    drift = arrays["measured"][-1].astype(np.float64) - arrays["start"]
    assert np.abs(drift).max() > 1e-4  # it does move
    assert arrays["worst"].max() < 1e-5
    assert np.abs(arrays["first_order"][-1]).max() < 1e-3 * np.abs(drift).max()
    error = arrays["second_order"][-1] - drift
    assert np.sqrt(np.mean(error**2)) < 0.01 * np.sqrt(np.mean(drift**2))


def test_the_law_fails_where_the_update_is_not_descent(whole):
    """The observer, told that a decayed step is descent, predicts from the gradient alone: its prediction must miss."""
    params = {"a": {"kernel": np.ones((2, 1), np.float32), "bias": np.zeros(1, np.float32)}}
    params["b"] = {"kernel": np.full((1, 2), 3.0, np.float32)}
    sites = [Site(("params", *path), axis=axis) for path, axis in ((("a", "kernel"), 1), (("b", "kernel"), 0))]
    scaling = Scaling("rescale", ((sites[0], 1), (sites[1], -1)))
    found = neurons.neurons({"h": Channel(1, tuple(sites), (scaling,))}, np.float32)
    gradient = jax.tree.map(lambda leaf: 0.01 * leaf, params)  # of a decay: not orthogonal to the generator
    for rate, error in ((0.1, lambda worst: worst > 1e-3), (None, lambda worst: worst < 1e-6)):
        optimiser = neurons.watched(found, sgd(0.1), rate)
        state = optimiser.init(params)
        first = neurons.first_record(found, state)
        assert float(first["start"][0]) == pytest.approx((2 - 18) / 2) and float(first["size"][0]) == pytest.approx(10)
        _, state = optimiser.update(gradient, state, params)
        assert error(float(neurons.record(state)["worst"][0]))


def test_channels_without_the_symmetry_are_refused():
    site = Site(("params", "a"), axis=0)
    with pytest.raises(ValueError, match="channels are h, but none of them has a rescale symmetry"):
        neurons.neurons({"h": Channel(1, (site,), ())})


def test_a_run_leaves_what_it_measured(whole):
    out, arrays = whole
    names = {item.name for item in out.iterdir()}
    assert names == {
        "config.json", "finished.json", "metrics.jsonl", "history.npz", "training.png", "training.npz", "claims.json",
        "checkpoints", "network.json", "network.npz",
    }  # fmt: skip
    assert arrays["train_loss"].shape == (STEPS,) and list(arrays["step"]) == [2, 4, 6, 8]
    assert list(arrays["test_step"]) == [0, 4, 8] and np.isfinite(arrays["test_loss"]).all()
    written = read_metrics(out)
    assert [record["step"] for record in written if "loss" in record] == [2, 4, 6, 8]
    assert [record["epoch"] for record in written if "test_loss" in record] == [0, 1, 2]
    claims = json.loads((out / "claims.json").read_text())
    assert [claim["verdict"] for claim in claims] == ["holds", "undecided"]
    assert [claim["kind"] for claim in claims] == ["law", "finding"] and claims[0]["count"] == STEPS * (4 + 8 + 64 + 64)
    assert claims[0]["measured"] == pytest.approx(float(arrays["worst"][-1].max()))
    assert claims[0]["threshold"] == "below 0.0001" and 0 < claims[1]["measured"] < 0.05


def test_stopped_and_resumed_is_the_same_run(whole, tmp_path, monkeypatch, capsys):
    class Signalling(session.Progress):
        def __call__(self, fetched):
            super().__call__(fetched)
            if fetched.step == 0:
                os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(session, "Progress", Signalling)
        assert run(SMALL, tmp_path / "run") is None
    assert "stopped at step 4 of 8; continue with: " in capsys.readouterr().out
    arrays = run(SMALL, tmp_path / "run", resume=True)
    assert "continuing from the checkpoint of step 4" in capsys.readouterr().out
    assert arrays.keys() == whole[1].keys()
    for name, expected in whole[1].items():
        np.testing.assert_array_equal(arrays[name], expected, err_msg=name)
    with pytest.raises(UserError, match=r"learning_rate 0.02 -> 0.5"):
        run(SMALL, tmp_path / "run", resume=True, learning_rate=0.5)


def test_divergence_is_said(tmp_path):
    with pytest.raises(Divergence, match="smaller --learning-rate"):
        run(SMALL, tmp_path / "vgg", learning_rate=1e6)
    with jax.enable_x64(True), pytest.raises(Divergence, match="smaller --learning-rate"):
        run(TrainConfig(steps=50, learning_rate=1e3), tmp_path / "two_layer")


@pytest.mark.slow
def test_the_run_opens_in_one_line_as_the_network_that_was_evaluated(whole):
    network = load(whole[0])
    test = data.load("digits", limit=SMALL.limit).test
    found = network.apply(network.variables, np.float32(test.images / 16)).argmax(1) == test.labels
    assert np.mean(found) == pytest.approx(network.arrays["test_top1"][-1])


@pytest.mark.slow
def test_adam_breaks_the_charges_of_the_cifar_network_at_first_order(tmp_path):
    config = TrainConfig(network="cifar", limit=40, batch_size=20, epochs=2)
    arrays = run(config, tmp_path / "run")
    params = initialise(build(NetworkConfig(activation="leaky_relu")), 0)["params"]
    inner, outer = params["inner"]["kernel"], params["outer"]["kernel"]
    dense = ((inner**2).sum(0) + params["inner"]["bias"] ** 2 - (outer**2).sum(1)) / 2
    filters = (params["convolution"]["kernel"] ** 2).sum((0, 1, 2)) + params["convolution"]["bias"] ** 2
    filters = (filters - (inner.reshape(256, 32, 16) ** 2).sum((0, 2))) / 2
    np.testing.assert_allclose(arrays["start"], np.concatenate([filters, dense]), rtol=1e-4, atol=1e-6)
    assert list(arrays["layer"]) == ["convolution"] * 32 + ["inner"] * 16 and len(arrays["train_loss"]) == 4
    network, test = load(tmp_path / "run"), data.load("digits", limit=40)
    found = network.apply(network.variables, pixels(test.test.images, scaled(test))).argmax(1) == test.test.labels
    assert np.mean(found) == pytest.approx(arrays["test_top1"][-1])
    assert arrays["worst"].max() < 1e-5  # both orders together are an identity
    drift = np.abs(arrays["measured"][-1] - arrays["start"])
    assert np.median(np.abs(arrays["first_order"][-1]) / drift) > 0.5
    without = neurons.cifar_channels({"params": params}, "leaky_square")
    assert not without["inner"].scalings and without["convolution"].scalings


@pytest.mark.parametrize("activation", ["linear", "tanh"])
def test_two_layers_against_a_numpy_loop(tmp_path, activation):
    config = TrainConfig(activation=activation, steps=12, record_every=5)
    with jax.enable_x64(True):
        arrays = run(config, tmp_path / "run")
    from papers.gradient_flow.networks.two_layer.starts import draw_elementwise

    y, u, v = draw_elementwise(0, 0.1, "authors")
    sigma, slope, primitive = {
        "linear": (lambda x: x, np.ones_like, lambda x: x**2 / 2),
        "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2, lambda x: np.cosh(x) ** 2 / 2),
    }[activation]
    losses, charges = [], []
    for _ in range(13):
        error = u @ sigma(v).T - y
        losses.append(np.mean(error**2))
        charges.append((u**2).sum(0) / 2 - primitive(v).sum(0))
        step_u, step_v = 2 / y.size * error @ sigma(v), 2 / y.size * error.T @ u * slope(v)
        u, v = u - 0.1 * step_u, v - 0.1 * step_v
    recorded = [0, 5, 10, 12]
    np.testing.assert_array_equal(arrays["step"], recorded)
    np.testing.assert_allclose(arrays["train_loss"], np.array(losses)[recorded], rtol=1e-12)
    np.testing.assert_allclose(arrays["measured"], np.array(charges)[recorded], rtol=1e-12)
    with jax.enable_x64(True):
        network = load(tmp_path / "run")
        outputs = np.asarray(network.apply(network.variables, np.eye(len(v)))).T
    np.testing.assert_allclose(np.mean((outputs - y) ** 2), losses[-1], rtol=1e-12)
    assert len(json.loads((tmp_path / "run" / "claims.json").read_text())) == (2 if activation == "linear" else 1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--network", "vgg11", "--activation", "tanh"], "--activation is tanh, but must be one of relu"),
        (["--learning-rate", "-1"], "--learning-rate is -1.0, but must be above 0"),
        (["--resume"], "holds no run to resume"),
        (["--steps", "1000000000000"], "--steps is 1000000000000, but must be from 1 to 10000000"),
        (["--epochs", "1" + 30 * "0", "--network", "cifar"], ", but must be from 1 to 10000"),
        (["--seed", "4294967296"], "--seed is 4294967296, but must be from 0 to 4294967295"),
        (["--epochs", "3"], "--epochs is 3, but must be left out with --network two_layer, which takes --steps"),
        (["--network", "cifar", "--data", "tiny_imagenet"], "--data is tiny_imagenet, but must be digits or cifar10"),
        (["--network", "vgg11", "--limit", "40", "--batch-size", "41"], "--batch-size is 41, but must be at most"),
    ],
)
def test_bad_input_is_one_sentence(options, sentence, tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(train.entry, TrainConfig, train.PROG, argv=[*options, "--out", str(tmp_path / "run")])
    assert left.value.code == 2 and sentence in capsys.readouterr().err

"""The sweep of Figure 11: how attacks are applied, what they do to network and ensembles, what a run leaves behind."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.common import cli
from papers.common.errors import UserError
from papers.gradient_flow import adversarial
from papers.gradient_flow import figure_11_adversarial as figure_11
from papers.gradient_flow.adversarial import AdversarialConfig
from papers.gradient_flow.claims import PAPER_ACCURACY
from papers.gradient_flow.figure_11_adversarial.measure import (
    ADAPTIVE,
    CORRECTED,
    LEGACY,
    Strength,
    adaptive_loss,
    attack,
    held_out,
    members,
    network_loss,
    prepare,
    strengths,
    sweep,
)
from papers.gradient_flow.figures import FiguresConfig
from papers.gradient_flow.networks.cifar.config import KINDS, CifarConfig, NetworkConfig
from papers.gradient_flow.networks.cifar.network import build, initialise, pixels

IMAGES = 12
CONFIG = NetworkConfig(activation="leaky_relu", images=8, seed=1)
ATTACKS = (Strength("fgsm", 0.0), Strength("fgsm", 0.1), Strength("pgd", 2.0))


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def target(random_images):
    """An untrained network whose last layer is large, so that its classes differ, with two members an ensemble."""
    params = initialise(build(CONFIG), seed=1)["params"]
    params["outer"]["kernel"] = params["outer"]["kernel"] * 20
    return prepare(CONFIG, params, random_images, 2, 0.1)


@pytest.fixture(scope="module")
def images(target, random_images):
    """Held-out images with the network's own classes as labels: all right before an attack."""
    seen, _ = held_out(target, random_images, IMAGES)
    return seen, build(CONFIG).apply({"params": target.params}, seen).argmax(-1)


@pytest.fixture(scope="module")
def found(target, images):
    return sweep(target, *images, ATTACKS, CORRECTED)


def linear(images, labels):
    del labels
    return images.sum()


def test_protocols():
    images = jnp.asarray(np.linspace(-0.5, 0.5, 24, dtype=np.float32).reshape(2, 2, 2, 3))
    labels, key = jnp.zeros(2, jnp.int32), jax.random.key(0)
    call = partial(attack, linear, images, labels, key=key)
    clean = call(strength=Strength("fgsm", 0.0), protocol=LEGACY)
    np.testing.assert_array_equal(clean, images)
    once = call(strength=Strength("fgsm", 0.01), protocol=CORRECTED)
    np.testing.assert_allclose(once, np.clip(images + 0.01, -0.5, 0.5), atol=1e-7)
    twice = call(strength=Strength("fgsm", 0.01), protocol=LEGACY)
    np.testing.assert_allclose(twice, np.clip(np.clip(images + 0.01, 0, 1) + 0.01, 0, 1), atol=1e-7)
    for protocol, reach in ((CORRECTED, 0.03), (LEGACY, 0.6)):
        moved = call(strength=Strength("pgd", 3.0), protocol=protocol)
        inside = np.clip(images, *protocol.clip)
        assert np.abs(moved - inside).max() <= reach + 1e-6
        assert np.asarray(moved).min() >= protocol.clip[0] and np.asarray(moved).max() <= protocol.clip[1]
    # the legacy start alone goes beyond what three steps could
    assert np.abs(call(strength=Strength("pgd", 1.0), protocol=LEGACY) - np.clip(images, 0, 1)).max() > 0.1


def test_held_out_images_are_those_before_the_fitting_ones(target, random_images):
    seen, labels = held_out(target, random_images, IMAGES)
    rows = slice(300 - 32 - IMAGES, 300 - 32)
    np.testing.assert_array_equal(seen, pixels(random_images.train.images[rows], random_images))
    np.testing.assert_array_equal(labels, random_images.train.labels[rows])
    with pytest.raises(UserError, match="--members is 2, but must be fewer: 260 images are left"):
        held_out(target, random_images, 261)


def test_network_loss_is_the_cross_entropy(target, images):
    seen, labels = images
    logits = np.asarray(build(CONFIG).apply({"params": target.params}, seen), np.float64)
    expected = -(logits[np.arange(IMAGES), labels] - np.log(np.exp(logits).sum(1))).sum()
    assert float(network_loss(build(CONFIG), target.params, seen, labels)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_gradients_in_the_pixels_are_differences(target, images):
    """The loss rises along the gradient by its norm; of the network's loss and of the ensemble's, in float64.

    Both bend at many places, hence the short step.
    """
    labels, maps = images[1], (target.maps.lower[0], target.maps.upper[0])
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), target.params)
    seen = jnp.asarray(np.random.default_rng(0).uniform(-0.4, 0.4, images[0].shape))
    losses = (
        partial(network_loss, build(CONFIG), params),
        partial(adaptive_loss, build(CONFIG), params, target.last, maps),
    )
    for loss in losses:
        gradient = jax.grad(loss)(seen, labels)
        norm = float(jnp.sqrt(jnp.vdot(gradient, gradient)))
        step = 1e-6 / norm * gradient
        difference = float(loss(seen + step, labels) - loss(seen - step, labels)) / 2e-6
        assert norm == pytest.approx(difference, rel=1e-5) and norm > 0.1


def test_sweep(found, target, images):
    assert found.own.shape == (3,) and found.transfer.vote.shape == (3, len(KINDS))
    assert found.adaptive.loss.shape == (3, len(ADAPTIVE))
    assert found.own[0] == 1 and found.own[1] < 0.6
    columns = [KINDS.index(kind) for kind in ADAPTIVE]
    # without an attack, transferred and adaptive images are the same
    for clean, adaptive in zip(found.transfer, found.adaptive, strict=True):
        np.testing.assert_allclose(clean[0, columns], adaptive[0], rtol=1e-12)
    # the adaptive attack raises the ensemble's own loss most
    assert (found.adaptive.loss[1] > found.adaptive.loss[0] + 0.5).all()
    assert (found.adaptive.loss[1] > 0.95 * found.transfer.loss[1, columns]).all()
    assert (found.strongest[0] == found.transfer.mean_softmax[0, columns]).all()
    weakest = np.minimum(found.transfer.mean_softmax[:, columns], found.adaptive.mean_softmax)
    assert (found.strongest <= weakest + 1e-12).all() and (found.strongest >= 0).all()
    clipped = build(CONFIG).apply({"params": target.params}, jnp.clip(images[0], 0, 1)).argmax(-1)
    assert found.clipped == pytest.approx((clipped == images[1]).mean())


def test_strengths_are_those_of_the_table():
    shown = strengths()
    assert len(shown) == 9 == len(PAPER_ACCURACY["group"])
    assert [strength.value for strength in shown if strength.method == "fgsm"] == [0, 0.003, 0.006, 0.009, 0.012]


@pytest.mark.slow
@pytest.mark.parametrize("legacy", [False, True])
def test_a_run_leaves_figure_arrays_claims_and_summary(random_images, monkeypatch, tmp_path, carried_out, legacy):
    monkeypatch.setattr(figure_11.measure, "load", lambda config: random_images)
    config = AdversarialConfig(quick=True, legacy=legacy, seeds=2, images=8, official=20)
    claims = carried_out(figure_11.EXPERIMENT, config, tmp_path / "run", "figure_11")
    assert len(claims) == 4 * 7 + 4 + 6 + 3 and all(claim.reduced and claim.seeds == 2 for claim in claims)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["protocol"]["applications"] == (2 if legacy else 1)
    clean = next(claim for claim in claims if claim.claim.startswith("clean images: group"))
    group = summary["held_out"]["transfer_mean_softmax"]["group"][0]["mean"]
    assert clean.measured == pytest.approx(group - summary["held_out"]["original"][0]["mean"])
    assert (tmp_path / "run" / "figure_11.png").stat().st_size < 200_000
    output = "softmax" if legacy else "logits"
    assert len(list((tmp_path / "run" / "networks").glob(f"leaky_relu-{output}-*.npz"))) == 2


def test_figures_command_is_translated(tmp_path):
    config = CifarConfig.of(FiguresConfig(figure="11", seeds=4, out=tmp_path))
    assert config.seeds == 4 and config.shown_official(1000) == 1000 and members(config) == 200 and not config.reduced


def test_bad_input_is_one_sentence(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(adversarial.entry, AdversarialConfig, adversarial.PROG, argv=["--epochs", "0"])
    assert stop.value.code == 2 and "--epochs is 0, but must be from 1 to 10000" in capsys.readouterr().err

"""The ensembles of Figure 10 member by member in NumPy, which images they use, and what a run leaves behind."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers.common import cli
from papers.common.errors import UserError
from papers.gradient_flow import ensemble
from papers.gradient_flow import figure_10_ensembles as figure_10
from papers.gradient_flow.ensemble import EnsembleConfig
from papers.gradient_flow.figure_10_ensembles.measure import evaluate
from papers.gradient_flow.figures import FiguresConfig
from papers.gradient_flow.networks.cifar import ensembles as members
from papers.gradient_flow.networks.cifar.config import KINDS, CifarConfig, NetworkConfig
from papers.gradient_flow.networks.cifar.ensembles import Head, logits, memory, own_accuracy, score, score_all
from papers.gradient_flow.networks.cifar.network import build, initialise, pixels
from papers.gradient_flow.networks.cifar.perturbations import Perturbations

H, MEMBERS, IMAGES, K = 16, 2, 6, len(KINDS)


@pytest.fixture(scope="module", autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def case():
    """Last layer, pre-activations, labels and random maps of every kind."""
    generator = np.random.default_rng(0)
    last = Head(jnp.asarray(generator.normal(size=(H, 10))), jnp.asarray(generator.normal(size=10)))
    hidden, labels = jnp.asarray(generator.normal(size=(IMAGES, H))), jnp.asarray(generator.integers(0, 10, IMAGES))
    lower, upper = (jnp.asarray(generator.normal(size=(K, MEMBERS, H, H)) / 4) for _ in range(2))
    return last, hidden, labels, lower, upper


def by_hand(last, hidden, labels, lower, upper):
    """Mean softmax, vote and loss of one ensemble, member after member."""
    labels, total, votes = np.asarray(labels), 0, np.zeros((len(labels), 10))
    for below, above in zip(np.asarray(lower), np.asarray(upper), strict=True):
        z = np.asarray(hidden) @ below
        z = np.where(z > 0, z, 0.1 * z) @ above @ np.asarray(last.kernel) + np.asarray(last.bias)
        total = total + np.exp(z) / np.exp(z).sum(1, keepdims=True) / len(lower)
        votes[np.arange(len(labels)), z.argmax(1)] += 1
    own = total[np.arange(len(labels)), labels]
    return (total.argmax(1) == labels).mean(), (votes.argmax(1) == labels).mean(), -np.log(own).mean()


def test_scores_member_by_member(case):
    last, hidden, _, lower, upper = case
    # labels that some of the ensembles get right
    labels = logits(last, hidden, lower[0], upper[0], "leaky_relu").mean(0).argmax(-1)
    found = score(last, hidden, labels, lower, upper, "leaky_relu")
    expected = np.array([by_hand(last, hidden, labels, *maps) for maps in zip(lower, upper, strict=True)]).T
    np.testing.assert_allclose([found.mean_softmax, found.vote], expected[:2], rtol=1e-12)
    np.testing.assert_allclose(found.loss, expected[2], rtol=1e-12)
    assert found.mean_softmax[0] > 0.5 > found.mean_softmax[1:].min() and (found.finite == 1).all()


def test_members_without_perturbation_are_the_network(case):
    last, hidden, labels, _, _ = case
    identity = jnp.broadcast_to(jnp.eye(H), (MEMBERS, H, H))
    each = logits(last, hidden, identity, identity, "leaky_square")
    bent = np.where(hidden > 0, hidden, 0.1 * hidden) ** 2 + 0.01 * hidden
    plain = np.asarray(bent) @ np.asarray(last.kernel) + np.asarray(last.bias)
    np.testing.assert_allclose(each, np.broadcast_to(plain, each.shape), rtol=1e-12, atol=1e-12)
    assert own_accuracy(last, hidden, labels, "leaky_square") == (plain.argmax(1) == labels).mean()


def test_a_member_that_is_not_finite_is_said(case):
    last, hidden, labels, lower, upper = case
    found = score(last, hidden, labels, lower, upper.at[2, 1, 0, 0].set(jnp.nan), "leaky_relu")
    assert np.isnan([found.mean_softmax[2], found.vote[2], found.loss[2]]).all() and found.finite[2] == 0.5
    assert np.isfinite(np.delete(np.array(found[:3]), 2, axis=1)).all()


def test_images_in_parts(case, monkeypatch):
    last, hidden, labels, lower, upper = case
    maps = Perturbations(lower, upper, *(jnp.ones((K, MEMBERS)) for _ in range(3)))
    whole = score(last, hidden, labels, lower, upper, "leaky_relu")
    monkeypatch.setattr(members, "CHUNK", 3)
    parts = score_all(last, hidden, labels, maps, "leaky_relu")
    for found, expected in zip(parts, whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.fixture(scope="module")
def network(random_images):
    config = NetworkConfig(images=8, seed=2)
    return config, initialise(build(config), seed=2)["params"]


@pytest.fixture(scope="module")
def grid(network, random_images):
    return evaluate(*network, random_images, (MEMBERS,), (0.1, 1e-4), held_out=IMAGES, official=IMAGES)


def test_grid_classifies_the_images_before_the_fitting_ones(network, random_images, grid):
    config, params = network
    seen = slice(300 - H * MEMBERS - IMAGES, 300 - H * MEMBERS)
    outputs = build(config).apply({"params": params}, pixels(random_images.train.images[seen], random_images))
    assert grid.own_held_out[0] == pytest.approx((outputs.argmax(1) == random_images.train.labels[seen]).mean())
    outputs = build(config).apply({"params": params}, pixels(random_images.test.images[:IMAGES], random_images))
    assert grid.own_official == pytest.approx((outputs.argmax(1) == random_images.test.labels[:IMAGES]).mean())


def test_grid_shapes_and_what_must_hold_on_it(grid):
    assert grid.held_out.vote.shape == grid.official.loss.shape == grid.residual.shape == (1, 2, K)
    group, mixed = KINDS.index("group"), KINDS.index("interpolated_permutation")
    assert grid.residual[:, 1, group].max() < 1e-6 and (grid.rank[..., mixed] == H).all()
    # at 1e-4 all but the shuffled maps leave every image to its class
    for split, own in ((grid.held_out, grid.own_held_out[:, None]), (grid.official, grid.own_official)):
        unshuffled = np.delete(split.mean_softmax[:, 1], KINDS.index("shuffle"), axis=1)
        np.testing.assert_allclose(unshuffled, np.broadcast_to(own, unshuffled.shape), atol=1 / IMAGES + 1e-9)


def test_grid_refuses_images_that_were_trained_on(network, random_images):
    config, params = network
    with pytest.raises(UserError, match="--images is 8, but must be at most 4: 296 held out"):
        evaluate(config, params, random_images, (18,), (1.0,), held_out=8)


def test_memory_grows_with_members():
    few, many = memory(1, IMAGES), memory(8, IMAGES)
    assert 8 * IMAGES * 10 <= many and few < many
    with pytest.raises(ValueError, match="members is 0 and images is 5, but both must be at least 1"):
        memory(0, 5)


@pytest.mark.slow
def test_a_run_leaves_figure_arrays_claims_and_summary(random_images, monkeypatch, tmp_path, carried_out):
    monkeypatch.setattr(figure_10.measure, "load", lambda config: random_images)
    config = EnsembleConfig(quick=True, seeds=2, images=8, official=20, networks=tmp_path / "networks")
    claims = carried_out(figure_10.EXPERIMENT, config, tmp_path / "run", "figure_10")
    assert len(claims) == 3 * K + 2
    assert all(claim.reduced and claim.verdict == "undecided" and claim.seeds == 2 for claim in claims)
    assert sorted(file.name for file in (tmp_path / "networks").iterdir()) == [
        "leaky_square-logits-0.npz",
        "leaky_square-logits-1.npz",
    ]
    with np.load(tmp_path / "run" / "figure_10.npz") as arrays:
        assert arrays["held_out_vote"].shape == (2, 2, 3, K)
        assert arrays["kinds"].tolist() == list(KINDS)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    changed = summary["change_mean_softmax"]["shuffle"]["10"]["mean"]
    claimed = next(claim for claim in claims if claim.claim.startswith("eps 10, shuffle")).measured
    own = np.mean(summary["own_accuracy_held_out"])
    assert changed == pytest.approx(claimed - own) and summary["largest_program"]["scratch_bytes"] > 0
    assert (tmp_path / "run" / "figure_10.png").stat().st_size < 200_000


def test_figures_command_is_translated(tmp_path):
    given = FiguresConfig(figure="10", quick=True, seeds=5, seed=7, data_dir=tmp_path, out=tmp_path)
    config = CifarConfig.of(given)
    assert config.all_seeds == (7, 8, 9, 10, 11) and config.data_dir == tmp_path and config.reduced
    assert config.shown_official(10_000) == 200 and CifarConfig.of(config) is config
    assert not EnsembleConfig().reduced and EnsembleConfig(images=39_999).reduced
    assert EnsembleConfig(legacy=True).network("leaky_square", 4) == NetworkConfig(output="softmax", seed=4)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (["--seeds", "0"], "--seeds is 0, but must be from 1 to 1000"),
        (["--images", "40001"], "--images is 40001, but must be 1 to 40000"),
        (["--official", "0"], "--official is 0, but must be 1 to 10000"),
    ],
)
def test_bad_input_is_one_sentence(capsys, option, sentence):
    with pytest.raises(SystemExit) as stop:
        cli.main(ensemble.entry, EnsembleConfig, ensemble.PROG, argv=option)
    assert stop.value.code == 2 and sentence in capsys.readouterr().err


@pytest.mark.slow
def test_real_images_keep_their_classes_on_the_orbit(cifar10):
    """Weak group elements change no class of 100 real images, shuffled maps most."""
    config = NetworkConfig(images=100, epochs=5, seed=1)
    from papers.gradient_flow.networks.cifar.network import train

    found = evaluate(config, train(config, cifar10).params, cifar10, (4,), (1e-3,), held_out=100, official=100)
    change = found.held_out.mean_softmax[0, 0] - found.own_held_out[0]
    assert abs(change[KINDS.index("group")]) <= 0.02

"""The real network's figure on a VGG11 cut to two convolutions: drift, law, and what it leaves."""

import dataclasses

import jax
import numpy as np
import pytest

from papers.common.experiment import carry_out
from papers.common.models import vgg
from papers.common.runs import RunDirectory, read_metrics
from papers.gradient_flow import real_network
from papers.gradient_flow.figures import FiguresConfig

CONFIG = FiguresConfig(figure="real-network", quick=True, seeds=3)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Three seeds at four rates, 64 images: the directory, the claims, and a function that trains once more."""
    out = tmp_path_factory.mktemp("figures") / "real_network"
    seen, train_member = [], real_network.train_member

    def remember(*arguments, **options):
        seen.append(arguments)
        return train_member(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True):
        patch.setattr(real_network, "train_member", remember)
        patch.setattr(vgg, "CONVOLUTIONS", ((64, True), (128, True)))
        patch.setattr(real_network, "QUICK_LIMIT", 64)
        patch.setattr(real_network, "QUICK_EPOCHS", 4)
        # so few steps leave the drift of the figure's own rates near float32's rounding
        patch.setattr(real_network, "RATES", (0.008, 0.004, 0.002, 0.001))
        with RunDirectory.create(out, dataclasses.asdict(CONFIG), "figures") as directory:
            claims = carry_out(
                real_network.EXPERIMENT, CONFIG, directory, name="real_network", command="figures", reduced=True
            )
        training, variables = seen[-1][:2]
        # traced while the network is short; the same step is not traced again
        yield out, claims, lambda rate: train_member(training, variables, rate, epochs=4, batch_size=32, seed=0)


@pytest.mark.slow
def test_drift_falls_with_the_rate_and_the_law_is_exact(drawn):
    claims = drawn[1]
    exponent, farthest, law, explained, kept, accuracy = claims
    assert abs(exponent.measured) < 0.2 and exponent.seeds == 3 and exponent.threshold == "within 0.1"
    assert abs(farthest.measured) < 0.5
    assert law.measured < 1e-5 and explained.measured < 0.2
    assert 0 < kept.measured < 0.2
    assert law.verdict == "holds" and law.count == 3 * (8 + 16 + 32 + 64) * (4 + 8 + 64 + 64)
    others = [claim for claim in claims if claim is not law]
    assert all(claim.verdict == "undecided" and claim.reduced and claim.subject == "control" for claim in others)
    assert 0 <= accuracy.measured <= 1


@pytest.mark.slow
def test_numbers_of_every_run(drawn):
    out, claims, _ = drawn
    records = read_metrics(out)
    rates = list(real_network.RATES)
    assert [(one["seed"], one["learning_rate"]) for one in records] == [(s, r) for s in range(3) for r in rates]
    # the same time eta steps at every rate
    np.testing.assert_allclose([one["steps"] * one["learning_rate"] for one in records], 0.064, rtol=1e-12)
    found = [
        np.polyfit(np.log(rates), np.log([one["rms_drift"] for one in records[4 * s : 4 * s + 4]]), 1)[0]
        for s in range(3)
    ]
    assert claims[0].measured == pytest.approx(np.mean(found) - 1)
    with np.load(out / "real_network.npz") as arrays:
        np.testing.assert_allclose(arrays["final_drift"].ravel(), [one["rms_drift"] for one in records])
        assert list(arrays["layers"]) == ["conv1", "conv2", "dense1", "dense2"]
    assert (out / "real_network.png").stat().st_size < 200_000


@pytest.mark.slow
def test_a_member_that_diverges_is_marked_and_leaves_the_others(drawn):
    """Through the program of the drawn figure; at an absurd rate the loss is not finite after a step."""
    with jax.enable_x64(True):
        alone, lost, again = (drawn[2](rate) for rate in (0.001, 1e30, 0.001))
    assert np.isnan(lost.accuracy) and np.isnan(lost.drift).all() and lost.drift.shape[1] == alone.drift.shape[1]
    np.testing.assert_array_equal(alone.drift, again.drift)
    np.testing.assert_array_equal(alone.loss, again.loss)


def test_slope_of_a_power_law_with_noise():
    generator = np.random.default_rng(0)
    rates = np.geomspace(0.001, 1, 30)
    values = 3 * rates**1.7 * np.exp(generator.normal(scale=0.01, size=30))
    assert real_network.slope(rates, values) == pytest.approx(1.7, abs=0.01)

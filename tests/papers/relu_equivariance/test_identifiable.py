"""Invariant networks of short signals: laws of the measuring, claims on made-up numbers, bad input, the command."""

import jax
import numpy as np
import pytest

from papers.common.claims import Setting
from papers.common.cli import main
from papers.common.finished import load_json
from papers.relu_equivariance.identifiable import PROG, IdentifiableConfig, entry
from papers.relu_equivariance.invariant_mlps import EXPERIMENT, networks
from papers.relu_equivariance.invariant_mlps.errors import Architecture, balanced, missing_dimension
from papers.relu_equivariance.invariant_mlps.measure import ARCHITECTURES, Measured

SETTING = Setting("", "", "command", {"device": "cpu", "versions": {}, "commit": None})


def test_both_halves_of_the_theorem_on_networks_that_are_known():
    random = np.random.default_rng(1)
    x = random.uniform(-networks.BOX, networks.BOX, size=(300, networks.INPUTS))
    with jax.enable_x64(True):
        tied = networks.equivariant(4, 1, random)
        hidden = networks.disguised(tied, random)
        through = networks.through_twice_as_many(tied, random)
        values = [np.asarray(networks.apply(one, x)) for one in (tied, hidden, balanced(hidden), through)]
        for other in values[1:]:
            np.testing.assert_allclose(other, values[0], atol=1e-11)
        np.testing.assert_allclose(networks.apply(tied, x[:, ::-1]), values[0], atol=1e-12)
        found = Architecture(tied, x).errors(hidden)
        assert found.missing == 0 and found.invariance < 1e-12 and found.layerwise < 1e-12
        broken = hidden | {"layer1": hidden["layer1"] | {"bias": hidden["layer1"]["bias"] + [0.5, 0, 0, 0]}}
        assert Architecture(tied, x).layerwise(broken) > 1e-3
        assert missing_dimension(through) > 0 and Architecture(through, x).layerwise(through) > 0.05


def made_up(layerwise: float) -> Measured:
    """Three teachers of two students; the last of two times is invariant, and of two layers not identifiable."""
    shape = (len(ARCHITECTURES), 3, 2, 2)
    spread = 1e-3 * np.arange(3)[None, :, None, None]
    invariance = np.broadcast_to(np.array([0.5, 1e-3]), shape) * (1 + spread)
    errors = np.broadcast_to(np.array([1.0, layerwise]), shape) + spread
    errors[1:, :, :, 1] += 0.5
    missing = np.zeros(shape)
    missing[2, :, :, 1] = 2
    ten = np.ones(10)
    return Measured(1e-15 * ten, 3 * ten, 0.7 * ten, 1e-16 * ten, np.array([0, 9]), errors, missing, invariance, errors)


def test_claims_and_the_picture_say_what_the_numbers_say():
    claims = EXPERIMENT.judge(made_up(0.01), IdentifiableConfig(), SETTING)
    assert [claim.verdict for claim in claims] == ["holds"] * 7
    assert claims[5].measured == pytest.approx(0.25)  # 0.51 less the mean of 0.01 and 0.51
    claims = EXPERIMENT.judge(made_up(0.3), IdentifiableConfig(), SETTING)
    assert [claim.verdict for claim in claims][3] == "fails"
    assert EXPERIMENT.draw(made_up(0.01), None).arrays["missing"].shape == (3, 3, 2, 2)


def test_what_cannot_be_run_is_one_sentence(capsys):
    with pytest.raises(SystemExit) as stop:
        main(entry, IdentifiableConfig, PROG, argv=["--width", "5"])
    said = capsys.readouterr().err
    assert stop.value.code == 2 and "--width is 5, but must be even" in said and "Traceback" not in said


@pytest.mark.slow
def test_the_command_trains_measures_and_judges(tmp_path):
    with jax.enable_x64(True):
        entry(IdentifiableConfig(teachers=1, students=1, steps=60, out=tmp_path / "run"))
    claims = load_json(tmp_path / "run", "claims.json")
    assert [claim["verdict"] for claim in claims if claim["kind"] == "law"] == ["holds"] * 3
    with np.load(tmp_path / "run" / "identifiable.npz") as drawn:
        assert drawn["layerwise"].shape == (len(ARCHITECTURES), 1, 1, 5)

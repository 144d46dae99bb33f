"""Dimensions through training: a short run as a command, resumed; what the images and the noise are."""

import dataclasses
import json

import numpy as np
import pytest

from papers.common.errors import UserError
from papers.common.runs import load, read_metrics
from papers.hidden_symmetries.train import TrainConfig, entry
from papers.hidden_symmetries.training import EXPERIMENT
from papers.hidden_symmetries.training.measure import ARMS, Course, Ranks
from papers.hidden_symmetries.training.tasks import TASKS, digits, noisy


def test_images_are_enlarged_and_noise_keeps_their_span() -> None:
    task, config = digits(), TrainConfig()
    assert task.sizes == (784, 30, 30, 30, 10) and len(task.train.inputs) == 1437
    plain, inputs, labels = (noisy(task, arm, config, 0) for arm in ("plain", "input noise", "label noise"))
    assert plain.inputs.shape == inputs.inputs.shape == (1437, 784)
    assert np.linalg.matrix_rank(plain.inputs) <= np.linalg.matrix_rank(inputs.inputs) == 64
    np.testing.assert_array_equal(
        plain.inputs[0].reshape(28, 28)[::7, ::7], task.train.inputs[0].reshape(8, 8)[::2, ::2]
    )
    changed = np.mean(labels.targets != plain.targets)
    assert 0.2 < changed < 0.3  # of 0.3 drawn anew a tenth stays
    np.testing.assert_array_equal(labels.inputs, plain.inputs)


def test_claims_of_known_ranks() -> None:
    """Dimensions 100 -> 80 on the data, 110 with noise, 70 with decay; 98 of 100 on random inputs."""

    def course(first: int, last: int) -> Course:
        rank = np.array([[first, first, 99], [last, last, 98]])
        ranks = Ranks(rank, np.full((2, 3), 100), np.full((2, 3), 400), np.full((2, 3), 1e9))
        return Course(np.array([0, 9]), np.ones(2), np.ones(2), ranks)

    ends = dict(zip(ARMS, (80, 70, 110, 110), strict=True))
    courses = {arm: [course(100, end + seed) for seed in range(3)] for arm, end in ends.items()}
    from papers.common.claims import Setting

    setting = Setting("", "", "", {"device": "", "versions": {}, "commit": None})
    claims = EXPERIMENT.judge(courses, TrainConfig(), setting)
    assert {claim.verdict for claim in claims} == {"holds"} and len(claims) == 8
    assert claims[0].measured == pytest.approx(-0.19) and claims[2].measured == pytest.approx(0.98)
    assert [claim.measured for claim in claims[3:6]] == [30, 30, -10]
    assert EXPERIMENT.draw(courses, TrainConfig()).arrays["plain_rank"].shape == (3, 2, 3)


@pytest.mark.slow
def test_a_run_measures_draws_and_judges(tmp_path) -> None:
    config = TrainConfig(task="regression", networks=1, epochs=2, out=tmp_path / "run")
    entry(config)
    claims = json.loads((tmp_path / "run" / "claims.json").read_text())
    assert {claim["verdict"] for claim in claims if claim["kind"] == "law"} == {"holds"}
    with pytest.raises(UserError, match="name one of network_input_noise_0, .*, network_plain_0"):
        load(tmp_path / "run")
    network, test = load(tmp_path / "run", "network_plain_0"), TASKS["regression"]().test
    error = np.mean((np.asarray(network.apply(network.variables, test.inputs))[:, 0] - test.targets) ** 2)
    scores = {record["arm"]: record["score"] for record in read_metrics(tmp_path / "run")}
    assert 1 - error / np.var(test.targets) == pytest.approx(scores["plain"], abs=1e-5)
    with np.load(tmp_path / "run" / "training_regression.npz") as file:
        arrays = dict(file)
    assert arrays["plain_rank"].shape == (1, 3, 3) and np.all(arrays["plain_rank"] <= arrays["plain_most"])
    assert arrays["plain_loss"][0, -1] < arrays["plain_loss"][0, 1]


@pytest.mark.parametrize("wrong", [{"networks": 0}, {"label_noise": 1.5}, {"weight_decay": 0.0}, {"epochs": 0}])
def test_what_is_refused(wrong: dict) -> None:
    with pytest.raises(UserError):
        dataclasses.replace(TrainConfig(), **wrong).validate()

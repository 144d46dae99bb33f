"""Opening what is no finished run with a network: one sentence each. Each paper's tests open a run of their own."""

import json

import numpy as np
import pytest

from papers.common.errors import UserError
from papers.common.network import flatten, nest
from papers.common.runs import RunDirectory, load
from papers.gradient_flow.training.measure import apply_two_layer

VARIABLES = {"params": {"input": np.eye(2), "output": np.array([[1.0, -2.0]])}}


def test_variables_come_back_as_they_were():
    nested = {"params": {"a": {"kernel": np.eye(2)}, "b": np.zeros(3)}, "batch_stats": {"a": {"mean": np.ones(1)}}}
    flat = flatten(nested)
    assert list(flat) == ["params/a/kernel", "params/b", "batch_stats/a/mean"] and nest(flat) == nested
    with pytest.raises(ValueError, match="has a stroke"):
        flatten({"a/b": np.zeros(1)})


@pytest.fixture
def finished(tmp_path):
    with RunDirectory.create(tmp_path / "a" / "run", {"seed": 3}, "command") as directory:
        directory.save_network(apply_two_layer, VARIABLES, activation="relu")
        directory.save_arrays("history", train_loss=np.zeros(4))
        directory.finish()
    return tmp_path / "a" / "run"


def test_a_run_opens_and_what_is_damaged_or_unknown_is_said(finished):
    network = load(finished)
    assert network.apply(network.variables, np.array([[3.0, 4.0], [3.0, -4.0]])).tolist() == [[-5.0], [3.0]]
    assert network.config == {"seed": 3} and list(network.arrays) == ["train_loss"]
    content = bytearray((finished / "network.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (finished / "network.npz").write_bytes(content)
    with pytest.raises(UserError, match="network.npz cannot be used .its SHA-256 is not that"):
        load(finished)


def test_what_is_no_finished_run_with_a_network_is_said(finished, tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        load(tmp_path)
    with RunDirectory.create(tmp_path / "b", {}, "command") as directory:
        directory.save_arrays("history", train_loss=np.zeros(4))
    with pytest.raises(UserError, match="is not finished: continue it with --resume"):
        load(tmp_path / "b")
    with RunDirectory.create(tmp_path / "c", {}, "command") as directory:
        directory.finish()
    with pytest.raises(UserError, match="left no network"):
        load(tmp_path / "c")
    with RunDirectory.create(tmp_path / "d", {}, "command") as directory:
        directory.save_network(apply_two_layer, VARIABLES, activation="relu")
        record = json.loads((directory.path / "network.json").read_text())
        directory.write_json("network", record | {"build": "os:system"})
        directory.finish()
    with pytest.raises(UserError, match="was built by os:system, which this version lacks"):
        load(tmp_path / "d")


def test_a_function_that_could_not_be_found_again_is_refused(tmp_path):
    with RunDirectory.create(tmp_path / "b", {}, "command") as directory, pytest.raises(ValueError, match="top of a"):
        directory.save_network(lambda: None, VARIABLES)

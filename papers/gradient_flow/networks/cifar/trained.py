"""The trained networks of Figures 10 and 11, one a seed, and the few numbers of such a run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from papers.common import data
from papers.common.claims import Setting
from papers.common.records import to_json, write_atomically
from papers.common.runs import RunDirectory
from papers.gradient_flow.networks.cifar.config import CifarConfig, GroupActivation, NetworkConfig
from papers.gradient_flow.networks.cifar.network import Trained, obtain
from papers.gradient_flow.networks.config import ExperimentConfig

Measured = TypeVar("Measured")


def load(config: ExperimentConfig) -> data.Dataset:
    """Load CIFAR-10."""
    return data.load_once("cifar10", data_dir=config.data_dir, cache_dir=config.cache_dir)


def fingerprint(config: ExperimentConfig) -> str:
    """Require CIFAR-10 and give its fingerprint."""
    return data.fingerprint(load(config))


def networks(
    config: CifarConfig, activation: GroupActivation, dataset: data.Dataset, directory: RunDirectory
) -> Iterator[tuple[NetworkConfig, Trained]]:
    """Give each seed's trained network, training where the folder of networks has none yet."""
    folder = Path(config.networks or directory.path / "networks")
    for seed in config.all_seeds:
        network = config.network(activation, seed)
        trained = obtain(network, dataset, folder)
        said = {"seed": seed, "loss": trained.loss, "accuracy": trained.accuracy, "seconds": trained.seconds}
        directory.append(said | {"test_accuracy": trained.test_accuracy})
        print(f"seed {seed}: test accuracy {trained.test_accuracy:.3f}", flush=True)
        yield network, trained


def described(setting: Setting, network: NetworkConfig, *, done: str, how: str) -> Setting:
    """Say on which data and model the claims of a figure were measured.

    Args:
      setting: of the run.
      network: of any seed.
      done: what was done to the held-out images.
      how: of the members and the loss.
    """
    return setting._replace(
        data=f"CIFAR-10, {network.images} training images, 1000 held-out ones {done}",
        model=f"convolution 32, hidden 16, {network.epochs} epochs, {how}",
    )


def write_summary(directory: RunDirectory, summary: dict[str, Any]) -> Path:
    """Write the run's few numbers as ``summary.json``, with what they were measured on."""
    text = json.dumps(to_json(summary | directory.environment), indent=1)
    return write_atomically(directory.path / "summary.json", (text + "\n").encode())


def stacked(measured: list[Measured]) -> Measured:
    """Join one NamedTuple of arrays for each seed along a new leading axis."""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *measured)

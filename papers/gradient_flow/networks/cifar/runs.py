"""The run of a figure on CIFAR-10: its directory, its data and its trained networks."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from papers.common import data
from papers.common.claims import Claim, claim_over_seeds, format_claims
from papers.common.compilation import use_compilation_cache
from papers.common.environment import command_line
from papers.common.flags import say_next
from papers.common.records import to_json, write_atomically
from papers.common.runs import RunDirectory
from papers.gradient_flow.networks.cifar.network import Trained, obtain
from papers.gradient_flow.networks.cifar.setting import CifarSetting, GroupActivation, NetworkConfig

Setting = TypeVar("Setting", bound=CifarSetting)
Measured = TypeVar("Measured")


def into_directory(
    config: Setting, module: str, draw: Callable[[RunDirectory, Setting, str], list[Claim]]
) -> list[Claim]:
    """Run a figure into the directory that its configuration names, in float64, and print its claims.

    Args:
      config: of the figure.
      module: as the user names it, for the recorded command.
      draw: measures, draws and gives the claims.

    Returns:
      The claims.

    Raises:
      UserError: a directory with anything in it, or data that is not there.
    """
    RunDirectory.refuse(config)
    use_compilation_cache(config.cache_dir)
    jax.config.update("jax_enable_x64", True)
    dataset = load(config)  # absent or damaged data leave no directory behind
    command = command_line(module)
    with RunDirectory.open(config, command, data.fingerprint(dataset)) as directory:
        claims = draw(directory, config, command)
        directory.write_claims(claims)
        directory.finish()
        print(format_claims(claims))
        print(f"the figure, its arrays and its claims are in {directory.path}")
        say_next("read it as a page", f"python -m papers.report {directory.path}")
    return claims


def load(config: CifarSetting) -> data.Dataset:
    """Load CIFAR-10."""
    return data.load_once("cifar10", data_dir=config.data_dir, cache_dir=config.cache_dir)


def networks(
    config: CifarSetting, activation: GroupActivation, dataset: data.Dataset, directory: RunDirectory
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


def claimer(
    config: CifarSetting,
    directory: RunDirectory,
    command: str,
    network: NetworkConfig,
    *,
    figure: str,
    done: str,
    how: str,
) -> Callable[..., Claim]:
    """Give :func:`papers.common.claims.claim_over_seeds` with all that the claims of a figure share.

    Args:
      config: of the figure.
      directory: its run.
      command: as recorded.
      network: of any seed.
      figure: its number.
      done: what was done to the held-out images.
      how: of the members and the loss.
    """
    return partial(
        claim_over_seeds,
        reduced=config.reduced,
        environment=directory.environment,
        figure=f"Fig. {figure}",
        source=f"Zhao et al. 2023, Fig. {figure}, numbers of the authors' notebook; thresholds: this project",
        data=f"CIFAR-10, {network.images} training images, 1000 held-out ones {done}",
        model=f"convolution 32, hidden 16, {network.epochs} epochs, {how}",
        command=command,
    )


def write_summary(directory: RunDirectory, summary: dict[str, Any]) -> Path:
    """Write the run's few numbers as ``summary.json``, with what they were measured on."""
    text = json.dumps(to_json(summary | directory.environment), indent=1)
    return write_atomically(directory.path / "summary.json", (text + "\n").encode())


def stacked(measured: list[Measured]) -> Measured:
    """Join one NamedTuple of arrays for each seed along a new leading axis."""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *measured)

"""Train the networks of every kind and merge each with its images under D4."""

from typing import Any, NamedTuple

from papers.common import data
from papers.common.runs import RunDirectory
from papers.relu_equivariance.networks.run import train_kinds
from papers.relu_equivariance.pairs.stage import prepare
from papers.relu_equivariance.turns_and_flips.elements import ELEMENTS, SUBGROUPS
from papers.relu_equivariance.turns_and_flips.merges import Merges, element_barriers, merge_all, whole_barriers
from papers.relu_equivariance.turns_and_flips.scene import Scene, whole_orbits


class Row(NamedTuple):
    """The networks of a kind that learnt.

    Attributes:
        seeds: of the networks.
        failed: seeds of networks that did not learn.
        merges: of each network.
    """

    seeds: tuple[int, ...]
    failed: tuple[int, ...]
    merges: tuple[Merges, ...]


def measure(config: Any, directory: RunDirectory) -> dict[str, Row]:
    """Train what is not trained, then measure what is not measured.

    Raises:
        UserError: no network of any kind learnt; a kind without one is left out.
        KeyboardInterrupt: stopped, after a checkpoint.
    """
    dataset, scene, rows = config.load(config.batch_size), None, {}
    for kind, learnt in train_kinds(config, directory):
        merges = []
        for seed, network in zip(learnt.seeds, learnt.networks, strict=True):
            scene = scene or whole_orbits(prepare(network.apply, network.variables, dataset, config.images))

            def own(scene: Scene = scene, variables: Any = network.variables) -> Merges:
                return merge_all(scene, variables)

            merges.append(directory.part(f"{kind}-{seed}", Merges, own))
            tell(directory, kind, seed, merges[-1])
        rows[kind] = Row(learnt.seeds, learnt.failed, tuple(merges))
    return rows


def tell(directory: RunDirectory, kind: str, seed: int, merges: Merges) -> None:
    """Write a network's accuracies and barriers down, and the main ones on the terminal."""
    single, whole = element_barriers(merges), whole_barriers(merges)
    record = {"kind": kind, "seed": seed, "ends": merges.ends.mean(-1).tolist(), "error": merges.error.tolist()}
    for name, heights, accuracies, plain in zip(ELEMENTS, single, merges.middle.mean(-1), merges.plain, strict=True):
        for way, height, accuracy, uncorrected in zip(
            ("unmatched", "matched"), heights, accuracies, plain, strict=True
        ):
            record[f"{name}, {way}"] = {"barrier": float(height), "accuracy": float(accuracy), "plain": uncorrected}
    for name, height, accuracy, plain, lost in zip(
        SUBGROUPS, whole, merges.whole.mean(-1), merges.plain_whole, merges.lost, strict=True
    ):
        values = {"barrier": height, "accuracy": accuracy, "plain": plain, "lost": lost}
        record[name] = {key: float(value) for key, value in values.items()}
    directory.append(record | {"defect": float(merges.defect), "orbits": merges.orbits.tolist()})
    barriers = ", ".join(f"{name} {height:.3f}" for name, height in zip(ELEMENTS, single[:, 1], strict=True))
    groups = ", ".join(f"{name} {height:.3f}" for name, height in zip(SUBGROUPS, whole, strict=True))
    print(f"  seed {seed}: accuracy {merges.ends[0].mean():.3f}; barriers: {barriers}; whole: {groups}", flush=True)


def require(config: Any) -> str:
    """Give the fingerprint of the images."""
    return data.fingerprint(config.load(config.batch_size))

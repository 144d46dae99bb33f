"""The paper's question for quarter turns: ``python -m papers.relu_equivariance.groups``.

A network and its images under the turns and flips of the square (D4) are matched, merged and REPAIRed: element by
element, and all images of a group at once, by permutations that obey the group's law, which makes the merged network
invariant. Networks trained without and with random turns and flips stand side by side. Without options: on
scikit-learn's digits, joined by all their images. ``--preset eurosat --data-dir DIR`` is the experiment on the 64
pixels of EuroSAT's satellite tiles, which have no preferred orientation; DIR holds a folder of images for each class,
in train/ and in test/. ``--preset eurosat-one-core`` is reduced to what a CPU core does in an hour.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any, ClassVar, Literal

from papers.common.cli import check, check_count, main
from papers.relu_equivariance.networks.config import Recipe, SymmetryName, TrainConfig
from papers.relu_equivariance.networks.presets import Preset

PROG = "python -m papers.relu_equivariance.groups"

AugmentedName = Literal["cnn", "cnn_aug", "cnn_c4", "cnn_d4"]
"""The kinds that differ in nothing but their augmentation."""


@dataclasses.dataclass(frozen=True)
class GroupsConfig(Recipe):
    """Merge networks with their images under the turns and flips of the square."""

    place: ClassVar[str] = "relu_equivariance/groups"

    symmetry: SymmetryName = "D4"
    """The digits are joined by their images under this group: mirror images (C2), quarter turns (C4), or both (D4)."""

    limit: int | None = 150
    """Keep so many images of each split only, the same share of each class, before their images join them."""

    epochs: int = 20
    """Epochs."""

    batch_size: int = 100
    """Images a step; the last batch of an epoch may be smaller."""

    seeds: int = 3
    """Networks of a kind, one a seed."""

    kinds: tuple[AugmentedName, ...] = ("cnn_d4", "cnn")
    """Kinds of network: without augmentation, with mirror images (aug), quarter turns (c4), or both (d4)."""

    images: int = 50
    """Training images seen, each with all its images under D4, to match channels and to correct activations."""

    networks: Path | None = None
    """Folder of networks, kind/seed-N: those that are there are read, the others trained there; by default a folder of
    the run's own."""

    @property
    def reduced(self) -> bool:
        """Whether the networks are smaller, or trained for less, than the experiment's."""
        whole = self.data == "folder" and self.limit is None and self.size >= 64
        return not (whole and self.width >= 0.25 and self.epochs >= 60)

    def validate(self) -> None:
        """Refuse what no experiment can be."""
        super().validate()
        different = len(set(self.kinds)) == len(self.kinds) > 0
        check(different, "kinds", " ".join(self.kinds), "different kinds, one or more")
        check_count("images", self.images, 2)

    def training(self, kind: AugmentedName) -> TrainConfig:
        """The training of a kind."""
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(Recipe)}
        return TrainConfig(**shared, kind=kind)


_EUROSAT = {
    "data": "folder",
    "limit": None,
    "size": 64,
    "width": 0.25,
    "initial_gain": math.sqrt(6),
    "warm_up_epochs": 3,
    "epochs": 60,
    "images": 250,
    "checkpoint_epochs": 5,
}

_ONE_CORE = _EUROSAT | {"size": 32, "warm_up_epochs": 1, "epochs": 12, "batch_size": 50, "images": 100}


def presets() -> dict[str, Preset]:
    """The experiment on EuroSAT, and what of it one CPU core does in an hour."""

    def start(name: str, changes: dict[str, Any]) -> GroupsConfig:
        return GroupsConfig(preset=name, **changes)

    return {
        "eurosat": Preset(
            start("eurosat", _EUROSAT),
            "left open by the paper. First kernels have He's variance: with PyTorch's, 1,500 steps pass on the first "
            "plateau",
            "one accelerator, or one CPU core for hours",
            "training takes about 11 CPU minutes a network",
        ),
        "eurosat-one-core": Preset(
            start("eurosat-one-core", _ONE_CORE),
            "merging needs width and seeds, so these are kept; given up are half the resolution and four fifths of the "
            "epochs, of smaller batches so that 600 of 1,500 steps remain",
            "one CPU core",
            "about 10 CPU minutes",
        ),
    }


def entry(config: GroupsConfig) -> None:
    """Train, merge, print, draw, judge."""
    from papers.common.compilation import use_compilation_cache
    from papers.common.experiment import into_directory
    from papers.relu_equivariance.turns_and_flips import EXPERIMENT

    config.load(config.batch_size)
    into_directory(
        EXPERIMENT, config, "papers.relu_equivariance.groups", "groups", lambda c: use_compilation_cache(c.cache_dir)
    )


if __name__ == "__main__":
    main(entry, GroupsConfig, PROG, presets=presets())

"""What the runs of Figures 10 and 11 have in common: length, seeds, protocol, data, trained networks."""

import dataclasses
from pathlib import Path
from typing import Literal, Self

from papers.common.cli import check, check_count, check_seed
from papers.gradient_flow.networks.setting import MOST_RUNS, FiguresConfig

TRAINING_IMAGES = 40_000
EPOCHS = 10
MOST_EPOCHS = 10_000
QUICK_IMAGES = 2000

GroupActivation = Literal["leaky_square", "leaky_relu"]
Output = Literal["logits", "softmax"]
Kind = Literal["group", "interpolated_permutation", "inverse", "random", "shuffle"]

KINDS: tuple[Kind, ...] = ("group", "interpolated_permutation", "inverse", "random", "shuffle")
"""The perturbations, in the order of the paper's table and of every axis of kinds."""


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """One training of the network; the defaults are the authors' but for the softmax before the cross-entropy."""

    activation: GroupActivation = "leaky_square"
    """Of the hidden layer: leaky_square in Figure 10, leaky_relu in Figure 11."""

    output: Output = "logits"
    """What the cross-entropy is given; softmax is the authors' double softmax."""

    hidden: int = 16
    """Width h of the layer that the group acts on."""

    images: int = TRAINING_IMAGES
    """The first so many images of the training file, in file order."""

    epochs: int = EPOCHS
    """Epochs."""

    batch_size: int = 32
    """Images a step."""

    learning_rate: float = 1e-3
    """Of Adam, whose other numbers are the defaults."""

    seed: int = 0
    """Of the initial parameters."""

    def validate(self) -> None:
        """Refuse what no training can be."""
        for field in ("hidden", "images", "epochs", "batch_size"):
            check_count(field, getattr(self, field))
        check(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        check_seed("seed", self.seed)


@dataclasses.dataclass(frozen=True)
class CifarSetting:
    """What Figures 10 and 11 have in common."""

    quick: bool = False
    """A run shortened to a minute; its claims are marked as reduced."""

    legacy: bool = False
    """The authors' protocol: the cross-entropy of a softmax of a softmax, and in Figure 11 their attacks (each twice,
    clipped to [0, 1], balls of 0.3)."""

    seeds: int = 3
    """Trained networks; claims need at least 3."""

    seed: int = 0
    """The first seed; the others follow it."""

    images: int = TRAINING_IMAGES
    """Training images, the first ones of the training file."""

    epochs: int = EPOCHS
    """Epochs of each training."""

    official: int = 10_000
    """Images of the official test split that are evaluated beside the held-out training images."""

    networks: Path | None = None
    """Folder of trained networks, read where they are there and written where not; in the run directory by default."""

    data_dir: Path | None = None
    """Folder with the published archive or its unpacked folder."""

    cache_dir: Path | None = None
    """Folder of the prepared data and compiled programs."""

    out: Path | None = None
    """Run directory, new or empty; by default a new one under runs/gradient_flow, named after the time."""

    resume: bool = False
    """Continue a stopped run: what it has trained and measured is read; without --out the newest unfinished one."""

    def validate(self) -> None:
        """Refuse what no run can be; what depends on the data is checked once it is loaded."""
        check_count("seeds", self.seeds, most=MOST_RUNS)
        check_seed("seed", self.seed, self.seeds)
        check_count("epochs", self.epochs, most=MOST_EPOCHS)
        check(1 <= self.images <= 40_000, "images", self.images, "1 to 40000: the last 10000 are held out")
        check(1 <= self.official <= 10_000, "official", self.official, "1 to 10000, the images of the test split")

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds, in order."""
        return tuple(range(self.seed, self.seed + self.seeds))

    @property
    def reduced(self) -> bool:
        """Whether a run is smaller than the paper's."""
        return self.quick or self.images < TRAINING_IMAGES or self.epochs < EPOCHS

    @property
    def shown_official(self) -> int:
        """How many images of the official test split are evaluated."""
        return min(self.official, 200) if self.quick else self.official

    def network(self, activation: GroupActivation, seed: int) -> NetworkConfig:
        """The training of one seed."""
        output = "softmax" if self.legacy else "logits"
        images, epochs = (min(self.images, QUICK_IMAGES), 1) if self.quick else (self.images, self.epochs)
        return NetworkConfig(activation, output, images=images, epochs=epochs, seed=seed)

    @classmethod
    def from_figures(cls, config: FiguresConfig) -> Self:
        """Translate the configuration of ``python -m papers.gradient_flow.figures``."""
        shared = {
            field: getattr(config, field)
            for field in ("quick", "seeds", "seed", "data_dir", "cache_dir", "out", "resume")
        }
        return cls(**shared)

"""What the runs of Figures 10 and 11 have in common: length, seeds, protocol, data, trained networks."""

import dataclasses
from pathlib import Path
from typing import Literal

from papers.common.cli import check, check_count, check_seed
from papers.gradient_flow.networks.config import ExperimentConfig

TRAINING_IMAGES = 40_000
EPOCHS = 10
QUICK_IMAGES = 2000
MOST_EPOCHS = 10_000

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class CifarConfig(ExperimentConfig):
    """What Figures 10 and 11 are told beside the rest."""

    legacy: bool = False
    """The authors' protocol: the cross-entropy of a softmax of a softmax, and in Figure 11 their attacks (each twice,
    clipped to [0, 1], balls of 0.3)."""

    images: int = TRAINING_IMAGES
    """Training images, the first ones of the training file."""

    epochs: int = EPOCHS
    """Epochs of each training."""

    official: int | None = None
    """Images of the official test split that are evaluated beside the held-out training images; all in Figure 10 and
    1,000 in Figure 11 by default."""

    networks: Path | None = None
    """Folder of trained networks, read where they are there and written where not; in the run directory by default."""

    def validate(self) -> None:
        """Refuse what no run can be; what depends on the data is checked once it is loaded."""
        super().validate()
        check_count("epochs", self.epochs, most=MOST_EPOCHS)
        check(1 <= self.images <= 40_000, "images", self.images, "1 to 40000: the last 10000 are held out")
        fits = self.official is None or 1 <= self.official <= 10_000
        check(fits, "official", self.official, "1 to 10000, the images of the test split")

    @property
    def reduced(self) -> bool:
        """Whether a run is smaller than the paper's."""
        return self.quick or self.images < TRAINING_IMAGES or self.epochs < EPOCHS

    def shown_official(self, default: int) -> int:
        """Give how many images of the official test split are evaluated."""
        official = self.official or default
        return min(official, 200) if self.quick else official

    def network(self, activation: GroupActivation, seed: int) -> NetworkConfig:
        """Give the training of one seed."""
        output = "softmax" if self.legacy else "logits"
        images, epochs = (min(self.images, QUICK_IMAGES), 1) if self.quick else (self.images, self.epochs)
        return NetworkConfig(activation, output, images=images, epochs=epochs, seed=seed)

    @classmethod
    def of(cls, config: ExperimentConfig) -> "CifarConfig":
        """Complete the configuration of another command, such as ``figures``, by the defaults of this one."""
        if isinstance(config, CifarConfig):
            return config
        return cls(**{field.name: getattr(config, field.name) for field in dataclasses.fields(ExperimentConfig)})

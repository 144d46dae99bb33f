"""What a training is: its configuration, checked."""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from papers.common.cli import MOST, check, check_count, check_seed
from papers.common.data import Name, load_once
from papers.common.models.sizes import CONVOLUTIONS, scaled
from papers.relu_equivariance.networks.kinds import KINDS, KindName

if TYPE_CHECKING:
    from papers.common.data import Dataset

MOST_EPOCHS = 10_000

SymmetryName = Literal["C2", "C4", "D4"]
"""Groups that leave a distribution of images alone: the flip of the width, quarter turns, both."""

InvarianceOf = Literal["logits", "centred"]
"""What an invariance loss compares."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images: of training, and of every experiment on what was trained."""

    data: Name = "digits"
    """Data set; every one of the digits, which need no download, is joined by its images under --symmetry."""

    limit: int | None = None
    """Keep so many images of each split only, the same share of each class, before the mirror images join them."""

    size: int = 32
    """Pixels a side, divisible by 32; at most what the data set has, but for the digits, which are enlarged."""

    symmetry: SymmetryName = "C2"
    """The digits are joined by their images under this group: mirror images (C2), quarter turns (C4), or both (D4)."""

    data_dir: Path | None = None
    """Folder with the published archive or its unpacked folder, downloaded by default; with --data folder, your own."""

    cache_dir: Path | None = None
    """Folder of the prepared data; ~/.cache/symjax-papers by default."""

    def load(self, batch_size: int = 1) -> "Dataset":
        """Load the data, once however often it is asked for, and refuse a batch larger than it."""
        places = {"data_dir": self.data_dir, "cache_dir": self.cache_dir}
        dataset = load_once(self.data, size=self.size, limit=self.limit, batch_size=batch_size, **places)
        return with_images(dataset, self.symmetry) if self.data == "digits" else dataset


@dataclasses.dataclass(frozen=True)
class Recipe(DataConfig):
    """What networks of every kind are trained with, and how many."""

    preset: str = "none"
    """A recipe; options given beside it replace the preset's. The help lists them."""

    width: float = 0.125
    """Multiplies the number of channels; 1 is the paper's."""

    initial_gain: float | None = None
    """Multiplies the first kernels; 1 is the paper's, on digits sqrt(6) by default, which is He's: with 1, their few
    steps would all pass on the first plateau."""

    learning_rate: float = 0.04
    """Peak rate: reached linearly at the end of the warm-up, followed by a linear fall to 0."""

    momentum: float = 0.9
    """Heavy-ball momentum."""

    weight_decay: float = 5e-4
    """Weight decay inside the gradient, of kernels and biases as they are expanded."""

    warm_up_epochs: int = 2
    """Epochs of the warm-up."""

    epochs: int = 10
    """Epochs."""

    batch_size: int = 50
    """Images a step; the last batch of an epoch may be smaller."""

    invariance_weight: float = 0.3
    """Weight of the invariance loss where the kind has one; the authors' is not known."""

    invariance_of: InvarianceOf = "logits"
    """What the invariance loss compares: logits, as published, or logits less their mean over the classes (centred).
    The first falls also where a constant is added to all logits, which the softmax does not see."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Inputs of convolutions; parameters, momentum and logs stay float32."""

    seed: int = 0
    """First seed, of the parameters, the data order and the augmentation."""

    seeds: int = 1
    """Networks of a kind, one a seed, each in a folder of its own below the run directory."""

    record_every: int = 50
    """Steps between two lines of the record."""

    checkpoint_epochs: int = 5
    """Epochs between two checkpoints; one is always written at the end and on SIGINT or SIGTERM."""

    driver: Literal["auto", "loop", "scan"] = "auto"
    """A jitted step called from Python, or a compiled chunk of steps; auto takes the loop on CPU."""

    out: Path | None = None
    """Run directory, new or empty, or of this very run unfinished, which then goes on; by default a new one."""

    resume: bool = False
    """Continue the run in the directory; without --out the newest unfinished run."""

    @property
    def gain(self) -> float:
        """Factor on the first kernels."""
        usual = math.sqrt(6) if self.data == "digits" else 1.0
        return usual if self.initial_gain is None else self.initial_gain

    @property
    def reduced(self) -> bool:
        """Whether the networks are smaller, or trained for less, than the paper's."""
        whole = self.data == "cifar10" and self.limit is None
        return not (whole and self.width == 1 and self.epochs >= 100 and self.batch_size == 500)

    def validate(self) -> None:
        """Refuse what no training can be; what depends on the data is checked once it is loaded."""
        at_most = 0 < self.size <= 1024 and self.size % 32 == 0
        check(at_most, "size", self.size, "divisible by 32, which halves five times, and at most 1024")
        check(0 < self.width <= 4, "width", self.width, "above 0 and at most 4")
        check(0 < self.learning_rate < math.inf, "learning_rate", self.learning_rate, "above 0 and finite")
        check(0 < self.gain < math.inf, "initial_gain", self.gain, "above 0 and finite")
        check(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and below 1")
        for field in ("weight_decay", "invariance_weight"):
            check(0 <= getattr(self, field) < math.inf, field, getattr(self, field), "at least 0 and finite")
        check_count("epochs", self.epochs, most=MOST_EPOCHS)
        in_time = 0 <= self.warm_up_epochs < self.epochs
        check(in_time, "warm_up_epochs", self.warm_up_epochs, f"at least 0 and below the {self.epochs} epochs")
        for field in ("batch_size", "record_every", "seeds"):
            check_count(field, getattr(self, field), most=1000 if field == "seeds" else MOST)
        if self.limit is not None:
            check_count("limit", self.limit)
        check_count("checkpoint_epochs", self.checkpoint_epochs, 0)
        check_seed("seed", self.seed, self.seeds)

    def validate_kind(self, name: KindName) -> None:
        """Refuse a width at which an equivariant layer of a kind has no pairs of channels."""
        kind = KINDS[name]
        odd = [c for c, _ in CONVOLUTIONS[: kind.equivariant] if scaled(c, self.width) % 2]
        words = f"such that every equivariant layer of {kind.words} has an even number of channels"
        check(not odd, "width", self.width, words)

    def preflight(self) -> None:
        """Refuse what the data or the run directory does not allow, before seconds of importing jax."""
        from papers.common.runs import RunDirectory

        RunDirectory.refuse(self)
        self.load(self.batch_size)


@dataclasses.dataclass(frozen=True)
class TrainConfig(Recipe):
    """Train VGG11 without BatchNorm, one of the paper's kinds or two for quarter turns, one network for each seed."""

    place: ClassVar[str] = "relu_equivariance/train"

    kind: KindName = "cnn"
    """Plain; with random mirror images (aug); with the invariance loss from the start (inv) or after a fifth of the
    steps (late_inv); with all (gcnn) or the first two (pgcnn) convolutions equivariant by construction; with random
    quarter turns (c4), and mirror images too (d4)."""

    def validate(self) -> None:
        """Refuse what no training can be; what depends on the data is checked once it is loaded."""
        super().validate()
        self.validate_kind(self.kind)


def with_images(dataset: "Dataset", symmetry: SymmetryName) -> "Dataset":
    """Join every image of both splits with its images under a group, of the same label.

    Digits alone are not distributed as their mirror images are, which the paper's conjecture presumes. A six upside
    down is a nine: under quarter turns some labels contradict each other.
    """
    import numpy as np

    turns, flips = (1 if symmetry == "C2" else 4), (1 if symmetry == "C4" else 2)

    def joined(split):
        both = [split.images, split.images[:, :, ::-1]][:flips]
        images = [np.rot90(one, k, axes=(1, 2)) for one in both for k in range(turns)]
        return split._replace(images=np.concatenate(images), labels=np.concatenate([split.labels] * len(images)))

    words = {"C2": "mirror images", "C4": "quarter turns", "D4": "quarter turns and mirror images"}[symmetry]
    return dataset._replace(name=f"{dataset.name} with {words}", train=joined(dataset.train), test=joined(dataset.test))

"""What a training run with recorded conserved quantities is: its configuration, checked."""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from papers.common.cli import MOST, check, check_count, check_seed
from papers.common.data import Name, load_once

if TYPE_CHECKING:
    from papers.common.data import Dataset

Network = Literal["two_layer", "cifar", "vgg11"]
Activation = Literal["linear", "relu", "tanh", "sigmoid", "leaky_relu", "leaky_square"]
Start = Literal["he", "published"]

ACTIVATIONS: dict[str, tuple[Activation, ...]] = {
    "two_layer": ("linear", "relu", "tanh", "sigmoid"),
    "cifar": ("leaky_relu", "leaky_square"),
    "vgg11": ("relu",),
}
"""Activations of each network, its default first."""

RATES = {"two_layer": 0.1, "cifar": 1e-3, "vgg11": 0.005}
"""Default learning rate: of Figure 3, of Adam in Figures 10 and 11, and of plain descent on VGG11."""

MOST_STEPS, MOST_EPOCHS = 10_000_000, 10_000

EPOCHS = {"cifar": 2, "vgg11": 12}


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The paper's training loop with its conserved quantities measured at every step."""

    place: ClassVar[str] = "gradient_flow/train"

    network: Network = "two_layer"
    """two_layer: Figures 3 and 6, full-batch descent in float64; cifar: the network of Figures 10 and 11, Adam in file
    order; vgg11: VGG11 without BatchNorm, plain minibatch descent."""

    activation: Activation | None = None
    """two_layer: linear (default), relu, tanh or sigmoid; cifar: leaky_relu (default) or leaky_square."""

    scale: float = 0.1
    """Standard deviation of the initial weights of two_layer."""

    steps: int = 20_000
    """Steps of two_layer; the paper's runs have 400,000."""

    data: Name = "digits"
    """Data set of cifar and vgg11; digits needs no download, folder is one of your own."""

    size: Literal[32, 64] | None = None
    """Side of the images in pixels; digits are enlarged to it (32 by default), the others reduced by area averaging."""

    limit: int | None = None
    """Keep so many images of each split only, the same share of each class."""

    width: float = 0.125
    """Multiplies the number of channels and hidden units of vgg11."""

    start: Start = "he"
    """First weights of vgg11: he has variance 2/fan-in everywhere; published is the model's own, whose small dense
    layers keep plain descent on the first plateau for long."""

    epochs: int | None = None
    """Epochs of cifar (2 by default; the paper has 10) and vgg11 (12)."""

    batch_size: int | None = None
    """Images a step: 32 for cifar and 64 for vgg11 by default."""

    learning_rate: float | None = None
    """eta: 0.1 for two_layer, 0.001 for cifar, 0.005 for vgg11 by default."""

    seed: int = 0
    """Seed of the first weights and the data order; for two_layer 0 is the authors' own draw."""

    record_every: int = 1
    """Steps between two stored records; every step is measured and predicted all the same."""

    precision: Literal["float32", "float64"] = "float32"
    """Of vgg11; the others have their own."""

    checkpoint_epochs: int = 5
    """Epochs of vgg11 between two checkpoints; one is always written at the end and on SIGINT or SIGTERM."""

    data_dir: Path | None = None
    """Folder with the published archive or its unpacked folder, downloaded by default; with --data folder, your own."""

    cache_dir: Path | None = None
    """Folder of the prepared data and compiled programs."""

    out: Path | None = None
    """Run directory, new or empty; by default a new one under runs/gradient_flow/train, named after the time."""

    resume: bool = False
    """Continue the run in the directory, or without --out the newest unfinished one: vgg11 from its newest good
    checkpoint, the others, which take a minute, from their beginning."""

    def resolved(self) -> "TrainConfig":
        """Fill in the defaults that depend on the network."""
        return dataclasses.replace(
            self,
            activation=self.activation or ACTIVATIONS[self.network][0],
            learning_rate=RATES[self.network] if self.learning_rate is None else self.learning_rate,
            epochs=EPOCHS.get(self.network, 1) if self.epochs is None else self.epochs,
            batch_size={"cifar": 32}.get(self.network, 64) if self.batch_size is None else self.batch_size,
        )

    def validate(self) -> None:
        """Refuse what no run can be; what depends on the data is checked once it is loaded."""
        known = ACTIVATIONS[self.network]
        fits = self.activation is None or self.activation in known
        check(fits, "activation", self.activation, f"one of {', '.join(known)} with --network {self.network}")
        rate = self.resolved().learning_rate
        check(0 < rate < math.inf, "learning_rate", rate, "above 0 and finite")
        check(0 < self.scale < math.inf, "scale", self.scale, "above 0 and finite")
        check(0 < self.width <= 4, "width", self.width, "above 0 and at most 4")
        most = {"steps": MOST_STEPS, "epochs": MOST_EPOCHS}
        for field in ("steps", "epochs", "batch_size", "record_every", "limit"):
            if getattr(self, field) is not None:
                check_count(field, getattr(self, field), most=most.get(field, MOST))
        check_seed("seed", self.seed)
        check_count("checkpoint_epochs", self.checkpoint_epochs, 0)
        small = self.network != "cifar" or self.data != "tiny_imagenet" or self.size == 32
        words = "digits or cifar10, or given with --size 32: --network cifar takes 32 x 32 pixels"
        check(small, "data", self.data, words)
        check(self.network != "cifar" or self.size != 64, "size", self.size, "32 with --network cifar")
        for field in ("epochs", "batch_size"):
            value = getattr(self, field)
            fits = value is None or self.network != "two_layer" or value == getattr(TrainConfig().resolved(), field)
            check(fits, field, value, "left out with --network two_layer, which takes --steps")

    def load(self) -> "Dataset":
        """Load the data of a resolved configuration, and refuse a batch larger than it."""
        size = 32 if self.network == "cifar" else self.size
        places = {"data_dir": self.data_dir, "cache_dir": self.cache_dir}
        return load_once(self.data, size=size, limit=self.limit, batch_size=self.batch_size, **places)

    def fingerprint(self) -> str | None:
        """The fingerprint of the data, None where there is none."""
        from papers.common import data

        return None if self.network == "two_layer" else data.fingerprint(self.load())

    def preflight(self) -> None:
        """Refuse what the data or the run directory does not allow, before seconds of importing jax."""
        from papers.common.runs import RunDirectory

        RunDirectory.refuse(self)
        if self.network != "two_layer":
            self.load()

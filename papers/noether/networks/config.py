"""What a training run is: its configuration, checked."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from papers.common.cli import MOST, MOST_SEEDS, check, check_count
from papers.common.data import Name, load_once
from papers.common.models import ModelName
from papers.common.optimisers import OptimiserName

if TYPE_CHECKING:
    from papers.common.data import Dataset

FilterNorm = Literal["free", "fixed"]


MOST_EPOCHS = 10_000

# of the learning rule: field -> (test, words)
RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "learning_rate": (lambda value: 0 < value < math.inf, "above 0 and finite"),
    "momentum": (lambda value: 0 <= value < 1, "at least 0 and below 1"),
    "weight_decay": (lambda value: 0 <= value < math.inf, "at least 0 and finite"),
    "initial_scale": (lambda value: 0 < value < math.inf, "above 0 and finite"),
    "seed": (lambda value: 0 <= value < MOST_SEEDS, "at least 0 and below 2^32"),
}


def check_range(name: str, value: float, field: str) -> None:
    """Refuse a number out of its range; ``field`` is the configuration's field that held it.

    The numbers of the learning rule have theirs in :data:`RANGES`; any other is one that a run's configuration takes.
    """
    if name in RANGES:
        allowed, words = RANGES[name]
        check(allowed(value), field, value, words)
    else:
        dataclasses.replace(TrainConfig(), **{name: value}).validate()


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a single run and every member of a sweep have in common: data, network, length, directory."""

    data: Name = "digits"
    """Data set; digits needs no download, folder is one of your own: a folder of images for each class."""

    size: Literal[32, 64] | None = None
    """Side of the images in pixels; digits are enlarged to it (32 by default), the others reduced by area averaging."""

    classes: int | None = None
    """Keep the first so many classes only."""

    limit: int | None = None
    """Keep so many images of each split only, the same share of each class."""

    width: float = 0.25
    """Multiplies the number of channels and hidden units; 1 is the paper's."""

    batch_norm: bool = True
    """Normalise after every convolution."""

    dropout: float = 0.5
    """Dropout rate of VGG11's two hidden dense layers."""

    drops: tuple[float, ...] | None = ()
    """Epochs after which the learning rate is multiplied by 0.1."""

    optimiser: OptimiserName = "sgd"
    """Rule of the updates; the exact laws belong to sgd, charges are measured under every one."""

    batch_size: int = 64
    """Images a step; the last batch of an epoch may be smaller."""

    epochs: int = 12
    """Epochs."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Inputs of convolutions and dense layers; parameters, momentum, statistics and logs stay float32."""

    record_every: int = 10
    """Steps between two stored records of the charges; every step is predicted and measured all the same."""

    checkpoint_epochs: int = 5
    """Epochs between two checkpoints; one is always written at the end and on SIGINT or SIGTERM."""

    data_dir: Path | None = None
    """Folder with the published archive or its unpacked folder, downloaded by default; with --data folder, your own."""

    cache_dir: Path | None = None
    """Folder of the prepared data; ~/.cache/symjax-papers by default."""

    out: Path | None = None
    """Run directory, new or empty; by default a new one under runs/noether, named after the time."""

    resume: bool = False
    """Continue the run in the directory from its newest good checkpoint; without --out the newest unfinished run."""

    @property
    def drop_epochs(self) -> tuple[float, ...]:
        """Epochs after which the learning rate drops; by itself once, after three quarters of them."""
        return (0.75 * self.epochs,) if self.drops is None else self.drops

    def validate(self) -> None:
        """Refuse what no run can be; what depends on the data is checked once it is loaded."""
        check(0 < self.width <= 4, "width", self.width, "above 0 and at most 4")
        check(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")
        least = {"batch_size": 1, "epochs": 1, "record_every": 1, "checkpoint_epochs": 0, "classes": 2, "limit": 1}
        for field, smallest in least.items():
            if getattr(self, field) is not None:
                check_count(field, getattr(self, field), smallest, MOST_EPOCHS if field == "epochs" else MOST)
        drops, shown = list(self.drop_epochs), " ".join(map(str, self.drop_epochs))
        ordered = drops == sorted(set(drops)) and all(drop > 0 for drop in drops)
        check(ordered, "drops", shown, "positive epochs in increasing order")
        in_time = not drops or drops[-1] < self.epochs
        check(in_time, "drops", shown, f"before the end, {self.epochs} epochs")

    def load(self) -> "Dataset":
        """Load the data, once however often it is asked for, and refuse a batch larger than it before that."""
        return load_once(
            self.data,
            size=self.size,
            data_dir=self.data_dir,
            cache_dir=self.cache_dir,
            classes=self.classes,
            limit=self.limit,
            batch_size=self.batch_size,
        )

    def preflight(self) -> None:
        """Refuse what the data or the run directory does not allow, before seconds of importing jax."""
        from papers.common.runs import RunDirectory

        RunDirectory.refuse(self)
        self.load()


@dataclasses.dataclass(frozen=True)
class TrainConfig(Setting):
    """One run of a network with its charges predicted and measured at every step."""

    place: ClassVar[str] = "noether/train"

    model: ModelName = "vgg11"
    """vgg11 is the paper's, resnet18 has GroupNorm, resnet18-bn BatchNorm, vit is a small vision transformer; the
    symmetries of each are found from its program."""

    preset: str = "none"
    """A panel of the paper; options given beside it replace the preset's. The help lists them."""

    filter_norm: FilterNorm = "free"
    """Leave the filters' norms to the learning rule, or set each back to its initial value after every step."""

    initial_scale: float | None = None
    """Multiplies the initial filters; by default 0.35 with VGG11 and BatchNorm, so that norms grow to fit the rate."""

    drops: tuple[float, ...] | None = None
    """Epochs after which the learning rate is multiplied by 0.1; by default once, after three quarters of them."""

    learning_rate: float = 0.05
    """Learning rate eta."""

    momentum: float = 0.9
    """Heavy-ball momentum beta."""

    weight_decay: float = 5e-4
    """Weight decay k, inside the gradient, on every parameter."""

    seed: int = 0
    """Seed of the initial parameters, the data order, the augmentation and the dropout."""

    driver: Literal["auto", "loop", "scan"] = "auto"
    """A jitted step called from Python, or a compiled chunk of steps; auto takes the loop on CPU."""

    @property
    def filter_scale(self) -> float:
        """Factor on the initial filters, on which the function does not depend."""
        usual = 0.35 if self.batch_norm and self.model == "vgg11" else 1.0
        return usual if self.initial_scale is None else self.initial_scale

    @property
    def reduced(self) -> bool:
        """Whether the run is smaller than the paper's: full-width VGG11-BN, all of Tiny-ImageNet, about 100 epochs."""
        whole = self.data == "tiny_imagenet" and self.classes is None and self.limit is None and self.size in (None, 64)
        paper = self.model == "vgg11" and self.width == 1 and self.batch_norm
        return not (whole and paper and self.epochs >= 100)

    def validate(self) -> None:
        """Refuse what no run can be; what depends on the data is checked once it is loaded."""
        super().validate()
        for field in RANGES:
            if (value := getattr(self, field)) is not None:
                check_range(field, value, field)
        if self.model != "vgg11":
            own = {"batch_norm": True, "dropout": TrainConfig.dropout}
            for field, value in own.items():
                allowed = getattr(self, field) == value
                check(allowed, field, getattr(self, field), f"left out with --model {self.model}: it is vgg11's")
        why = "without BatchNorm (only a normalised filter's norm is a symmetry)"
        check(self.batch_norm or self.filter_norm == "free", "filter_norm", "fixed", f"free {why}")
        check(self.batch_norm or self.filter_scale == 1, "initial_scale", self.initial_scale, f"left out {why}")
